# SPDX-License-Identifier: Apache-2.0
"""Volumes as pictures in a notebook. No name and no identifier of the patient is shown; the pictures may hold some."""

from __future__ import annotations

import html as escaping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clarivox import pictures
from clarivox.compare import CT_WINDOW, shown_window, spread
from clarivox.matching import matched, picture
from clarivox.orientation import view
from clarivox.volume import Axis, Unit, Volume

SIDE = 260
"""Longest side of a picture, in pixels of the screen."""


def html(volume: Volume, slices: int = 3) -> str:
    """Some slices of a volume, and what is known about it: what a notebook shows.

    Args:
        volume: any volume.
        slices: how many, evenly spaced.

    >>> from clarivox.phantoms import mr
    >>> "64 × 64 × 2" in html(mr(size=64, slices=2).degraded)
    True
    """
    chosen = spread(volume.shape[3], slices)
    window = _window(volume)
    shown = [_figure(_grey(picture(volume, z), window, volume), volume, f"{_word(volume)} {z + 1}") for z in chosen]
    return f"<div>{_row(shown)}{_facts(volume)}{_notes(volume)}</div>"


@dataclass(frozen=True)
class Beside:
    """Two volumes of one place side by side with what differs, for a notebook.

    Attributes:
        before, after: `before` is brought to the grid of `after` for the pictures.
        reference: the truth, where it is known.
        z: the slice of `after`, or None for the middle one.

    >>> from clarivox.phantoms import mr
    >>> noisy, truth = mr(size=64, slices=2)
    >>> Beside(noisy, truth)._repr_html_().count("<img")
    3
    """

    before: Volume
    after: Volume
    reference: Volume | None = None
    z: int | None = None

    def _repr_html_(self) -> str:
        z = self.after.shape[3] // 2 if self.z is None else self.z
        window = _window(self.after)
        old, new = matched(self.before, self.after, z), picture(self.after, z)
        limit = pictures.difference_limit([new - old])
        truth = [] if self.reference is None else [("Truth", matched(self.reference, self.after, z))]
        shown = [
            _figure(_grey(values, window, self.after), self.after, name)
            for name, values in [("Before", old), ("After", new), *truth]
        ]
        change = _figure(pictures.difference(new - old, limit), self.after, f"Difference, ±{limit:.3g}")
        return f"<div>{_row([*shown[:2], change, *shown[2:]])}{_facts(self.after)}{_notes(self.after)}</div>"


def _window(volume: Volume) -> tuple[float, float]:
    if volume.unit is Unit.HU:
        return CT_WINDOW
    return shown_window(picture(volume, volume.shape[3] // 2))


def _grey(values: NDArray[np.float32], window: tuple[float, float], volume: Volume) -> NDArray[np.uint8]:
    return pictures.grey(values, window, inverted=volume.inverted)


def _figure(levels: NDArray[np.uint8], volume: Volume, caption: str) -> str:
    lies = view(volume)
    aspect = volume.spacing_mm[1] / volume.spacing_mm[0]
    drawn = pictures.on_screen(lies.turned(levels), 1 / aspect if lies.swapped else aspect, SIDE)
    words = escaping.escape(caption)
    return (
        f'<figure style="margin:0"><img src="{pictures.data_uri(drawn)}" alt="{words}" style="background:#000">'
        f'<figcaption style="font-size:12px;opacity:.75">{words}</figcaption></figure>'
    )


def _row(figures: list[str]) -> str:
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>'


def _word(volume: Volume) -> str:
    return "frame" if volume.third_axis is Axis.TIME else "slice"


def _facts(volume: Volume) -> str:
    _, x, y, z = volume.shape
    size = f"{x} × {y} × {z}"
    sides = " × ".join(f"{mm:.3g}" for mm in volume.spacing_mm[: 2 if volume.third_axis is Axis.TIME else 3])
    words = [volume.modality, size, f"{sides} mm", str(volume.array.dtype)]
    made = volume.provenance
    if made is not None:
        words += [
            f"{made.bundle} {made.version}",
            f"strength {made.strength:g}",
            f"{made.seconds:.2f} s, {made.device}",
        ]
    return f'<p style="margin:4px 0">{escaping.escape(" · ".join(word for word in words if word))}</p>'


def _notes(volume: Volume) -> str:
    notes = [*volume.notes, *(volume.provenance.notes if volume.provenance else ())]
    lines = "".join(f"<li>{escaping.escape(note)}</li>" for note in notes)
    return f'<ul style="margin:4px 0;font-size:12px">{lines}</ul>' if lines else ""
