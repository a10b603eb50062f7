# SPDX-License-Identifier: Apache-2.0
"""`clarivox evaluate`: how good a bundle is on any images, beside others, with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.cli.bundles import complete_bundle
from clarivox.cli.enhance import parsed as options_of
from clarivox.cli.screen import say, say_json, table, watched
from clarivox.errors import CancelledError, OptionError
from clarivox.progress import Meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clarivox.bundle import Bundle
    from clarivox.cases import FolderCases
    from clarivox.degradations import Degradation
    from clarivox.diagnosis import TaskReader
    from clarivox.disc import DiscFigures
    from clarivox.evaluation import Case, Outcome
    from clarivox.evaluation_page import Report
    from clarivox.reading import Gathered
    from clarivox.scores import Failure


class Protocol(StrEnum):
    """How papers measure."""

    DNCNN_GRAY = "dncnn-gray"
    SR_Y = "sr-y"


def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle's name or folder.", autocompletion=complete_bundle)],
    data: Annotated[Path, typer.Argument(help="Images: a file, a folder at any depth, or a zip.")],
    degrade: Annotated[
        str | None,
        typer.Option(metavar="NAME:NUMBERS", help="Make each image worse first: rician:0.05, dose:0.25, shrink:2, …"),
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of the truths, by file name.")] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="NAME,…", help="Other bundles beside it; may be repeated.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the bundle; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the page, the tables and the error maps.")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(help="CSV with columns file and patient, where names do not tell.")
    ] = None,
    window: Annotated[str, typer.Option(metavar="CENTRE/WIDTH", help="Of CT: the values that count, HU.")] = "40/400",
    disc: Annotated[bool, typer.Option(help="With --degrade: also measure on a disc of known value.")] = True,
    pictures: Annotated[int, typer.Option(min=0, help="How many cases are drawn.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the degradation.")] = 0,
    task: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="CSV with columns file and label: also see how well a classifier reads."),
    ] = None,
    init_from: Annotated[Path | None, typer.Option(help="With --task: weights of another such classifier.")] = None,
    reader: Annotated[
        bool, typer.Option("--reader", help="Also write a blinded page for readers, and its key.")
    ] = False,
    protocol: Annotated[Protocol | None, typer.Option(help="Measure as papers do, on pictures.")] = None,
    sigma: Annotated[float, typer.Option(help="Of dncnn-gray: noise of 255.")] = 25.0,
    scale: Annotated[int, typer.Option(help="Of sr-y.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_uneven: Annotated[bool, typer.Option("--allow-uneven", help="Take unevenly spaced series.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run on a modality that a bundle is not for.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure BUNDLE on every image of DATA: quality, spread, 95 % interval, time, memory; what fails is named."""
    names = [bundle, *(name.strip() for text in against or () for name in text.split(",") if name.strip())]
    values = options_of(options or [])
    if protocol is not None:
        by_protocol(names, values, data, protocol, sigma, scale, device, as_json=as_json)
        return
    from clarivox.cases import FolderCases, patients_of
    from clarivox.degradations import parsed

    if degrade is not None and reference is not None:
        raise OptionError("an image made worse has itself as its truth; give --degrade or --reference, not both")
    if reader and output is None:
        raise OptionError("the page for readers and its key need a folder; name it with -o")
    chosen = None if degrade is None else parsed(degrade)
    gathered = gatherers(task, init_from, reader=reader)
    loaded = loaded_for(names, values, chosen)
    known = {} if patients is None else patients_of(patients)
    cases = FolderCases(data, chosen, reference, known, seed, window_of(window), allow_uneven)
    how = {"device": device, "allow_uneven": allow_uneven, "force": force}
    report = run(loaded, cases, pictures, gathered, disc=disc, **how)
    show(report, output, overwrite=overwrite, as_json=as_json)


