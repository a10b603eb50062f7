# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from clarivox.cli.main import app
from clarivox.train_all import Row


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        x, y = np.mgrid[:40, :36]
        grey = 120 + 60 * np.sin(x / (3 + number)) + 40 * (y > 15)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"p{number}.png")
    return folder


SMALL = ("--device", "cpu", "--steps", "4", "--set", "patch_size=16", "--set", "batch_size=2")


def test_train_makes_a_bundle_and_says_how_to_use_it(data: Path, tmp_path: Path) -> None:
    result = call("train", "cxr_srcnn_superres", "--data", data, "--output", tmp_path / "mine", *SMALL, "--amp")
    assert result.exit_code == 0, result.output
    assert "step 4 of 4" in result.output and "1 train, 1 validation, 1 test" in result.output
    assert f"clarivox enhance IN --bundle {tmp_path / 'mine'}" in result.output
    image = data / "p0.png"
    enhanced = call("enhance", image, "--bundle", tmp_path / "mine", "--output", tmp_path / "fine.png", "--force")
    assert enhanced.exit_code == 0, enhanced.output
    with Image.open(tmp_path / "fine.png") as picture:
        assert picture.size == (72, 80)


def test_preprocess_and_train_name_what_they_cannot_read(data: Path, tmp_path: Path) -> None:
    (data / "bad.nii").write_bytes(b"\0" * 344 + b"n+1\0")
    result = call("preprocess", data, tmp_path / "ready")
    assert result.exit_code == 1 and "3 volumes of 3 patients" in result.output and "bad.nii" in result.output
    words = ("train", "cxr_srcnn_superres", "--output", tmp_path / "mine", *SMALL)
    assert "[unreadable_files]" in call(*words, "--data", data).output
    assert call(*words, "--data", tmp_path / "ready", "--overwrite").exit_code == 0


def test_what_is_missing_is_said(data: Path) -> None:
    assert "--data DIR" in call("train", "cxr_srcnn_superres").output
    assert "name a bundle" in call("train", "--data", data).output
    assert call("train", "nothing_of_the_kind", "--data", data).exit_code == 4
    assert call("preprocess", data, data / "out", "--spacing", 1, 0, 1).exit_code == 2


def test_the_help_teaches_by_an_example() -> None:
    for command in ("train", "preprocess"):
        assert "Example: clarivox" in " ".join(call(command, "--help").output.split())


def test_the_whole_set_ends_in_one_table(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def trained(*words: object) -> list[Row]:
        asked.extend(words[:4])
        return [Row("one", 10, 0.01, 6.0, 30.0, 31.5), Row("two", error="[no_series] 1 of 1 files")]

    monkeypatch.setattr("clarivox.train_all.train_all", trained)
    words = ("train", "--all", "--data", data, "--output", tmp_path / "w", "--minutes", 2, "--device", "cpu")
    result = call(*words)
    assert result.exit_code == 1 and asked == [data, tmp_path / "w", 2.0, "cpu"]
    assert "31.500" in result.output and "[no_series]" in result.output
