# SPDX-License-Identifier: Apache-2.0
"""What a training makes small. Each is called with outputs, targets and inputs, shapes (N, C, *spatial).

Losses that ask the network for more than its output (`NoiseEstimateLoss`, `AnnealedLoss`) have `of_network` instead.
The adversarial loss is `clarivox.adversarial.Opponent`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.losses import SSIMLoss
from torch import Tensor, nn
from torch.nn import functional as F

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import bicubic

KINDS = ("mse", "l1", "charbonnier")


def _inner(image: Tensor, shave: int) -> Tensor:
    return image[(slice(None), slice(None), *[slice(shave, n - shave) for n in image.shape[2:]])]


class RelativeSquaredError(nn.Module):
    """Squared error of each patch, relative to the error of the input, so that faint and strong faults count alike.

    An input on a coarser grid than the target is enlarged by bicubic interpolation first.

    Args:
        power: 1 makes every level of degradation count the same; 0 is the plain squared error.
        floor: squared error below which an input counts as clean, in squared image units.
        shave: voxels left out along each border of a patch, where its neighbourhood was cut off.
    """

    def __init__(self, power: float = 0.75, floor: float = 1e-5, shave: int = 0) -> None:
        super().__init__()
        self.power, self.floor, self.shave = power, floor, shave

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes (N, C, *spatial), `inputs` perhaps on a coarser grid.

        Channels of `inputs` that `targets` does not have, such as a map of the noise level, do not count.
        """
        inputs = inputs[:, : targets.shape[1]]
        each = _inner(outputs - targets, self.shave).square().flatten(1).mean(1)
        given = _inner(bicubic(inputs, targets.shape[2:]) - targets, self.shave).square().flatten(1).mean(1)
        return (each / (given + self.floor) ** self.power).mean()


class PixelLoss(nn.Module):
    """The mean over all voxels of a function of the error e.

    Args:
        kind: "mse", e^2; "l1", |e|; "charbonnier", sqrt(e^2 + epsilon^2), smooth where l1 is not.
        epsilon: of charbonnier, in image units.
        shave: voxels left out along each border of a patch.

    Raises:
        OptionError: another kind.

    Source:
        Lai et al., Deep Laplacian pyramid networks, CVPR 2017 (Charbonnier).

    >>> zero, two = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0)
    >>> [float(PixelLoss(kind)(two, zero, zero)) for kind in ("mse", "l1")]
    [4.0, 2.0]
    """

    def __init__(self, kind: str = "mse", epsilon: float = 1e-3, shave: int = 0) -> None:
        super().__init__()
        if kind not in KINDS:
            raise OptionError(f"kind is one of {', '.join(KINDS)}; found {kind!r}")
        self.kind, self.epsilon, self.shave = kind, epsilon, shave

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean."""
        error = _inner(outputs - targets, self.shave)
        if self.kind == "l1":
            return error.abs().mean()
        squared = error.square()
        return squared.mean() if self.kind == "mse" else (squared + self.epsilon**2).sqrt().mean()


class StructureLoss(nn.Module):
    """1 - SSIM, MONAI's, with its Gaussian window.

    Args:
        spatial_dims: 2 or 3.
        window: its length in voxels, odd; patches must be at least that long.
        data_range: of the images.
    """

    def __init__(self, spatial_dims: int = 2, window: int = 11, data_range: float = 1.0) -> None:
        super().__init__()
        self.similarity = SSIMLoss(spatial_dims, win_size=window, data_range=data_range)

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch."""
        each: Tensor = self.similarity(outputs, targets)
        return each.mean()


