"""New DICOM objects: valid, deterministic, and true to the volume."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from clarivox.errors import OutputError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.volume import Volume
from tests.dicom_objects import phantom


@pytest.mark.parametrize("kind", Kind)
def test_the_validator_finds_no_error(kind: Kind, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    files = save_series(new_series(phantom(kind), kind), tmp_path / "s")
    answer = subprocess.run(["dciodvfy", "-new", str(files[0])], capture_output=True, text=True, check=False)
    assert [line for line in answer.stderr.splitlines() if line.startswith("Error")] == []
    assert answer.returncode == 0
    whole = subprocess.run(["dcentvfy", *map(str, files)], capture_output=True, text=True, check=False)
    assert (whole.returncode, whole.stderr) == (0, "")


@pytest.mark.parametrize("kind", Kind)
def test_pixels_read_back_as_they_were(kind: Kind) -> None:
    volume = phantom(kind)
    read = [ds.pixel_array for ds in new_series(volume, kind)]
    for z in range(3):
        found = read[0][z] if len(read) == 1 else read[z]
        expected = volume.frames[:, z]
        np.testing.assert_array_equal(found, expected[0] if len(expected) == 1 else expected.transpose(1, 2, 0))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save_series(new_series(phantom(Kind.CT), "ct", seed=seed), tmp_path / name)
    a, b, c = ((tmp_path / name / "IM0002.dcm").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_geometry_is_said_in_lps() -> None:
    second = list(new_series(phantom(Kind.CT), Kind.CT))[1]
    assert second.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert second.ImagePositionPatient == [-100, -90, -27.5]
    assert second.PixelSpacing == [0.8, 0.7]


def test_padding_has_the_sign_of_the_pixels(tmp_path: Path) -> None:
    files = save_series(new_series(phantom(Kind.CT), Kind.CT), tmp_path / "s")
    assert pydicom.dcmread(files[0])["PixelPaddingValue"].VR == "SS"


def test_what_a_kind_cannot_hold_is_refused_by_name() -> None:
    floats = Volume(np.zeros((1, 2, 2, 2), np.float32), np.eye(4))
    with pytest.raises(OutputError, match="ct objects cannot hold float32"):
        next(new_series(floats, "ct"))
    with pytest.raises(OutputError, match="cannot hold rgb"):
        next(new_series(phantom(Kind.US_CLIP), "cr"))
    with pytest.raises(OutputError, match="no kind of object 'nope'"):
        next(new_series(floats, "nope"))
