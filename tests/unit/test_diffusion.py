# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDIMScheduler
from torch import Tensor

from clarivox import diffusion
from clarivox.blocks import Blocks, Stack
from clarivox.diffusion import DiffusionBatches, DiffusionValidation, DiffusionWindows, EvenDDIMScheduler, noise_field
from clarivox.errors import BundleError, CancelledError, OptionError
from clarivox.networks.diffusion_unet import ConditionedDiffusionUNet
from clarivox.passes import Run
from clarivox.progress import Meter
from clarivox.transforms.rician import RandRicianNoise


def even(prediction: str = "v_prediction") -> EvenDDIMScheduler:
    return EvenDDIMScheduler(prediction_type=prediction, clip_sample=False)


def windows(steps: int, **named: Any) -> DiffusionWindows:
    return DiffusionWindows(3, even(), steps, **({"window": 16, "overlap": 0.5} | named))


class Oracle:
    """Knows the clean volume, and says the velocity that leads to it."""

    def __init__(self, clean: Tensor, difference: float | None) -> None:
        self.clean, self.difference, self.calls = clean, difference, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        sample, noisy, number = x[:, :1], x[:, 1:2], x[0, 2].flatten()[0]
        signal = self.clean if self.difference is None else (self.clean - noisy) / self.difference
        alpha = even().alphas_cumprod[round(float(number) * 1000)]
        noise = (sample - alpha.sqrt() * signal) / (1 - alpha).sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * signal


def no_velocity(x: Tensor) -> Tensor:
    return torch.zeros_like(x[:, :1])


def test_noise_is_white_and_another_seed_or_image_has_another() -> None:
    box = (slice(3, 67), slice(0, 40), slice(30, 70))
    field = noise_field(0, 0, box)
    assert abs(float(field.mean())) < 0.01 and abs(float(field.std()) - 1) < 0.01
    assert abs(float((field[1:] * field[:-1]).mean())) < 0.02
    for other in (noise_field(1, 0, box), noise_field(0, 1, box)):
        assert abs(float((field * other).mean())) < 0.02


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_each_step_ends_where_the_next_begins(steps: int) -> None:
    scheduler = even()
    scheduler.set_timesteps(steps)
    signal, noise = torch.tensor(3.0), torch.tensor(-2.0)
    sample, ends = noise, [*scheduler.timesteps.tolist()[1:], None]
    sample = scheduler.alphas_cumprod[999].sqrt() * signal + (1 - scheduler.alphas_cumprod[999]).sqrt() * noise
    for step, end in zip(scheduler.timesteps.tolist(), ends, strict=True):
        alpha = scheduler.alphas_cumprod[step]
        sample, found = scheduler.step(alpha.sqrt() * noise - (1 - alpha).sqrt() * signal, step, sample)
        after = torch.tensor(1.0) if end is None else scheduler.alphas_cumprod[end]
        assert torch.allclose(sample, after.sqrt() * signal + (1 - after).sqrt() * noise, atol=1e-4)
        assert torch.allclose(found, signal, atol=1e-4)


def test_monais_own_steps_do_not() -> None:
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(4)
    first, second = scheduler.timesteps.tolist()[:2]
    assert second != first - scheduler.num_train_timesteps // 4


def test_a_number_of_steps_that_does_not_divide_the_whole_is_refused() -> None:
    with pytest.raises(BundleError, match="divide 1000; found 7"):
        windows(7)


@pytest.mark.parametrize("difference", [None, 0.05])
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_sampler_finds_the_volume_that_an_oracle_knows(steps: int, difference: float | None) -> None:
    clean = torch.rand(1, 1, 16, 12, 8)
    oracle = Oracle(clean, difference)
    found = windows(steps, difference=difference)(clean + 0.1 * torch.randn(clean.shape), oracle)
    assert oracle.calls == steps
    assert torch.allclose(found, clean, atol=1e-2 if difference is None else 1e-3)


