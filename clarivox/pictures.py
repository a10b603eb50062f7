# SPDX-License-Identifier: Apache-2.0
"""Slices as pictures for a screen: 8-bit grey in a window, and differences in two colours."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

COLD = np.array([64, 160, 255], np.float32)
"""Where a difference is below 0."""
WARM = np.array([255, 150, 50], np.float32)
"""Where it is above."""


def grey(values: NDArray[np.float32], window: tuple[float, float], *, inverted: bool = False) -> NDArray[np.uint8]:
    """A slice in a window as grey levels, shape (Y, X), for a screen.

    Args:
        values: shape (X, Y).
        window: the values shown as black and white.
        inverted: larger values are darker.

    >>> grey(np.array([[0.0, 5.0, 20.0]], np.float32), (0, 10)).ravel().tolist()
    [0, 128, 255]
    """
    low, high = window
    share = np.clip((values.T - low) / (high - low), 0, 1)
    levels: NDArray[np.uint8] = np.rint(255 * (1 - share if inverted else share)).astype(np.uint8)
    return levels


def difference(change: NDArray[np.float32], limit: float) -> NDArray[np.uint8]:
    """A difference in two colours on black, shape (Y, X, 3): blue below 0, orange above, full at `limit`.

    >>> difference(np.array([[0.0, 4.0]], np.float32), 4.0)[:, 0].tolist()
    [[0, 0, 0], [255, 150, 50]]
    """
    share = np.clip(change.T / limit, -1, 1)[..., None]
    colour: NDArray[np.uint8] = np.rint(np.where(share < 0, -share * COLD, share * WARM)).astype(np.uint8)
    return colour


def difference_limit(changes: list[NDArray[np.float32]]) -> float:
    """The difference shown in full colour: 99.5 % of what changed is smaller; never 0."""
    sizes = np.concatenate([np.abs(change).ravel() for change in changes])
    sizes = sizes[sizes > 0]
    return float(np.percentile(sizes, 99.5)) if sizes.size else 1.0


def on_screen(levels: NDArray[np.uint8], aspect: float = 1.0, longest: int = 640) -> Image:
    """A picture with square pixels on the screen, no side longer than `longest`.

    Args:
        levels: grey (Y, X) or colour (Y, X, 3).
        aspect: height of a pixel over its width.
        longest: in pixels of the screen.
    """
    from PIL import Image

    made = Image.fromarray(levels)
    wide, high = made.width, made.height * aspect
    shrink = min(1.0, longest / max(wide, high))
    size = (max(1, round(wide * shrink)), max(1, round(high * shrink)))
    return made if size == made.size else made.resize(size, Image.Resampling.LANCZOS)


def data_uri(picture: Image) -> str:
    """A picture as a PNG within a page."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
