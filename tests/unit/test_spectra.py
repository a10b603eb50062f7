# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from clarivox import phantoms
from clarivox.errors import RegionError
from clarivox.phantoms.shapes import blur
from clarivox.spectra import mtf50, noise_power


def disc(sigma_px, noise=0.0):
    """A disc of radius 40 px blurred by a Gaussian, drawn four times finer first."""
    x, y = np.meshgrid(np.arange(512) / 4, np.arange(512) / 4)
    sharp = 100.0 * (np.hypot(x - 63.875, y - 63.875) < 40)
    coarse = sharp.reshape(128, 4, 128, 4).mean(axis=(1, 3)).astype(np.float32)
    return blur(coarse, (sigma_px, sigma_px)) + np.random.default_rng(0).normal(0, noise, (128, 128))


@pytest.mark.parametrize("sigma_px", [1.5, 2.5])
def test_mtf50_of_a_gaussian_is_the_one_of_theory(sigma_px):
    spacing = 0.7
    found = mtf50(disc(sigma_px), (63.5, 63.5), 40 * spacing, (spacing, spacing), reach_mm=12)
    # exp(-2 (pi sigma f)^2) = 1/2
    assert found == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * sigma_px * spacing), rel=0.06)


def test_mtf50_stands_some_noise():
    clean, noisy = (mtf50(disc(2.0, noise), (63.5, 63.5), 40, (1, 1), reach_mm=14) for noise in (0, 2))
    assert noisy == pytest.approx(clean, rel=0.1)


def test_mtf50_of_the_ct_phantom_falls_when_it_is_blurred():
    truth = phantoms.ct(size=256, slices=1).truth
    insert = phantoms.ct_inserts()[0]
    picture = truth.values()[0, :, :, 0]
    spacing = truth.spacing_mm[0]
    centre = tuple(127.5 + mm / spacing for mm in insert.centre_mm)
    sharp, soft = (
        mtf50(values, centre, insert.radius_mm, (spacing, spacing), reach_mm=6)
        for values in (picture, blur(picture, (1.0, 1.0)))
    )
    assert 0.2 < sharp < 0.45
    assert soft < 0.7 * sharp


def test_the_integral_of_the_noise_power_is_the_variance():
    white = np.random.default_rng(0).normal(0, 3, (64, 64, 30))
    spectrum = noise_power(white, (0.8, 0.8))
    assert spectrum.power.mean() / 0.8**2 == pytest.approx(9, rel=0.03)
    assert spectrum.frequency_per_mm[-1] == pytest.approx(0.5 / 0.8)


def test_smoothing_moves_the_noise_power_to_low_frequencies():
    white = np.random.default_rng(0).normal(0, 3, (30, 64, 64)).astype(np.float32)
    smooth = noise_power(blur(white, (1.5, 1.5)).transpose(1, 2, 0), (1, 1)).power
    assert smooth[:3].mean() > 100 * smooth[-3:].mean()


def test_regions_too_small_are_refused():
    with pytest.raises(RegionError):
        noise_power(np.ones((4, 4, 2)), (1, 1))
    with pytest.raises(RegionError):
        mtf50(np.ones((64, 64)), (32, 32), 20, (1, 1), reach_mm=8)
