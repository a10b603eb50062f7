# SPDX-License-Identifier: Apache-2.0
"""The protocol sr-y: super-resolution measured on the luma, as SRCNN, VDSR and those after them were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clarivox import metrics
from clarivox.errors import GeometryError, OptionError

if TYPE_CHECKING:
    import torch

    from clarivox.protocols import Published

LUMA = (65.481, 128.553, 24.966)
"""Of red, green and blue between 0 and 1; 16 is added. Source: ITU-R BT.601, as MATLAB's rgb2ycbcr."""


class Quoted(NamedTuple):
    """What papers give for one method and factor."""

    method: str
    scale: int
    set5: tuple[float, float]
    """PSNR in dB and SSIM."""
    set14: tuple[float, float]


SOURCES = {
    "bicubic": "as quoted by Kim et al., CVPR 2016",
    "SRCNN": "Dong et al., TPAMI 2016 (9-5-5), trained on ImageNet",
    "VDSR": "Kim et al., CVPR 2016, trained on 291 pictures",
}
QUOTED = (
    Quoted("bicubic", 2, (33.66, 0.9299), (30.24, 0.8688)),
    Quoted("bicubic", 3, (30.39, 0.8682), (27.55, 0.7742)),
    Quoted("bicubic", 4, (28.42, 0.8104), (26.00, 0.7027)),
    Quoted("SRCNN", 2, (36.66, 0.9542), (32.42, 0.9063)),
    Quoted("SRCNN", 3, (32.75, 0.9090), (29.28, 0.8209)),
    Quoted("SRCNN", 4, (30.48, 0.8628), (27.49, 0.7503)),
    Quoted("VDSR", 2, (37.53, 0.9587), (33.03, 0.9124)),
    Quoted("VDSR", 3, (33.66, 0.9213), (29.77, 0.8314)),
    Quoted("VDSR", 4, (31.35, 0.8838), (28.01, 0.7674)),
)
"""Published figures on the luma of Set5 and Set14."""


@dataclass(frozen=True)
class SuperresLuma:
    """sr-y: a picture's luma is cropped to multiples of the factor, shrunk, and must be found again.

    Shrinking is antialiased bicubic interpolation (Keys, a = -0.5, MATLAB's imresize but for two pixels at the border),
    rounded to 8 bits. The result is rounded to 8 bits too, and a border of as many pixels as the factor is left out.

    Args:
        scale: the factor, a whole number above 1.

    Raises:
        OptionError: another factor.

    >>> protocol = SuperresLuma(3)
    >>> truth = protocol.truth(np.full((3, 20, 31), 255, np.uint8))
    >>> truth.shape, round(float(truth.max()) * 255), protocol.worse(truth).shape
    (torch.Size([1, 18, 30]), 235, torch.Size([1, 6, 10]))
    """

    scale: int = 2
    name: ClassVar[str] = "sr-y"

    def __post_init__(self) -> None:
        if self.scale != int(self.scale) or self.scale < 2:
            raise OptionError(f"scale must be a whole number above 1; found {self.scale}")

    @property
    def about(self) -> str:
        """Degradation, range, channels, border and rounding, in one line."""
        return (
            f"x{self.scale}; luma of colour pictures (BT.601, 16 to 235), cropped to multiples of {self.scale}, shrunk "
            f"by antialiased bicubic interpolation, rounded to 8 bits; result rounded to 8 bits; border of "
            f"{self.scale} pixels left out; range 255; mean over pictures; SSIM {metrics.SSIM_VARIANT}"
        )

    @property
    def published(self) -> Sequence[Published]:
        """What papers give for this factor, PSNR in dB."""
        from clarivox.protocols import Published

        return [
            Published(row.method, SOURCES[row.method], {"Set5": row.set5[0], "Set14": row.set14[0]})
            for row in QUOTED
            if row.scale == self.scale
        ]

    def truth(self, picture: NDArray[Any]) -> torch.Tensor:
        """What a result is compared with.

        Args:
            picture: 8 bits, shape (C, X, Y), C being 1 or 3 (red, green, blue).

        Returns:
            Shape (1, X, Y), range 0 to 1, the sides whole multiples of the factor.

        Raises:
            GeometryError: another number of channels, or a picture too small to measure anything on.
        """
        import torch

        if picture.ndim != 3 or picture.shape[0] not in (1, 3) or min(picture.shape[1:]) < 11 + 3 * self.scale:
            raise GeometryError(
                f"{self.name} takes grey or RGB pictures of {11 + 3 * self.scale} pixels a side or more; "
                f"found {picture.shape}",
                code="too_small",
            )
        grey = picture[0].astype(np.float64)
        if len(picture) == 3:
            grey = np.rint(16 + sum(w * band.astype(np.float64) / 255 for w, band in zip(LUMA, picture, strict=True)))
        whole = [side - side % self.scale for side in grey.shape]
        return torch.from_numpy(np.ascontiguousarray(grey[: whole[0], : whole[1]] / 255).astype(np.float32))[None]

    def worse(self, truth: torch.Tensor) -> torch.Tensor:
        """What the method is given: shape (1, X / scale, Y / scale), range 0 to 1, 8 bits."""
        from clarivox.transforms.bicubic import BicubicResize

        return BicubicResize(1 / self.scale, levels=256)(truth)

    def bicubic(self, worse: torch.Tensor) -> torch.Tensor:
        """What every method is held against: bicubic interpolation back to the fine grid."""
        from clarivox.transforms.bicubic import BicubicResize

        return BicubicResize(self.scale)(worse)

    def psnr(self, result: torch.Tensor, truth: torch.Tensor) -> float:
        """Of one picture, in dB, range 255.

        Raises:
            GeometryError: the shapes differ.
        """
        return metrics.psnr(*self._measured(result, truth), data_range=255)

    def ssim(self, result: torch.Tensor, truth: torch.Tensor) -> float:
        """Of one picture, range 255, of the variant `clarivox.metrics.SSIM_VARIANT`.

        Raises:
            GeometryError: the shapes differ.
        """
        return metrics.ssim(*self._measured(result, truth), data_range=255)

    def _measured(self, *images: torch.Tensor) -> list[NDArray[np.float32]]:
        """Without the border, rounded to 8 bits, shape (X, Y), 0 to 255."""
        inner = slice(self.scale, -self.scale)
        return [(image[0, inner, inner].clamp(0, 1) * 255).round().float().cpu().numpy() for image in images]
