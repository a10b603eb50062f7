# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarivox import tiles
from clarivox.errors import BundleError


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    halo=st.integers(0, 9),
    stride=st.sampled_from([1, 2, 4]),
    limit=st.integers(1, 5000),
)
def test_exact_tiles_cover_every_voxel_once_and_see_their_halo(
    shape: list[int], halo: int, stride: int, limit: int
) -> None:
    sides = tuple(shape)
    plan = tiles.exact(sides, (halo,) * len(sides), (stride,) * len(sides), limit)
    count = np.zeros(sides, int)
    for tile in plan:
        count[tile.core] += 1
        for core, window, side in zip(tile.core, tile.window, sides, strict=True):
            assert window.start % stride == 0 and window.stop <= tiles.rounded_up(side, stride)
            assert window.start <= max(0, core.start - halo) and window.stop >= min(side, core.stop + halo)
    assert (count == 1).all()


def test_an_image_that_fits_is_not_cut() -> None:
    assert len(tiles.exact((30, 20, 10), (5, 5, 5), (1, 1, 1), 6000)) == 1


def test_the_axis_that_is_as_long_as_its_halo_is_never_cut() -> None:
    plan = tiles.exact((64, 64, 10), (2, 2, 10), (1, 1, 1), 4000)
    assert all(tile.window[2] == slice(0, 10) for tile in plan) and len(plan) > 1


def test_slabs_along_the_last_axis_come_one_after_another() -> None:
    plan = tiles.exact((40, 40, 40), (1, 1, 1), (1, 1, 1), 4000)
    starts = [tile.core[2].start for tile in plan]
    assert starts == sorted(starts)


def test_few_voxels_are_computed_twice() -> None:
    plan = tiles.exact((256, 256, 64), (6, 6, 6), (1, 1, 1), 2**19)
    assert sum(tiles.voxels(tile.window) for tile in plan) / (256 * 256 * 64) < 1.26


def test_halves_of_a_tile_cover_it() -> None:
    whole = tiles.exact((20, 10), (3, 3), (2, 2), 1000)[0]
    halves = tiles.halved(whole, (20, 10), (3, 3), (2, 2))
    assert [half.core[0] for half in halves] == [slice(0, 10), slice(10, 20)]
    smallest = tiles.whole((2, 2), (2, 2))
    assert tiles.halved(smallest, (2, 2), (1, 1), (2, 2)) == [smallest]


@settings(deadline=None, max_examples=60)
@given(length=st.integers(1, 90), window=st.integers(4, 32), overlap=st.floats(0, 0.7), stride=st.sampled_from([1, 4]))
def test_blended_windows_leave_no_gap(length: int, window: int, overlap: float, stride: int) -> None:
    plan = tiles.blended((length,), (window,), (stride,), overlap)
    assert plan[0].window[0].start == 0 and plan[-1].window[0].stop >= length
    for first, second in itertools.pairwise(plan):
        assert second.window[0].start <= first.window[0].stop
        assert second.window[0].start % stride == 0


def test_blend_weights_sum_to_one_and_do_not_fall_at_the_border() -> None:
    total = np.zeros(26)
    weights = tiles.blend_weights([0, 5, 10], 16)
    for start, bell in zip([0, 5, 10], weights, strict=True):
        total[start : start + 16] += bell
    assert np.allclose(total, 1, atol=1e-6) and weights[0][0] == 1


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(BundleError, match="overlap"):
        tiles.blended((10,), (4,), (1,), 1.0)
