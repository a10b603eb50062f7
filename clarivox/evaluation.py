# SPDX-License-Identifier: Apache-2.0
"""A bundle against known truth: real images are made worse, enhanced, and compared with what they were.

Cases come from a bundle's own split, from phantoms, or from any folder; every figure is taken by
`clarivox.compare.compare`, as `clarivox compare` takes it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clarivox.bundle import Bundle, assemble
from clarivox.compare import CT_WINDOW, Comparison, Ruler, compare
from clarivox.degradations import Degradation, Degrade, degraded, parsed
from clarivox.enhance import enhance
from clarivox.errors import CancelledError, ClarivoxError
from clarivox.memory import Peak
from clarivox.patches import cropped
from clarivox.phantoms.us import us
from clarivox.progress import Progress, Step
from clarivox.scores import Failure, Row, Scores, rows_of
from clarivox.splits import volumes
from clarivox.transforms.bicubic import BicubicResize
from clarivox.volume import Volume

logger = logging.getLogger(__name__)

MOST_SLICES = 256
"""Figures of a case are taken over so many slices, so that three volumes of them fit into memory."""


@dataclass(frozen=True)
class Case:
    """One volume made worse, and what it was."""

    about: dict[str, Any]
    """What the row says first."""
    worse: Volume
    truth: Volume | None
    width: float | None
    """The range of the PSNR, in the volume's unit; None takes the 99th percentile of the truth."""
    patient: str = ""
    """Cases of one patient are not independent; "" counts the case as a patient of its own."""
    window: tuple[float, float] = CT_WINDOW
    """Of CT: the values that count, in HU."""

    @property
    def name(self) -> str:
        """What a reader can find the case by."""
        return " ".join(map(str, self.about.values()))

    @property
    def ruler(self) -> Ruler:
        """What its figures are taken with."""
        return Ruler(self.window, self.width, MOST_SLICES)


class SplitCases:
    """The volumes of one part of a split, each made worse in each way.

    Args:
        dataset_dir, split, part: which volumes.
        degradations: name: what makes a volume worse; or names as `clarivox.degradations.parsed` knows them.
        width: the range of the PSNR, and what the degradations see as 1; None takes each volume's 99th percentile.
        multiple: volumes are cropped to multiples of this along X and Y.
        window: of CT, see `Case`.
    """

    def __init__(
        self,
        dataset_dir: str,
        split: str,
        degradations: Mapping[str, Degrade] | Sequence[str],
        part: str = "test",
        width: float | None = None,
        multiple: int = 1,
        window: Sequence[float] = CT_WINDOW,
    ) -> None:
        self.data = (dataset_dir, split, part)
        self.degradations: dict[str, Degrade | Degradation] = (
            dict(degradations) if isinstance(degradations, Mapping) else {text: parsed(text) for text in degradations}
        )
        self.width, self.multiple, self.window = width, multiple, (window[0], window[1])

    def __iter__(self) -> Iterator[Case]:
        """Reads one volume after another."""
        for example, volume in volumes(*self.data):
            truth = cropped(volume, self.multiple)
            width = self.width or float(np.percentile(truth.values(), 99))
            for name, degrade in self.degradations.items():
                about = {"subject": example.subject, "name": example.name, "degradation": name}
                if isinstance(degrade, Degradation):
                    worse = degrade(truth, example.name)
                else:
                    worse = degraded(truth, degrade, width)
                yield Case(about, worse, truth, width, example.subject, self.window)


class SpeckleCases:
    """Ultrasound phantoms with speckle, and without.

    Args:
        frames: lengths of the clips.
        seeds: one phantom each.
    """

    def __init__(self, frames: Sequence[int] = (1, 12), seeds: Sequence[int] = (1, 2, 3)) -> None:
        self.frames, self.seeds = frames, seeds

    def __iter__(self) -> Iterator[Case]:
        """Makes one phantom after another."""
        for seed in self.seeds:
            for frames in self.frames:
                worse, truth = us(slices=frames, seed=seed)
                yield Case({"phantom": seed, "frames": frames}, worse, truth, 255.0, str(seed))


@dataclass(frozen=True)
class Outcome:
    """One case as a bundle left it."""

    method: str
    after: Volume
    comparison: Comparison
    seconds: float
    peak_bytes: int | None


