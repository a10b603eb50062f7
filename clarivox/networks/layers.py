# SPDX-License-Identifier: Apache-2.0
"""Layers that several families share, in 2D and 3D, with every additive constant behind one switch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError

CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
}


class ScaleNorm(nn.Module):
    """Batch normalisation without its additive constants: divides by the spread of each channel, times a factor.

    Neither the mean is taken away nor an offset added, so that in evaluation f(a x) = a f(x).

    Args:
        channels: of the input.
        momentum: share of the newest batch in the running variance.

    Source:
        Mohan et al., Robust and interpretable blind image denoising via bias-free CNNs, arXiv 1906.05478.

    >>> ScaleNorm(3).eval()(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 3, 4, 4])
    """

    running_variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.momentum = nn.Parameter(torch.ones(channels)), momentum
        self.register_buffer("running_variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x: (N, channels, ...)."""
        variance = self.running_variance
        if self.training:
            variance = torch.var(x.float(), dim=[0, *range(2, x.ndim)], correction=0)
            with torch.no_grad():
                self.running_variance.lerp_(variance, self.momentum)
        factor = self.weight * torch.rsqrt(variance + 1e-5)
        return x * factor.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))


def convolution(
    spatial_dims: int, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
) -> nn.Conv2d | nn.Conv3d:
    """A zero-padded convolution that keeps the size (divides it by `stride`), begun as He et al. did.

    Raises:
        OptionError: spatial_dims is neither 2 nor 3.

    >>> convolution(2, 1, 8, 5)(torch.zeros(1, 1, 9, 7)).shape
    torch.Size([1, 8, 9, 7])
    """
    if spatial_dims not in CONV:
        raise OptionError(f"spatial_dims must be 2 or 3; found {spatial_dims}")
    layer = CONV[spatial_dims](inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)
    begin(layer)
    return layer


@torch.no_grad()
def begin(layer: nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d, gain: float = 1.0) -> None:
    """Weights that keep the size of what passes through a ReLU, times `gain`; constants become 0."""
    transposed = isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out" if transposed else "fan_in", nonlinearity="relu")
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.zero_()


def activation(name: str) -> nn.Module:
    """The layer of a name: "relu", "leaky_relu", "prelu" (its slope is learned) or "gelu".

    With gelu f(a x) = a f(x) holds no longer, whatever the bias.

    Raises:
        OptionError: another name.
    """
    if name not in _ACTIVATIONS:
        raise OptionError(f"activation must be one of {', '.join(_ACTIVATIONS)}; found {name!r}")
    return _ACTIVATIONS[name]()


def block(
    spatial_dims: int, inputs: int, outputs: int, *, norm: bool, bias: bool, name: str | None = "relu", stride: int = 1
) -> list[nn.Module]:
    """A 3-wide convolution, normalisation where asked for (then it holds the constants), an activation if named."""
    layers: list[nn.Module] = [convolution(spatial_dims, inputs, outputs, stride=stride, bias=bias and not norm)]
    if norm:
        layers.append(_NORM[spatial_dims](outputs) if bias else ScaleNorm(outputs))
    return [*layers, activation(name)] if name else layers


def aligned(reach: int, stride: int) -> int:
    """The halo of a network that reaches so far and whose windows begin at multiples of `stride`.

    >>> aligned(5, 1), aligned(5, 4)
    (5, 8)
    """
    return -(-(reach + stride - 1) // stride) * stride


def filled(x: Tensor, multiple: int, least: int = 1) -> Tensor:
    """x with its last voxels repeated until each side is a multiple, and `least` or more.

    >>> filled(torch.zeros(1, 1, 5, 8), 4).shape
    torch.Size([1, 1, 8, 8])
    """
    wanted = [-(-max(n, least) // multiple) * multiple for n in x.shape[2:]]
    missing = [side for n, m in zip(reversed(x.shape[2:]), reversed(wanted), strict=True) for side in (0, m - n)]
    return F.pad(x, missing, mode="replicate") if any(missing) else x


def cropped(x: Tensor, like: Tensor) -> Tensor:
    """The first voxels of x, as many along each axis as `like` has."""
    return x[(slice(None), slice(None), *[slice(0, n) for n in like.shape[2:]])]


LOCAL = 9
"""Pixels over which `without_local_mean` takes the mean; 4 to each side of the one."""


def without_local_mean(x: Tensor) -> Tensor:
    """A 2D image minus its mean over 9 x 9 pixels, fewer at the borders: faint detail without the ground it lies on.

    In bfloat16 a number has three digits: detail of a thousandth of the ground would be rounded away in every layer.

    Args:
        x: shape (N, C, X, Y).

    >>> without_local_mean(torch.full((1, 1, 12, 12), 7.0)).abs().max()
    tensor(0.)
    """
    return x - F.avg_pool2d(x, LOCAL, 1, LOCAL // 2, count_include_pad=False)


def level_map(x: Tensor, sigma: Tensor | float) -> Tensor:
    """A noise level as an image.

    Args:
        x: shape (N, C, ...).
        sigma: standard deviation in units of x: a number, one for each image (N,), or a map (N, 1, ...).

    Returns:
        Shape (N, 1, ...).

    >>> level_map(torch.zeros(2, 3, 4, 4), torch.tensor([0.1, 0.2])).shape
    torch.Size([2, 1, 4, 4])
    """
    levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if levels.ndim <= 1:
        levels = levels.reshape(-1, 1, *[1] * (x.ndim - 2))
    return levels.expand(x.shape[0], 1, *x.shape[2:])
