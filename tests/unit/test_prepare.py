# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
import torch

from clarivox.errors import BundleError
from clarivox.prepare import (
    Items,
    NoiseLevel,
    Percentiles,
    PrepareVolume,
    PrepareVolumed,
    StoredRange,
    Unscaled,
    Window,
)
from clarivox.volume import Axis, Channels, Volume

BOX = (slice(0, 4), slice(0, 3), slice(0, 2))


def ramp(**changes: Any) -> Volume:
    return Volume(np.arange(24, dtype=np.int16).reshape(1, 4, 3, 2), np.eye(4), **changes)


def test_values_are_scaled_window_by_window() -> None:
    prepared = PrepareVolume(Window(0, 23))(ramp())
    part = prepared.read(0, (slice(1, 3), slice(0, 3), slice(1, 2)))
    assert part.dtype == np.float32 and np.allclose(part[..., 0] * 23, [[7, 9, 11], [13, 15, 17]])


def test_padding_is_left_out_of_the_percentiles_and_becomes_the_low_end() -> None:
    volume = ramp(padding=np.array([[20, 23], [20, 23]]))
    prepared = PrepareVolume(Percentiles(0, 100))(volume)
    assert prepared.ranges[0].high == 19
    assert (prepared.read(0, BOX)[volume.array[0] >= 20] == 0).all()


def test_values_that_are_not_finite_become_the_low_end() -> None:
    array = np.ones((1, 4, 3, 2), np.float32)
    array[0, 0, 0, 0], array[0, 1, 0, 0] = np.nan, np.inf
    prepared = PrepareVolume(Percentiles(0, 100))(Volume(array, np.eye(4)))
    assert prepared.read(0, BOX)[0, 0, 0] == 0 and np.isfinite(prepared.read(0, BOX)).all()


def test_networks_see_one_polarity() -> None:
    prepared = PrepareVolume(Window(0, 23))(ramp(inverted=True))
    assert prepared.read(0, BOX)[0, 0, 0] == 1 and prepared.read(0, BOX)[3, 2, 1] == 0


def test_a_constant_volume_is_prepared_without_dividing_by_zero() -> None:
    prepared = PrepareVolume(Percentiles(0, 100))(Volume(np.full((1, 2, 2, 1), 7, np.int16), np.eye(4)))
    assert (prepared.tensor() == 0).all()


def test_a_rescale_for_each_slice_is_applied_before_the_percentiles() -> None:
    volume = ramp(slope=np.array([1.0, 10.0]))
    assert np.isclose(PrepareVolume(Percentiles(0, 100))(volume).ranges[0].high, 230)


def test_a_network_sees_the_luma_of_colours() -> None:
    array = np.zeros((3, 2, 2, 1), np.uint8)
    array[1] = 100
    prepared = PrepareVolume(Unscaled())(Volume(array, np.eye(4), channels=Channels.RGB))
    assert prepared.shape == (1, 2, 2, 1) and np.allclose(prepared.tensor(), 58.7)
    by_channel = PrepareVolume(Unscaled(), by_channel=True)(prepared.volume)
    assert by_channel.shape == (3, 2, 2, 1) and by_channel.tensor().max() == 100


def test_independent_volumes_have_scales_of_their_own() -> None:
    array = np.stack([np.ones((2, 2, 1)), np.full((2, 2, 1), 9)]).astype(np.int16)
    prepared = PrepareVolume(Percentiles())(Volume(array, np.eye(4), channels=Channels.VOLUMES))
    assert [found.high for found in prepared.ranges] == [1, 9]


def test_the_dictionary_twin_gives_the_tensor_for_training() -> None:
    data = PrepareVolumed("image", StoredRange(), whole=True)({"image": ramp(stored_range=(0, 23)), "name": "a"})
    assert isinstance(data["image"], torch.Tensor) and data["image"].shape == (1, 4, 3, 2) and data["name"] == "a"


def test_preparing_never_writes_into_the_volume() -> None:
    volume = ramp(padding=np.array([[0, 3], [0, 3]]))
    before = volume.array.copy()
    PrepareVolume(Window(0, 5, clip=True))(volume).tensor()
    assert (volume.array == before).all()


