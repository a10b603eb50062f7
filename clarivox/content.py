# SPDX-License-Identifier: Apache-2.0
"""Clean pictures that speckle is laid over: slices and radiographs of any modality, and drawn ones, as grey levels.

No speckle-free ultrasound exists. A network that takes speckle away needs pictures with the outlines of anatomy; what
tissue they show does not matter, and grey values are read as levels on the decibel scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clarivox.patches import Pictures
from clarivox.phantoms.shapes import Ellipse, blur, coverage, grid, paint, smooth_field
from clarivox.splits import volumes
from clarivox.transforms.bicubic import bicubic
from clarivox.volume import Volume


def levels(volume: Volume, *, side: int = 256, most: int = 24, window: tuple[float, float] = (-160, 240)) -> Pictures:
    """The slices of a volume as grey levels, 0 to 1, shrunk so that their own noise is below the speckle.

    Args:
        volume: one channel.
        side: pixels along the longer side; smaller slices stay as they are.
        most: slices, evenly spaced.
        window: what becomes 0 and 1 in CT, HU; else it is 0 and the 99.5th percentile.

    >>> radiograph = Volume(np.full((1, 400, 300, 1), 80, np.uint8), np.eye(4), modality="DX")
    >>> levels(radiograph, side=200).images[0].shape
    torch.Size([1, 200, 150])
    """
    values = volume.values()[0]
    places = np.unique(((np.arange(most) + 0.5) * values.shape[2] / most).astype(int))
    low, high = window if volume.modality == "CT" else (0.0, float(np.percentile(values, 99.5)) or 1.0)
    images = []
    for place in places:
        image = torch.from_numpy(np.ascontiguousarray(values[None, :, :, place], np.float32))
        image = ((image - low) / (high - low)).clamp(0, 1)
        factor = side / max(image.shape[1:])
        if factor < 1:
            image = bicubic(image[None], [round(n * factor) for n in image.shape[1:]])[0].clamp(0, 1)
        images.append(image)
    return Pictures(tuple(images))


def drawn(seed: int, side: int = 256, shapes: int = 24) -> Tensor:
    """Ellipses of any level on a slowly changing ground, some with blurred outlines; shape (1, side, side).

    >>> drawn(1, 64).shape, 0 <= float(drawn(1, 64).min()) <= float(drawn(1, 64).max()) <= 1
    (torch.Size([1, 64, 64]), True)
    """
    rng = np.random.default_rng(seed)
    picture = (rng.uniform(0.3, 0.7) + 0.08 * smooth_field((side, side), side / 6, rng)).astype(np.float32)
    x, y = grid(side)
    for _ in range(shapes):
        a, b = np.exp(rng.uniform(np.log(0.02), np.log(0.35), 2))
        across, down, level, turn = rng.uniform((-1, -1, -0.1, 0), (1, 1, 1, 180))
        shape = Ellipse(float(level), float(across), float(down), float(a), float(b), float(turn))
        paint(picture, coverage(x, y, shape, float(rng.choice([1.0, 1.0, 3.0]))), shape.value)
    picture = blur(picture, (float(rng.choice([0.0, 0.6])),) * 2)
    return torch.from_numpy(picture.clip(0, 1).astype(np.float32))[None]


def outlined(image: Tensor, seed: int) -> Tensor:
    """The picture within a sector of a curved array, black beyond; shape (1, X, Y), depth along Y.

    >>> float(outlined(torch.ones(1, 64, 64), 1).mean()) < 1
    True
    """
    rng = np.random.default_rng(seed)
    across, depth = (torch.linspace(-1, 1, n) for n in image.shape[1:])
    face, apex, tilt, widest = (float(value) for value in rng.uniform((0.2, -1.6, -0.3, 0.35), (0.7, -1.2, 0.3, 0.75)))
    x, y = across[:, None] - tilt, depth[None] - apex
    radius, angle = torch.hypot(x, y), torch.atan2(x, y)
    inside = (radius > face) & (radius < face + 1.9) & (angle.abs() < widest)
    return image * inside


def content(
    dataset_dir: str | Path,
    split: str | Path,
    part: str,
    *,
    side: int = 256,
    most: int = 24,
    tones: Sequence[Sequence[float]] = ((1.0, 0.0),),
    outlines: bool = False,
    shapes: Sequence[int] = (),
    weights: Mapping[str, float] | None = None,
) -> list[Pictures]:
    """The clean pictures of one part of a split, one group for each subject and tone, and one of drawn pictures.

    Args:
        dataset_dir, split, part: which volumes, as in `clarivox.splits`.
        side, most: as in `levels`.
        tones: contrast and offset; each group is taken once with each, as another gain or dynamic range would show it.
        outlines: every other picture of each group is cut to a sector, as frames are shown.
        shapes: seeds of drawn pictures, which get as much weight together as a subject.
        weights: by subject; 1 where absent. `drawn` names the drawn ones.
    """
    found: dict[str, list[Tensor]] = {}
    for example, volume in volumes(dataset_dir, split, part):
        found.setdefault(example.subject, []).extend(levels(volume, side=side, most=most).images)
    if shapes:
        found["drawn"] = [drawn(seed, side) for seed in shapes]
    groups = []
    for number, (gain, offset) in enumerate(tones):
        for subject, images in found.items():
            share = (weights or {}).get(subject, 1.0) / len(tones)
            toned = [(gain * image + offset * (image > 0)).clamp(0, 1) for image in images]
            if outlines:
                toned = [outlined(image, i) if (i + number) % 2 else image for i, image in enumerate(toned)]
            groups += [Pictures(tuple(toned), share)] if share else []
    return groups
