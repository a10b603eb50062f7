# SPDX-License-Identifier: Apache-2.0
"""The 400 grey pictures that DnCNN was published with, as `photo_dncnn_denoise` splits them: 352, 8 and 40."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from clarivox.patches import Patches, Pictures, Validation, pictures_of
from clarivox.transforms.gaussian import GaussianNoise, RandGaussianNoise

SPLIT = Path(__file__).resolve().parents[2] / "bundles" / "photo_dncnn_denoise" / "configs" / "split.json"


def of_part(part: str, *, small: bool = False) -> list[Pictures]:
    """The pictures of one part, range 0 to 1; four of them if small."""
    data = os.environ.get("CLARIVOX_DATA")
    if not data:
        raise SystemExit("name the folder of data sets by CLARIVOX_DATA")
    return pictures_of(data, SPLIT, part, scale=255)[: 4 if small else None]


def held_back(*, small: bool = False) -> list[Tensor]:
    """The 40 pictures that no network here was trained or chosen on, shape (1, X, Y), range 0 to 1."""
    return [image for group in of_part("test", small=small) for image in group.images]


def patches(levels: tuple[float, float], *, size: int, batch_size: int, small: bool = False) -> Patches:
    """Training pairs with noise of a sigma between two, of 255."""
    degrade = RandGaussianNoise((levels[0] / 255, levels[1] / 255), reference=1.0)
    groups = of_part("train", small=small)
    return Patches(groups, degrade, size=size, batch_size=batch_size, seed=1, dark=0.0)


def validation(sigmas: Sequence[float], *, small: bool = False) -> Validation:
    """Mean PSNR over the eight pictures that choose the weights, each with each sigma, of 255."""
    images = [image for group in of_part("validation", small=small) for image in group.images]
    return Validation(images, [GaussianNoise(sigma / 255, seed=7, reference=1.0) for sigma in sigmas])


def of_network(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """A network as a protocol calls it."""

    def restore(noisy: Tensor) -> Tensor:
        with torch.inference_mode():
            result: Tensor = network(noisy[None])[0]
        return result

    return restore
