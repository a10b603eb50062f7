# SPDX-License-Identifier: Apache-2.0
"""Curves as inline SVG: they are sharp at any size and need no script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 44


@dataclass(frozen=True)
class Curve:
    """A line to draw."""

    name: str
    """Its class in the page's style: before, after or truth."""
    y: NDArray[np.float64]
    filled: bool = False


def chart(x: NDArray[np.float64], curves: Sequence[Curve], *, x_label: str, y_label: str, root: bool = False) -> str:
    """An SVG element with the curves over x.

    Args:
        x: where the curves have their values, rising.
        curves: each as long as x.
        x_label, y_label: with units.
        root: draw the square root of y, so that rare values of a histogram can be seen.

    >>> svg = chart(np.arange(3.0), [Curve("before", np.ones(3))], x_label="mm", y_label="HU")
    >>> svg.startswith("<svg"), 'class="curve before"' in svg
    (True, True)
    """
    heights = [np.sqrt(curve.y) if root else curve.y for curve in curves]
    bottom = 0.0 if root else min(float(h.min()) for h in heights)
    top = max(float(h.max()) for h in heights)
    if top <= bottom:
        top = bottom + 1
    across = LEFT + (x - x[0]) / (x[-1] - x[0]) * (WIDTH - LEFT - RIGHT)
    parts = [_axes(float(x[0]), float(x[-1]), bottom, top, root), _labels(x_label, y_label)]
    for curve, height in zip(curves, heights, strict=True):
        up = HEIGHT - BOTTOM - (height - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(across, up, strict=True))
        if curve.filled:
            base = HEIGHT - BOTTOM
            area = f"{across[0]:.1f},{base} {line} {across[-1]:.1f},{base}"
            parts.append(f'<polygon class="area {curve.name}" points="{area}"/>')
        parts.append(f'<polyline class="curve {curve.name}" points="{line}"/>')
    described = html.escape(f"{', '.join(c.name for c in curves)}: {y_label} over {x_label}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{described}">{"".join(parts)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two limits.

    >>> ticks(0, 10), ticks(-163, 241)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [-100.0, 0.0, 100.0, 200.0])
    """
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(n * step) + 0.0 for n in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def _axes(left: float, right: float, bottom: float, top: float, root: bool) -> str:
    parts = []
    for value in ticks(left, right, 6):
        px = LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        parts.append(f'<line class="grid" x1="{px:.1f}" y1="{TOP}" x2="{px:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{px:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{value:g}</text>'
        )
    for value in [] if root else ticks(bottom, top, 4):
        py = HEIGHT - BOTTOM - (value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{py:.1f}" x2="{WIDTH - RIGHT}" y2="{py:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>')
    return "".join(parts)


def _labels(x_label: str, y_label: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f'{html.escape(x_label)}</text><text class="label" x="12" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle})">{html.escape(y_label)}</text>'
    )
