# SPDX-License-Identifier: Apache-2.0
"""`clarivox train` and `clarivox preprocess`: new weights from images of one's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.bundles import complete_bundle
from clarivox.cli.enhance import parsed
from clarivox.cli.screen import complain, plain, say, table, watched
from clarivox.errors import FormatError, OptionError

if TYPE_CHECKING:
    from clarivox.train_all import Row

_PATIENTS = typer.Option(
    "--patients", help="CSV with lines file,patient for images that are not DICOM; guessed from names without."
)
_DATA = typer.Option("--data", "-d", help="Folder of images: DICOM, NIfTI, NRRD, pictures; or what preprocess wrote.")


def train(
    bundle: Annotated[
        str | None,
        typer.Argument(help="Whose recipe: a bundle's name or folder.", autocompletion=complete_bundle),
    ] = None,
    data: Annotated[Path | None, _DATA] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The new bundle; BUNDLE_trained here by default.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all; the recipe's by default.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Measure the pace, and take as many steps as fit.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    init_from: Annotated[
        str | None, typer.Option(help="Weights to begin with: a file, or own for the bundle's (fine-tuning).")
    ] = None,
    amp: Annotated[bool | None, typer.Option("--amp/--no-amp", help="Compute in bfloat16; as the recipe says.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value at the top of the recipe, as scale=3; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --output.")] = False,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End after so many scores without a better one; never by default.")
    ] = None,
    patients: Annotated[Path | None, _PATIENTS] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves and pictures for it.")] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take images of a modality that the bundle is not for.")
    ] = False,
    every_one: Annotated[bool, typer.Option("--all", help="Train every bundle that can be, within --minutes.")] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that make batches; by device.")] = None,
    seed: Annotated[int, typer.Option(help="Deals the patients out otherwise.")] = 0,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="With --all: only make ready what needs no GPU, for a later run.")
    ] = False,
) -> None:
    """Train a bundle's network on your own images into a new bundle.

    Patients are dealt out 80/10/10 to train, select and test (configs/split.json); no name and no ID is kept. The new
    bundle is used like any other: clarivox enhance IN --bundle OUTPUT. Beside it, OUTPUT.training holds the checkpoint
    (--resume goes on from it, after a kill too), validation pictures and the prepared images.

    Example: clarivox train cxr_srcnn_superres --data xrays --output my_superres --minutes 8
    """
    from clarivox.devices import chosen
    from clarivox.retrain import workers_for

    if data is None:
        raise OptionError("name the folder of images: --data DIR")
    place = str(chosen(device))
    count = workers_for(place) if workers is None else workers
    _speak()
    if every_one:
        _train_all(data, output or Path("weights"), minutes or 25, place, count, prepare)
        return
    if bundle is None:
        raise OptionError("name a bundle, or --all; clarivox bundles lists them")
    values = parsed(settings or []) | {k: v for k, v in (("steps", steps), ("amp", amp)) if v is not None}
    _train_one(
        bundle,
        data,
        output,
        {
            "settings": values,
            "minutes": minutes,
            "device": place,
            "init_from": init_from,
            "resume": resume,
            "overwrite": overwrite,
            "force": force,
            "patients": patients,
            "skip_unreadable": skip_unreadable,
            "tensorboard": tensorboard,
            "patience": patience,
            "workers": count,
            "seed": seed,
        },
    )


class _Said(logging.Handler):
    """Lines of the log above the live bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints where the bar makes room at that moment, which a stream kept from before would not."""
        typer.echo(plain(self.format(record)), err=True)


def _speak() -> None:
    log = logging.getLogger("clarivox")
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _Said) for handler in log.handlers):
        log.addHandler(_Said())


def _train_one(bundle: str, data: Path, output: Path | None, more: dict[str, object]) -> None:
    from clarivox.bundle import find
    from clarivox.retrain import Wish
    from clarivox.retrain import train as trained

    info = find(bundle)
    wish = Wish(info, data, output or Path(f"{info.name}_trained"), **more)  # type: ignore[arg-type]
    with watched(info.name) as progress:
        result = trained(wish, progress)
    parts = ", ".join(f"{number} {part}" for part, number in result.split.items())
    say(f"{result.folder}: a bundle that loads; {result.steps} steps, best validation score {result.best:.4g}")
    say(f"patients: {parts}; {result.seconds / 60:.1f} minutes of training; pictures and checkpoint in {wish.work}")
    say(f"use it: clarivox enhance IN --bundle {result.folder} --output OUT")


def _train_all(data: Path, output: Path, minutes: float, device: str, workers: int, prepare: bool) -> None:
    from clarivox.bundle import catalogue
    from clarivox.train_all import HEADINGS, make_ready, train_all

    if prepare:
        make_ready(data, output, catalogue())
        return
    with watched("train") as progress:
        rows: list[Row] = train_all(data, output, minutes, device, workers, progress)
    table("", HEADINGS, [row.cells() for row in rows])
    if any(row.error for row in rows):
        raise typer.Exit(1)


def preprocess(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A folder at any depth, or a zip.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make, or to go on with.")],
    modality: Annotated[
        list[str] | None, typer.Option(help="DICOM modality to take, as CT; may be repeated; all by default.")
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="X Y Z", help="Voxel size in mm to bring volumes to; each keeps its own by default."),
    ] = None,
    patients: Annotated[Path | None, _PATIENTS] = None,
) -> None:
    """Make a large set ready for training: one plain .nii for each volume, without names, and an index.

    Run again to go on or to add scans. What cannot be read is named and written to OUT/unreadable.csv.

    Example: clarivox preprocess archive prepared --modality CT --spacing 1 1 1
    """
    from clarivox.prepared import preprocess as prepare

    if spacing is not None and min(spacing) <= 0:
        raise OptionError("--spacing takes three sizes above 0 mm")
    with watched("preprocess") as progress:
        outcome = prepare(source, output, tuple(modality or ()), spacing, progress, patients)
    people = {entry.subject for entry in outcome.entries}
    say(f"{output}: {len(outcome.entries)} volumes of {len(people)} patients; {outcome.already} were there already")
    for kind, number in outcome.other_modality.items():
        say(f"left out: {number} of modality {kind}")
    for name, code, message in outcome.unreadable:
        complain(FormatError(message, code=code), about=name)
    if outcome.unreadable:
        raise typer.Exit(1)
