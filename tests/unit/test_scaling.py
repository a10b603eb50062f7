# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clarivox.errors import BundleError
from clarivox.scaling import Lowest, Percentiles, Samples, StoredRange, Unscaled, Window, percentiles
from clarivox.volume import Volume

SHARES = (0.0, 0.5, 25.0, 50.0, 99.0, 100.0)


def sliced(values: NDArray[Any]) -> Samples:
    def slabs() -> Iterator[NDArray[Any]]:
        yield from np.array_split(values, 7)

    return Samples(slabs)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32])
def test_percentiles_of_integers_are_exact(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 250, 999).astype(dtype)
    expected = np.percentile(values, SHARES, method="inverted_cdf")
    assert percentiles(sliced(values), SHARES) == expected.tolist()


def test_percentiles_of_reals_are_found_beside_an_outlier() -> None:
    values = np.random.default_rng(1).normal(size=2001)
    values[5] = 1e6
    expected = np.percentile(values, SHARES, method="inverted_cdf")
    assert np.allclose(percentiles(sliced(values), SHARES), expected, atol=1e6 * 2**-30)


def test_wide_integers_are_found_too() -> None:
    values = np.random.default_rng(2).integers(-(2**30), 2**30, 500).astype(np.int32)
    expected = np.percentile(values, SHARES, method="inverted_cdf")
    assert np.allclose(percentiles(sliced(values), SHARES), expected, atol=2)


def test_a_constant_plane_has_one_percentile() -> None:
    assert percentiles(sliced(np.full(9, 2.5)), (1.0, 99.0)) == [2.5, 2.5]


def test_slope_and_intercept_are_applied() -> None:
    samples = Samples(lambda: iter([np.arange(101)]), slope=2.0, intercept=-10.0)
    assert percentiles(samples, (50.0,)) == [90.0]


def test_the_low_end_is_zero_unless_a_percentile_is_asked_for() -> None:
    volume = Volume(np.arange(5, 13).reshape(1, 2, 2, 2), np.eye(4))
    assert Percentiles(high=100)(volume, sliced(np.arange(5, 13))).low == 0
    assert Percentiles(0, 100)(volume, sliced(np.arange(5, 13))).low == 5


def test_percentiles_must_rise() -> None:
    with pytest.raises(BundleError, match="rise"):
        Percentiles(50, 40)


def test_the_stored_range_is_what_the_bits_can_hold() -> None:
    volume = Volume(np.zeros((1, 1, 1, 2)), np.eye(4), slope=np.array([1.0, 2.0]), stored_range=(0, 4095))
    found = StoredRange()(volume, sliced(np.zeros(2)))
    assert (found.low, found.high) == (0, 8190)


def test_floats_have_no_stored_range_so_their_own_is_taken() -> None:
    volume = Volume(np.zeros((1, 1, 1, 1)), np.eye(4))
    found = StoredRange()(volume, sliced(np.array([-1.0, 3.0])))
    assert (found.low, found.high) == (-1, 3)


def test_fixed_scales_do_not_look_at_the_volume() -> None:
    volume = Volume(np.zeros((1, 1, 1, 1)), np.eye(4))
    assert Window(-1000, 1000, clip=True)(volume, sliced(np.zeros(1))).clip
    assert Unscaled()(volume, sliced(np.zeros(1))).high == 1


def test_the_lowest_value_becomes_zero_and_the_unit_stays() -> None:
    volume = Volume(np.arange(5, 13).reshape(1, 2, 2, 2), np.eye(4))
    found = Lowest()(volume, sliced(np.arange(5, 13)))
    assert (found.low, found.high) == (5, 6)
    found = Lowest()(volume.replace(inverted=True), sliced(np.arange(5, 13)))
    assert (found.low, found.high) == (11, 12)