def test_slices_are_items_of_a_2d_network_and_know_their_place() -> None:
    items = Items(PrepareVolume(Unscaled())(ramp()), 2)
    assert (len(items), items.shape) == (2, (4, 3))
    assert items.read(1, (slice(0, 4), slice(0, 3))).equal(torch.from_numpy(ramp().array[:, :, :, 1]).float())
    assert items.place(1, (slice(0, 2), slice(1, 3))) == (0, (slice(0, 2), slice(1, 3), slice(1, 2)))


def test_neighbours_of_the_end_slices_are_repeated() -> None:
    items = Items(PrepareVolume(Unscaled())(ramp()), 2, neighbours=1)
    seen = items.read(0, (slice(0, 1), slice(0, 1)))[:, 0, 0]
    assert seen.tolist() == [0, 0, 1]


def test_a_clip_is_one_item_and_a_stack_is_one_a_slice() -> None:
    clip = Items(PrepareVolume(Unscaled())(ramp(third_axis=Axis.TIME)), 3, clip=True)
    stack = Items(PrepareVolume(Unscaled())(ramp()), 3, clip=True)
    assert (len(clip), clip.shape) == (1, (4, 3, 2))
    assert (len(stack), stack.shape) == (2, (4, 3, 1))
    assert stack.read(1, (slice(0, 4), slice(0, 3), slice(0, 1)))[0, 0, 0, 0] == 1


def noisy(sigma: float, **changes: Any) -> Volume:
    noise = np.random.default_rng(0).normal(128, sigma, (1, 96, 80, 2)).round().clip(0, 255)
    return Volume(noise.astype(np.uint8), np.eye(4), stored_range=(0, 255), **changes)


def test_a_network_that_asks_for_it_is_told_the_noise_of_each_slice() -> None:
    volume = noisy(20)
    volume.array[..., 1] = noisy(5).array[..., 1]
    prepared = PrepareVolume(StoredRange(), noise=NoiseLevel())(volume)
    assert prepared.levels is not None and np.allclose(prepared.levels * 255, [[20, 5]], rtol=0.05)
    read = Items(prepared, 2).read(1, (slice(0, 9), slice(0, 7)))
    assert read.shape == (2, 9, 7) and read[1].min() == read[1].max()
    assert float(read[1, 0, 0]) == prepared.levels[0, 1]


def test_a_noise_level_may_be_said_instead_and_a_volume_takes_the_middle_of_its_slices() -> None:
    prepared = PrepareVolume(StoredRange(), noise=NoiseLevel(51))(noisy(20))
    read = Items(prepared, 3).read(0, (slice(0, 9), slice(0, 7), slice(0, 2)))
    assert read.shape == (2, 9, 7, 2) and torch.allclose(read[1], torch.tensor(0.2))
    assert PrepareVolume(StoredRange())(noisy(20)).levels is None


def test_padding_and_what_was_clipped_do_not_count_as_free_of_noise() -> None:
    volume = noisy(20, padding=np.array([[7, 7], [7, 7]]))
    volume.array[:, :60] = 255
    volume.array[:, :20] = 7
    levels = PrepareVolume(StoredRange(), noise=NoiseLevel())(volume).levels
    assert levels is not None and np.allclose(levels * 255, 20, rtol=0.1)


def test_a_slice_too_small_for_an_estimate_counts_as_free_of_noise() -> None:
    assert (PrepareVolume(Window(0, 23), noise=NoiseLevel())(ramp()).levels == 0).all()
    for wrong in (-1, "high"):
        with pytest.raises(BundleError, match="or auto; found"):
            NoiseLevel(wrong)


def test_neighbours_are_those_of_a_clip_and_a_slice_of_a_stack_is_its_own() -> None:
    corner = (slice(0, 1), slice(0, 1))
    clip = Items(PrepareVolume(Unscaled())(ramp(third_axis=Axis.TIME)), 2, neighbours=1, clip=True)
    stack = Items(PrepareVolume(Unscaled())(ramp()), 2, neighbours=1, clip=True)
    assert clip.read(0, corner)[:, 0, 0].tolist() == [0, 0, 1]
    assert stack.read(1, corner)[:, 0, 0].tolist() == [1, 1, 1]
