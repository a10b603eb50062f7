# SPDX-License-Identifier: Apache-2.0
"""Denoising diffusion conditioned by the noisy volume: its sampler as a MONAI inferer, and what it is trained on.

The scheduler says how noise grows: MONAI's, T = 1000, linear beta from 1e-4 to 0.02. The sampler begins with noise and
takes deterministic DDIM steps. One step gives the mean of what the volume may have been; more steps give one sample of
it, with more texture and a larger error.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.schedulers import DDIMScheduler
from monai.networks.schedulers.ddim import DDIMPredictionType
from torch import Tensor, nn

from clarivox.errors import BundleError
from clarivox.passes import Images, Predictor, Run
from clarivox.tiles import Box
from clarivox.training_log import Shown
from clarivox.windows import Windows, channels_last

if TYPE_CHECKING:
    from clarivox.training import Batches

_CELL = 32
"""Side of the cubes that noise is drawn in."""


def noise_field(seed: int, item: int, box: Box) -> Tensor:
    """A box of one endless field of white noise: the same at the same place, whatever box it is seen through.

    Args:
        seed: another seed, another field.
        item: another image, another field.
        box: where; starts are 0 or more.

    Returns:
        Standard normal, float32, the box's shape.

    >>> whole = noise_field(7, 0, (slice(0, 50), slice(0, 40)))
    >>> bool((noise_field(7, 0, (slice(20, 50), slice(33, 36))) == whole[20:, 33:36]).all())
    True
    """
    field = torch.empty([side.stop - side.start for side in box])
    cells = [range(side.start // _CELL, -(-side.stop // _CELL)) for side in box]
    for cell in itertools.product(*cells):
        drawn = torch.from_numpy(
            np.random.default_rng((seed, item, *cell)).standard_normal((_CELL,) * len(box), np.float32)
        )
        inner, outer = [], []
        for number, side in zip(cell, box, strict=True):
            first, last = max(side.start, number * _CELL), min(side.stop, (number + 1) * _CELL)
            inner.append(slice(first - number * _CELL, last - number * _CELL))
            outer.append(slice(first - side.start, last - side.start))
        field[tuple(outer)] = drawn[tuple(inner)]
    return field


class EvenDDIMScheduler(DDIMScheduler):  # type: ignore[misc]
    """MONAI's DDIM scheduler, with steps that end where the next begins.

    MONAI 1.6 spreads the steps' numbers from the last to 0 but lets each step end T // steps further on: with four
    steps it ends at noise of number 749 and calls that 666. Here the numbers are T // steps apart.

    Source:
        Song et al., Denoising diffusion implicit models, arXiv 2010.02502; Lin et al., Common diffusion noise schedules
        and sample steps are flawed, arXiv 2305.08891 ("trailing" steps).

    >>> scheduler = EvenDDIMScheduler(num_train_timesteps=1000)
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps.tolist()
    [999, 749, 499, 249]
    """

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Sets the numbers of the steps, the noisiest first.

        Raises:
            BundleError: the number of steps does not divide T.
        """
        if num_inference_steps < 1 or self.num_train_timesteps % num_inference_steps:
            raise BundleError(
                f"the number of steps must divide {self.num_train_timesteps}; found {num_inference_steps}"
            )
        self.num_inference_steps = num_inference_steps
        apart = self.num_train_timesteps // num_inference_steps
        self.timesteps = torch.arange(self.num_train_timesteps - 1, -1, -apart, device=device)


