# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from clarivox import manifest
from clarivox.errors import BundleError, DigestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"configs/inference.yaml": "a: 1", "docs/README.md": "words", "models/model.pt": "w"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    manifest.seal(tmp_path)
    return tmp_path


def test_the_digest_is_that_of_the_weights(folder: Path) -> None:
    assert manifest.verify(folder) == manifest.sha256(folder / "models/model.pt")


def test_without_weights_it_is_that_of_the_configuration(folder: Path) -> None:
    (folder / "models/model.pt").unlink()
    manifest.seal(folder)
    assert manifest.verify(folder) == manifest.sha256(folder / "configs/inference.yaml")


def test_several_weights_have_one_digest_together(folder: Path) -> None:
    (folder / "models/model_x3.pt").write_text("v")
    manifest.seal(folder)
    assert len(manifest.verify(folder)) == 64 and manifest.verify(folder) != manifest.sha256(folder / "models/model.pt")


@pytest.mark.parametrize("name", ["configs/inference.yaml", "models/model.pt", "configs/extra.yaml"])
def test_a_changed_or_added_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("other")
    with pytest.raises(DigestError, match=name):
        manifest.verify(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "models/model.pt").unlink()
    with pytest.raises(DigestError, match=r"model\.pt"):
        manifest.verify(folder)


def test_a_bundle_without_a_manifest_is_refused(folder: Path) -> None:
    (folder / manifest.MANIFEST).unlink()
    with pytest.raises(BundleError, match="manifest"):
        manifest.verify(folder)


def test_the_command_seals_a_folder(folder: Path) -> None:
    (folder / "models/model.pt").write_text("new")
    subprocess.run([sys.executable, "-m", "clarivox.manifest", str(folder)], check=True, timeout=60)
    assert manifest.verify(folder)
