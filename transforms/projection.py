# SPDX-License-Identifier: Apache-2.0
"""Computed tomography in small: line integrals of a picture, and filtered back-projection, parallel and fan beam."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from clarivox.errors import OptionError

Kernel = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]
"""Window on the ramp filter, from the sharpest to the smoothest."""


@dataclass(frozen=True)
class Beam:
    """Where the rays of a scan run; the turning axis is the picture's middle.

    Args:
        pixel_mm: side of a pixel, and distance between rays at the axis.
        views: projections, over half a turn in a parallel beam, over a whole turn in a fan beam.
        source_mm: from the focus to the axis, with an arc of detectors; None is a parallel beam.

    Raises:
        OptionError: a length or the number of views is not above 0.
    """

    pixel_mm: float = 0.8
    views: int = 360
    source_mm: float | None = None

    def __post_init__(self) -> None:
        if self.pixel_mm <= 0 or self.views < 1 or (self.source_mm is not None and self.source_mm <= 0):
            raise OptionError(f"a beam needs a pixel, a source distance and a number of views above 0; found {self}")

    @property
    def step(self) -> float:
        """Between neighbouring rays, in mm, or in radians in a fan beam."""
        return self.pixel_mm if self.source_mm is None else self.pixel_mm / self.source_mm

    def bins(self, x: int, y: int) -> int:
        """Rays a view, an odd number, that cover a picture of x by y pixels.

        Raises:
            OptionError: the focus lies within the circle around the picture.

        >>> Beam().bins(64, 64), Beam(source_mm=500.0).bins(64, 64)
        (93, 95)
        """
        radius = math.hypot(x, y) / 2 * self.pixel_mm
        if self.source_mm is None:
            return 2 * math.ceil(radius / self.step) + 1
        if radius >= self.source_mm:
            raise OptionError(
                f"the focus must lie outside the picture, over {radius:.0f} mm from its middle; found {self.source_mm}"
            )
        return 2 * math.ceil(math.asin(radius / self.source_mm) / self.step + 1e-9) + 3

    def angles(self) -> list[float]:
        """Of the views, in radians."""
        turn = math.pi if self.source_mm is None else 2 * math.pi
        return [turn * view / self.views for view in range(self.views)]


def project(pictures: Tensor, beam: Beam) -> Tensor:
    """Line integrals through pictures; differentiable.

    Args:
        pictures: shape (N, X, Y), values per mm; 0 outside.
        beam: where the rays run.

    Returns:
        Shape (N, views, bins), no unit. The ray at angle t and distance s meets the points x cos t + y sin t = s.

    Source:
        Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, ch. 3.

    >>> float(project(torch.ones(1, 9, 9), Beam(pixel_mm=2.0, views=1))[0, 0, 7])  # nine pixels of 2 mm
    18.0
    """
    _, x, y = pictures.shape
    bins = beam.bins(x, y)
    place = (torch.arange(bins, device=pictures.device) - bins // 2) * beam.step
    reach = math.ceil(math.hypot(x, y) / 2)
    along = torch.arange(-reach, reach + 1, device=pictures.device)[None]
    lines = []
    for angle in beam.angles():
        # A ray of a fan is a ray of the parallel beam that is turned by the ray's own angle.
        turned = torch.full_like(place, angle) if beam.source_mm is None else angle - place
        distance = place if beam.source_mm is None else beam.source_mm * place.sin()
        distance, cos, sin = (each[:, None] for each in (distance / beam.pixel_mm, turned.cos(), turned.sin()))
        points = torch.stack(((distance * sin + along * cos) * 2 / y, (distance * cos - along * sin) * 2 / x), dim=-1)
        sampled = F.grid_sample(pictures[None], points[None].to(pictures), align_corners=False)
        lines.append(sampled[0].sum(-1) * beam.pixel_mm)
    return torch.stack(lines, dim=1)


def filtered(lines: Tensor, beam: Beam, kernel: Kernel) -> Tensor:
    """Line integrals under the ramp filter and a window; shape (N, views, bins), in 1/mm.

    Raises:
        OptionError: there is no such kernel.
    """
    bins = lines.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * bins))
    number = torch.arange(-(length // 2), length // 2, dtype=torch.float64).roll(length // 2)
    inside = (number.abs() < bins) & (number.remainder(2) == 1)
    ramp = torch.zeros_like(number)
    if beam.source_mm is None:
        ramp[inside] = -1 / (math.pi * number[inside]) ** 2 / beam.step
        ramp[0] = 0.25 / beam.step
    else:
        ramp[inside] = -0.5 * beam.step / (math.pi * (number[inside] * beam.step).sin()) ** 2
        ramp[0] = 0.125 / beam.step
        place = (torch.arange(bins, device=lines.device) - bins // 2) * beam.step
        lines = lines * (beam.source_mm * place.cos())
    transfer = torch.fft.rfft(ramp).real * _window(torch.fft.rfftfreq(length, dtype=torch.float64), kernel)
    spectrum = torch.fft.rfft(lines, n=length) * transfer.to(lines)
    rows: Tensor = torch.fft.irfft(spectrum, n=length)[..., :bins]
    return rows


def _window(frequency: Tensor, kernel: Kernel) -> Tensor:
    """The window at frequencies in cycles a ray."""
    turn = math.pi * frequency
    match kernel:
        case "ramp":
            return torch.ones_like(frequency)
        case "shepp-logan":
            return torch.sinc(frequency)
        case "cosine":
            return turn.cos()
        case "hamming":
            return 0.54 + 0.46 * (2 * turn).cos()
        case "hann":
            return 0.5 + 0.5 * (2 * turn).cos()
    raise OptionError(f"a kernel is one of {', '.join(get_args(Kernel))}; found {kernel}")


def reconstruct(lines: Tensor, beam: Beam, sides: tuple[int, int], kernel: Kernel = "ramp") -> Tensor:
    """Filtered back-projection.

    Args:
        lines: line integrals, shape (N, views, bins), as `project` gives them.
        beam: of the same scan.
        sides: pixels of the picture along x and y.
        kernel: window on the ramp.

    Returns:
        Shape (N, X, Y), in 1/mm.

    Raises:
        OptionError: there is no such kernel, or the bins are not those of this beam and picture.

    Source:
        Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, eq. 61 (parallel) and ch. 3.4.1 (fan).

    >>> beam, disc = Beam(pixel_mm=1.0, views=60), torch.zeros(1, 33, 33)
    >>> disc[:, 10:23, 10:23] = 0.02
    >>> round(float(reconstruct(project(disc, beam), beam, (33, 33))[0, 16, 16]), 3)
    0.02
    """
    bins = beam.bins(*sides)
    if lines.shape[-1] != bins:
        raise OptionError(f"this beam and picture have {bins} rays a view; found {lines.shape[-1]}")
    rows = filtered(lines, beam, kernel)
    total = torch.zeros(lines.shape[0], sides[0] * sides[1], device=lines.device, dtype=lines.dtype)
    for view, (place, weight) in enumerate(_meeting_rays(beam, sides, lines)):
        left = place.floor()
        share = place - left
        index = left.long()
        row = rows[:, view]
        total += (row[:, index] * (1 - share) + row[:, index + 1] * share) * weight
    turn = math.pi if beam.source_mm is None else 2 * math.pi
    return (total * (turn / beam.views)).reshape(-1, *sides)


def _meeting_rays(beam: Beam, sides: tuple[int, int], like: Tensor) -> Iterator[tuple[Tensor, Tensor | float]]:
    """For each view, which ray (a broken number) meets each pixel, and the pixel's weight."""
    middle = beam.bins(*sides) // 2
    x, y = ((torch.arange(n, device=like.device) - (n - 1) / 2) * beam.pixel_mm for n in sides)
    x, y = (axis.to(like).reshape(-1) for axis in torch.meshgrid(x, y, indexing="ij"))
    for angle in beam.angles():
        across = x * math.cos(angle) + y * math.sin(angle)
        if beam.source_mm is None:
            yield across / beam.step + middle, 1.0
            continue
        from_source = beam.source_mm - x * math.sin(angle) + y * math.cos(angle)
        yield torch.atan2(across, from_source) / beam.step + middle, 1 / (across**2 + from_source**2)
