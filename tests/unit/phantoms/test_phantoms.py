# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from clarivox import phantoms
from clarivox.errors import OptionError
from clarivox.phantoms.ct import photon_noise
from clarivox.phantoms.shapes import blur, grid
from clarivox.phantoms.us import DEPTHS, LINES, sector
from clarivox.volume import Axis, Unit

MAKERS = {"ct": phantoms.ct, "mr": phantoms.mr, "us": phantoms.us}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_seed_gives_the_same_voxels_and_another_seed_others(kind):
    make = MAKERS[kind]
    first, again, other = make(size=48, slices=2), make(size=48, slices=2), make(size=48, slices=2, seed=1)
    assert np.array_equal(first.degraded.array, again.degraded.array)
    assert np.array_equal(first.truth.array, again.truth.array)
    assert not np.array_equal(first.degraded.array, other.degraded.array)


@pytest.mark.parametrize("kind", MAKERS)
def test_slices_are_contiguous_in_memory(kind):
    assert MAKERS[kind](size=48, slices=2).degraded.frames.flags.c_contiguous


def test_ct_inserts_have_the_hounsfield_units_they_claim():
    truth = phantoms.ct(size=128, slices=2).truth
    x, y = (axis * 200 for axis in grid(128))
    for insert in phantoms.ct_inserts():
        inside = np.hypot(x - insert.centre_mm[0], y - insert.centre_mm[1]) < insert.radius_mm - 4
        assert inside.any()
        assert np.abs(truth.values()[0].transpose(2, 1, 0)[:, inside] - insert.value).max() <= 0.5


def test_ct_padding_is_outside_the_circle_and_nowhere_else():
    volume = phantoms.ct(size=64, slices=2, padding=True).degraded
    x, y = grid(64)
    mask = volume.padding_mask()
    assert mask is not None
    assert np.array_equal(mask[0, :, :, 0].T, x * x + y * y > 1)
    assert (volume.array[mask] == -2000).all()
    assert phantoms.ct(size=64, slices=1).degraded.padding is None


def test_ct_noise_falls_with_the_root_of_the_dose_and_is_stronger_behind_more_water():
    water = np.full((2, 96, 96), -1000, np.float32)
    x, y = grid(96)
    water[:, np.hypot(x, y) < 0.7] = 0
    low, high = (photon_noise(water, 2.0, photons, np.random.default_rng(3)) for photons in (1e5, 4e5))
    middle = np.hypot(x, y) < 0.2
    assert low[:, middle].std() / high[:, middle].std() == pytest.approx(2, rel=0.15)
    rim = (np.hypot(x, y) > 0.6) & (np.hypot(x, y) < 0.7)
    assert low[:, middle].std() > 1.2 * low[:, rim].std()


def test_ct_noise_has_little_power_at_low_frequencies():
    water = np.zeros((4, 64, 64), np.float32)
    noise = photon_noise(water, 1.0, 1e5, np.random.default_rng(0))[:, 16:48, 16:48]
    power = (np.abs(np.fft.fft2(noise - noise.mean((1, 2), keepdims=True))) ** 2).mean(0)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    assert power[(radius > 0) & (radius < 0.06)].mean() < 0.5 * power[(radius > 0.2) & (radius < 0.3)].mean()


def test_mr_noise_is_rician_with_the_level_asked():
    pair = phantoms.mr(size=128, slices=2, noise_percent=5)
    truth, noisy = pair.truth.values(), pair.degraded.values()
    sigma = 0.05 * np.percentile(truth, 99)
    air = truth < 1
    # The mean of a Rayleigh magnitude is sigma times the root of pi / 2.
    assert noisy[air].mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.03)
    bright = truth > 0.7 * truth.max()
    assert (noisy - truth)[bright].std() == pytest.approx(sigma, rel=0.05)


