# SPDX-License-Identifier: Apache-2.0
"""Slice positions make the right grid in any orientation, or the right complaint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarivox.errors import GeometryError
from clarivox.io.dicom_geometry import LPS_TO_RAS, checked_orientation, checked_spacing, stack
from clarivox.volume import Fault

AXIAL = np.eye(3)[:2]


def along_z(*heights: float) -> np.ndarray:
    return np.array([[5.0, 6.0, z] for z in heights])


@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    gap=st.floats(0.1, 20),
    count=st.integers(2, 20),
    seed=st.integers(0, 99),
)
def test_slices_in_any_order_and_direction_make_the_grid_they_came_from(
    angles: tuple[float, float, float], gap: float, count: int, seed: int
) -> None:
    a, b, c = angles
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = turn @ np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    wanted = np.array([7.0, -8, 9]) + np.arange(count)[:, None] * turn[:, 2] * gap
    shuffled = np.random.default_rng(seed).permutation(count)
    made = stack(wanted[shuffled], turn[:, :2].T, (0.5, 0.25))
    assert made.irregular is None
    assert np.array_equal(shuffled[list(made.order)], np.arange(count))
    for z in (0, count - 1):
        np.testing.assert_allclose((made.affine @ [0, 0, z, 1])[:3], LPS_TO_RAS @ wanted[z], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(made.affine[:3, :3], axis=0), [0.25, 0.5, gap], rtol=1e-6)


def test_positions_rounded_to_a_thousandth_are_even() -> None:
    assert stack(along_z(*np.round(np.arange(50) / 3, 3)), AXIAL, (1, 1)).irregular is None


@pytest.mark.parametrize(
    ("heights", "fault", "at"),
    [
        ((0, 1, 2, 4, 5), Fault.MISSING, (2,)),
        ((0, 1, 2, 3, 6, 7, 9), Fault.MISSING, (3, 5)),
        ((0, 1, 2, 3.5, 4.5), Fault.UNEVEN, (2,)),
        ((0, 5, 10, 20), Fault.MISSING, (2,)),
        ((0, 1, 3), Fault.MISSING, (1,)),
    ],
)
def test_gaps_are_told_apart_and_named(heights: tuple[float, ...], fault: Fault, at: tuple[int, ...]) -> None:
    irregular = stack(along_z(*heights), AXIAL, (1, 1)).irregular
    assert irregular is not None
    assert irregular.fault is fault
    assert irregular.slices == at
    assert f"after slice {at[0] + 1}" in irregular.message


def test_two_slices_at_one_place_are_refused() -> None:
    with pytest.raises(GeometryError, match="slices 2, 3") as caught:
        stack(along_z(0, 1, 1.0002, 2), AXIAL, (1, 1))
    assert caught.value.code == "duplicate_position"


@pytest.mark.parametrize("values", [(), (1, 0, 0, 0, 1), (2, 0, 0, 0, 1, 0), (1, 0, 0, 1, 0, 0), (float("nan"),) * 6])
def test_an_orientation_that_is_none_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError):
        checked_orientation(values)


def test_cosines_of_six_decimals_are_accepted() -> None:
    checked_orientation((0.707107, 0.707107, 0, -0.707107, 0.707107, 0))


@pytest.mark.parametrize("values", [(), (1.0,), (0.0, 1.0), (-1.0, 1.0), (float("inf"), 1.0), (1.0, float("nan"))])
def test_a_spacing_that_is_none_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError):
        checked_spacing(values)
