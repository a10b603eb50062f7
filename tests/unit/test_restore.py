# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clarivox.passes import Piece
from clarivox.prepare import Items, Prepared, PrepareVolume, Unscaled
from clarivox.restore import Tally, refined_affine, rescaled, restored, room
from clarivox.scaling import Range
from clarivox.volume import Channels, Volume, blank_like


def changed(volume: Volume, change: float, strength: float = 1.0, low: float = 0, high: float = 1) -> tuple[Any, Tally]:
    """The stored array after a network added `change` to every model value, and the tally."""
    planes = PrepareVolume(Unscaled())(volume).shape[0]
    items = Items(Prepared(volume, (Range(low, high),) * planes), 2)
    box = tuple(slice(0, side) for side in items.shape)
    pieces = [Piece(item, box, items.read(item, box) + change) for item in range(len(items))]
    array, tally = blank_like(volume.shape, volume.array.dtype), Tally()
    restored(pieces, items, strength, tally, array)
    return array, tally


def grey(values: Any, dtype: type = np.int16, **about: Any) -> Volume:
    return Volume(np.asarray(values, dtype).reshape(1, -1, 1, 1), np.eye(4), **about)


def test_the_change_is_added_in_stored_units() -> None:
    array, _ = changed(grey([100, 200], slope=np.array([2.5])), 0.1, low=0, high=500)
    assert array.ravel().tolist() == [120, 220]


def test_strength_scales_the_change_and_zero_keeps_every_bit() -> None:
    volume = grey([100, 200])
    assert changed(volume, 40, strength=0.25)[0].ravel().tolist() == [110, 210]
    assert changed(volume, 40, strength=0)[0].ravel().tolist() == [100, 200]


def test_an_inverted_image_is_changed_the_other_way() -> None:
    assert changed(grey([100, 200], inverted=True), 5)[0].ravel().tolist() == [95, 195]


def test_results_beyond_the_stored_range_are_clipped_and_counted() -> None:
    array, tally = changed(grey([10, 4090], np.uint16, stored_range=(0, 4095)), 50)
    assert array.ravel().tolist() == [60, 4095] and (tally.clipped, tally.below) == (1, 0)
    array, tally = changed(grey([10, 4090], np.uint16, stored_range=(0, 4095)), -50)
    assert array.ravel().tolist() == [0, 4040] and (tally.clipped, tally.below) == (1, 1)
    assert tally.notes(2) == (
        "1 of 2 voxels (50.0%) did not fit the stored range and were clipped: 1 below it, 0 above",
    )


def test_padding_keeps_its_bits_and_no_result_looks_like_padding() -> None:
    padding = np.array([[-2000, -2000]])
    array, _ = changed(grey([-2000, -1995, -2005], padding=padding), -5)
    assert array.ravel().tolist() == [-2000, -1999, -2010]
    array, _ = changed(grey([-2005], padding=padding), 5)
    assert array.ravel().tolist() == [-2001]


def test_values_that_are_not_finite_keep_their_bits() -> None:
    array, tally = changed(grey([np.nan, np.inf, 1.0], np.float32), 0.5)
    assert np.isnan(array.ravel()[0]) and np.isinf(array.ravel()[1]) and array.ravel()[2] == 1.5
    assert tally.unfinite == 0