class GradientLoss(nn.Module):
    """Mean absolute error of the differences between neighbours along each axis: edges that are blurred cost.

    >>> ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    >>> float(GradientLoss()(2 * ramp, ramp, ramp)), float(GradientLoss()(ramp + 5, ramp, ramp))
    (0.5, 0.0)
    """

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over axes and voxels."""
        error = outputs - targets
        axes = range(2, error.ndim)
        return torch.stack([error.diff(dim=axis).abs().mean() for axis in axes]).mean()


def gabor(size: int, turns: int) -> Tensor:
    """Even and odd Gabor filters of wavelength 4 in several directions, each of sum 0 and norm 1.

    Returns:
        Shape (2 * turns, 1, size, size): the even ones, then the odd ones.

    Source:
        Daugman, JOSA A 2 (1985).
    """
    at = torch.arange(size, dtype=torch.float32) - size // 2
    x, y = torch.meshgrid(at, at, indexing="ij")
    angles = [math.pi * number / turns for number in range(turns)]
    along = torch.stack([x * math.cos(angle) + y * math.sin(angle) for angle in angles])
    envelope = torch.exp(-(x**2 + y**2) / (2 * (size / 4) ** 2))
    filters = torch.cat([torch.cos(math.pi / 2 * along), torch.sin(math.pi / 2 * along)]) * envelope
    filters = filters - envelope * (filters.sum((1, 2), keepdim=True) / envelope.sum())
    normed: Tensor = filters / filters.flatten(1).norm(dim=1)[:, None, None]
    return normed[:, None]


class FeatureLoss(nn.Module):
    """Mean absolute error of features: amplitudes of Gabor filters, then orthogonal random filters of these, at
    three scales. Texture of the right strength in not quite the right place costs less than none.

    The features are fixed by formula and seed; nothing was trained and nothing is downloaded. A trained network knows
    more about content; this one knows orientation, scale and their combinations.

    Args:
        turns: directions of the Gabor filters.
        features: random filters at each scale.
        scales: how often images are halved, and once more.
        pixels: weight of the plain absolute error beside the features.
        seed: of the random filters.

    Source:
        Johnson et al., Perceptual losses, ECCV 2016; random features: Saxe et al., On random weights and unsupervised
        feature learning, ICML 2011; Bruna and Mallat, Invariant scattering convolution networks, TPAMI 35 (2013).

    >>> x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> float(FeatureLoss()(x, x, x)), 0 < float(FeatureLoss()(x.roll(1, 2), x, x))
    (0.0, True)
    """

    def __init__(self, turns: int = 8, features: int = 32, scales: int = 3, pixels: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.scales, self.pixels, self.turns = scales, pixels, turns
        self.first: Tensor
        self.second: Tensor
        self.register_buffer("first", gabor(9, turns), persistent=False)
        draw = torch.Generator().manual_seed(seed)
        square = torch.empty(features, turns * 9)
        nn.init.orthogonal_(square, generator=draw)
        second = square.reshape(features, turns, 3, 3)
        self.register_buffer("second", second - second.mean((2, 3), keepdim=True), persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Amplitudes and their combinations at each scale.

        Args:
            images: shape (N, 1, X, Y), or (N, 1, X, Y, Z), which is taken slice by slice.
        """
        if images.ndim == 5:
            images = images.movedim(-1, 1).flatten(0, 1)
        found = []
        for _ in range(self.scales):
            even, odd = F.conv2d(images, self.first, padding=4).chunk(2, dim=1)
            amplitudes = (even.square() + odd.square() + 1e-6).sqrt()
            found += [amplitudes, F.relu(F.conv2d(amplitudes, self.second, padding=1))]
            if min(images.shape[2:]) < 18:
                break
            images = F.avg_pool2d(images, 2)
        return found

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over features and scales, each relative to its size in the targets."""
        self.to(outputs.device)
        with torch.no_grad():
            wanted = self.features(targets)
        errors = [
            (one - other).abs().mean() / (other.mean() + 1e-3)
            for one, other in zip(self.features(outputs), wanted, strict=True)
        ]
        return torch.stack(errors).mean() + self.pixels * (outputs - targets).abs().mean()


class WeightedSum(nn.Module):
    """Several losses at once.

    Args:
        losses: the parts.
        weights: one for each.

    Raises:
        OptionError: there are not as many weights as losses.

    >>> x = torch.ones(1, 1, 4, 4)
    >>> float(WeightedSum([PixelLoss("mse"), PixelLoss("l1")], [1.0, 0.5])(3 * x, x, x))
    5.0
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if len(losses) != len(weights):
            raise OptionError(f"each loss needs one weight; found {len(losses)} and {len(weights)}")
        self.losses, self.weights = nn.ModuleList(losses), tuple(weights)

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The weighted sum."""
        parts = [w * loss(outputs, targets, inputs) for w, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(parts).sum()


class NoiseEstimateLoss(nn.Module):
    """For a network that estimates the noise: its result's loss, and what CBDNet adds for the estimate.

    The true level at a voxel is the root mean square of the noise around it.

    Args:
        loss: of the result.
        weight: of the squared error of the estimated level.
        alpha: an estimate that is too large counts `alpha`, one that is too small 1 - alpha, which harms more.
        smooth: weight of the level's total variation, squared.
        window: voxels along each side over which the true level is measured, odd.

    Source:
        Guo et al., Toward convolutional blind denoising of real photographs, CVPR 2019.
    """

    def __init__(
        self, loss: nn.Module, weight: float = 0.5, alpha: float = 0.3, smooth: float = 0.05, window: int = 9
    ) -> None:
        super().__init__()
        self.loss, self.weight, self.alpha, self.smooth, self.window = loss, weight, alpha, smooth, window

    def of_network(
        self, network: nn.Module, inputs: Tensor, targets: Tensor, level: Sequence[Tensor], step: int
    ) -> tuple[Tensor, Tensor]:
        """The result and the loss."""
        outputs = network(inputs, *level).float()
        estimate: Tensor = network.noise_level(inputs).float()  # type: ignore[operator]
        pooled = F.avg_pool2d if inputs.ndim == 4 else F.avg_pool3d
        reach = self.window // 2
        squared = pooled((inputs - targets).square(), self.window, 1, reach, count_include_pad=False)
        error = estimate[(slice(None), slice(None), *[slice(0, n) for n in inputs.shape[2:]])] - squared.sqrt()
        asymmetric = torch.where(error < 0, 1 - self.alpha, self.alpha) * error.square()
        variation = torch.stack([estimate.diff(dim=axis).square().mean() for axis in range(2, estimate.ndim)]).sum()
        total = self.loss(outputs, targets, inputs) + self.weight * asymmetric.mean() + self.smooth * variation
        return outputs, total


class AnnealedLoss(nn.Module):
    """For kernel prediction: the loss of the result, and of what each frame alone says, less and less.

    Args:
        loss: of one image.
        weight: of the frames' mean loss at the first step.
        keep: how much of that weight stays at each step.

    Source:
        Mildenhall et al., Burst denoising with kernel prediction networks, CVPR 2018: 100 and 0.9998.
    """

    def __init__(self, loss: nn.Module, weight: float = 100.0, keep: float = 0.9998) -> None:
        super().__init__()
        self.loss, self.weight, self.keep = loss, weight, keep

    def of_network(
        self, network: nn.Module, inputs: Tensor, targets: Tensor, level: Sequence[Tensor], step: int
    ) -> tuple[Tensor, Tensor]:
        """The result and the loss."""
        frames: Tensor = network.per_frame(inputs, *level).float()  # type: ignore[operator]
        outputs = frames.mean(dim=1, keepdim=True)
        each = [self.loss(frames[:, n : n + 1], targets, inputs[:, n : n + 1]) for n in range(frames.shape[1])]
        annealed = self.weight * self.keep**step * torch.stack(each).mean()
        return outputs, self.loss(outputs, targets, inputs.mean(dim=1, keepdim=True)) + annealed
