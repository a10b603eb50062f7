# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from clarivox.errors import OptionError
from clarivox.transforms.clipped_gaussian import ClippedGaussianNoise
from clarivox.transforms.gaussian import GaussianNoise
from clarivox.transforms.rician import RandRicianNoise, RicianNoise, noise_sigma


def test_the_background_of_rician_noise_has_the_moments_of_rayleigh() -> None:
    noisy = RicianNoise(0.05, seed=2, reference=4.0)(torch.zeros(1, 400, 400))
    assert float(noisy.mean()) == pytest.approx(0.2 * math.sqrt(math.pi / 2), rel=0.01)
    assert float(noisy.std()) == pytest.approx(0.2 * math.sqrt(2 - math.pi / 2), rel=0.01)


def test_far_above_the_noise_rician_is_gaussian_with_a_small_bias() -> None:
    noisy = RicianNoise(1.0, seed=2, reference=1.0)(torch.full((1, 400, 400), 20.0))
    assert float(noisy.std()) == pytest.approx(1.0, rel=0.01)
    assert float(noisy.mean()) - 20 == pytest.approx(1 / 40, abs=0.01)


def test_gaussian_noise_keeps_the_mean_and_is_not_clipped() -> None:
    noisy = GaussianNoise(0.1, seed=2, reference=1.0)(torch.zeros(1, 400, 400))
    assert float(noisy.mean()) == pytest.approx(0, abs=1e-3)
    assert float(noisy.min()) < -0.3


def test_the_clipped_variant_differs_only_beyond_black_and_white() -> None:
    image = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(1))
    free, clipped = GaussianNoise(0.2, seed=2, reference=1.0)(image), ClippedGaussianNoise(0.2, seed=2)(image)
    inside = (free > 0) & (free < 1)
    assert torch.equal(free[inside], clipped[inside])
    assert not bool(inside.all()) and float(clipped.min()) == 0 and float(clipped.max()) == 1


def test_white_below_black_is_refused() -> None:
    with pytest.raises(OptionError, match="above black"):
        ClippedGaussianNoise(0.1, black=1.0, white=0.0)


def test_the_level_is_a_share_of_the_99th_percentile() -> None:
    image = torch.zeros(1, 100, 100)
    image[0, :2] = 50.0
    assert noise_sigma(image, 0.1, None) == pytest.approx(5.0)


def test_a_level_of_zero_changes_nothing() -> None:
    image = torch.rand(1, 8, 8)
    assert torch.allclose(RicianNoise(0, seed=1)(image), image)
    assert torch.equal(GaussianNoise(0, seed=1)(image), image)


def test_a_negative_level_is_refused() -> None:
    with pytest.raises(OptionError, match="found -1"):
        RicianNoise(-1)(torch.ones(1, 2, 2))


def test_with_probability_zero_the_image_itself_comes_back() -> None:
    image = torch.rand(1, 8, 8)
    assert RandRicianNoise((0.1, 0.2), prob=0.0)(image) is image
