# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from clarivox import metrics
from clarivox.errors import GeometryError, OptionError, RegionError


def noise(shape, sigma, seed=0):
    return np.random.default_rng(seed).normal(0, sigma, shape)


def test_psnr_of_white_noise_is_the_range_over_its_deviation():
    truth = np.zeros((200, 200))
    assert metrics.psnr(truth + noise(truth.shape, 5), truth, data_range=500) == pytest.approx(40, abs=0.1)


def test_psnr_in_a_window_of_400_and_of_4095_hu_differs_by_20_decibel():
    truth = np.zeros((64, 64))
    image = truth + noise(truth.shape, 30)
    wide, narrow = (metrics.psnr(image, truth, data_range=span) for span in (4095, 400))
    assert wide - narrow == pytest.approx(20.2, abs=0.01)


def test_psnr_of_equal_images_is_infinite():
    assert metrics.psnr(np.ones((4, 4)), np.ones((4, 4)), data_range=1) == float("inf")


def test_a_mask_leaves_out_what_it_does_not_hold():
    truth, image = np.zeros((10, 10)), np.zeros((10, 10))
    image[0] = 100
    mask = np.ones((10, 10), bool)
    mask[0] = False
    assert metrics.mae(image, truth, mask=mask) == 0
    assert metrics.mae(image, truth) == 10


def test_ssim_equals_scikit_image():
    structural = pytest.importorskip("skimage.metrics").structural_similarity
    rng = np.random.default_rng(1)
    truth = rng.random((40, 33, 3)) * 200
    image = truth + rng.normal(0, 20, truth.shape)
    peer = np.mean(
        [
            structural(
                image[..., i],
                truth[..., i],
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=200,
            )
            for i in range(3)
        ]
    )
    assert metrics.ssim(image, truth, data_range=200) == pytest.approx(peer, abs=1e-9)


def test_ssim_in_a_mask_counts_only_its_pixels():
    truth = noise((40, 40), 10)
    image = truth.copy()
    image[:, 20:] += noise((40, 20), 20, seed=2)
    left = np.zeros((40, 40), bool)
    left[:, :14] = True
    assert metrics.ssim(image, truth, data_range=60, mask=left) == pytest.approx(1)
    assert metrics.ssim(image, truth, data_range=60) < 0.8


def test_snr_cnr_and_rose_have_their_known_values():
    values = noise((100, 100), 4) + 100
    values[:50] += 20
    signal, background = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    signal[:50], background[50:] = True, True
    assert metrics.snr(values, background) == pytest.approx(25, rel=0.03)
    assert metrics.cnr(values, signal, background) == pytest.approx(5, rel=0.03)
    assert metrics.rose_snr(values, signal, background) == pytest.approx(5 * np.sqrt(5000), rel=0.03)


def test_regions_that_are_small_or_overlap_are_refused():
    values, few, half = np.ones((10, 10)), np.zeros((10, 10), bool), np.ones((10, 10), bool)
    few[0, :5] = True
    with pytest.raises(RegionError, match=r"25 voxels at least; found .* and 5"):
        metrics.snr(values, few)
    with pytest.raises(RegionError, match="overlap") as caught:
        metrics.cnr(values, half, half)
    assert caught.value.code == "overlap"


def test_the_noise_estimate_finds_the_noise_under_structure():
    x, y = np.meshgrid(np.arange(128), np.arange(128))
    structure = 500 * (np.hypot(x - 60, y - 70) < 30) + 2.0 * x
    assert metrics.noise_estimate(structure + noise((128, 128), 7)) == pytest.approx(7, rel=0.05)
    air = np.zeros((128, 128))
    air[64:] = noise((64, 128), 7)
    assert metrics.noise_estimate(air, air != 0) == pytest.approx(7, rel=0.05)


def test_edge_sharpness_falls_under_blur_and_not_under_noise():
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    disc = 100.0 * (np.hypot(x - 48, y - 48) < 25)
    blurred = (disc + np.roll(disc, 2, 0) + np.roll(disc, -2, 0) + np.roll(disc, 2, 1) + np.roll(disc, -2, 1)) / 5
    assert metrics.edge_sharpness(disc, disc) == 1
    assert metrics.edge_sharpness(blurred, disc) < 0.9
    assert metrics.edge_sharpness(disc + noise(disc.shape, 3), disc) == pytest.approx(1, abs=0.02)


def test_an_edge_that_the_truth_does_not_have_is_invented_and_a_lost_one_is_missed():
    truth = np.zeros((96, 96))
    truth[:, :40] = 100
    added, lost = truth.copy(), truth.copy()
    added[30:50, 60:80] = 100
    lost[48:] = 50
    assert metrics.edge_faults(truth, truth) == (0, 0)
    invented, missed = metrics.edge_faults(added, truth)
    assert 0.3 < invented < 0.6 and missed == 0
    _, missed = metrics.edge_faults(lost, truth)
    assert 0.4 < missed < 0.6
    assert metrics.edge_faults(np.roll(truth, 1, 1)[:, 5:-5], truth[:, 5:-5]) == (0, 0)
    assert metrics.edge_faults(0.7 * truth, truth) == (0, 0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: metrics.edge_faults(np.eye(16), np.ones((16, 16))), RegionError),
        (lambda: metrics.edge_faults(np.eye(16), np.eye(16), steepest=1), OptionError),
        (lambda: metrics.psnr(np.ones(3), np.ones(4), data_range=1), GeometryError),
        (lambda: metrics.psnr(np.ones(3), np.ones(3), data_range=0), OptionError),
        (lambda: metrics.ssim(np.ones((9, 9)), np.ones((9, 9)), data_range=1), GeometryError),
        (lambda: metrics.edge_sharpness(np.ones((16, 16)), np.ones((16, 16))), RegionError),
        (lambda: metrics.histogram(np.ones(3), (1, 1)), OptionError),
    ],
)
def test_what_cannot_be_measured_is_refused(call, error):
    with pytest.raises(error):
        call()
