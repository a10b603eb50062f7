# SPDX-License-Identifier: Apache-2.0
"""Draw the README's picture, before, after and difference of the demo's phantom: `python -m tests.picture`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clarivox import pictures
from clarivox.bundle import catalogue
from clarivox.cli.demo import SEED, SIZE, SLICES, WANTED
from clarivox.cli.sample import What, phantom
from clarivox.compare import compare
from clarivox.enhance import enhance
from clarivox.matching import picture

TARGET = Path(__file__).parents[1] / "docs" / "picture.png"
SIDE, GAP, FOOT = 372, 10, 56
BACKGROUND, TEXT, DIM = (11, 14, 19), (232, 237, 245), (147, 161, 181)
LARGEST_BYTES = 300_000


def panel(levels: np.ndarray, title: str, line: str) -> Image.Image:
    """One picture with two lines of words below it."""
    made = Image.new("RGB", (SIDE, SIDE + FOOT), BACKGROUND)
    shown = Image.fromarray(levels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    made.paste(shown, (0, 0))
    draw = ImageDraw.Draw(made)
    draw.text((2, SIDE + 6), title, TEXT, ImageFont.load_default(19))
    draw.text((2, SIDE + 31), line, DIM, ImageFont.load_default(14))
    return made


def main() -> int:
    """Enhance the phantom, draw, and say where it lies."""
    noisy, truth = phantom(What.MR, seed=SEED, size=SIZE, slices=SLICES)
    name = WANTED if WANTED in [info.name for info in catalogue()] else "identity"
    result = enhance(noisy, name, device="cpu")
    found = compare(noisy, result, truth)
    psnr = next(figure for figure in found.figures if figure.name == "PSNR, foreground")
    before, after = picture(noisy, 6), picture(result, 6)
    limit = pictures.difference_limit([after - before])
    panels = [
        panel(
            pictures.grey(before, found.window),
            "before",
            f"simulated Rician noise of 9 %, PSNR of the head {psnr.before:.1f} dB",
        ),
        panel(pictures.grey(after, found.window), "after", f"{name}, PSNR of the head {psnr.after:.1f} dB"),
        panel(pictures.difference(after - before, limit), "difference", f"blue -{limit:.0f}, orange +{limit:.0f}"),
    ]
    sheet = Image.new("RGB", (3 * SIDE + 2 * GAP, SIDE + FOOT), BACKGROUND)
    for number, one in enumerate(panels):
        sheet.paste(one, (number * (SIDE + GAP), 0))
    sheet.quantize(128, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    size = TARGET.stat().st_size
    sys.stdout.write(f"{TARGET}: {size} bytes, {name}, {psnr.how}: {psnr.before:.2f} to {psnr.after:.2f} dB\n")
    return 0 if size < LARGEST_BYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