@dataclass(frozen=True)
class Gatherers:
    """What keeps small pictures of the cases as they come."""

    task: TaskReader | None
    init_from: Path | None
    pairs: Gathered | None

    def __call__(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Keep one case."""
        if self.task is not None:
            self.task.collect(case, outcomes)
        if self.pairs is not None:
            self.pairs(case, outcomes)


def gatherers(task: Path | None, init_from: Path | None, *, reader: bool) -> Gatherers:
    """What --task and --reader need.

    Raises:
        OptionError: `init_from` without a task.
        FormatError: the table is not one of two labels.
    """
    from clarivox.reading import Gathered

    pairs = Gathered() if reader else None
    if task is None:
        if init_from is not None:
            raise OptionError("--init-from names weights of the classifier of --task; give both")
        return Gatherers(None, None, pairs)
    from clarivox.diagnosis import TaskReader, labels_of

    return Gatherers(TaskReader(labels_of(task)), init_from, pairs)


def loaded_for(names: list[str], values: dict[str, Any], degradation: Degradation | None) -> list[Bundle]:
    """The bundles, with a scale that undoes the degradation's where they have one.

    Raises:
        OptionError: a bundle keeps the grid and the degradation does not, or the other way round; or one is named
            twice.
    """
    from clarivox.bundle import find, load

    loaded = []
    for place, name in enumerate(names):
        info = find(name)
        chosen = dict(values) if place == 0 else {}
        if degradation is not None and (info.grid == "scaled") != (degradation.scale > 1):
            word = "refines the grid; degrade with shrink:2" if info.grid == "scaled" else "keeps the grid"
            raise OptionError(f"bundle {info.name} {word}; found the degradation {degradation.label}")
        if degradation is not None and degradation.scale > 1 and "scale" in info.options.get("properties", {}):
            chosen.setdefault("scale", degradation.scale)
        loaded.append(load(info.folder, **chosen))
    found = [one.info.name for one in loaded]
    if len(set(found)) < len(found):
        raise OptionError(f"each bundle is compared once; found {', '.join(found)}")
    return loaded


def window_of(text: str) -> tuple[float, float]:
    """Lowest and highest value of a window.

    Raises:
        OptionError: the words are not two numbers.

    >>> window_of("50/400")
    (-150.0, 250.0)
    """
    try:
        centre, width = (float(part) for part in text.split("/"))
    except ValueError:
        raise OptionError(f"a window is CENTRE/WIDTH in HU; found {text!r}; write for example 50/400") from None
    if width <= 0:
        raise OptionError(f"a window's width is above 0; found {text!r}")
    return centre - width / 2, centre + width / 2


def counted(count: int, word: str) -> str:
    """A number and its noun.

    >>> counted(1, "case"), counted(2, "case")
    ('1 case', '2 cases')
    """
    return f"{count} {word}{'' if count == 1 else 's'}"


def run(
    loaded: list[Bundle], cases: FolderCases, pictures: int, gathered: Gatherers, *, disc: bool, **how: Any
) -> Report:
    """Evaluate, with a live bar.

    Raises:
        ClarivoxError: no case could be evaluated, and why the first could not.
    """
    from clarivox.disc import disc_figures
    from clarivox.evaluation import scored
    from clarivox.evaluation_page import Pictures, Report

    drawn = Pictures(pictures)

    def seen(case: Case, outcomes: Sequence[Outcome]) -> None:
        drawn(case, outcomes)
        gathered(case, outcomes)

    name, degradation = loaded[0].info.name, cases.degradation
    with watched(name) as progress:
        scores = scored(cases, loaded, progress=progress, total=len(cases), seen=seen, **how)
        found: list[DiscFigures] = []
        failed: list[Failure] = []
        if disc and degradation is not None and drawn.like is not None and not scores.stopped:
            found, failed = disc_figures(drawn.like, degradation, loaded, progress=progress, **how)
        diagnosis, classifier = None, None
        if gathered.task is not None and not scores.stopped:
            diagnosis = gathered.task.read(init_from=gathered.init_from, progress=progress)
            classifier = gathered.task.classifier(init_from=gathered.init_from)
    about = (
        f"{counted(len(scores.cases), 'case')} of {counted(scores.patients, 'patient')} in {cases.data.name}",
        f"simulated: {degradation.label}, seed {cases.seed}" if degradation else "",
        f"truths in {cases.reference.name}" if cases.reference else "",
        "" if degradation or cases.reference else "no truth: figures of the images themselves",
        *(" ".join([one.info.name, one.info.version, *(f"{k}={v}" for k, v in one.options.items())]) for one in loaded),
    )
    notes = [f"the disc by {one.method} [{one.code}]: {one.message}" for one in failed]
    if degradation is not None and degradation.scale > 1:
        notes.append("the input stands enlarged by bicubic interpolation")
    notes += ["stopped on request; the cases that were finished are here"] if scores.stopped else []
    if scores.patients == len(scores.cases) > 1:
        notes.append("each case counts as a patient of its own, as far as names tell; see --patients")
    if gathered.task is not None and gathered.task.unlabelled:
        notes.append(f"{counted(len(gathered.task.unlabelled), 'case')} without a label, {gathered.task.unlabelled[0]}")
    pairs = [] if gathered.pairs is None else gathered.pairs.pairs
    title, lines = f"Evaluation of {name}", tuple(filter(None, about))
    task = (diagnosis, classifier)
    return Report(title, lines, scores, found, drawn.shown, tuple(notes), *task, pairs, cases.seed)


def show(report: Report, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    """Print the tables and write the folder; the exit code says whether cases were left out.

    Raises:
        CancelledError: it was stopped.
        ClarivoxError: no case could be evaluated.
    """
    from clarivox.errors import InputError
    from clarivox.evaluation_page import INTERVAL_WORDS, LEAD_WORDS, TASK, disc_table, failure_words
    from clarivox.reading import KEY, PAGE

    scores = report.scores
    if not scores.cases and scores.failures and not scores.stopped:
        first = scores.failures[0]
        raise InputError(
            f"none of {len(scores.failures)} could be evaluated; {first.case}: {first.message}", code=first.code
        )
    written = report.write(output, overwrite) if output is not None and scores.cases else []
    if as_json:
        say_json(report.as_dict())
    else:
        table(report.title, *scores.table())
        say(INTERVAL_WORDS)
        columns, rows = scores.leads()
        if rows:
            table(f"{scores.methods[0]} against each", columns, rows)
            say(LEAD_WORDS)
        if report.disc:
            table("A disc of known value", *disc_table(report.disc))
        if report.diagnosis is not None:
            for columns, rows in report.diagnosis.tables():
                table(TASK if columns[1] == "AUC" else "", columns, rows)
            say(report.diagnosis.words())
        table("", ["figure", "how it was taken"], [[name, way] for name, way in scores.ways().items()])
        for line in (*report.about, *report.notes, *failure_words(scores.failures)):
            say(line)
    if written:
        say(f"page: {output / 'index.html'}" if output else "")
        if report.pairs and output:
            say(f"for readers: {output / PAGE}; its key, not for readers: {output / KEY}")
    if scores.stopped:
        raise CancelledError("stopped on request; what was finished is kept")
    if scores.failures:
        raise typer.Exit(1)


def by_protocol(
    names: list[str],
    values: dict[str, Any],
    data: Path,
    protocol: Protocol,
    sigma: float,
    scale: int,
    device: str,
    *,
    as_json: bool,
) -> None:
    """Measure as papers do, with their figures beside; `values` are options of the first bundle.

    Raises:
        OptionError: a bundle is not for what the protocol measures, or the scale is given as its option.
    """
    from clarivox.bundle import find, load
    from clarivox.cases import pictures_for
    from clarivox.devices import chosen as chosen_device
    from clarivox.evaluation_page import failure_words
    from clarivox.protocols import DncnnGray, of_bundle, run
    from clarivox.superres_protocol import SuperresLuma

    if "scale" in values:
        raise OptionError("the scale belongs to the protocol; give it as --scale")
    chosen = DncnnGray(sigma) if protocol is Protocol.DNCNN_GRAY else SuperresLuma(scale)
    methods = {}
    for place, name in enumerate(names):
        info = find(name)
        if (info.grid == "scaled") != (protocol is Protocol.SR_Y):
            raise OptionError(f"protocol {protocol} is not for bundle {info.name}, whose task is {info.task}")
        given = dict(values) if place == 0 else {}
        if "scale" in info.options.get("properties", {}):
            given["scale"] = scale
        methods[info.name] = of_bundle(load(info.folder, **given), str(chosen_device(device)))
    if isinstance(chosen, SuperresLuma):
        methods["bicubic interpolation"] = chosen.bicubic
    truths, failures = pictures_for(chosen, data)
    rows = []
    with watched(str(protocol)) as progress:
        meter = Meter("measure", len(methods) * len(truths), progress)
        for method, restore in methods.items():
            for picture in truths:
                rows += [(method, row) for row in run(chosen, [picture], restore)]
                meter.advance()
    means = {name: sum(row.result_db for method, row in rows if method == name) / len(truths) for name in methods}
    if as_json:
        every = [{"method": method, **asdict(row)} for method, row in rows]
        content = {"protocol": chosen.about, "means_db": means, "pictures": every, "failures": failures}
        say_json(content | {"published": [asdict(one) for one in chosen.published]})
        return
    each = [[row.name, method, f"{row.given_db:.2f}", f"{row.result_db:.2f}"] for method, row in rows]
    table("", ["picture", "method", "given, dB", "result, dB"], each)
    title = f"{protocol}, mean of {len(truths)} pictures"
    table(title, ["method", "PSNR, dB"], [[name, f"{value:.2f}"] for name, value in means.items()])
    quoted = [
        [one.method, ", ".join(f"{place} {value:.2f}" for place, value in one.figures.items()), one.source]
        for one in chosen.published
    ]
    if quoted:
        table("Published, on other pictures than these", ["method", "PSNR, dB", "source"], quoted)
    for line in (chosen.about, *failure_words(failures)):
        say(line)
