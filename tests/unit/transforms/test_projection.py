# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from skimage.transform import iradon, radon

from clarivox.errors import OptionError
from clarivox.transforms.projection import Beam, Kernel, project, reconstruct

SIDE = 63
PARALLEL = Beam(pixel_mm=1.0, views=48)
FAN = Beam(pixel_mm=1.0, views=180, source_mm=150.0)


def disc(side: int = SIDE, radius: float = 20.0, x: float = 3.0, y: float = -5.0) -> torch.Tensor:
    line = torch.arange(side) - (side - 1) / 2
    distance = torch.hypot(line[:, None] - x, line[None] - y)
    return 0.02 * (radius + 0.5 - distance).clamp(0, 1)[None]


def as_skimage_lies(picture: torch.Tensor) -> np.ndarray:
    """Rows downwards, columns to the right: y upwards, x to the right."""
    return picture[0].numpy().T[::-1].copy()


def inner(lines: np.ndarray) -> np.ndarray:
    """The middle SIDE rays, which is all that scikit-image has within its circle."""
    start = (lines.shape[0] - SIDE) // 2
    return lines[start : start + SIDE]


def test_parallel_line_integrals_agree_with_scikit_image() -> None:
    theirs = radon(as_skimage_lies(disc()), np.rad2deg(PARALLEL.angles()))
    ours = inner(project(disc(), PARALLEL)[0].numpy().T)
    assert np.abs(ours - theirs).max() < 0.005 * theirs.max()


@pytest.mark.parametrize("kernel", ["ramp", "shepp-logan", "cosine", "hamming", "hann"])
def test_parallel_reconstruction_agrees_with_scikit_image(kernel: Kernel) -> None:
    lines = project(disc(), PARALLEL)
    ours = as_skimage_lies(reconstruct(lines, PARALLEL, (SIDE, SIDE), kernel))
    theirs = iradon(
        inner(lines[0].numpy().T), np.rad2deg(PARALLEL.angles()), filter_name=kernel, output_size=SIDE, circle=True
    )
    inside = theirs != 0
    assert np.abs(ours - theirs)[inside].max() < 0.01 * 0.02


def test_a_fan_ray_sees_the_chord_of_the_disc() -> None:
    lines = project(disc(x=0.0, y=0.0), FAN)[0]
    angle = (torch.arange(lines.shape[1]) - lines.shape[1] // 2) * FAN.step
    chord = 2 * 0.02 * (20.0**2 - (150 * angle.sin()) ** 2).clamp(min=0).sqrt()
    assert float((lines - chord).abs().max()) < 0.05
    assert float((lines - chord).abs().mean()) < 0.005


@pytest.mark.parametrize("beam", [PARALLEL, FAN, Beam(1.0, 360, 60.0)], ids=["parallel", "fan", "steep fan"])
def test_projection_and_reconstruction_give_the_disc_back(beam: Beam) -> None:
    picture = disc()
    back = reconstruct(project(picture, beam), beam, (SIDE, SIDE), "hann")
    core = disc(radius=16.0) > 0.019
    assert float(back[core].mean()) == pytest.approx(0.02, rel=0.005)
    assert float((back - picture)[core].std()) < 0.02 * 0.02


def test_fan_and_parallel_beam_reconstruct_the_same_picture_that_is_not_square() -> None:
    picture = disc()[:, :, 4:55]
    parallel, fan = (
        reconstruct(project(picture, beam), beam, (63, 51), "cosine")
        for beam in (Beam(1.0, 180), Beam(1.0, 360, 200.0))
    )
    assert float((parallel - fan).abs().mean()) < 0.02 * 0.01


def test_lengths_are_in_millimetres() -> None:
    fine, coarse = (project(disc(), Beam(size, 4)).max() for size in (0.5, 2.0))
    assert float(coarse / fine) == pytest.approx(4)


def test_gradients_reach_the_picture() -> None:
    picture = disc(15, 5.0).requires_grad_()
    project(picture, Beam(1.0, 3)).sum().backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None and math.isfinite(float(picture.grad.sum()))


def test_a_focus_within_the_picture_and_an_unknown_kernel_are_refused() -> None:
    with pytest.raises(OptionError, match="focus"):
        project(disc(), Beam(1.0, 4, source_mm=30.0))
    with pytest.raises(OptionError, match="kernel is one of"):
        reconstruct(project(disc(), PARALLEL), PARALLEL, (SIDE, SIDE), "sharp")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="above 0"):
        Beam(pixel_mm=0)
    with pytest.raises(OptionError, match="rays a view"):
        reconstruct(torch.zeros(1, 48, 7), PARALLEL, (SIDE, SIDE))
