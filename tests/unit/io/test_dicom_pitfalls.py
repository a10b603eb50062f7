# SPDX-License-Identifier: Apache-2.0
"""The eleven ways in which a CT series is commonly read wrong, and what highdicom makes of those that it reads."""

from pathlib import Path

import numpy as np
import pytest

from clarivox.io.dicom_read import read_dicom, scan_dicom
from clarivox.volume import Fault
from tests import toys
from tests.benchmarks import pitfalls


@pytest.mark.parametrize("name", toys.PITFALLS)
def test_each_pitfall_is_read_right_or_refused_by_name(name: str, tmp_path: Path) -> None:
    assert pitfalls.outcome(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["reversed instance numbers", "slope differs per slice", "MONOCHROME1", "12 bits with junk above"]
)
def test_where_highdicom_reads_a_series_it_sees_the_same_affine_and_values(name: str, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    series = toys.PITFALLS[name]()
    (info,) = scan_dicom(toys.write(series, tmp_path))
    volume = read_dicom(info)
    oracle = highdicom.get_volume_from_series(series, apply_presentation_lut=False).flip_spatial(0)  # last slice first
    theirs = np.diag([-1, -1, 1, 1]) @ oracle.affine[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(volume.affine, theirs, atol=1e-4)
    np.testing.assert_allclose(volume.values()[0], oracle.array.transpose(2, 1, 0), atol=1e-3)


def test_the_same_file_twice_is_read_once_and_said(tmp_path: Path) -> None:
    (info,) = scan_dicom(toys.write(toys.same_file_twice(), tmp_path))
    volume = read_dicom(info)
    assert pitfalls.right(volume)
    assert any("copies" in note for note in volume.notes)


def test_a_series_with_a_gap_is_read_on_request_and_carries_its_fault(tmp_path: Path) -> None:
    (info,) = scan_dicom(toys.write(toys.missing_slice(), tmp_path))
    volume = read_dicom(info, allow_uneven=True)
    assert volume.irregular is not None
    assert volume.irregular.fault is Fault.MISSING
    assert volume.irregular.slices == (4,)
    assert volume.shape == (1, 32, 24, 11)


def test_slices_shifted_sideways_are_uneven_not_tilted(tmp_path: Path) -> None:
    series = toys.ct_series()
    series[6].ImagePositionPatient = [-9.0, -20.0, 30.0 + 6 * toys.SPACING_MM]
    series[11].ImagePositionPatient = [-8.0, -20.0, 30.0 + 11 * toys.SPACING_MM]
    (info,) = scan_dicom(toys.write(series, tmp_path))
    assert info.irregular == "uneven_spacing"


def test_echoes_and_phases_together_are_told_apart_by_both(tmp_path: Path) -> None:
    series = []
    for phase in (1, 2):
        for echo in (1, 2):
            for one in toys.ct_series()[:3]:
                one.SOPInstanceUID = f"{one.SOPInstanceUID}.{phase}.{echo}"
                one.TemporalPositionIdentifier, one.EchoNumbers = phase, echo
                series.append(one)
    found = scan_dicom(toys.write(series, tmp_path))
    assert [info.part for info in found] == [
        "time point 1, echo 1",
        "time point 1, echo 2",
        "time point 2, echo 1",
        "time point 2, echo 2",
    ]
    assert all(info.usable and info.shape == (1, 32, 24, 3) for info in found)
