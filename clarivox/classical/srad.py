# SPDX-License-Identifier: Apache-2.0
"""Speckle reducing anisotropic diffusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.transforms.log_compression import LogCompress, LogExpand

FLOOR = 1e-4
"""Least envelope, as a share of white (80 dB down): coefficients of variation divide by it."""


class Srad(nn.Module):
    """Diffusion that is held back where a picture varies by more than speckle does.

    Each step compares the coefficient of variation of a pixel's four neighbours with that of the speckle. Where both
    are alike the pixel flows towards its neighbours; at an edge it stays. The speckle's own is taken anew in each step
    from the whole picture (`speckle_variation`), so that nobody has to mark a calm region. The conductivity between two
    pixels is the mean of theirs: a mirrored picture gives the mirrored result, and the envelope's sum is kept. Larger
    black areas, where nothing is shown, stay black and let nothing in or out; black specks are filled.

    Args:
        iterations: steps; more removes more, up to where speckle and edges are told apart no longer.
        level: multiplies the speckle's coefficient of variation; larger removes more. Speckle is wider than a pixel, so
            neighbours differ by less than speckle does.
        range_db: the picture is log compressed over so many decibels: it is filtered as the envelope, on which speckle
            multiplies. 0 takes the grey values for the envelope.
        step: length of a step, above 0 and at most 0.25, beyond which the scheme is not stable.

    Attributes:
        halo, stride: the whole picture decides how strong its speckle is.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Yu and Acton, Speckle reducing anisotropic diffusion, IEEE TIP 11 (2002).

    >>> Srad(iterations=2)(torch.full((1, 1, 6, 7), 0.5)).unique()
    tensor([0.5000])
    """

    halo: int | None = None
    stride = 1

    def __init__(self, iterations: int = 40, level: float = 1.5, range_db: float = 55.0, step: float = 0.2) -> None:
        super().__init__()
        if iterations < 0 or level < 0 or range_db < 0 or not 0 < step <= 0.25:
            raise OptionError(
                "iterations, level and range_db must be 0 or more, step above 0 and at most 0.25; "
                f"found {iterations}, {level}, {range_db}, {step}"
            )
        self.iterations, self.level, self.range_db, self.step = iterations, level, range_db, step

    def forward(self, x: Tensor) -> Tensor:
        """Filters pictures.

        Args:
            x: grey values 0 to 1, shape (N, 1, X, Y); what lies outside is clipped.

        Returns:
            The same shape.
        """
        grey = x.clamp(0, 1)
        shown = closed(grey > 0)
        envelope = LogExpand(self.range_db)(grey) if self.range_db else grey
        envelope = envelope.clamp_min(FLOOR)
        for _ in range(self.iterations):
            envelope = envelope + self.step * self._flow(envelope, shown)
        grey = LogCompress(self.range_db)(envelope) if self.range_db else envelope
        return grey * shown

    def _flow(self, envelope: Tensor, shown: Tensor) -> Tensor:
        """What flows into each pixel in a unit of time, the shape of `envelope`."""
        speckle = (self.level * speckle_variation(envelope, shown)).square().clamp_min(1e-12)
        steps = [(there - envelope) * open_ for there, open_ in zip(around(envelope), around(shown), strict=True)]
        found = variation_squared(envelope, steps)
        # The published form; it exceeds 1 where a pixel varies by less than speckle.
        conductivity = (1 / (1 + (found - speckle) / (speckle * (1 + speckle)))).clamp(0, 1)
        faces = [(conductivity + there) / 2 for there in around(conductivity)]
        return shown * sum(face * step for face, step in zip(faces, steps, strict=True))


def around(picture: Tensor) -> list[Tensor]:
    """The four neighbours of each pixel, each the shape of `picture` (N, 1, X, Y); the last pixel is repeated."""
    wide = F.pad(picture.float(), (1, 1, 1, 1), mode="replicate")
    return [wide[..., 2:, 1:-1], wide[..., :-2, 1:-1], wide[..., 1:-1, 2:], wide[..., 1:-1, :-2]]


def variation_squared(envelope: Tensor, steps: list[Tensor]) -> Tensor:
    """Squared coefficient of variation of each pixel's four neighbours.

    With the neighbours' differences d to the pixel's value I, their mean is I + sum(d) / 4 and their variance
    sum(d^2) / 4 - sum(d)^2 / 16: Yu and Acton's instantaneous coefficient of variation, with the squared gradient
    as the mean of those ahead and behind.

    >>> middle = torch.tensor(2.0)
    >>> variation_squared(middle, [torch.tensor(value) - 2 for value in (1.0, 1.0, 3.0, 3.0)])
    tensor(0.2500)
    """
    first = torch.stack(steps).sum(0) / 4
    second = torch.stack(steps).square().sum(0) / 4
    return (second - first.square()).clamp_min(0) / (envelope + first).square().clamp_min(FLOOR**2)


def speckle_variation(envelope: Tensor, shown: Tensor) -> Tensor:
    """Coefficient of variation of the speckle, from how much neighbours differ; edges hardly count.

    Args:
        envelope: above 0, shape (N, 1, X, Y).
        shown: which pixels count, the same shape.

    Returns:
        Shape (N, 1, 1, 1): 1.4826 / sqrt(2) times the median absolute difference of the logarithms of neighbours.

    Source:
        Aja-Fernandez and Alberola-Lopez, On the estimation of the coefficient of variation for anisotropic diffusion
        speckle filtering, IEEE TIP 15 (2006).
    """
    log = torch.where(shown, envelope.log(), torch.nan)
    rows, columns = log[:, :, 1:] - log[:, :, :-1], log[..., 1:] - log[..., :-1]
    steps = torch.cat([rows.flatten(1), columns.flatten(1)], 1).abs()
    if steps.shape[1] == 0:
        return envelope.new_zeros((len(envelope), 1, 1, 1))
    found = steps.nanmedian(1).values.nan_to_num(0.0) * (1.4826 / 2**0.5)
    return found[:, None, None, None]


def closed(mask: Tensor) -> Tensor:
    """A mask with its holes of one and two pixels filled, its outline unchanged; bool, shape (N, 1, X, Y).

    >>> hole = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    >>> hole[0, 0, 2, 2] = hole[0, 0, 0, 0] = False
    >>> closed(hole).all()
    tensor(True)
    """
    grown = F.max_pool2d(mask.float(), 3, 1, 1)
    return -F.max_pool2d(-F.pad(grown, (1, 1, 1, 1), mode="replicate"), 3, 1) > 0.5
