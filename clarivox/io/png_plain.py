# SPDX-License-Identifier: Apache-2.0
"""PNG pictures where pillow is not installed: a machine that only trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from clarivox.errors import FormatError
from clarivox.io.limits import Limits
from clarivox.io.samples import range_of
from clarivox.io.series import SeriesInfo
from clarivox.io.sniff import Kind, kind_of
from clarivox.png import decoded
from clarivox.volume import Channels, Volume

NO_SPACING = np.diag([-1.0, -1.0, 1.0, 1.0])
"""As `clarivox.io.image` says; that module cannot be imported here."""


def describe(path: Path, limits: Limits) -> SeriesInfo:
    """What is there; the picture is read whole, as its header is not looked at alone."""
    volume = load(path, limits, lambda share: None)
    return SeriesInfo(
        path.name, "image", kind="PNG", shape=volume.shape, channels=str(volume.channels), dtype=volume.array.dtype.name
    )


def load(path: Path, limits: Limits, tell: Callable[[float], None]) -> Volume:
    """Read one PNG picture.

    Raises:
        FormatError: it is no PNG, or of a kind that only pillow reads (code codec_missing).
        DecodeError: it is damaged.
        LimitError: it has too many pixels.
    """
    if kind_of(path) is not Kind.PNG:
        raise FormatError("pillow is not installed, without which only PNG is read", code="codec_missing")
    content = path.read_bytes()
    pixels = decoded(content)
    limits.check_voxels(pixels.size)
    tell(1.0)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    array = np.ascontiguousarray(planes)[:, None].transpose(0, 3, 2, 1)
    return Volume(
        array,
        NO_SPACING,
        channels=Channels.GREY if pixels.ndim == 2 else Channels.RGB,
        stored_range=range_of(pixels.dtype),
    )
