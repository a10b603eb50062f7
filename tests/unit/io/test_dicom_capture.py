# SPDX-License-Identifier: Apache-2.0
"""Pictures as Secondary Capture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from clarivox.errors import OptionError, OutputError
from clarivox.io import read, write
from clarivox.io.dicom_capture import write_capture
from clarivox.volume import Channels, Volume
from tests.dicom_objects import DENOISED


@pytest.fixture
def picture(tmp_path: Path) -> Volume:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11), np.uint8)).save(tmp_path / "a.png")
    return read(tmp_path / "a.png")


def test_a_picture_becomes_a_capture_without_a_patient(picture: Volume, tmp_path: Path) -> None:
    write(picture.replace(provenance=DENOISED), tmp_path / "d", as_="dicom")
    ds = pydicom.dcmread(tmp_path / "d" / "IM0001.dcm")
    assert ds.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (ds.PatientID, ds.ConversionType) == ("", "WSD")
    np.testing.assert_array_equal(ds.pixel_array, picture.frames[0, 0])
    assert "denoise by mr_unet_denoise" in ds.DerivationDescription
    assert ds.ContributingEquipmentSequence[0].SoftwareVersions[1] == "cd" * 32


def test_a_capture_says_that_its_texture_may_be_invented(picture: Volume, tmp_path: Path) -> None:
    run = replace(DENOISED, may_invent=True)
    found = pydicom.dcmread(write_capture(picture.replace(provenance=run), tmp_path / "d").files[0])
    assert found.SeriesDescription == "[mr_unet_denoise, may invent texture]"


def test_the_same_picture_gives_the_same_bytes(picture: Volume, tmp_path: Path) -> None:
    one, other = (write_capture(picture, tmp_path / name).files[0].read_bytes() for name in "ab")
    assert one == other


def test_what_a_capture_cannot_hold_is_refused(picture: Volume, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        write_capture(picture, tmp_path / "d", compress="jpegls")
    with pytest.raises(OutputError):
        write_capture(picture.replace(channels=Channels.PALETTE), tmp_path / "d")
