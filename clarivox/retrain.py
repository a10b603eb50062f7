# SPDX-License-Identifier: Apache-2.0
"""A bundle trained anew, on data of one's own, into a new bundle: what `clarivox train` does.

Beside the new bundle OUT lies the folder OUT.training with the checkpoint, validation pictures, the prepared data and
the plan; it is needed to go on, and may be deleted at the end.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clarivox import manifest, prepared
from clarivox.bundle import BundleInfo, describe, load
from clarivox.enhance import enhance
from clarivox.errors import BundleError, ClarivoxError, FormatError, OptionError, OutputError
from clarivox.new_bundle import about_training, copied, set_values
from clarivox.progress import Progress
from clarivox.splits import by_patient
from clarivox.training import Pace, Trainer
from clarivox.volume import Volume

logger = logging.getLogger(__name__)

RESERVE = 0.94
"""Of a time limit, what steps and scores may take; the rest is for saving, and for a machine that slows down."""


@dataclass(frozen=True)
class Wish:
    """What is to be trained, and how; None leaves what the bundle's train.yaml says."""

    bundle: BundleInfo
    data: Path
    output: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Values for names at the top level of train.yaml: steps, learning_rate, batch_size, scale, …"""
    minutes: float | None = None
    device: str = "cpu"
    init_from: str | None = None
    """A file of weights, or "own" for the bundle's."""
    resume: bool = False
    overwrite: bool = False
    force: bool = False
    patients: Path | None = None
    """A table of files and patients."""
    skip_unreadable: bool = False
    tensorboard: bool = False
    patience: int | None = None
    workers: int | None = None
    seed: int = 0
    """Of the split."""

    @property
    def work(self) -> Path:
        """The folder beside the new bundle."""
        return self.output.with_name(self.output.name + ".training")

    @property
    def in_place(self) -> bool:
        """Whether the bundle's own weights are to be replaced; its card is its author's to change then."""
        return self.output.resolve() == self.bundle.folder.resolve()


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    folder: Path
    steps: int
    best: float
    seconds: float
    split: dict[str, int]
    """Patients in each part."""
    step_s: float | None = None


