# SPDX-License-Identifier: Apache-2.0
"""Every bundle that can be trained, one after another within a time, as `make weights` does.

    clarivox train --all --data DIR --minutes 25 --device cuda
    python -m clarivox.train_all DIR --minutes 25 --device cuda    # where only torch, numpy, MONAI and nibabel are

A recipe (train.yaml) may say at its top level `share`, its part of the time (1 where it does not; 0 leaves it out), and
`runs`, a list of settings of which each is a training of its own, as the three scales of one network. On a GPU batches
are four times as large, unless `gpu` lists settings of its own.

The steps of a training are measured when it is first begun, and kept in OUT/plan.json, so that a run that was stopped
ends as one that was not. Time that a training did not need goes to those after it.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from clarivox import manifest
from clarivox.bundle import BundleInfo, catalogue, describe
from clarivox.errors import BundleError, CancelledError, ClarivoxError
from clarivox.io import atomic
from clarivox.new_bundle import about_training, copied, set_runs, set_values
from clarivox.progress import Progress, Step
from clarivox.retrain import Wish, checked, steps_within, trainer_of, workers_for
from clarivox.training import Trainer
from clarivox.weights import fill, read_weights

logger = logging.getLogger(__name__)

HEADINGS = ["training", "steps", "ms a step", "minutes", "score before", "score now", "note"]
LARGER = 4
"""How much larger a batch is on a GPU, whose steps cost no more for it."""


@dataclass(frozen=True)
class Run:
    """One training of the plan."""

    bundle: str
    settings: dict[str, Any]
    share: float

    @property
    def name(self) -> str:
        """Names it in the plan and in the table."""
        told = "_".join(f"{key}{value}" for key, value in self.settings.items() if key not in ("steps", "init_from"))
        return f"{self.bundle}_{told}" if told else self.bundle


@dataclass(frozen=True)
class Row:
    """What a training came to."""

    name: str
    steps: int = 0
    step_s: float = 0.0
    seconds: float = 0.0
    before: float | None = None
    """Score of the weights that are shipped; None where there are none that fit."""
    after: float | None = None
    error: str = ""

    def cells(self) -> list[str]:
        """For a table."""
        scores = ["" if value is None else f"{value:.3f}" for value in (self.before, self.after)]
        return [self.name, str(self.steps), f"{1e3 * self.step_s:.1f}", f"{self.seconds / 60:.1f}", *scores, self.error]


def runs_of(bundles: Sequence[BundleInfo]) -> list[Run]:
    """The trainings of the bundles that have a recipe."""
    runs = []
    for info in bundles:
        recipe = info.folder / "configs" / "train.yaml"
        if not recipe.is_file():
            continue
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        each = content.get("runs") or [{}]
        share = float(content.get("share", 1.0))
        runs += [Run(info.name, dict(settings), share / len(each)) for settings in each if share > 0]
    return runs


def train_all(
    data: Path,
    output: Path,
    minutes: float,
    device: str,
    workers: int = 0,
    progress: Progress | None = None,
    bundles: Sequence[BundleInfo] | None = None,
) -> list[Row]:
    """Trains all within the minutes, into bundles below `output`; goes on where an earlier call stopped.

    One that fails is said in its row and does not stop the others.

    Raises:
        CancelledError: `progress` returned False.
        CapacityError: the disk is full.
    """
    infos = {info.name: info for info in (catalogue() if bundles is None else bundles)}
    plan = _plan(output / "plan.json", runs_of(list(infos.values())), minutes, device)
    for number, entry in enumerate(plan["runs"]):
        if entry.get("done"):
            continue
        run = Run(entry["bundle"], entry["settings"], entry["share"])
        spent = sum(other.get("seconds", 0.0) for other in plan["runs"])
        left = sum(other["share"] for other in plan["runs"][number:])
        slot = max(10.0, (60 * plan["minutes"] - spent) * run.share / left)
        began = time.monotonic()
        logger.info("%s: %.1f minutes", run.name, slot / 60)
        used = _settings(infos[run.bundle], run, device)
        wish = Wish(infos[run.bundle], data, output / run.bundle, used, device=device, workers=workers)

        def tell(step: Step, name: str = run.name) -> bool | None:
            return None if progress is None else progress(replace(step, stage=name))

        try:
            row = _train(run, wish, entry, slot, tell, lambda: _keep(output / "plan.json", plan))
            _write_recipe(wish, [other for other in plan["runs"] if other["bundle"] == run.bundle])
        except ClarivoxError as error:
            if error.code in ("cancelled", "disk_full"):
                raise
            row = Row(run.name, error=f"[{error.code}] {error}")
        entry |= {"done": True, "seconds": entry.get("seconds", 0.0) + time.monotonic() - began, "row": asdict(row)}
        _keep(output / "plan.json", plan)
    return [Row(**entry["row"]) for entry in plan["runs"]]


def make_ready(data: Path, output: Path, bundles: Sequence[BundleInfo]) -> None:
    """Builds each training once, so that what recipes keep (simulated scans, say) is there before a GPU is."""
    infos = {info.name: info for info in bundles}
    for run in runs_of(bundles):
        began = time.monotonic()
        wish = Wish(infos[run.bundle], data, output / run.bundle, run.settings)
        try:
            _trainer(wish)
        except ClarivoxError as error:
            logger.warning("%s: [%s] %s", run.name, error.code, error)
        logger.info("%s is ready, %.0f s", run.name, time.monotonic() - began)


def _plan(path: Path, runs: Sequence[Run], minutes: float, device: str) -> dict[str, Any]:
    """The plan as it was begun, or a new one."""
    if path.is_file():
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        logger.info("going on with the plan of %s minutes on %s", plan["minutes"], plan["device"])
        return plan
    plan = {"minutes": minutes, "device": device, "runs": [asdict(run) for run in runs]}
    _keep(path, plan)
    return plan


def _keep(path: Path, plan: dict[str, Any]) -> None:
    with atomic.file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def _settings(info: BundleInfo, run: Run, device: str) -> dict[str, Any]:
    """A run's settings on a device, with weights to begin with found in the new bundle."""
    settings = dict(run.settings)
    if device.startswith("cuda"):
        content = yaml.safe_load((info.folder / "configs" / "train.yaml").read_text(encoding="utf-8"))
        larger = {"batch_size": LARGER * content["batch_size"]} if isinstance(content.get("batch_size"), int) else {}
        settings = larger | {"amp": True} | content.get("gpu", {}) | settings
    return settings


