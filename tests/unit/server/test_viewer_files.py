# SPDX-License-Identifier: Apache-2.0
"""OHIF is put in place whole and verified, or not at all; and its page answers for none of our addresses."""

import io
import tarfile
from pathlib import Path

import pytest

from clarivox.errors import FormatError, OptionError
from clarivox.server import viewer_files
from clarivox.server.auth import OWN, is_viewer
from clarivox.server.main import create_app
from clarivox.server.settings import Settings


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package that counts as the known one."""
    import base64
    import hashlib

    path = tmp_path / "app.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, size in (("dist/index.html", 2000), ("dist/ort/x.wasm", 9), ("dist/a.js.map", 9), ("README.md", 9)):
            entry = tarfile.TarInfo("package/" + name)
            entry.size = size
            archive.addfile(entry, io.BytesIO(b"x" * size))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    monkeypatch.setattr(viewer_files, "CHECKSUM", f"sha512-{digest}")
    return path


def test_what_is_never_asked_for_is_left_out(package: Path, tmp_path: Path) -> None:
    target = tmp_path / "ohif"
    assert viewer_files.install(target, package) == 1
    assert sorted(path.name for path in target.rglob("*")) == ["index.html", "index.html.gz"]
    assert viewer_files.install(target, package) == 1, "an older one is replaced"
    assert not list(tmp_path.glob("clarivox-viewer-*")), "nothing is left behind"


def test_another_package_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "other.tgz").write_bytes(b"no package")
    with pytest.raises(FormatError) as refused:
        viewer_files.install(tmp_path / "ohif", tmp_path / "other.tgz")
    assert refused.value.code == "wrong_checksum"
    assert not (tmp_path / "ohif").exists()


def test_a_folder_with_something_else_is_kept(package: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OptionError):
        viewer_files.install(tmp_path / "mine", package)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_server_without_ohif_says_how_to_get_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, viewer=True, viewer_dir=tmp_path / "none")
    with pytest.raises(OptionError, match="clarivox viewer install"):
        create_app(settings, workers=False)


def test_every_route_of_ours_is_known_to_the_gate(package: Path, tmp_path: Path) -> None:
    viewer_files.install(tmp_path / "ohif", package)
    settings = Settings(data_dir=tmp_path / "data", viewer=True, viewer_dir=tmp_path / "ohif")
    app = create_app(settings, workers=False)
    paths = {str(getattr(route, "path", "/")) for route in app.routes} - {"/{path:theirs}", "/app-config.js"}
    ours = {path.split("/")[1].split("?")[0] for path in paths if path != "/"}
    assert ours <= OWN, "a route whose data OHIF's page would leave open"
    assert not any(is_viewer(f"/{name}") or is_viewer(f"/{name}/x") for name in ours)