def test_noise_where_windows_overlap_is_as_strong_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a draw of its own for each window it would be weaker there: seams."""

    def fall() -> float:
        sampled = windows(1)(torch.zeros(1, 1, 40, 40, 40), no_velocity)[0, 0]
        between = torch.tensor([11, 12, 19, 20, 27, 28])  # as far from the middle of one window as of the next
        alone, shared = sampled[:4, :4], sampled[between][:, between]
        return float(shared.std() / alone.std())

    assert 0.9 < fall() < 1.1
    draw = np.random.default_rng(0)
    monkeypatch.setattr(diffusion, "noise_field", lambda *_: torch.from_numpy(draw.standard_normal((16,) * 3, "f4")))
    assert fall() < 0.7


def test_the_result_does_not_depend_on_how_a_volume_is_cut() -> None:
    volume = torch.rand(1, 1, 24, 20, 16)
    coarse, fine = (windows(4, window=side, difference=0.1)(volume, no_velocity) for side in (24, 8))
    assert torch.allclose(coarse, fine, atol=1e-5)


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    volume = torch.rand(1, 1, 16, 16, 8)
    first, again, other = (windows(4, seed=seed, difference=0.1)(volume, no_velocity) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_step_of_every_window_is_told_and_may_be_the_last() -> None:
    volume, told = torch.zeros(2, 1, 20, 16, 16), list[float]()
    inferer = windows(4)
    inferer(volume, no_velocity, run=Run(on_window=told.append))
    assert len(told) == 2 * 2 * 4
    assert math.isclose(sum(told), 1)
    seen = list[float]()

    def stop(step: Any) -> bool:
        seen.append(step.fraction)
        return len(seen) < 3

    with pytest.raises(CancelledError):
        inferer(volume, no_velocity, run=Run(on_window=Meter("enhance", 1.0, stop).advance))
    assert len(seen) == 3


def blocks(**named: Any) -> Blocks:
    stack = Stack(torch.rand(1, 20, 24, 12, generator=torch.Generator().manual_seed(0)))
    return Blocks([stack], **({"size": (8, 8, 8), "batch_size": 3, "degrade": RandRicianNoise((0.1, 0.2))} | named))


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_training_step_of_ddpm_is_what_its_formula_says(prediction: str) -> None:
    scheduler = even(prediction)
    inputs, wanted = DiffusionBatches(blocks(), scheduler, difference=0.1).batch(4)
    noisy, clean = blocks().batch(4)
    diffused, given, numbers = inputs[:, :1], inputs[:, 1:2], (inputs[:, 2:] * 1000).round().long()
    assert torch.equal(given, noisy)
    assert (numbers.flatten(1).amin(1) == numbers.flatten(1).amax(1)).all()
    alpha, signal = scheduler.alphas_cumprod[numbers], (clean - noisy) / 0.1
    noise = (diffused - alpha.sqrt() * signal) / (1 - alpha).sqrt()
    assert 0.9 < float(noise.std()) < 1.1
    formulas = {
        "epsilon": noise,
        "sample": signal,
        "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * signal,
    }
    assert torch.allclose(wanted, formulas[prediction], atol=1e-4)


def test_a_training_step_depends_on_the_seed_and_on_its_number_alone() -> None:
    first, again = (DiffusionBatches(blocks(), even(), seed=1) for _ in range(2))
    first.batch(0)
    assert torch.equal(first.batch(5)[0], again.batch(5)[0])
    assert not torch.equal(first.batch(5)[0], first.batch(6)[0])
    assert not torch.equal(first.batch(5)[0], DiffusionBatches(blocks(), even(), seed=2).batch(5)[0])


def test_validation_is_the_mean_over_samplers_and_pairs() -> None:
    class Nothing(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return no_velocity(x)

    pair = (torch.full((1, 8, 8, 8), 0.6), torch.full((1, 8, 8, 8), 0.5))
    score = DiffusionValidation([pair], [windows(1, difference=1e-6), windows(2, difference=1e-6)])
    assert score(Nothing(1, 1)) == pytest.approx(20, abs=0.01)


def test_the_network_says_which_sides_it_takes() -> None:
    network = ConditionedDiffusionUNet(channels=(4, 4), norm_num_groups=2, num_head_channels=2)
    assert network(torch.zeros(1, 3, 8, 4, 4)).shape == (1, 1, 8, 4, 4)
    with pytest.raises(OptionError, match="multiples of 4 voxels; found 6 x 4 x 4"):
        network(torch.zeros(1, 3, 6, 4, 4))


def test_one_call_foretells_the_time_of_all_and_leaves_the_sampler_as_it_was() -> None:
    inferer = windows(4)
    short = inferer.with_one_call()
    assert (inferer.calls, short.calls) == (4, 1)
    assert len(inferer.scheduler.timesteps) == 4 and len(short.scheduler.timesteps) == 1
