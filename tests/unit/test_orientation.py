# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest

from clarivox.orientation import View, view
from clarivox.volume import Axis, Volume

RAS, LPS = np.eye(4), np.diag([-1.0, -1, 1, 1])
PIR = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
SAGITTAL_ASR = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def volume(affine, format_="nifti", **about):
    return Volume(np.zeros((1, 2, 3, 2), np.int16), affine, source=SimpleNamespace(format=format_), **about)


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (RAS, View(False, True, True, "RLAP")),
        (LPS, View(False, False, False, "RLAP")),
        (PIR, View(False, False, False, "APHF")),
        (SAGITTAL_ASR, View(True, True, True, "APHF")),
    ],
)
def test_nifti_is_turned_until_right_is_left_and_front_or_head_is_up(affine, expected):
    assert view(volume(affine)) == expected


def test_dicom_is_shown_as_it_is_stored_with_its_own_letters():
    assert view(volume(RAS, "dicom", modality="MR")) == View(edges="LRPA")


@pytest.mark.parametrize(
    "shown",
    [
        volume(LPS, "image"),
        volume(LPS, "dicom", modality="DX"),
        volume(LPS, "dicom", modality="MR", third_axis=Axis.TIME),
    ],
)
def test_where_there_is_no_place_in_the_patient_there_are_no_letters(shown):
    assert view(shown) == View()


def test_a_picture_is_turned_in_colour_and_in_grey():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    turn = View(True, False, True)
    assert turn.turned(grey).tolist() == [[2, 5], [1, 4], [0, 3]]
    assert turn.turned(np.dstack([grey] * 3))[..., 0].tolist() == [[2, 5], [1, 4], [0, 3]]
