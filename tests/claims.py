# SPDX-License-Identifier: Apache-2.0
"""Write docs/claims.md: `python -m tests.claims docs/long > docs/claims.md`.

Each figure comes from docs/long/claims.json, which `python -m tests.benchmarks claims --json docs/long` makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
HEAD = """# The field's claims, measured

Published work on 3D diffusion for CT and MR denoising is sold with a handful of figures. Each stands here beside what
was measured on clarivox's own diffusion bundle, or why it cannot be. The bundle is a small one, trained for minutes on
a CPU (see its card): a low figure here says nothing about theirs. What the table shows is how much a figure says when
its range, window and region are not given.

Printed by `make claims` from `docs/long/claims.json`, which `python -m tests.benchmarks.claims` makes
"""
SNR = ("SNR, HU", "SNR, HU + 1000")


def number(value: float) -> str:
    """Three digits, or a whole number.

    >>> number(0.12345), number(24.7), number(12345.6)
    ('0.123', '24.7', '12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown."""
    yield "| " + " | ".join(columns) + " |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def noise_ratio(methods: Sequence[Row]) -> Iterator[str]:
    """SNR 18.3 to 24.7 dB, or +35 %."""
    decibel = _row(methods, "18.3 to 24.7 dB")
    noisy = _row(methods, "noisy")
    yield "## SNR from 18.3 to 24.7 dB, or +35 %\n"
    yield (
        f"The two cannot both be the gain: 24.7 / 18.3 is {number(decibel['ratio of the two figures'])}, so the +35 % "
        f"is a ratio of decibels. A rise of 6.4 dB is {number(decibel['amplitude'])} times the amplitude ratio, or "
        f"{number(decibel['power'])} times the power ratio; +35 % of SNR is {number(decibel['dB of +35 %'])} dB. "
        "Measured: SNR (mean over standard deviation, median of 20 uniform squares of soft tissue), which depends on "
        "whether values count from water or from air, and its gain, which a blur has too. Sharpness: the gradient "
        "across edges, over the truth's.\n"
    )
    rows = []
    for row in methods:
        if SNR[0] not in row:
            continue
        gains = [f"{number(row[key])} ({row[key] / noisy[key] - 1:+.0%})" for key in SNR]
        rows.append([row["method"], *gains, number(row["ROI bias, HU"]), number(row["sharpness"])])
    yield from table(["method", "SNR, HU", "SNR, HU + 1000", "bias, HU", "sharpness"], rows)
    enough = [r["method"] for r in methods if r["method"].startswith("Gaussian") and r[SNR[0]] >= 1.35 * noisy[SNR[0]]]
    if enough:
        yield f"+35 % is reached by: {'; '.join(enough)}. The figure alone proves nothing.\n"


def errors(methods: Sequence[Row]) -> Iterator[str]:
    """SSIM 0.89, PSNR 35.1 dB, 43 dB and SSIM 0.99."""
    yield "## SSIM 0.89; PSNR 35.1 dB; 43 dB and SSIM 0.99 at 0.3 s\n"
    yield (
        "Without a range these mean nothing. The same results, at three ranges: values clipped to the window 50/400 "
        "(400 HU), and all values at ranges of 2000 and 4096 HU. PSNR in dB, SSIM Gaussian 11 x 11, slice by slice.\n"
    )
    keys = ["50/400", "range 2000", "range 4096"]
    rows = [
        [row["method"], *[f"{row[f'PSNR, {key}']:.1f} / {row[f'SSIM, {key}']:.3f}" for key in keys]]
        for row in methods
        if "PSNR, 50/400" in row
    ]
    yield from table(["method", *keys], rows)
    noisy = _row(methods, "noisy")
    yield (
        f"The noisy input itself has {noisy['PSNR, range 4096']:.1f} dB and SSIM {noisy['SSIM, range 4096']:.3f} at "
        f'4096 HU, and {noisy["PSNR, 50/400"]:.1f} dB and {noisy["SSIM, 50/400"]:.3f} in the window. "At 0.3 s" names '
        "neither size nor machine; times here are in the tables of the diffusion benchmark, for a million voxels.\n"
    )


def whole_volume(methods: Sequence[Row], machine: Row) -> Iterator[str]:
    """Under 2 s for 512^3."""
    row = _row(methods, "512^3")
    yield "## Under 2 s for 512^3\n"
    yield (
        f"512^3 takes {number(row['windows of 64^3'])} windows of 64^3 that overlap by a quarter. Fifty steps of the "
        f"field's network (64/128/256/512 channels, attention at three levels) are "
        f"{number(row['field, PFLOP, 50 steps'])} PFLOP: {number(row['field, s at 400 TFLOP/s'])} s at 400 TFLOP/s, "
        "arithmetic alone. Cannot be measured here: no GPU, and no weights of that size.\n\n"
        f"Measured, the shipped network: {number(row['ours, s a window and step'])} s for one window and step "
        f"({machine['cpu']}, {row['threads']} thread{'s' * (row['threads'] > 1)}, the machine shared). "
        "By that, not measured whole: "
        f"{number(row['ours, h, one step'])} h for one step and {number(row['ours, h, 50 steps'])} h for fifty.\n"
    )


def people(methods: Sequence[Row]) -> Iterator[str]:
    """92 % reader approval; thousands of clinical scans."""
    row = _row(methods, "subjects")
    yield "## 92 % reader approval\n"
    yield "Cannot be measured here: it takes radiologists, a protocol and consent. No reader has seen these results.\n"
    yield "## Thousands of clinical scans\n"
    parts = [f"{kind} {number(row[f'{kind} {part}'])} for {part}" for kind in ("mr", "ct") for part in PARTS]
    yield f"Cannot be had here. Subjects in the splits of the two bundles: {', '.join(parts)}.\n"


PARTS = ("train", "validation", "test")


def _row(rows: Sequence[Row], method: str) -> Row:
    return next(row for row in rows if row["method"] == method)


def page(folder: Path) -> str:
    """The whole page."""
    content = json.loads((folder / "claims.json").read_text())
    machine, rows = content["machine"], content["rows"]
    about = f"({machine['cores']} cores, {machine['cpu']}, {machine['date']}); its head says on what data.\n"
    lines = [HEAD + about, *noise_ratio(rows), *errors(rows), *whole_volume(rows, machine), *people(rows)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(Path(sys.argv[1])), end="")