def test_a_network_that_gives_nan_leaves_the_voxel_and_is_told_on() -> None:
    array, tally = changed(grey([5, 6]), float("nan"))
    assert array.ravel().tolist() == [5, 6] and tally.unfinite == 2 and "no finite value" in tally.notes(2)[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_no_change_keeps_every_bit_of_every_type(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 200, 50).astype(dtype)
    if dtype is np.int32:
        values[:2] = [2**31 - 1, -(2**31)]
    assert (changed(grey(values, dtype), 0)[0].ravel() == values).all()


def test_the_luma_change_goes_to_all_three_colours() -> None:
    volume = Volume(np.full((3, 1, 1, 1), 90, np.uint8), np.eye(4), channels=Channels.RGB, stored_range=(0, 255))
    assert changed(volume, 10)[0].ravel().tolist() == [100, 100, 100]


def test_strongly_coloured_pixels_are_left_alone_and_counted() -> None:
    array = np.array([[200, 90], [20, 90], [20, 90]], np.uint8).reshape(3, 2, 1, 1)
    volume = Volume(array, np.eye(4), channels=Channels.RGB, stored_range=(0, 255))
    result, tally = changed(volume, 10)
    assert result[:, 0, 0, 0].tolist() == [200, 20, 20] and tally.coloured == 1


def test_only_the_luma_of_ybr_changes() -> None:
    array = np.array([[90, 90], [128, 200], [127, 128]], np.uint8).reshape(3, 2, 1, 1)
    volume = Volume(array, np.eye(4), channels=Channels.YBR, stored_range=(0, 255))
    result, tally = changed(volume, 10)
    assert result[:, 0, 0, 0].tolist() == [100, 128, 127] and result[:, 1, 0, 0].tolist() == [90, 200, 128]
    assert tally.coloured == 1


def test_a_finer_grid_gets_new_values_and_carries_padding_over() -> None:
    volume = grey([-2000, 30], padding=np.array([[-2000, -2000]]), slope=np.array([2.0]), stored_range=(-3000, 40))
    items = Items(PrepareVolume(Unscaled(), by_channel=True)(volume), 2)
    piece = Piece(0, (slice(0, 4), slice(0, 2)), torch.tensor([10.0, 10, 20, 90]).reshape(1, 4, 1).expand(1, 4, 2))
    array, tally = blank_like((1, 4, 2, 1), np.dtype(np.int16)), Tally()
    rescaled([piece], items, (2, 2, 1), tally, array)
    assert array[0, :, 0, 0].tolist() == [-2000, -2000, 10, 40] and tally.clipped == 2
    piece = Piece(0, piece.box, torch.full((1, 4, 2), -4000.0))
    rescaled([piece], items, (2, 2, 1), tally, array)
    assert array[0, :, 0, 0].tolist() == [-2000, -2000, -1999, -1999]


def test_the_field_of_view_stays_on_a_finer_grid() -> None:
    affine: NDArray[np.float64] = np.array([[0, -2.0, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    finer = refined_affine(affine, (3, 2, 1))
    corner = np.array([-0.5, -0.5, -0.5, 1])
    assert np.allclose(finer @ corner, affine @ corner)
    assert np.allclose(np.linalg.norm(finer[:3, :3], axis=0), [1, 1, 4])


def test_an_array_above_the_limit_lies_in_a_file() -> None:
    large = room((1, 40, 30, 20), np.dtype(np.int16), 1000)
    large[:] = 7
    assert isinstance(large, np.memmap) and large.strides == room((1, 40, 30, 20), np.dtype(np.int16), None).strides


@pytest.mark.parametrize("channels", [Channels.RGB, Channels.YBR])
def test_a_network_that_sees_each_colour_changes_each_however_strong(channels: Channels) -> None:
    array = blank_like((3, 2, 2, 1), np.dtype(np.uint8))
    array[:] = np.array([250, 20, 90], np.uint8)[:, None, None, None]
    volume = Volume(array, np.eye(4), channels=channels, stored_range=(0, 255))
    items = Items(PrepareVolume(Unscaled(), by_channel=True)(volume), 2)
    box = (slice(0, 2), slice(0, 2))
    pieces = [Piece(plane, box, items.read(plane, box) + [2, -3, 0][plane]) for plane in range(3)]
    result, tally = blank_like(volume.shape, volume.array.dtype), Tally()
    restored(pieces, items, 1.0, tally, result)
    assert result[:, 0, 0, 0].tolist() == [252, 17, 90] and tally.coloured == 0
