# SPDX-License-Identifier: Apache-2.0
"""The whole set within a time; the clock decides how much, so the data are tiny and the minutes few."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from clarivox.bundle import BundleInfo, describe, find, load
from clarivox.errors import CancelledError
from clarivox.train_all import HEADINGS, Run, main, make_ready, runs_of, train_all
from clarivox.training import Pace, Trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        x, y = np.mgrid[:40, :36]
        Image.fromarray((120 + 60 * np.sin(x / (3 + number)) + 40 * (y > 15)).astype(np.uint8)).save(
            folder / f"p{number}.png"
        )
    return folder


def small(tmp_path: Path) -> BundleInfo:
    """SRCNN with one picture a part and two of its three scales."""
    folder = tmp_path / "bundles" / "cxr_srcnn_superres"
    shutil.copytree(find("cxr_srcnn_superres").folder, folder)
    split = {part: {f"p{n}": [f"p{n}.png"]} for n, part in enumerate(("train", "validation", "test"))}
    (folder / "configs/split.json").write_text(json.dumps(split))
    recipe = folder / "configs/train.yaml"
    text = recipe.read_text().replace("patch_size: 48", "patch_size: 24").replace("batch_size: 16", "batch_size: 2")
    recipe.write_text(text.replace("  - {scale: 4, init_from: models/model_x2.pt}\n", ""))
    return describe(folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each step took so long that six fit, and what comes before no time on any machine."""
    monkeypatch.setattr(Trainer, "pace", lambda self, seconds=5.0: Pace(0.4, 0.001))
    monkeypatch.setattr("clarivox.train_all.time", SimpleNamespace(monotonic=lambda: 0.0))


def test_each_training_gets_its_share_and_ends_in_a_bundle_that_loads(tmp_path: Path, data: Path) -> None:
    rows = train_all(data, tmp_path / "out", 0.1, "cpu", bundles=[small(tmp_path)])
    assert [row.name for row in rows] == ["cxr_srcnn_superres_scale2", "cxr_srcnn_superres_scale3"]
    assert all(row.steps > 1 and row.before is not None and row.after is not None and not row.error for row in rows)
    assert len(rows[0].cells()) == len(HEADINGS)
    load(tmp_path / "out/cxr_srcnn_superres", scale=3)
    recipe = yaml.safe_load((tmp_path / "out/cxr_srcnn_superres/configs/train.yaml").read_text())
    assert [(run["scale"], run["steps"]) for run in recipe["runs"]] == [(2, rows[0].steps), (3, rows[1].steps)]
    assert recipe["steps"] == 3000
    assert {p.name for p in (tmp_path / "out/cxr_srcnn_superres/docs").glob("*.csv")} == {
        "training_x2.csv",
        "training_x3.csv",
    }


def test_a_set_that_was_stopped_keeps_its_plan_and_ends_as_one_that_was_not(tmp_path: Path, data: Path) -> None:
    info, seen = small(tmp_path), []

    def stop(step: Any) -> bool:
        seen.append(step.stage)
        return len(seen) < 3

    whole = train_all(data, tmp_path / "a", 0.1, "cpu", bundles=[info])
    with pytest.raises(CancelledError):
        train_all(data, tmp_path / "b", 0.1, "cpu", bundles=[info], progress=stop)
    planned = json.loads((tmp_path / "b/plan.json").read_text())["runs"][0]
    assert planned["steps"] == whole[0].steps and seen[0] == "cxr_srcnn_superres_scale2"
    train_all(data, tmp_path / "b", 99, "cpu", bundles=[info])
    models = [torch.load(tmp_path / n / info.name / "models/model_x2.pt", weights_only=True) for n in ("a", "b")]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    rows = train_all(data, tmp_path / "b", 0.1, "cpu", bundles=[info])
    assert rows[0].steps == whole[0].steps


def test_one_that_fails_does_not_stop_the_others(tmp_path: Path, data: Path) -> None:
    info = small(tmp_path)
    broken = tmp_path / "bundles" / "broken"
    shutil.copytree(info.folder, broken)
    (broken / "configs/split.json").write_text(json.dumps({"train": {"a": ["none.png"]}, "validation": {}}))
    rows = train_all(data, tmp_path / "out", 0.1, "cpu", bundles=[describe(broken), info])
    assert [bool(row.error) for row in rows] == [True, True, False, False]
    assert "[no_series]" in rows[0].error


def test_a_call_can_end_before_the_set_does(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(tmp_path)
    words = [str(data), "--output", str(tmp_path / "out"), "--bundles", str(tmp_path / "bundles"), "--minutes", "0.1"]
    assert main([*words, "--device", "cpu", "--stop-after", "0"]) == 130
    assert "goes on from there" in capsys.readouterr().out
    assert main([*words, "--device", "cpu"]) == 0
    assert "score before" in capsys.readouterr().out


def test_what_needs_no_gpu_can_be_made_ready_before(tmp_path: Path, data: Path) -> None:
    make_ready(data, tmp_path / "out", [small(tmp_path)])
    assert (tmp_path / "out/cxr_srcnn_superres/configs/train.yaml").is_file()
    assert not (tmp_path / "out/plan.json").exists()


def test_every_shipped_recipe_is_in_the_plan() -> None:
    from clarivox.bundle import catalogue

    recipes = [info for info in catalogue() if (info.folder / "configs/train.yaml").is_file()]
    runs = runs_of(recipes)
    assert {run.bundle for run in runs} == {info.name for info in recipes}
    assert len({run.name for run in runs}) == len(runs)
    assert sum(run.share for run in runs) == pytest.approx(
        sum(yaml.safe_load((i.folder / "configs/train.yaml").read_text()).get("share", 1.0) for i in recipes)
    )
    assert Run("a", {"scale": 2, "init_from": "x"}, 1.0).name == "a_scale2"


BARE = """
import sys
allowed = {"torch", "numpy", "monai", "nibabel", "pydicom", "yaml", "clarivox"}
refused = ("PIL", "isal", "SimpleITK", "itk", "typer", "rich", "jsonschema", "fire", "ignite", "skimage", "scipy",
           "tensorboard", "gdcm", "jpeg_ls", "libjpeg", "openjpeg", "rle", "pywt", "fastapi", "openvino", "einops")
for name in refused:
    sys.modules[name] = None
from clarivox.train_all import main
from clarivox.training import Pace, Trainer
Trainer.pace = lambda self, seconds=5.0: Pace(0.4, 0.001)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_torch_numpy_monai_nibabel_pydicom_and_yaml_are_enough(tmp_path: Path, data: Path) -> None:
    small(tmp_path)
    command = [str(data), "--output", str(tmp_path / "out"), "--minutes", "0.1", "--device", "cpu"]
    command += ["--bundles", str(tmp_path / "bundles")]
    done = subprocess.run([sys.executable, "-c", BARE, *command], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert "score before" in done.stdout and "cxr_srcnn_superres_scale3" in done.stdout
