# SPDX-License-Identifier: Apache-2.0
"""Published protocols: how the figures of papers are measured, for any folder of pictures.

A protocol makes a picture worse and compares a result with the truth; both are said here, once. What restores the
picture is any function of one picture, shape (1, X, Y), range 0 to 1: a bundle (`of_bundle`), a network, a filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError, OptionError
from clarivox.metrics import psnr
from clarivox.superres_protocol import SuperresLuma

if TYPE_CHECKING:
    import torch

    from clarivox.bundle import Bundle

Restore = Callable[["torch.Tensor"], "torch.Tensor"]
"""One picture, shape (1, X, Y), float32, range 0 to 1 but not clipped to it; the result likewise, perhaps larger."""


@dataclass(frozen=True)
class Published:
    """Figures that a paper gives, to stand beside what was measured."""

    method: str
    source: str
    figures: Mapping[str, float]
    """Set of pictures: mean PSNR in dB."""


class PictureProtocol(Protocol):
    """What `run` needs of a protocol."""

    @property
    def about(self) -> str:
        """Degradation, range, channels, border and rounding, in one line."""

    @property
    def published(self) -> Sequence[Published]:
        """What papers give for these settings; may be empty."""

    def truth(self, picture: NDArray[Any]) -> torch.Tensor:
        """What a result is compared with, shape (1, X, Y), of a picture (C, X, Y) of 0 to 255, C being 1 or 3."""

    def worse(self, truth: torch.Tensor) -> torch.Tensor:
        """What the method is given."""

    def psnr(self, result: torch.Tensor, truth: torch.Tensor) -> float:
        """The figure of one picture, in dB."""


@dataclass(frozen=True)
class DncnnGray:
    """White Gaussian noise on grey pictures, as DnCNN and most papers after it report.

    Colour pictures become grey by their luma. The noise is added to the range 0 to 1 and not clipped; it begins with
    the same seed for every picture. What is compared is clipped, and not rounded; PSNR with the range 1, no border
    left out.

    Args:
        sigma: standard deviation of the noise, of 255.
        seed: of the noise of each picture.

    Raises:
        OptionError: sigma is below 0.

    >>> protocol = DncnnGray(25)
    >>> truth = protocol.truth(np.full((1, 64, 64), 128, np.uint8))
    >>> abs(protocol.psnr(protocol.worse(truth), truth) - 20.17) < 0.2
    True
    >>> protocol.published[0].method, protocol.published[0].figures
    ('DnCNN-S', {'Set12': 30.44, 'BSD68': 29.23})
    """

    sigma: float = 25.0
    seed: int = 0
    name: ClassVar[str] = "dncnn-gray"

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise OptionError(f"sigma is a noise level of 255, 0 or more; found {self.sigma}")

    @property
    def about(self) -> str:
        """The settings in one line."""
        return (
            f"white Gaussian noise, sigma {self.sigma:g} of 255, not clipped, seed {self.seed} for each picture; grey, "
            "range 0 to 1; what is compared is clipped, not rounded; no border is left out; mean PSNR of the pictures"
        )

    @property
    def published(self) -> Sequence[Published]:
        """What papers give for this sigma; none for others than 15, 25 and 50."""
        readme = "figures that the authors give in cszn/DnCNN"
        set12 = {"Set12": 30.44} if self.sigma == 25 else {}
        return [
            Published(method, readme, (set12 if method == "DnCNN-S" else {}) | {"BSD68": figures[self.sigma]})
            for method, figures in _BSD68.items()
            if self.sigma in figures
        ]

    def truth(self, picture: NDArray[Any]) -> torch.Tensor:
        """Range 0 to 1, shape (1, X, Y), of a picture (C, X, Y) of 0 to 255."""
        import torch

        from clarivox.prepare import LUMA

        values = np.asarray(picture, np.float32)
        grey = values if len(values) == 1 else np.tensordot(LUMA, values[:3], 1)[None]
        return torch.from_numpy(np.ascontiguousarray(grey) / np.float32(255))

    def worse(self, truth: torch.Tensor) -> torch.Tensor:
        """With noise."""
        from clarivox.transforms.gaussian import GaussianNoise

        return GaussianNoise(self.sigma / 255, seed=self.seed, reference=1.0)(truth)

    def psnr(self, result: torch.Tensor, truth: torch.Tensor) -> float:
        """The figure of one picture, in dB."""
        return psnr(result.clamp(0, 1).numpy(), truth.numpy(), data_range=1.0)


_BSD68: dict[str, dict[float, float]] = {
    "DnCNN-S": {15: 31.73, 25: 29.23, 50: 26.23},
    "DnCNN-B": {15: 31.61, 25: 29.16, 50: 26.23},
    "FDnCNN": {15: 31.69, 25: 29.22, 50: 26.27},
    "BM3D": {15: 31.07, 25: 28.57, 50: 25.62},
}


@dataclass(frozen=True)
class Row:
    """One picture under a protocol."""

    name: str
    given_db: float
    """PSNR of what the method was given; not a number where that lies on another grid."""
    result_db: float


def run(protocol: PictureProtocol, pictures: Iterable[tuple[str, torch.Tensor]], restore: Restore) -> list[Row]:
    """The figure of each picture; the published figure is the mean of `result_db`.

    Args:
        protocol: how to measure.
        pictures: names and truths, as `protocol.truth` gives them.
        restore: what is measured.
    """
    rows = []
    for name, truth in pictures:
        given = protocol.worse(truth)
        result = restore(given)
        before = protocol.psnr(given, truth) if given.shape == truth.shape else float("nan")
        rows.append(Row(name, before, protocol.psnr(result, truth)))
    return rows


def mean_psnr(protocol: PictureProtocol, truths: Iterable[torch.Tensor], restore: Restore) -> float:
    """The mean of the figures of each picture, as papers give it, in dB."""
    rows = run(protocol, (("", truth) for truth in truths), restore)
    return float(np.mean([row.result_db for row in rows]))


def of_bundle(bundle: Bundle, device: str = "cpu") -> Restore:
    """A bundle as a protocol calls it: the range is the protocol's, not one found in the picture.

    Raises:
        GeometryError: the bundle is not one of slices.
    """
    import torch

    from clarivox.devices import planned
    from clarivox.prepare import Items
    from clarivox.scaling import Range
    from clarivox.volume import Volume

    if bundle.info.spatial_dims != 2:
        raise GeometryError(f"protocols are for pictures; bundle {bundle.info.name} is for volumes or clips")
    network = bundle.network.to(device)

    def restore(picture: torch.Tensor) -> torch.Tensor:
        volume = Volume(np.asarray(picture.cpu().numpy()[..., None], np.float32), np.eye(4))
        items = Items(bundle.preparing.scaled(volume, (Range(0.0, 1.0),)), 2, bundle.windows.neighbours)
        pass_ = planned(network, bundle.windows, torch.device(device), None)
        result = torch.empty(1, *(side * bundle.windows.scale for side in picture.shape[1:]))
        for piece in bundle.infer(items, pass_):
            result[(slice(None), *piece.box)] = piece.values.cpu()
        return result

    return restore


PROTOCOLS: dict[str, type[PictureProtocol]] = {"dncnn-gray": DncnnGray, "sr-y": SuperresLuma}
"""By the name that the command line has for it. The fields of each are its settings."""
