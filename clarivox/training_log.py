# SPDX-License-Identifier: Apache-2.0
"""What a training leaves to look at: a table in the bundle, pictures, and TensorBoard's curves where wanted."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.io import atomic
from clarivox.png import encoded
from clarivox.transforms.bicubic import bicubic

SIDE = 192
"""Pixels of a picture's middle that are shown along each side."""


class Row(NamedTuple):
    """One line of the log."""

    step: int
    loss: float
    """Mean since the line before."""
    score: float
    """Of the averaged weights, on the validation part; larger is better."""
    learning_rate: float
    seconds: float
    """Of training so far, over all runs."""


class Shown(NamedTuple):
    """A validation picture; each of shape (C, *spatial), `degraded` perhaps on a coarser grid."""

    degraded: Tensor
    output: Tensor
    truth: Tensor


class TrainingLog:
    """Keeps the rows of a training and writes them where they can be looked at.

    Args:
        table: the CSV file; None writes none.
        pictures: folder of the validation pictures; None writes none.
        tensorboard: folder of TensorBoard's events; None writes none.

    Raises:
        OptionError: TensorBoard is wanted and not installed (code no_tensorboard).
    """

    def __init__(self, table: Path | None, pictures: Path | None, tensorboard: str | Path | None) -> None:
        self.rows: list[Row] = []
        self.table, self.pictures = table, pictures
        self.events = None if tensorboard is None else _events(Path(tensorboard))

    def resume(self, rows: Sequence[Sequence[float]]) -> None:
        """Goes on after these rows; later ones of a run that was killed are forgotten."""
        self.rows = [Row(int(row[0]), *row[1:]) for row in rows]

    @property
    def seconds(self) -> float:
        """Trained so far, by the last row."""
        return self.rows[-1].seconds if self.rows else 0.0

    def add(self, row: Row, shown: Sequence[Shown]) -> None:
        """One more row, with its pictures.

        Raises:
            CapacityError: the disk is full.
        """
        self.rows.append(row)
        if self.table is not None:
            with atomic.file(self.table, overwrite=True, durable=False) as temporary:
                temporary.write_text(_csv(self.rows), encoding="utf-8")
        strips = [strip(one) for one in shown]
        if self.pictures is not None and strips:
            with atomic.file(self.pictures / f"step_{row.step:06d}.png", overwrite=True, durable=False) as temporary:
                temporary.write_bytes(encoded(stacked(strips)))
        if self.events is not None:
            for name in ("loss", "score", "learning_rate"):
                self.events.add_scalar(name, getattr(row, name), row.step)
            for number, picture in enumerate(strips):
                self.events.add_image(f"degraded, output, truth {number}", picture[None], row.step)
            self.events.flush()

    def close(self) -> None:
        """Ends TensorBoard's file."""
        if self.events is not None:
            self.events.close()


def read_log(table: Path) -> list[Row]:
    """The rows of a log that was written."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [Row(int(row[0]), *(float(cell) for cell in row[1:])) for row in rows[1:]]


def strip(shown: Shown, side: int = SIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Degraded, output and truth beside each other, in the window of the truth, shape (Y, 3 X).

    Of a volume the middle slice is shown, of several channels the first, of a large picture its middle.

    >>> truth = torch.arange(16.0).reshape(1, 4, 4)
    >>> strip(Shown(truth[:, ::2, ::2], truth, truth)).shape
    (4, 12)
    """
    truth = shown.truth
    parts = [bicubic(part.float().cpu(), truth.shape[1:])[0] for part in shown]
    if truth.ndim == 4:
        parts = [part[..., part.shape[-1] // 2] for part in parts]
    starts = [max(0, (n - side) // 2) for n in parts[0].shape]
    parts = [part[starts[0] : starts[0] + side, starts[1] : starts[1] + side] for part in parts]
    low, high = (float(x) for x in np.percentile(parts[2].numpy(), (1, 99)))
    joined = torch.cat(parts).T.sub(low).div(max(high - low, 1e-6)).clamp(0, 1)
    levels: np.ndarray[Any, np.dtype[np.uint8]] = joined.mul(255).round().to(torch.uint8).numpy()
    return levels


def stacked(
    strips: Sequence[np.ndarray[Any, np.dtype[np.uint8]]],
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pictures below each other, black where one is narrower."""
    whole = np.zeros((sum(one.shape[0] for one in strips), max(one.shape[1] for one in strips)), np.uint8)
    row = 0
    for one in strips:
        whole[row : row + one.shape[0], : one.shape[1]] = one
        row += one.shape[0]
    return whole


def _csv(rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow(
            [row.step, f"{row.loss:.6g}", f"{row.score:.6g}", f"{row.learning_rate:.4g}", f"{row.seconds:.1f}"]
        )
    return stream.getvalue()


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as cause:
        raise OptionError(
            "TensorBoard is not installed; pip install 'clarivox[train]', or train without it", code="no_tensorboard"
        ) from cause
    return SummaryWriter(str(folder))
