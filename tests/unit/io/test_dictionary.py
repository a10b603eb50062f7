# SPDX-License-Identifier: Apache-2.0
"""The data list and the MONAI steps that the bundles' configurations use."""

from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

from clarivox import io
from clarivox.errors import OptionError, SeriesError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.volume import Volume

GREY = Volume(np.arange(60, dtype=np.int16).reshape(1, 5, 4, 3), np.diag([-1.0, -1, 2, 1]))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two files of one name in two folders, a DICOM series, and a file that is no image."""
    root = tmp_path / "data"
    for folder in ("one", "two"):
        (root / folder).mkdir(parents=True)
        io.write(GREY, root / folder / "scan.nii.gz")
    save_series(new_series(GREY, Kind.CT), root / "study 1" / "ct")
    (root / "readme.txt").write_text("no image")
    return root


def test_every_volume_is_listed_under_a_name_of_its_own(dataset: Path) -> None:
    names = sorted(item["image"].name for item in io.volumes(dataset))
    assert names == ["one_scan", "study_1_ct", "two_scan"]


def test_names_tell_two_series_of_one_folder_apart(tmp_path: Path) -> None:
    save_series(new_series(GREY, Kind.CT), tmp_path / "a")
    for number, file in enumerate(save_series(new_series(GREY, Kind.MR, seed=2), tmp_path / "b")):
        file.rename(tmp_path / "a" / f"other{number}")
    names = [item["image"].name for item in io.volumes(tmp_path / "a")]
    assert sorted(names) == ["a", "a_2"]


def test_a_folder_without_volumes_is_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(SeriesError) as caught:
            io.volumes(tmp_path)
        assert caught.value.code == "empty_folder"
        (tmp_path / "a.txt").write_text("no image")


def test_what_is_loaded_is_saved_as_it_was(dataset: Path, tmp_path: Path) -> None:
    load, save = io.LoadVolumed("image"), io.SaveVolumed("image", tmp_path / "out")
    for item in io.volumes(dataset):
        save(load(item))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "one_scan.nii.gz",
        "study_1_ct",
        "two_scan.nii.gz",
    ]
    np.testing.assert_array_equal(io.read(tmp_path / "out" / "study_1_ct").array, GREY.array)


def test_a_plain_path_is_loaded_too(dataset: Path, tmp_path: Path) -> None:
    data = io.LoadVolumed("image")({"image": str(dataset / "one" / "scan.nii.gz")})
    assert data["name"] == "scan"
    result = io.SaveVolumed("image", tmp_path / "out", as_="nrrd")(data)
    assert result["image_files"] == (tmp_path / "out" / "scan.nrrd",)


def test_a_configuration_finds_them_by_name(tmp_path: Path) -> None:
    parser = ConfigParser({"load": {"_target_": "clarivox.io.LoadVolumed", "keys": "image"}})
    assert isinstance(parser.get_parsed_content("load"), io.LoadVolumed)


def test_only_volumes_are_saved(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="ndarray"):
        io.SaveVolumed("image", tmp_path)({"image": np.zeros(3)})
