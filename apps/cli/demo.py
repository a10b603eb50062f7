# SPDX-License-Identifier: Apache-2.0
"""`clarivox demo`: the whole path once, on a phantom with known truth."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clarivox.cli.compare import show
from clarivox.cli.sample import Form, What, phantom, save
from clarivox.cli.screen import say, watched
from clarivox.errors import OutputError

if TYPE_CHECKING:
    from clarivox.volume import Volume

WANTED = "mr_unet_denoise"
SEED, SIZE, SLICES = 7, 256, 12
"""Of the phantom; the picture of the README shows the same one."""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")] = Path("demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier demo made.")] = False,
) -> None:
    """Make a phantom MR study as DICOM, enhance it, check the derived series, and write a page of what changed."""
    from clarivox import evidence, io
    from clarivox.bundle import catalogue
    from clarivox.compare import compare
    from clarivox.enhance import enhance

    started = time.perf_counter()
    pair = phantom(What.MR, seed=SEED, size=SIZE, slices=SLICES)
    for volume, name in zip(pair, ("image", "truth"), strict=True):
        save(volume, What.MR, output, name, Form.DICOM, seed=SEED, overwrite=overwrite)
    source = io.read(output / "image")
    bundle = WANTED if WANTED in [info.name for info in catalogue()] else "identity"
    with watched(bundle) as progress:
        result = enhance(source, bundle, progress=progress)
        io.write(result, output / "enhanced", overwrite=overwrite, progress=progress)
    derived, truth = io.read(output / "enhanced"), io.read(output / "truth")
    checks = check(source, result, derived, output / "enhanced")
    derived = derived.replace(provenance=result.provenance)
    found = compare(source, derived, truth)
    page = evidence.write_page(output / "page.html", source, derived, truth, comparison=found, overwrite=overwrite)
    show(found)
    for note in result.provenance.notes if result.provenance else ():
        say(f"note: {note}")
    for line in checks:
        say(f"checked: {line}")
    say()
    for name, path in (
        ("study", output / "image"),
        ("known truth", output / "truth"),
        ("enhanced", output / "enhanced"),
        ("page", page),
    ):
        say(f"{name:12} {path.resolve()}")
    say(f"{bundle} on a simulated MR study of {source.shape[3]} slices, {time.perf_counter() - started:.1f} s in all")


def check(source: Volume, result: Volume, derived: Volume, folder: Path) -> list[str]:
    """Read the derived series back and hold it against what was computed.

    Raises:
        OutputError: the written series is not what was computed.
    """
    from clarivox.io import scan

    same = {
        "voxels": derived.array.shape == result.array.shape and bool((derived.array == result.array).all()),
        "geometry": bool(abs(derived.affine - result.affine).max() < 1e-6),
        "rescale": bool((derived.slope == result.slope).all() and (derived.intercept == result.intercept).all()),
        "modality": derived.modality == source.modality,
        "series UID": scan(folder)[0].series_uid not in ("", getattr(source.source, "series_uid", "")),
    }
    wrong = [name for name, fine in same.items() if not fine]
    if wrong:
        raise OutputError(f"the derived series differs from the result in: {', '.join(wrong)}", code="not_as_written")
    return [f"the derived series reads back with the same {', '.join(same)} (a new UID)", _validated(folder)]


def _validated(folder: Path) -> str:
    """What dciodvfy says about the instances."""
    program = shutil.which("dciodvfy")
    if program is None:
        return "dciodvfy is not installed, so the derived series was not validated by it (apt-get install dicom3tools)"
    files = sorted(folder.iterdir())
    words = [
        line
        for path in files
        for line in subprocess.run([program, path], capture_output=True, text=True, check=False).stderr.splitlines()
    ]
    found = [line for line in words if line.startswith(("Error", "Warning"))]
    return f"dciodvfy: {len(found)} errors or warnings in {len(files)} files" + "".join(f"\n  {w}" for w in set(found))
