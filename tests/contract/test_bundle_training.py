# SPDX-License-Identifier: Apache-2.0
"""Every bundle is evaluated, and trained where it has weights, as its configurations say: on tiny data, one step."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import run

from clarivox import io, manifest
from clarivox.bundle import BundleInfo, catalogue
from clarivox.io.dicom_new import new_series, save_series
from clarivox.manifest import sha256
from clarivox.phantoms import ct, mr
from clarivox.volume import Volume

TRAINED = [info for info in catalogue() if info.weights]
PUBLISHED = [i for i in TRAINED if (i.folder / "configs" / "published.yaml").is_file() and i.spatial_dims == 2]
"""The 3D ones have 167 million numbers; tests/unit/test_diffusion_published.py steps them without a checkpoint."""
SIDE = 72
"""Of the pictures; patches of the configurations are cut down to fit."""
PATCH = 32


def picture() -> Volume:
    x, y = np.mgrid[:SIDE, :SIDE]
    grey = (90 + 60 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)
    return Volume(np.asfortranarray(grey[None, :, :, None]), np.eye(4), stored_range=(0, 255))


def write_like(path: Path, deep: int) -> None:
    """A small image where the split names a file or a folder, of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deep = 1 if path.suffix == ".dcm" else deep
    if path.suffix in (".png", ".jpg"):
        io.write(picture(), path.with_suffix(".png"))
        return
    scanned = "ct" in path.parts
    # Wider than the others, so that soft tissue shows the scan's own noise.
    wide = 160 if deep <= 2 else SIDE
    volume = ct(size=wide, slices=deep, photons=1e7)[0] if scanned else mr(size=SIDE, slices=deep)[1]
    if path.name.endswith((".nii", ".nii.gz")):
        io.write(volume, path, as_="nifti")
    else:
        save_series(new_series(volume, "ct" if scanned else "mr"), path)


def tiny(info: BundleInfo, folder: Path, deep: int = 2) -> tuple[Path, Path]:
    """A copy of the bundle whose split names one volume a part, and the folder of these volumes."""
    root, data = folder / info.name, folder / "data"
    shutil.copytree(info.folder, root)
    data.mkdir()
    split = root / "configs" / "split.json"
    if split.is_file():
        parts = json.loads(split.read_text())
        chosen = {part: dict([next(iter(subjects.items()))]) for part, subjects in parts.items() if subjects}
        chosen = {part: {name: files[:1] for name, files in content.items()} for part, content in chosen.items()}
        split.write_text(json.dumps(chosen))
        for content in chosen.values():
            for files in content.values():
                if not (data / files[0]).exists():
                    write_like(data / files[0], deep)
    manifest.seal(root)
    return root, data


def small(content: dict[str, Any]) -> dict[str, Any]:
    """What makes one step of a configuration short."""
    wanted: dict[str, Any] = {"steps": 1, "batch_size": 2, "patch_size": PATCH, "amp": False}
    if isinstance(content.get("patch_size"), list):
        wanted |= {"patch_size": [PATCH // 2] * len(content["patch_size"]), "batch_size": 1}
    return {key: value for key, value in wanted.items() if key in content}


def one_step(info: BundleInfo, folder: Path, *overlays: str, **more: Any) -> Path:
    """A copy of the bundle after one step of training, with `more` in the configuration."""
    root, data = tiny(info, folder, 24 if info.spatial_dims == 3 else 2)
    files = [root / "configs" / name for name in ("train.yaml", *overlays)]
    content: dict[str, Any] = {}
    for file in files:
        content |= yaml.safe_load(file.read_text())
    run(
        config_file=[str(file) for file in files],
        bundle_root=str(root),
        dataset_dir=str(data),
        output_dir=str(folder / "out"),
        device="cpu",
        **(small(content) | more),
    )
    return root


def written(info: BundleInfo, root: Path) -> list[Path]:
    """The weights that are others than the bundle's own."""
    found = sorted((root / "models").rglob("*.pt"))
    return [p for p in found if not (own := info.folder / p.relative_to(root)).is_file() or sha256(own) != sha256(p)]


def numbers_in(path: Path) -> int:
    return sum(value.numel() for value in torch.load(path, weights_only=True).values())


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize("info", TRAINED, ids=lambda info: info.name)
def test_one_step_of_training_writes_a_bundle_that_holds(info: BundleInfo, tmp_path: Path) -> None:
    # A volume is scored in minutes.
    unscored = {"validation": lambda network: 0.0} if info.spatial_dims == 3 else {}
    root = one_step(info, tmp_path, **unscored)
    assert written(info, root) and manifest.verify(root)


@pytest.mark.parametrize("info", TRAINED, ids=lambda info: info.name)
def test_the_top_of_the_training_configuration_says_how_long_and_from_where(info: BundleInfo) -> None:
    content = yaml.safe_load((info.folder / "configs" / "train.yaml").read_text())
    assert {"steps", "learning_rate", "init_from", "amp", "dataset_dir", "output_dir", "bundle_root"} <= set(content)


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize("info", PUBLISHED, ids=lambda info: info.name)
def test_the_published_width_builds_and_takes_one_training_step(info: BundleInfo, tmp_path: Path) -> None:
    # How the shipped width is scored, the test above sees; a wide network takes minutes over it.
    wide = written(info, one_step(info, tmp_path, "published.yaml", validation=lambda network: 0.0))
    own = sorted(info.folder.glob("models/*.pt"))
    assert min(numbers_in(path) for path in wide) > max(numbers_in(path) for path in own)


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize("info", catalogue(), ids=lambda info: info.name)
def test_its_evaluation_gives_figures_of_each_case(info: BundleInfo, tmp_path: Path) -> None:
    root, data = tiny(info, tmp_path)
    files = [str(root / "configs" / name) for name in ("inference.yaml", "evaluate.yaml")]
    cases = yaml.safe_load(Path(files[1]).read_text())["evaluator"]["cases"]
    few = {"seeds": [1], "frames": [2 if info.clip else 1]} if "seeds" in cases else {}
    run(
        config_file=files,
        bundle_root=str(root),
        dataset_dir=str(data),
        output_dir=str(tmp_path / "out"),
        **{f"evaluator::cases::{key}": value for key, value in few.items()},
    )
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert rows and all(row["range"] > 0 and row["before_db"] and row["after_db"] for row in rows)
    names = {figure["name"] for row in rows for figure in row["figures"]}
    assert {"PSNR", "MAE"} <= names
