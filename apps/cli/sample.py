# SPDX-License-Identifier: Apache-2.0
"""`clarivox sample`: a phantom study with known truth beside it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.screen import say

if TYPE_CHECKING:
    from clarivox.phantoms import Pair
    from clarivox.volume import Volume


HAND_DRIFT = 0.1
"""Of the ultrasound probe, see `clarivox.phantoms.us`."""


class What(StrEnum):
    """Which phantom."""

    CT = "ct"
    MR = "mr"
    US = "us"
    CXR = "cxr"


class Form(StrEnum):
    """In which format."""

    DICOM = "dicom"
    NIFTI = "nifti"
    PNG = "png"


def sample(
    what: Annotated[What, typer.Argument(help="Which phantom.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    seed: Annotated[int, typer.Option(help="Another seed gives other noise.", min=0)] = 0,
    size: Annotated[int | None, typer.Option(help="Columns and rows; by default 256, or 512 for cxr.")] = None,
    slices: Annotated[int | None, typer.Option(help="Slices, or frames of the ultrasound clip.", min=1)] = None,
    form: Annotated[Form, typer.Option("--format", help="What to write.")] = Form.DICOM,
    shrink: Annotated[int, typer.Option(help="cxr: how much coarser the image is than its truth, 1 to 4.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a simulated study into OUTPUT/image and its known truth into OUTPUT/truth."""
    pair = phantom(what, seed=seed, size=size, slices=slices, shrink=shrink)
    for volume, name in zip(pair, ("image", "truth"), strict=True):
        files = save(volume, what, output, name, form, seed=seed, overwrite=overwrite)
        sides = " x ".join(str(side) for side in volume.shape[1:])
        say(f"{name}: {sides}, {len(files)} {'file' if len(files) == 1 else 'files'}, {files[0].parent}")


def phantom(what: What, *, seed: int, size: int | None, slices: int | None, shrink: int = 2) -> Pair:
    """The phantom asked for; `slices` counts frames of a clip and is not used for a radiograph.

    Raises:
        OptionError: a size is out of range.
    """
    from clarivox import phantoms

    if what is What.CXR:
        return phantoms.cxr(size=size or 512, seed=seed, shrink=shrink)
    if what is What.CT:
        return phantoms.ct(size=size or 256, slices=slices or 8, seed=seed, padding=True)
    if what is What.US:
        return phantoms.us(size=size or 256, slices=slices or 12, seed=seed, drift=HAND_DRIFT)
    return phantoms.mr(size=size or 256, slices=slices or 8, seed=seed)


def save(
    volume: Volume, what: What, folder: Path, name: str, form: Form, *, seed: int, overwrite: bool
) -> tuple[Path, ...]:
    """Write one phantom into `folder`/`name`.

    Raises:
        OutputError: something is there and may not be replaced, or the format cannot hold the phantom.
    """
    from clarivox import io

    if form is not Form.DICOM:
        target = folder / name / (f"{what}.nii.gz" if form is Form.NIFTI else what.value)
        if form is Form.PNG and volume.shape[3] == 1:
            target = target.with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        return io.write(volume, target, as_=form.value, overwrite=overwrite).files
    from clarivox.io.dicom_new import new_series, save_series

    kind = {What.CXR: "dx", What.US: "us-clip"}.get(what, what.value)
    truth = name == "truth"
    instances = new_series(
        volume,
        kind,
        patient=f"PHANTOM^{what.value.upper()}",
        patient_id=f"PHANTOM-{what.value.upper()}",
        seed=seed,
        description="digital phantom, known truth" if truth else "digital phantom, simulated noise",
        series_number=2 if truth else 1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(save_series(instances, folder / name, overwrite))
