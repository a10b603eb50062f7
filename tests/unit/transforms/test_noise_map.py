# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from clarivox.transforms.gaussian import GaussianNoise, RandGaussianNoise
from clarivox.transforms.noise_map import NoiseMap, NoiseMapd


def test_the_second_channel_tells_the_level_of_the_noise_in_the_first() -> None:
    image = torch.full((1, 64, 64), 2.0)
    noise = GaussianNoise(0.1, seed=1, reference=2.0)
    pair = NoiseMap(noise)(image)
    assert torch.equal(pair[:1], noise(image)) and torch.allclose(pair[1], torch.tensor(0.2))
    assert torch.equal(NoiseMapd(["image"], noise)({"image": image})["image"], pair)


def test_a_level_drawn_anew_is_told_and_repeats_with_its_seed() -> None:
    image = torch.zeros(1, 64, 64)
    first, second = (NoiseMap(RandGaussianNoise((0.05, 0.3), reference=1.0)).set_random_state(5) for _ in range(2))
    a, b = first(image), first(image)
    assert torch.equal(second(image), a) and not torch.equal(a[1], b[1])
    for pair in (a, b):
        assert float(pair[0].std()) == pytest.approx(float(pair[1, 0, 0]), rel=0.05)


def test_noise_left_out_by_chance_has_level_0() -> None:
    pair = NoiseMap(RandGaussianNoise((0.1, 0.1), prob=0.0, reference=1.0))(torch.ones(1, 4, 4))
    assert float(pair[1].max()) == 0
