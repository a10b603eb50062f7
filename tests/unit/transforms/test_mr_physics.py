# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from monai.transforms import GibbsNoise

from clarivox.errors import OptionError
from clarivox.transforms.kspace_crop import KSpaceCrop, RandKSpaceCrop
from clarivox.transforms.noncentral_chi import NoncentralChiNoise, RandNoncentralChiNoise, noise_map


def smooth(side: int) -> torch.Tensor:
    """Three waves over the field of view, sampled at the middles of `side` pixels."""
    place = (torch.arange(side) + 0.5) / side
    return (2 + torch.cos(2 * math.pi * 3 * place))[None, :, None].expand(-1, -1, side).contiguous()


def edge(side: int = 64) -> torch.Tensor:
    image = torch.zeros(1, side, side)
    image[:, side // 4 : 3 * side // 4] = 1.0
    return image


@pytest.mark.parametrize("coils", [1, 4])
def test_the_background_has_the_moments_of_the_chi_distribution(coils: int) -> None:
    noisy = NoncentralChiNoise(0.05, seed=2, reference=4.0, coils=coils)(torch.zeros(1, 300, 300))
    mean = math.sqrt(2) * math.exp(math.lgamma(coils + 0.5) - math.lgamma(coils))
    assert float(noisy.mean()) == pytest.approx(0.2 * mean, rel=0.01)
    assert float(noisy.std()) == pytest.approx(0.2 * math.sqrt(2 * coils - mean**2), rel=0.02)


def test_far_above_the_noise_only_one_coil_part_counts() -> None:
    noisy = NoncentralChiNoise(1.0, seed=2, reference=1.0, coils=4)(torch.full((1, 300, 300), 50.0))
    assert float(noisy.std()) == pytest.approx(1.0, rel=0.01)
    assert float(noisy.mean()) - 50 == pytest.approx(7 / 100, abs=0.015)


def test_the_map_makes_noise_stronger_where_it_peaks() -> None:
    noisy = NoncentralChiNoise(0.1, seed=2, reference=1.0, coils=1, peak=3.0)(torch.full((1, 256, 256), 100.0))
    strength = noise_map((256, 256), 3.0, torch.Generator().manual_seed(2))
    weak, strong = (float((noisy[0][region] - 100).std()) for region in (strength < 1.5, strength > 2.5))
    assert weak < 0.15 < 0.25 < strong < 0.3


def test_a_map_over_a_volume_is_smooth() -> None:
    field = noise_map((16, 16, 16), 2.0, torch.Generator().manual_seed(1))
    assert float(field.diff(dim=0).abs().max()) < 0.25


def test_cropped_kspace_keeps_the_field_of_view_and_the_values_of_smooth_content() -> None:
    assert torch.allclose(KSpaceCrop(0.5, zero_fill=False)(smooth(64)), smooth(32), atol=1e-4)


def test_zero_filling_keeps_the_grid_and_rings_at_edges() -> None:
    rung = KSpaceCrop(0.5)(edge())
    assert rung.shape == (1, 64, 64)
    assert 1.05 < float(rung.max()) < 1.12  # the Gibbs overshoot is 9 % of the step
    assert torch.allclose(KSpaceCrop(0.5)(smooth(64)), smooth(64), atol=1e-4)


def test_monais_gibbs_noise_rings_in_our_layout_too() -> None:
    rung = GibbsNoise(0.6)(edge())
    assert rung.shape == (1, 64, 64) and rung.dtype == torch.float32
    assert 1.05 < float(rung.max()) < 1.2


def test_all_of_kspace_gives_the_image_back() -> None:
    assert torch.equal(KSpaceCrop(1.0)(edge()), edge())


def test_only_the_axes_that_are_named_are_cropped() -> None:
    assert KSpaceCrop((1.0, 1.0, 0.5), zero_fill=False)(torch.ones(1, 8, 8, 8)).shape == (1, 8, 8, 4)
    assert KSpaceCrop(0.5, zero_fill=False)(torch.ones(1, 8, 8, 8)).shape == (1, 4, 4, 8)


def test_random_twins_stay_between_their_ends() -> None:
    noise, crop = RandNoncentralChiNoise((0.01, 0.1), coils=(2, 3)), RandKSpaceCrop((0.6, 0.9))
    for transform in (noise, crop):
        transform.set_random_state(seed=1)
    assert {noise.draw().coils for _ in range(30)} == {2, 3}
    assert all(0.6 <= fraction <= 0.9 for _ in range(20) for fraction in crop.draw().keep)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="coil"):
        NoncentralChiNoise(0.1, coils=0)
    with pytest.raises(OptionError, match="k-space"):
        KSpaceCrop(0)
    with pytest.raises(OptionError, match="2 axes"):
        KSpaceCrop((0.5, 0.5, 0.5))(edge())