def test_us_speckle_has_the_statistics_of_a_rayleigh_envelope():
    pair = phantoms.us(size=256, slices=1)
    assert pair.degraded.third_axis is Axis.TIME
    speckle, truth = (v.values()[0, :, :, 0] for v in pair)
    tissue = (truth > 120) & (truth < 175)
    decibel = (speckle - truth)[tissue] / 255 * 55
    # A Rayleigh envelope in decibels has a standard deviation of 5.57; a sampled picture blurs it a little.
    assert 4.5 < decibel.std() < 6.2
    assert (speckle[truth == 0] == 0).all()


def test_us_speckle_changes_slowly_in_tissue_and_fast_where_blood_flows():
    pair = phantoms.us(size=192, slices=2, drift=0.1)
    speckle, truth = (volume.values()[0].astype(float) for volume in pair)
    first, second = speckle[..., 0], speckle[..., 1]
    tissue = (truth > 120).all(axis=2) & (truth < 175).all(axis=2)
    rows, columns, _ = sector(192)
    vessel = ((np.abs(rows / (DEPTHS - 1) - 0.36) < 0.03) & (np.abs(columns / (LINES - 1) * 2 - 1.02) < 0.05)).T
    assert np.corrcoef(first[tissue], second[tissue])[0, 1] > 0.7
    assert np.corrcoef(first[vessel], second[vessel])[0, 1] < 0.6


def test_us_speckle_of_a_clamped_probe_stands_still():
    pair = phantoms.us(size=96, slices=2)
    speckle, truth = (volume.values()[0] for volume in pair)
    far = (truth[..., 0] == truth[..., 1]) & (truth[..., 0] > 120)
    assert np.corrcoef(speckle[..., 0][far], speckle[..., 1][far])[0, 1] > 0.97


def test_cxr_coarse_and_fine_pictures_cover_the_same_place():
    coarse, truth = phantoms.cxr(size=120, shrink=3)
    for volume in (coarse, truth):
        corners = volume.affine @ np.array([[-0.5, -0.5, 0, 1], [volume.shape[1] - 0.5, volume.shape[2] - 0.5, 0, 1]]).T
        assert np.allclose(corners[:2, 0], 200)
        assert np.allclose(corners[:2, 1], -200)
    means = truth.values()[0, :, :, 0].reshape(40, 3, 40, 3).mean(axis=(1, 3))
    assert np.corrcoef(means.ravel(), coarse.values().ravel())[0, 1] > 0.995


def test_cxr_monochrome1_stores_the_same_picture_turned_over():
    plain, turned = phantoms.cxr(size=64), phantoms.cxr(size=64, inverted=True)
    assert turned.truth.inverted and not plain.truth.inverted
    assert np.abs(turned.truth.values() + plain.truth.values() - 4095).max() <= 1


def test_values_are_in_the_stored_range():
    for pair in (phantoms.ct(size=48, slices=1), phantoms.mr(size=48, slices=1), phantoms.cxr(size=48)):
        for volume in pair:
            low, high = volume.stored_range
            assert low <= volume.array.min() and volume.array.max() <= high
    assert phantoms.ct(size=48, slices=1).truth.unit is Unit.HU


@pytest.mark.parametrize(
    "make",
    [
        lambda: phantoms.ct(size=8),
        lambda: phantoms.mr(slices=0),
        lambda: phantoms.us(size=4096),
        lambda: phantoms.cxr(size=64, shrink=5),
        lambda: phantoms.mr(noise_percent=-1),
        lambda: phantoms.us(drift=2),
    ],
)
def test_impossible_sizes_are_refused_by_name(make):
    with pytest.raises(OptionError, match=r"found"):
        make()


def test_blur_spreads_a_point_as_a_gaussian():
    point = np.zeros((1, 41, 41), np.float32)
    point[0, 20, 20] = 1
    spread = blur(point, (2.0, 2.0))[0]
    offset = np.arange(41) - 20
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert (spread.sum(0) * offset**2).sum() == pytest.approx(4.0, rel=0.05)