def _trainer(wish: Wish) -> Trainer:
    if not (wish.output / "configs").is_dir():
        copied(wish.bundle, wish.output)
    settings = dict(wish.settings)
    begin = settings.get("init_from")
    if begin is not None and (wish.output / str(begin)).is_file():
        settings["init_from"] = str(wish.output / str(begin))
    return trainer_of(wish, wish.data, settings)


def _train(run: Run, wish: Wish, entry: dict[str, Any], slot_s: float, tell: Progress, keep: Callable[[], None]) -> Row:
    began = time.monotonic()
    trainer = _trainer(wish)
    if "steps" not in entry:
        before = _score_of_shipped(trainer, wish.bundle)
        pace = trainer.pace()
        steps = steps_within(slot_s - (time.monotonic() - began), pace, trainer.every)
        entry |= {"steps": steps, "step_s": pace.step_s, "before": before}
        keep()
    trainer.last_step(entry["steps"])
    trainer.progress = tell
    trainer.run()
    about_training(wish.output, wish.bundle, trainer, {}, own=False)
    checked(wish.output)
    return Row(run.name, trainer.step, entry["step_s"], trainer.log.seconds, entry["before"], trainer.best)


def _write_recipe(wish: Wish, entries: Sequence[dict[str, Any]]) -> None:
    """Says in the new bundle's recipe what its weights were trained with."""
    recipe = wish.output / "configs" / "train.yaml"
    if len(entries) == 1:
        set_values(
            recipe, {k: v for k, v in wish.settings.items() if k != "init_from"} | {"steps": entries[0]["steps"]}
        )
    else:
        same = {k: v for k, v in wish.settings.items() if k not in entries[0]["settings"]}
        set_values(recipe, same)
        set_runs(recipe, [{**entry["settings"], "steps": entry["steps"]} for entry in entries if "steps" in entry])
    manifest.seal(wish.output)


def _score_of_shipped(trainer: Trainer, info: BundleInfo) -> float | None:
    """What the weights that are shipped reach on the validation part."""
    path = info.folder / trainer.weights
    if not path.is_file():
        return None
    before = copy.deepcopy(trainer.state())
    try:
        fill(trainer.network, read_weights(path), path.name)
    except BundleError:
        return None
    trainer.network.eval()
    score = trainer.score(trainer.network)
    trainer.network.train()
    trainer.restore(before)
    return score


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of a machine without clarivox's other dependencies."""
    parser = argparse.ArgumentParser(prog="python -m clarivox.train_all", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder that the bundles' splits are below")
    parser.add_argument("--output", type=Path, default=Path("weights"), help="where the new bundles go")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=None, help="processes that make batches")
    parser.add_argument("--bundles", type=Path, default=None, help="folder of the bundles; the shipped ones by default")
    parser.add_argument("--prepare", action="store_true", help="only make ready what needs no GPU")
    parser.add_argument(
        "--stop-after", type=float, metavar="MINUTES", help="stop with a checkpoint; the same call goes on"
    )
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    workers = workers_for(asked.device) if asked.workers is None else asked.workers
    if asked.prepare:
        make_ready(asked.data, asked.output, _below(asked.bundles))
        return 0
    ends = math.inf if asked.stop_after is None else time.monotonic() + 60 * asked.stop_after
    try:
        rows = train_all(
            *(asked.data, asked.output, asked.minutes, asked.device, workers),
            progress=lambda step: time.monotonic() < ends,
            bundles=_below(asked.bundles),
        )
    except CancelledError as error:
        sys.stdout.write(f"{error}\n")
        return 130
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")
    return 1 if any(row.error for row in rows) else 0


def _below(folder: Path | None) -> list[BundleInfo]:
    """The bundles of a folder, or of the tree beside the package where nothing was installed."""
    tree = folder or Path(__file__).parents[1] / "bundles"
    found = [path.parents[1] for path in sorted(tree.glob("*/configs/metadata.json"))]
    return [describe(path) for path in found] or catalogue()


if __name__ == "__main__":
    raise SystemExit(main())