class DiffusionWindows(Windows):
    """Denoises volumes in blended windows, each by a whole diffusion, with noise cropped from one field.

    Noise drawn anew for each window would average out where windows overlap, and stay elsewhere: seams.

    Args:
        spatial_dims: 2 or 3.
        scheduler: deterministic DDIM.
        steps: network calls for each window; a divisor of the scheduler's T.
        seed: of the noise.
        difference: what is diffused is the difference of the clean from the noisy volume, divided by this; None
            diffuses the volume itself, as the field does.
        window, overlap, stride: see `Windows`.

    Raises:
        BundleError: an argument is out of range.
    """

    def __init__(
        self,
        spatial_dims: int,
        scheduler: DDIMScheduler,
        steps: int = 50,
        seed: int = 0,
        difference: float | None = None,
        window: int = 64,
        overlap: float = 0.25,
        stride: int = 1,
    ) -> None:
        super().__init__(spatial_dims, "blended", stride=stride, window=window, overlap=overlap)
        self.scheduler, self.steps, self.seed, self.difference = scheduler, steps, seed, difference
        scheduler.set_timesteps(steps)

    @property
    def channels(self) -> int:
        """What is diffused, the noisy volume, and the step's number."""
        return 3

    @property
    def calls(self) -> int:
        """Each step of the diffusion is one."""
        return self.steps

    def with_one_call(self) -> DiffusionWindows:
        """The same windows, with one step."""
        shorter = copy.copy(self)
        shorter.scheduler, shorter.steps = copy.deepcopy(self.scheduler), 1
        shorter.scheduler.set_timesteps(1)
        return shorter

    def _forward(self, images: Images, group: range, window: Box, network: Predictor, run: Run) -> Tensor:
        noisy = self._read(images, group, window).to(run.device)
        noise = torch.stack([noise_field(self.seed, item, window) for item in group])[:, None].to(run.device)
        sample = self._sampled(noisy, noise, network, run)
        return self._checked(sample, group, window, run)

    def _sampled(self, noisy: Tensor, sample: Tensor, network: Predictor, run: Run) -> Tensor:
        """The end of the diffusion that begins with `sample`; both have the shape (B, 1, *window)."""
        for step in self.scheduler.timesteps.tolist():
            number = torch.full_like(noisy, step / self.scheduler.num_train_timesteps)
            output = network(channels_last(torch.cat((sample, noisy, number), dim=1)))
            sample = self.scheduler.step(output, step, sample)[0]
            if run.on_window is not None:
                run.on_window(run.share / self.steps)
        return sample if self.difference is None else noisy + self.difference * sample

    def _tell(self, run: Run) -> None:
        """Nothing: each step of the diffusion was told."""


class DiffusionBatches:
    """Batches of one random diffusion step each, and what the network is to predict of it.

    Args:
        batches: noisy and clean patches, shape (N, 1, *spatial).
        scheduler: how noise grows, and what is predicted: the noise, the sample or the velocity.
        difference: as in `DiffusionWindows`.
        seed: begins every draw.

    Source:
        Salimans and Ho, Progressive distillation, arXiv 2202.00512 (the velocity).
    """

    def __init__(
        self, batches: Batches, scheduler: DDIMScheduler, difference: float | None = None, seed: int = 0
    ) -> None:
        self.batches, self.scheduler, self.difference, self.seed = batches, scheduler, difference, seed

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Network inputs, shape (N, 3, *spatial), and predictions, shape (N, 1, *spatial)."""
        noisy, clean = self.batches.batch(number)
        draw = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]))
        count, last = len(noisy), self.scheduler.num_train_timesteps
        # One number from each of `count` equal parts: less chance in each batch, the same mean.
        shares = (torch.arange(count) + torch.rand(count, generator=draw)) / count
        steps = (shares * last).long().clamp(max=last - 1)
        signal = clean if self.difference is None else (clean - noisy) / self.difference
        noise = torch.randn(clean.shape, generator=draw)
        diffused = self.scheduler.add_noise(signal, noise, steps)
        numbers = (steps / last).reshape(-1, *[1] * (clean.ndim - 1)).expand_as(clean)
        inputs = torch.cat((diffused, noisy, numbers), dim=1)
        if self.scheduler.prediction_type == DDIMPredictionType.EPSILON:
            return inputs, noise
        if self.scheduler.prediction_type == DDIMPredictionType.SAMPLE:
            return inputs, signal
        return inputs, self.scheduler.get_velocity(signal, noise, steps)


class DiffusionValidation:
    """Mean PSNR, range 1, of fixed blocks after sampling, over several numbers of steps.

    Args:
        pairs: noisy and clean blocks, shape (1, *spatial).
        inferers: samplers.
    """

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]], inferers: Sequence[Windows]) -> None:
        self.pairs, self.inferers = pairs, inferers
        self.shown: list[Shown] = []

    def each(self, network: nn.Module) -> list[float]:
        """Decibel, one number for each sampler."""
        device = next(network.parameters()).device
        found = []
        for inferer in self.inferers:
            outputs = [inferer(noisy[None], network, run=Run(device))[0] for noisy, _ in self.pairs]
            errors = [torch.mean((y - clean) ** 2) for y, (_, clean) in zip(outputs, self.pairs, strict=True)]
            self.shown = [Shown(noisy, y, clean) for y, (noisy, clean) in zip(outputs[:3], self.pairs, strict=False)]
            found.append(float(np.mean([float(-10 * torch.log10(error)) for error in errors])))
        return found

    def __call__(self, network: nn.Module) -> float:
        """Larger is better; decibel."""
        return float(np.mean(self.each(network)))
