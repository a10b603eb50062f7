# SPDX-License-Identifier: Apache-2.0
"""The wheel holds the whole product and works away from the tree."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel and sees the dependencies of this one."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    site = next((home / "lib").glob("python*/site-packages"))
    shared = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(shared))
    return home / "bin"


def test_the_wheel_holds_every_module_and_every_file_of_the_bundles(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    moved = {"server/": "clarivox/server/", "transforms/": "clarivox/transforms/", "bundles/": "clarivox/bundles/"}
    moved |= {"apps/cli/": "clarivox/cli/", "clarivox/": "clarivox/"}
    links = {"clarivox/server", "clarivox/transforms", "clarivox/cli"}
    wanted = {
        place + name.removeprefix(folder)
        for name in tracked
        for folder, place in moved.items()
        if name.startswith(folder) and name not in links
    }
    assert wanted - held == set()
    assert not {name for name in held if name.startswith(("tests/", "docs/"))}


def test_the_installed_command_lists_the_bundles_from_any_folder(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "transforms.py").write_text("raise ImportError('the wrong transforms')")
    environment = {**os.environ, "PYTHONPATH": ""}
    run = subprocess.run(
        [installed / "clarivox", "bundles", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr.decode()
    names = {bundle["name"] for bundle in json.loads(run.stdout)}
    assert {"identity", "mr_unet_denoise", "cxr_srcnn_superres", "us_svd_enhance"} <= names
