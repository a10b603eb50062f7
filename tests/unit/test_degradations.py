# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from clarivox.degradations import parsed, width_of
from clarivox.errors import ModalityError, OptionError
from clarivox.phantoms import ct, cxr, mr
from clarivox.volume import Volume


def grey(level: int = 100) -> Volume:
    return Volume(np.full((1, 32, 24, 2), level, np.uint8), np.diag([0.5, 0.5, 2.0, 1.0]))


@pytest.mark.parametrize("text", ["gaussian:25/255", "clipped:0.1", "rician:0.05", "chi:0.05,2", "multiplicative:2"])
def test_noise_has_the_level_that_was_asked_for_and_is_the_same_at_each_run(text: str) -> None:
    worse = parsed(text)(grey(), "a")
    assert worse.shape == grey().shape and worse.array.dtype == np.uint8
    assert (worse.array == parsed(text)(grey(), "a").array).all()
    assert (worse.array != parsed(text)(grey(), "b").array).any()
    assert (worse.array != parsed(text)(grey(), "a", seed=1).array).any()


def test_a_level_is_a_share_of_the_range() -> None:
    assert parsed("gaussian:25/255")(grey(), "a").values().std() == pytest.approx(25, rel=0.1)
    truth = mr(size=64, slices=2)[1]
    assert width_of(truth) == np.percentile(truth.values(), 99)


def test_padding_stays() -> None:
    volume = grey(9).replace(padding=np.array([[0, 0], [0, 0]]))
    volume.array[0, :4] = 0
    assert (parsed("gaussian:0.2")(volume, "a").array[0, :4] == 0).all()


def test_a_shrunken_picture_shows_the_same_field_of_view() -> None:
    small = parsed("shrink:2")(cxr(size=64)[1], "a")
    truth = cxr(size=64)[1]
    assert small.shape == (1, 32, 32, 1)
    assert np.allclose(small.affine @ [-0.5, -0.5, 0, 1], truth.affine @ [-0.5, -0.5, 0, 1])


def test_less_dose_is_more_noise_and_is_for_ct_alone() -> None:
    truth = ct(size=48, slices=1)[1]
    noise = [float((parsed(f"dose:{d}")(truth, "a").values() - truth.values()).std()) for d in (0.1, 0.5)]
    assert noise[0] > 1.7 * noise[1] > 0
    with pytest.raises(ModalityError, match="Hounsfield"):
        parsed("dose:0.25")(grey(), "a")


@pytest.mark.parametrize("text", ["blur:2", "rician", "rician:a", "rician:1/0", "shrink:1.5", "dose:2", "rician:-1"])
def test_what_is_no_degradation_is_refused_before_any_work(text: str) -> None:
    with pytest.raises(OptionError):
        parsed(text)
