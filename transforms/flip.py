# SPDX-License-Identifier: Apache-2.0
"""Mirror images along some axes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from clarivox.transforms.twins import DictionaryTwin, RandomTwin


class Flip:
    """Mirrors an image of shape (C, X, Y) or (C, X, Y, Z).

    Args:
        axes: spatial axes from 0.

    >>> import torch
    >>> Flip([0])(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
    [[[3.0, 4.0], [1.0, 2.0]]]
    """

    def __init__(self, axes: Sequence[int] = (0,)) -> None:
        self.axes = tuple(axes)

    def __call__(self, image: Tensor) -> Tensor:
        """The mirror image, float32."""
        return image.float().flip([axis + 1 for axis in self.axes])


class Flipd(DictionaryTwin):
    """Dictionary twin of `Flip`."""

    of = Flip


class RandFlip(RandomTwin):
    """Draws for each axis whether to mirror along it, then calls `Flip`.

    Args:
        chance: of each axis.
        axes: that may be drawn.
        prob: chance that anything is done at all.
    """

    def __init__(self, chance: float = 0.5, axes: Sequence[int] = (0, 1), prob: float = 1.0) -> None:
        super().__init__(prob)
        self.chance, self.axes = chance, tuple(axes)

    def draw(self) -> Flip:
        """The next mirror."""
        return Flip([axis for axis in self.axes if self.R.uniform() < self.chance])
