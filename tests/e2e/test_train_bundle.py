# SPDX-License-Identifier: Apache-2.0
"""A bundle's training as programs run it: MONAI's command, torchrun, a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clarivox.training_log import read_log

ROOT = Path(__file__).parents[2]
NAME = "cxr_srcnn_superres"
STANDS = """
import runpy, sys, time
from clarivox import checkpoints
save, left = checkpoints.save, [3]

def few(path, state):
    save(path, state)
    left[0] -= 1
    while left[0] == 0:
        print("stands", flush=True)
        time.sleep(1)

checkpoints.save = few
sys.argv[1:] = sys.argv[3:]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""
"""`python -m monai.bundle`, but that it goes no further than its third checkpoint."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five patients with one picture each, smooth and with edges."""
    folder = tmp_path_factory.mktemp("pictures")
    x, y = np.mgrid[:72, :60]
    for number in range(5):
        values = 128 + 60 * np.sin(x / (3 + number)) * np.cos(y / 5) + 50 * (x + y > 60 + 5 * number)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"p{number}.png")
    return folder


def bundle(folder: Path, name: str) -> Path:
    place = folder / name / NAME
    shutil.copytree(ROOT / "bundles" / NAME, place)
    parts = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}
    split = {part: {f"p{n}": [f"p{n}.png"] for n in numbers} for part, numbers in parts.items()}
    (place / "configs" / "split.json").write_text(json.dumps(split))
    return place


def command(place: Path, pictures: Path, *more: str, overlays: tuple[str, ...] = ()) -> list[str]:
    files = [str(place / "configs" / name) for name in ("train.yaml", *overlays)]
    words = ["-m", "monai.bundle", "run", "--config_file", str(files), "--bundle_root", str(place)]
    words += ["--dataset_dir", str(pictures), "--output_dir", str(place.parent / "out")]
    return [*words, "--steps", "6", "--trainer#every", "2", "--patch_size", "24", "--batch_size", "4", *more]


def run(words: list[str], *, torchrun: bool = False) -> None:
    begin = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"] if torchrun else []
    done = subprocess.run([sys.executable, *begin, *words], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def averaged(place: Path) -> list[torch.Tensor]:
    from clarivox import checkpoints

    state = checkpoints.load(place.parent / "out" / "checkpoint_x2.pt")
    assert state is not None
    return list(state["averaged"].values())


def test_two_processes_train_as_one_does(pictures: Path, tmp_path: Path) -> None:
    alone, together = bundle(tmp_path, "one"), bundle(tmp_path, "two")
    run(command(alone, pictures))
    run(command(together, pictures, overlays=("multi_gpu_train.yaml",)), torchrun=True)
    first = torch.load(ROOT / "bundles" / NAME / "models/model_x2.pt", weights_only=True)
    for one, other, before in zip(averaged(alone), averaged(together), first.values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
        assert not torch.equal(one, before.float())
    rows = [read_log(place / "docs/training_x2.csv") for place in (alone, together)]
    for one_row, other_row in zip(*rows, strict=True):
        assert np.allclose(one_row[:4], other_row[:4], rtol=1e-4)


def test_a_batch_that_cannot_be_dealt_out_evenly_is_refused(pictures: Path, tmp_path: Path) -> None:
    words = command(bundle(tmp_path, "odd"), pictures, "--batch_size", "3", overlays=("multi_gpu_train.yaml",))
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([*begin, *words], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode != 0 and "cannot be dealt out evenly to 2 processes" in done.stderr


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(pictures: Path, tmp_path: Path) -> None:
    whole, killed = bundle(tmp_path, "whole"), bundle(tmp_path, "killed")
    run(command(whole, pictures, "--steps", "40"))
    words = command(killed, pictures, "--steps", "40")
    child = subprocess.Popen(
        [sys.executable, "-c", STANDS, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert child.stdout is not None
    assert any(line == "stands\n" for line in child.stdout), "it ended by itself"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    rows = len(read_log(killed / "docs/training_x2.csv"))
    assert 0 < rows < 20
    run(words)
    assert all(torch.equal(one, other) for one, other in zip(averaged(whole), averaged(killed), strict=True))
    logs = [read_log(place / "docs/training_x2.csv") for place in (whole, killed)]
    assert [row[:4] for row in logs[0]] == [row[:4] for row in logs[1]]
    assert (whole / "models/model_x2.pt").read_bytes() == (killed / "models/model_x2.pt").read_bytes()
