# SPDX-License-Identifier: Apache-2.0
"""Every derived object is as valid as its source."""

from pathlib import Path

import pydicom
import pytest

from clarivox.io import read
from clarivox.io.dicom_new import Kind
from clarivox.io.dicom_write import write_series
from tests.benchmarks.validate import REAL, added, compared
from tests.dicom_objects import DENOISED, IDENTITY, doubled, read_phantom, series_of
from tests.validators import missing, object_messages, study_messages

needs_validators = pytest.mark.skipif(bool(missing()), reason=missing() or "present")


@needs_validators
@pytest.mark.parametrize("compress", [None, "jpegls"])
@pytest.mark.parametrize("kind", Kind)
def test_a_derived_phantom_has_no_message_that_its_source_had_not(
    kind: Kind, compress: str | None, tmp_path: Path
) -> None:
    series_of(kind, tmp_path / "s")
    found = compared(kind, tmp_path / "s", compress)
    assert (found.new, found.accepted) == ((), ())


@needs_validators
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_derived_real_object_has_no_message_that_its_source_had_not(name: str, data_dir: Path) -> None:
    assert compared(name, data_dir / REAL[name]).new == ()


@needs_validators
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("change", ["denoise", "superres"])
def test_denoised_and_finer_phantoms_validate(kind: Kind, change: str, tmp_path: Path) -> None:
    volume = read_phantom(kind, tmp_path / "s")
    result = doubled(volume) if change == "superres" else volume.replace(provenance=DENOISED)
    written = write_series(result, tmp_path / "d")
    sources = list(getattr(volume.source, "files", ()))
    assert added(object_messages(written.files), object_messages(sources)) == set()
    assert added(study_messages([*sources, *written.files]), study_messages(sources)) == set()


@pytest.mark.parametrize("signed", [True, False])
def test_padding_has_the_sign_of_the_pixels(signed: bool, tmp_path: Path) -> None:
    volume = read_phantom(Kind.CT if signed else Kind.MR, tmp_path / "s", PixelPaddingValue=7)
    written = write_series(volume.replace(provenance=DENOISED), tmp_path / "d")
    assert ("SS" if signed else "US") == pydicom.dcmread(written.files[0])["PixelPaddingValue"].VR


def test_what_lost_something_once_says_so_with_ratio_and_method(data_dir: Path, tmp_path: Path) -> None:
    volume = read(data_dir / REAL["CT, JPEG"])
    written = write_series(volume.replace(provenance=IDENTITY), tmp_path / "d")
    derived = pydicom.dcmread(written.files[0])
    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(derived.LossyImageCompressionRatio) > 1