def outcome(case: Case, bundle: Bundle, *, baseline: Degrade | None = None, **how: Any) -> Outcome:
    """Enhance one case and compare it with its truth, or with what it was.

    Args:
        case: what is enhanced.
        bundle: by what.
        baseline: gives from the worse values, the range being 1, what counts as "before"; None takes them as they
            are, enlarged by bicubic interpolation where the result lies on a finer grid.
        how: see `clarivox.enhance.enhance`.

    Raises:
        ClarivoxError: as `clarivox.enhance.enhance` and `clarivox.compare.compare`.
    """
    with Peak(str(how.get("device", "auto"))) as peak:
        after = enhance(case.worse, bundle, **how)
    before = case.worse
    if baseline is not None:
        before = degraded(case.worse, baseline, case.width or 1.0)
    elif before.shape[1:3] != after.shape[1:3]:
        before = enlarged(before, after)
    # A picture file does not say that it is an ultrasound; the bundle does, and looks are counted then.
    told = after.modality or (bundle.info.modalities[0] if len(bundle.info.modalities) == 1 else "")
    found = compare(before, after.replace(modality=told), case.truth, ruler=case.ruler)
    made = after.provenance
    return Outcome(bundle.info.name, after, found, made.seconds if made else 0.0, peak.bytes)


def enlarged(volume: Volume, like: Volume) -> Volume:
    """A volume on the finer grid of another, by bicubic interpolation."""
    factors = [new / old for new, old in zip(like.shape[1:], volume.shape[1:], strict=True)]
    return degraded(volume, BicubicResize(factors), 1.0).replace(affine=like.affine)


def scored(
    cases: Iterable[Case | Failure],
    bundles: Sequence[Bundle],
    *,
    progress: Progress | None = None,
    total: int | None = None,
    seen: Any = None,
    baseline: Degrade | None = None,
    **how: Any,
) -> Scores:
    """Figures of every case by every bundle; what fails is kept by name, and the rest goes on.

    Args:
        cases: what is enhanced, and what could not be read.
        bundles: the first is the one in question.
        progress: called after each case and within it; returning False stops, and what is done is kept.
        total: how many cases there are, for the progress.
        seen: called with each case and its outcomes, to draw them.
        baseline: see `outcome`.
        how: see `clarivox.enhance.enhance`.
    """
    rows: list[Row] = []
    failures: list[Failure] = []
    stopped = False
    for number, case in enumerate(cases):
        if isinstance(case, Failure):
            failures.append(case)
            continue
        outcomes = []
        for place, bundle in enumerate(bundles):
            inner = _share(progress, number + place / len(bundles), len(bundles), total)
            try:
                found = outcome(case, bundle, baseline=baseline, progress=inner, **how)
            except CancelledError:
                stopped = True
                break
            except ClarivoxError as error:
                failures.append(Failure(case.name, error.code, str(error), bundle.info.name))
                continue
            outcomes.append(found)
        if stopped:
            break
        rows += rows_of(case.name, case.patient or case.name, outcomes)
        if seen is not None and outcomes:
            seen(case, outcomes)
    return Scores(tuple(rows), tuple(failures), tuple(bundle.info.name for bundle in bundles), stopped)


def _share(progress: Progress | None, done: float, parts: int, total: int | None) -> Progress | None:
    """A progress function for one bundle's part of one case."""
    if progress is None:
        return None

    def tell(step: Step) -> bool | None:
        fraction = (done + step.fraction / parts) / (total or done + 1)
        return progress(Step(f"case {int(done) + 1}{f' of {total}' if total else ''}", min(1.0, fraction)))

    return tell


class Evaluation:
    """What `python -m monai.bundle run` runs with evaluate.yaml: the figures of each case before and after.

    Args:
        bundle_root, network, preprocessing, inferer, options, weights: as in `clarivox.evaluator.Evaluator`.
        cases: what is enhanced.
        baseline: gives from the worse values, shape (1, X, Y, Z), the range being 1, what is compared as "before";
            None compares them as they are.
        output_dir: where results.json goes.
    """

    def __init__(
        self,
        bundle_root: str,
        network: Any,
        preprocessing: Any,
        inferer: Any,
        cases: Iterable[Case],
        output_dir: str,
        baseline: Degrade | None = None,
        options: Mapping[str, Any] | None = None,
        weights: str | None = None,
    ) -> None:
        parts = {"network_def": network, "preprocessing": preprocessing, "inferer": inferer, "weights": weights}
        self.bundle = assemble(Path(bundle_root).resolve(), parts, dict(options or {}))
        self.cases, self.baseline, self.output_dir = cases, baseline, Path(output_dir)

    def run(self) -> list[dict[str, Any]]:
        """Evaluates, logs one line a case, writes results.json and returns its rows."""
        rows = []
        for case in self.cases:
            found = outcome(case, self.bundle, baseline=self.baseline).comparison
            figures = {figure.name: figure for figure in found.figures}
            row = case.about | {"before_db": figures["PSNR"].before, "after_db": figures["PSNR"].after}
            row |= {"range": found.data_range, "figures": found.as_dict()["figures"]}
            told = f"{case.name}: {row['before_db']:.2f} to {row['after_db']:.2f} dB"
            logger.info("%s", told)
            rows.append(row)
        for key in ("before_db", "after_db"):
            logger.info("mean %s of %d: %.2f", key, len(rows), np.mean([row[key] for row in rows]))
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        return rows
