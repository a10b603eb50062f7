# SPDX-License-Identifier: Apache-2.0
"""Images turned in the plane of their first two axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clarivox.transforms.twins import DictionaryTwin, RandomTwin
from clarivox.transforms.warp import places, sampled


class Turn:
    """Turns an image of shape (C, X, Y) or (C, X, Y, Z) about its centre, from X towards Y; the grid stays.

    Quarter turns of a square image only move pixels; other turns interpolate, which smooths noise: turn clean images.

    Args:
        degrees: of the turn.

    >>> Turn(90)(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).round().tolist()
    [[[2.0, 4.0], [1.0, 3.0]]]
    """

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __call__(self, image: Tensor) -> Tensor:
        """The turned image, float32."""
        quarters = round(self.degrees / 90)
        if self.degrees == 90 * quarters and (quarters % 2 == 0 or image.shape[1] == image.shape[2]):
            return image.float().rot90(quarters, (1, 2))
        at = places(tuple(image.shape[1:]), image.device)
        c, s = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        x, y = at[..., 0], at[..., 1]
        turned = torch.stack([c * x + s * y, c * y - s * x, *at[..., 2:].unbind(-1)], dim=-1)
        return sampled(image, turned)


class Turnd(DictionaryTwin):
    """Dictionary twin of `Turn`."""

    of = Turn


class RandTurn(RandomTwin):
    """Draws an angle, then calls `Turn`.

    Args:
        degrees: smallest and largest angle.
        quarters: draw a multiple of 90 degrees instead.
        prob: chance that anything is done at all.
    """

    def __init__(self, degrees: tuple[float, float] = (-15.0, 15.0), quarters: bool = False, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.degrees, self.quarters = degrees, quarters

    def draw(self) -> Turn:
        """The next turn."""
        return Turn(90.0 * int(self.R.randint(4)) if self.quarters else self.evenly(self.degrees))
