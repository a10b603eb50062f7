# SPDX-License-Identifier: Apache-2.0
"""Ultrasound speckle: the interference of scatterers within the pulse, before log compression."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.log_compression import LogCompress, LogExpand
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


def point_spread(width_px: float) -> Tensor:
    """A Gaussian pulse of this full width at half maximum, of unit energy, shape (odd length,).

    >>> pulse = point_spread(3.0)
    >>> len(pulse), round(float((pulse**2).sum()), 5)
    (9, 1.0)
    """
    sigma = width_px / (2 * math.sqrt(2 * math.log(2)))
    reach = math.ceil(3 * sigma)
    pulse = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return pulse / (pulse**2).sum().sqrt()


class Speckle:
    """Makes an ultrasound picture from a clean one: random scatterers, a pulse, the envelope, log compression.

    The clean grey values are levels on the decibel scale. Each pixel holds a complex Gaussian scatterer as strong as
    its level; the sum under the pulse interferes, and its absolute value is compressed over the same decibels. Where
    the clean picture is flat, the envelope is Rayleigh distributed (mean over standard deviation 1.91), its mean is the
    clean envelope, and it is correlated over the pulse. Nothing scatters where it is black.

    Args:
        seed: the same seed gives the same scatterers for the same shape.
        axial_px: length of the pulse along depth, which is Y; full width at half maximum.
        lateral_px: width of the beam along X.
        range_db: decibels between black and white.
        kept: correlation of the scatterers from one frame to the next, 0 to 1; frames lie along Z of a clip, or are the
            channels of a burst. 0 gives each its own.
        looks: pictures of independent scatterers whose envelopes are averaged, as scanners compound angles or
            frequencies; the speckle's contrast falls with its root.
        margin: black pixels lie beyond the frame's outline and stay black; else the pulse spreads into them.

    Raises:
        OptionError: a width or the range is not above 0, `kept` is not a share, or there is no look.

    Source:
        Wagner et al., Statistics of speckle in ultrasound B-scans, IEEE Trans Son Ultrason 30 (1983).

    >>> envelope = Speckle(seed=1).envelope(torch.full((1, 128, 128), 0.6))
    >>> 1.7 < float(envelope.mean() / envelope.std()) < 2.1
    True
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        axial_px: float = 2.5,
        lateral_px: float = 4.5,
        range_db: float = 55.0,
        kept: float = 0.0,
        looks: int = 1,
        margin: bool = False,
    ) -> None:
        if axial_px <= 0 or lateral_px <= 0:
            raise OptionError(f"the pulse's widths in pixels must be above 0; found {axial_px}, {lateral_px}")
        if not 0 <= kept <= 1:
            raise OptionError(f"what scatterers keep from frame to frame is a share, 0 to 1; found {kept}")
        if looks < 1:
            raise OptionError(f"speckle is seen in one look or more; found {looks}")
        self.seed, self.axial_px, self.lateral_px, self.range_db = seed, axial_px, lateral_px, range_db
        self.kept, self.looks, self.margin = kept, looks, margin
        self.expand, self.compress = LogExpand(range_db), LogCompress(range_db)

    def __call__(self, image: Tensor) -> Tensor:
        """Speckled grey values 0 to 1, float32; `image` has grey values 0 to 1, shape (C, X, Y) or (C, X, Y, Z)."""
        speckled = self.compress(self.envelope(image))
        return speckled * (image > 0) if self.margin else speckled

    def envelope(self, image: Tensor) -> Tensor:
        """The speckled envelope before compression, shape of `image`."""
        amplitude = self.expand(image)
        frames = amplitude[None] if image.ndim == 3 else amplitude.movedim(-1, 1)
        lateral, axial = point_spread(self.lateral_px).to(image.device), point_spread(self.axial_px).to(image.device)
        reach = (len(axial) // 2,) * 2 + (len(lateral) // 2,) * 2
        padded = F.pad(frames, reach, mode="replicate")
        generator = torch.Generator().manual_seed(self.seed)
        envelope = torch.zeros_like(frames)
        for _ in range(self.looks):
            field = (self._scatterers(padded.shape, generator).to(image.device) * padded).flatten(0, 2)[:, None]
            field = F.conv2d(F.conv2d(field, lateral[None, None, :, None]), axial[None, None, None])
            envelope += torch.hypot(*field.reshape(2, *frames.shape))
        envelope /= self.looks * math.sqrt(math.pi) / 2  # the mean of a Rayleigh envelope is 0.886 of its r.m.s.
        return envelope[0] if image.ndim == 3 else envelope.movedim(1, -1)

    def _scatterers(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Complex reflectivity of unit power, its two parts first: shape (2, channels, frames, X, Y)."""
        fresh = torch.randn(2, *shape, generator=generator) / math.sqrt(2)
        if self.kept:
            for frame in range(1, shape[1]):
                fresh[:, :, frame] *= math.sqrt(1 - self.kept**2)
                fresh[:, :, frame] += self.kept * fresh[:, :, frame - 1]
        return fresh


class Speckled(DictionaryTwin):
    """Dictionary twin of `Speckle`; every key gets the same scatterers."""

    of = Speckle


class RandSpeckle(RandomTwin):
    """Draws a pulse, a range and a seed, then calls `Speckle`.

    Args:
        axial_px: shortest and longest pulse, drawn evenly between.
        lateral_px: narrowest and widest beam.
        range_db: smallest and largest range.
        kept: least and most that scatterers keep from frame to frame.
        looks: fewest and most, drawn evenly.
        margins: chance that black lies beyond the frame's outline.
        prob: chance that anything is done at all.
    """

    def __init__(
        self,
        axial_px: tuple[float, float] = (1.5, 4.0),
        lateral_px: tuple[float, float] = (3.0, 6.0),
        range_db: tuple[float, float] = (40.0, 60.0),
        kept: tuple[float, float] = (0.0, 0.0),
        looks: tuple[int, int] = (1, 1),
        margins: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.axial_px, self.lateral_px, self.range_db, self.kept = axial_px, lateral_px, range_db, kept
        self.looks, self.margins = looks, margins

    def draw(self) -> Speckle:
        """The next scatterers."""
        axial, lateral, range_db, kept = map(self.evenly, (self.axial_px, self.lateral_px, self.range_db, self.kept))
        fewest, most = self.looks
        return Speckle(
            self.seed(),
            axial_px=axial,
            lateral_px=lateral,
            range_db=range_db,
            kept=kept,
            looks=fewest if fewest == most else int(self.R.randint(fewest, most + 1)),
            margin=self.margins > 0 and bool(self.R.random_sample() < self.margins),
        )
