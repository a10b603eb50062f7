# SPDX-License-Identifier: Apache-2.0
"""What the denoisers of photographs promise beyond what every bundle does."""

import numpy as np
import pytest

from clarivox.bundle import find, load
from clarivox.enhance import enhance
from clarivox.errors import OptionError
from clarivox.metrics import psnr
from clarivox.prepare import Items
from clarivox.volume import Channels, Volume

NAMES = ["photo_dncnn_denoise", "photo_ffdnet_denoise", "photo_unet_denoise"]
every = pytest.mark.parametrize("name", NAMES)


def scene(x: int, y: int) -> np.ndarray:
    """Discs and a ramp in three colours that differ, shape (3, x, y), 0 to 255."""
    u, v = np.mgrid[:x, :y].astype(np.float64)
    discs = sum(40 * ((u - x * a) ** 2 + (v - y * b) ** 2 < (0.2 * x) ** 2) for a, b in ((0.3, 0.3), (0.7, 0.6)))
    grey = 60 + 60 * u / x + discs
    return np.stack([grey, 255 - grey, 0.5 * grey + 40])


def noisy(truth: np.ndarray, sigma: float) -> Volume:
    values = truth + np.random.default_rng(0).normal(0, sigma, truth.shape)
    array = np.asfortranarray(values.round().clip(0, 255).astype(np.uint8)[..., None])
    channels = Channels.RGB if len(truth) == 3 else Channels.GREY
    return Volume(array, np.eye(4), channels=channels, stored_range=(0, 255))


@every
@pytest.mark.parametrize("sides", [(256, 256), (61, 83)], ids=str)
def test_noise_leaves_every_colour_of_a_picture_of_any_size(name: str, sides: tuple[int, int]) -> None:
    truth = scene(*sides)
    worse = noisy(truth, 25)
    result = enhance(worse, name, device="cpu")
    assert result.shape == (3, *sides, 1) and result.array.dtype == np.uint8
    for colour in range(3):
        pair = (volume.array[colour, ..., 0].astype(np.float32) for volume in (result, worse))
        after, before = (psnr(one, truth[colour].astype(np.float32), data_range=255) for one in pair)
        assert after > before + 5


@every
def test_a_colour_is_treated_as_a_grey_picture_of_its_own_would_be(name: str) -> None:
    truth = scene(48, 40)
    worse = noisy(truth, 25)
    alone = Volume(worse.array[1:2], np.eye(4), stored_range=(0, 255))
    both = [enhance(volume, name, device="cpu").array for volume in (worse, alone)]
    assert (both[0][1] == both[1][0]).all()


@every
def test_the_licence_of_the_weights_is_told(name: str) -> None:
    info = find(name)
    assert "non-commercial" in info.licence and "BSDS500" in info.licence
    assert "non-commercial research and education" in (info.folder / "LICENSE").read_text()


def test_ffdnet_does_as_much_as_the_level_says_and_finds_it_by_itself() -> None:
    worse = noisy(scene(96, 80)[:1], 25)
    results = {sigma: enhance(worse, load(NAMES[1], sigma=sigma), device="cpu").array for sigma in (5, 25, 60, "auto")}
    change = {
        sigma: float(np.std(result.astype(np.float32) - worse.array.astype(np.float32)))
        for sigma, result in results.items()
    }
    assert change[5] < 0.95 * change[25] and change[25] < change[60]
    assert change["auto"] == pytest.approx(change[25], rel=0.1)
    found = Items(load(NAMES[1]).prepare(worse), 2).read(0, (slice(0, 4), slice(0, 4)))
    assert float(found[1, 0, 0]) * 255 == pytest.approx(25, rel=0.15)


@pytest.mark.parametrize("sigma", [-1, 76, "high"])
def test_a_level_that_ffdnet_was_not_trained_for_is_refused(sigma: object) -> None:
    with pytest.raises(OptionError, match="option sigma of bundle photo_ffdnet_denoise"):
        load(NAMES[1], sigma=sigma)
