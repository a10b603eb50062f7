# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from clarivox import bundle
from clarivox.degradations import parsed
from clarivox.disc import SIDE, disc_figures, disc_like, taken
from clarivox.phantoms import ct, mr
from clarivox.transforms.bicubic import BicubicResize
from clarivox.volume import Volume

LIKE = mr(size=64, slices=1)[1]


def test_the_disc_is_stored_as_the_images_are_and_its_edge_is_sharp() -> None:
    disc = disc_like(LIKE, repeats=2)
    assert disc.array.dtype == LIKE.array.dtype and disc.shape == (1, SIDE, SIDE, 2) and disc.modality == "MR"
    found = taken("truth", disc, disc).figures
    # A pixel's own aperture passes half of 0.6 cycles a pixel.
    assert found["MTF50 at the disc's edge"][0] * disc.spacing_mm[0] == pytest.approx(0.6, abs=0.15)
    assert found["bias in the disc"][0] == 0 and found["noise"][0] == 0
    assert disc_like(ct(size=64, slices=1)[1]).values().max() == 140


def test_a_blur_is_seen_in_the_edge_and_in_the_noise() -> None:
    worse = parsed("gaussian:0.05")(disc_like(LIKE, repeats=8), "a")
    blurred = worse.values().copy()
    small = BicubicResize((0.5, 0.5, 1))
    import torch

    values = BicubicResize((2, 2, 1))(small(torch.from_numpy(np.ascontiguousarray(blurred)))).numpy()
    smooth = worse.replace(array=values.astype(np.float32), slope=np.ones(1), intercept=np.zeros(1), stored_range=None)
    sharp, soft = (taken("a", one, disc_like(LIKE)).figures for one in (worse, smooth))
    for name, factor in (("MTF50 at the disc's edge", 0.8), ("noise", 0.8), ("mean frequency of the noise", 0.8)):
        assert soft[name][0] < factor * sharp[name][0], name
    assert soft["CNR"][0] > sharp["CNR"][0]


def test_noise_is_found_as_strong_as_it_was_made() -> None:
    disc = disc_like(Volume(np.zeros((1, 8, 8, 1), np.uint8), np.eye(4), modality="US"))
    figures = taken("a", parsed("gaussian:0.05")(disc, "a"), disc).figures
    assert figures["noise"][0] == pytest.approx(0.05 * 255, rel=0.05)
    assert figures["CNR"][0] == pytest.approx(0.2 / 0.05, rel=0.05)
    assert figures["ENL around it"][0] == pytest.approx((0.4 / 0.05) ** 2, rel=0.1)


def test_a_bundle_that_fails_on_it_is_named() -> None:
    found, failed = disc_figures(ct(size=64, slices=1)[1], parsed("gaussian:0.02"), [bundle.load("mr_unet_denoise")])
    assert [one.method for one in found] == ["input"] and failed[0].code == "wrong_modality"
