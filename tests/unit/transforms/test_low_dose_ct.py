# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from clarivox.errors import OptionError, RegionError
from clarivox.transforms.low_dose_ct import LowDoseCT, RandLowDoseCT, matching_photons
from clarivox.transforms.projection import Beam

BEAM = Beam(pixel_mm=4.0, views=60)


def water(side: int = 64, radius: float = 25.0) -> torch.Tensor:
    line = torch.arange(side) - (side - 1) / 2
    return torch.where(torch.hypot(line[:, None], line[None]) < radius, 0.0, -1000.0)[None]


def scans(count: int = 16) -> torch.Tensor:
    """The same slice many times: each gets noise of its own."""
    return water()[..., None].expand(-1, -1, -1, count)


def middle(change: torch.Tensor) -> torch.Tensor:
    return change[:, 20:44, 20:44]


def sigma(dose: float, *, clean: bool = True, electronic: float = 0.0, photons: float = 1e6) -> float:
    scan = LowDoseCT(dose, 1, clean=clean, electronic=electronic, photons=photons, beam=BEAM)
    return float(middle(scan.change(scans())).std())


def test_a_tenth_of_the_dose_has_the_root_of_ten_times_the_noise() -> None:
    assert sigma(0.1) / sigma(1.0) == pytest.approx(math.sqrt(10), rel=0.05)


def test_thinning_a_noisy_scan_adds_only_the_variance_that_is_missing() -> None:
    full, added = sigma(1.0), sigma(0.25, clean=False)
    assert added / full == pytest.approx(math.sqrt(1 / 0.25 - 1), rel=0.05)


def test_a_noisy_scan_at_its_own_dose_is_left_alone() -> None:
    assert torch.equal(LowDoseCT(1.0, seed=1, beam=BEAM)(water()), water())


def test_noise_is_strongest_in_the_middle_and_correlated() -> None:
    change = LowDoseCT(0.1, 1, clean=True, beam=BEAM).change(scans(8))
    assert float(middle(change).std()) > 1.2 * float(change[:, 26:38, 8:14].std())
    assert float(torch.corrcoef(torch.stack((change[:, 1:].flatten(), change[:, :-1].flatten())))[0, 1]) > 0.3


def test_electronic_noise_tells_where_few_photons_arrive() -> None:
    assert sigma(0.1, electronic=20, photons=1e5) > 1.05 * sigma(0.1, photons=1e5)


def test_a_smoother_kernel_has_less_noise() -> None:
    sharp, smooth = (
        LowDoseCT(0.1, 1, clean=True, beam=BEAM, kernel=kernel).change(water()).std() for kernel in ("ramp", "hann")
    )
    assert float(sharp) > 1.5 * float(smooth)


def test_padding_of_the_scanner_is_kept() -> None:
    image = water()
    image[:, :4] = -2000.0
    noisy = LowDoseCT(0.1, seed=1, beam=BEAM)(image)
    assert torch.equal(noisy[:, :4], image[:, :4])
    assert not torch.equal(noisy[:, 4:], image[:, 4:])


def test_slices_of_a_volume_get_noise_of_their_own() -> None:
    noise = LowDoseCT(0.1, seed=1, beam=BEAM).change(scans(2))
    assert noise.shape == (1, 64, 64, 2)
    assert not torch.allclose(noise[..., 0], noise[..., 1])


def test_random_doses_stay_between_their_ends_and_kernels_are_drawn() -> None:
    transform = RandLowDoseCT((0.1, 0.5), kernels=("ramp", "hann"), beam=BEAM)
    transform.set_random_state(seed=3)
    drawn = [transform.draw() for _ in range(30)]
    assert all(0.1 <= scan.dose <= 0.5 for scan in drawn)
    assert {scan.kernel for scan in drawn} == {"ramp", "hann"}


def test_matched_photons_give_the_noise_that_was_measured() -> None:
    photons = matching_photons(water(), 8.0, BEAM)
    scan = LowDoseCT(1.0, 2, photons=photons, electronic=0, clean=True, beam=BEAM)
    assert float(scan.change(scans(4))[scans(4) > -1].std()) == pytest.approx(8.0, rel=0.05)


def test_nothing_is_matched_without_noise_or_tissue() -> None:
    with pytest.raises(OptionError, match="above 0 HU"):
        matching_photons(water(), 0.0, BEAM)
    with pytest.raises(RegionError, match="soft tissue"):
        matching_photons(torch.full((1, 8, 8), -1000.0), 8.0, BEAM)


@pytest.mark.parametrize("dose", [0, 1.5])
def test_a_dose_that_is_no_fraction_is_refused(dose: float) -> None:
    with pytest.raises(OptionError, match="fraction of the full dose"):
        LowDoseCT(dose)


def test_a_scan_without_photons_is_refused() -> None:
    with pytest.raises(OptionError, match="photons"):
        LowDoseCT(0.1, photons=0)