def train(wish: Wish, progress: Progress | None = None) -> Trained:
    """Trains a bundle into a new bundle, and checks that it is one.

    Raises:
        OptionError: the bundle does not train, or a setting is none of its.
        OutputError: there is something at the output already.
        InputError: the data cannot be used; the code says why, before the first step.
        TrainingError: the training stopped; what was good is kept.
        CancelledError: `progress` returned False; `resume` goes on.
    """
    recipe = wish.bundle.folder / "configs" / "train.yaml"
    if not recipe.is_file():
        raise OptionError(f"bundle {wish.bundle.name} has nothing to train", code="not_trainable")
    check_output(wish)
    data, split = data_of(wish, progress)
    if not (wish.output / "configs").is_dir():
        copied(wish.bundle, wish.output)
    if split is not None:
        (wish.output / "configs" / "split.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    settings = settings_of(wish)
    trainer = trainer_of(wish, data, settings)
    plan = planned(wish, trainer, settings)
    trainer.last_step(plan["steps"])
    trainer.progress = progress
    set_values(wish.output / "configs" / "train.yaml", settings | {"steps": plan["steps"]})
    manifest.seal(wish.output)
    trainer.run()
    parts = json.loads((wish.output / "configs" / "split.json").read_text()) if has_split(wish.output) else {}
    counts = {part: len(subjects) for part, subjects in parts.items()}
    if not wish.in_place:
        about_training(wish.output, wish.bundle, trainer, counts, own=split is not None)
    checked(wish.output)
    return Trained(wish.output, trainer.step, trainer.best, trainer.log.seconds, counts, plan.get("step_s"))


def check_output(wish: Wish) -> None:
    """Refuse an output that would be lost, before anything is read.

    Raises:
        OutputError: it exists (code output_exists), or it holds the bundle that is trained.
    """
    own = wish.in_place
    if own and not wish.overwrite:
        raise OutputError(
            f"{wish.output.name} is the bundle itself; choose another --output, or --overwrite its weights",
            code="output_exists",
        )
    there = wish.output.exists() and any(wish.output.iterdir())
    if there and not (wish.resume or wish.overwrite):
        raise OutputError(
            f"{wish.output.name} exists already; --resume goes on with it, --overwrite begins anew",
            code="output_exists",
        )
    if wish.overwrite and not wish.resume:
        if there and not own:
            describe(wish.output)  # what is no bundle is never deleted
            shutil.rmtree(wish.output)
        for path in wish.work.iterdir() if wish.work.is_dir() else ():
            if not wish.data.resolve().is_relative_to(path.resolve()):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def has_split(folder: Path) -> bool:
    """Whether a bundle names its patients."""
    return (folder / "configs" / "split.json").is_file()


def data_of(wish: Wish, progress: Progress | None) -> tuple[Path, dict[str, dict[str, list[str]]] | None]:
    """The folder to train from, and a new split; None where the bundle's own holds there.

    Raises:
        InputError: nothing there can be used, some files cannot be read (code unreadable_files), or there are too few
            patients.
    """
    if not wish.data.is_dir() and not wish.data.is_file():
        raise FormatError(f"there is no {wish.data.name!r}; name a folder of images", code="not_found")
    if is_its_own(wish.bundle.folder, wish.data):
        return wish.data, None
    folder = wish.data
    if not prepared.is_prepared(folder):
        folder = wish.work / "data"
        modalities = () if wish.force else wish.bundle.modalities
        outcome = prepared.preprocess(wish.data, folder, modalities, None, progress, wish.patients)
        if outcome.unreadable and not wish.skip_unreadable:
            first = "; ".join(f"{name} [{code}]" for name, code, _ in outcome.unreadable[:3])
            raise FormatError(
                f"{len(outcome.unreadable)} of the images cannot be read: {first}; mend or remove them, or leave them "
                "out with --skip-unreadable",
                code="unreadable_files",
            )
        for kind, number in outcome.other_modality.items():
            logger.warning("left out: %d of modality %s", number, kind)
    there = wish.output / "configs" / "split.json"
    if wish.resume and there.is_file():
        return folder, None
    return folder, by_patient(prepared.files_by_subject(folder), wish.seed)


def is_its_own(bundle: Path, data: Path) -> bool:
    """Whether every file of the bundle's own split is there."""
    if not has_split(bundle):
        return False
    parts = json.loads((bundle / "configs" / "split.json").read_text(encoding="utf-8"))
    names = [name for part in parts.values() for files in part.values() for name in files]
    return bool(names) and all((data / name).exists() for name in names)


def settings_of(wish: Wish) -> dict[str, Any]:
    """The values for the top level of train.yaml.

    Raises:
        OptionError: a name does not stand there, or holds more than one value (code unknown_setting).
    """
    content = yaml.safe_load((wish.bundle.folder / "configs" / "train.yaml").read_text(encoding="utf-8"))
    settings = dict(wish.settings)
    if wish.init_from is not None:
        settings["init_from"] = begin_with(wish, content | settings)
    plain = {k for k, v in content.items() if not isinstance(v, dict | list) and not str(v).startswith("$")}
    plain -= {"bundle_root", "dataset_dir", "output_dir", "device"}
    unknown = sorted(settings.keys() - plain)
    if unknown:
        raise OptionError(
            f"the training of {wish.bundle.name} has no setting {unknown[0]}; it has {', '.join(sorted(plain))}",
            code="unknown_setting",
        )
    return settings


def begin_with(wish: Wish, content: Mapping[str, Any]) -> str:
    """The file of weights to begin with."""
    if wish.init_from != "own":
        return str(Path(str(wish.init_from)).resolve())
    inference = yaml.safe_load((wish.bundle.folder / "configs" / "inference.yaml").read_text(encoding="utf-8"))
    weights = str(inference.get("weights") or "models/model.pt")
    return str((wish.bundle.folder / weights.format(**content)).resolve())


def trainer_of(wish: Wish, data: Path, settings: Mapping[str, Any]) -> Trainer:
    """The trainer of a bundle's train.yaml.

    Raises:
        BundleError: it has none, or it cannot be built (code bad_recipe).
        InputError: the data cannot be used.
    """
    from monai.bundle import ConfigParser

    content = yaml.safe_load((wish.bundle.folder / "configs" / "train.yaml").read_text(encoding="utf-8"))
    places = {"bundle_root": str(wish.output), "dataset_dir": str(data), "output_dir": str(wish.work)}
    content |= {**places, "device": wish.device, **settings}
    more: dict[str, Any] = {"patience": wish.patience, "workers": wish.workers}
    more["tensorboard"] = str(wish.work / "tensorboard") if wish.tensorboard else None
    content["trainer"] |= {key: value for key, value in more.items() if value is not None}
    parser = ConfigParser(content)
    try:
        for key in ("imports", "initialize"):
            if key in content:
                parser.get_parsed_content(key)
        trainer = parser.get_parsed_content("trainer")
    except (RuntimeError, ValueError, KeyError) as error:
        raise named(error, wish.bundle.name) from error
    if not isinstance(trainer, Trainer):
        raise BundleError(f"the train.yaml of {wish.bundle.name} has no clarivox.training.Trainer")
    return trainer


def named(error: BaseException, bundle: str) -> ClarivoxError:
    """The error of ours that MONAI's parser wrapped, or one that says that the recipe cannot be built."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClarivoxError):
        cause = cause.__cause__
    if cause is not None:
        return cause
    while error.__cause__ is not None:
        error = error.__cause__
    return BundleError(f"the recipe of {bundle} cannot be built: {type(error).__name__}: {error}", code="bad_recipe")


def planned(wish: Wish, trainer: Trainer, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How many steps: as the plan of an earlier run says, as many as fit the minutes, or as train.yaml says."""
    path = wish.work / "plan.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    plan: dict[str, Any] = {"bundle": wish.bundle.name, "device": wish.device, "settings": dict(settings)}
    plan["steps"] = trainer.steps
    if wish.minutes is not None:
        pace = trainer.pace()
        plan |= {"minutes": wish.minutes, "step_s": pace.step_s, "score_s": pace.score_s}
        plan["steps"] = steps_within(60 * wish.minutes, pace, trainer.every)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    return plan


def steps_within(seconds: float, pace: Pace, every: int) -> int:
    """Steps that fit a time, with a score after each `every` and at the end.

    >>> steps_within(100, Pace(step_s=0.1, score_s=1.0), every=10)
    465
    """
    return max(1, int((RESERVE * seconds - pace.score_s) / (pace.step_s + pace.score_s / every)))


def checked(folder: Path) -> None:
    """Refuse a bundle that does not hold together: digests, configuration, weights, and a trial image.

    Raises:
        BundleError: it does not load, or gives what is no image (code bad_weights).
    """
    manifest.seal(folder)
    bundle = load(folder)
    if bundle.info.tiling != "exact" or bundle.info.clip:
        return  # a pass of these may take minutes
    ramp = np.add.outer(np.arange(40), np.arange(33))[None, :, :, None] + np.zeros(
        3 if bundle.info.spatial_dims == 3 else 1
    )
    trial = Volume(np.asfortranarray(ramp.astype(np.int16)), np.eye(4), stored_range=(0, 255))
    result = enhance(trial, bundle, device="cpu")
    wanted = tuple(n * s for n, s in zip(trial.shape[1:], bundle.scale, strict=True))
    if result.shape[1:] != wanted or not all(bool(p.isfinite().all()) for p in bundle.network.parameters()):
        raise BundleError(f"the new bundle {folder.name} gives no image of the promised size", code="bad_weights")


def workers_for(device: str) -> int:
    """Processes that make batches for a GPU; 0 for a CPU, whose cores train."""
    return min(12, max(1, (os.cpu_count() or 2) - 2)) if device.startswith("cuda") else 0
