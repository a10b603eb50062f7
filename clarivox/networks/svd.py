# SPDX-License-Identifier: Apache-2.0
"""Low-rank filters for ultrasound, as a torch module without parameters."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError

SHRINKAGES = ("optimal", "soft", "hard")
CHOSEN = 2.0
"""Patches chosen for being alike look less noisy than they are, and speckle is wider than a pixel: the level found
among them is taken times this. `python -m tests.benchmarks.us_svd` prints what it gives, and
`--level 0.5` what 1 would.
"""


@lru_cache(maxsize=64)
def marchenko_pastur_median(beta: float) -> float:
    """Median of the squared singular values of noise, for a matrix of aspect ratio `beta` in (0, 1].

    The matrix is m x n with m = beta n and independent entries of variance 1 / n.

    Source:
        Gavish and Donoho, The optimal hard threshold for singular values is 4/sqrt(3), IEEE TIT 60 (2014).

    >>> round(4 / 3**0.5 / marchenko_pastur_median(1.0) ** 0.5, 2)  # their omega(1) is 2.858
    2.86
    """
    low, high = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2
    # x = low + (high - low) sin^2: the density's square-root ends become smooth.
    angle = (np.arange(20000) + 0.5) / 20000 * np.pi / 2
    x = low + (high - low) * np.sin(angle) ** 2
    density = np.sqrt((high - x) * (x - low)) / (2 * np.pi * beta * x) * np.sin(2 * angle)
    total = np.cumsum(density)
    return float(np.interp(0.5 * total[-1], total, x))


def shrink(values: Tensor, beta: float, rule: str) -> Tensor:
    """What is left of singular values, in units of the noise (sigma * sqrt(longer side)).

    Args:
        values: singular values in those units, 0 or more.
        beta: shorter over longer side of the matrix.
        rule: "optimal" (least squared error), "soft" (minus the noise's edge) or "hard" (keep or drop).

    Source:
        Gavish and Donoho, Optimal shrinkage of singular values, IEEE TIT 63 (2017).

    >>> shrink(torch.tensor([1.0, 2.0, 10.0]), 1.0, "hard")
    tensor([ 0.,  0., 10.])
    """
    edge = 1 + beta**0.5
    if rule == "soft":
        less: Tensor = (values - edge).clamp_min(0)
        return less
    if rule == "hard":
        best = (2 * (beta + 1) + 8 * beta / (beta + 1 + (beta**2 + 14 * beta + 1) ** 0.5)) ** 0.5
        kept: Tensor = torch.where(values > best, values, torch.zeros_like(values))
        return kept
    square = values.square()
    inner = ((square - beta - 1).square() - 4 * beta).clamp_min(0).sqrt()
    least_error: Tensor = torch.where(values > edge, inner / values.clamp_min(edge), torch.zeros_like(values))
    return least_error


def low_rank(matrices: Tensor, level: float, rule: str) -> Tensor:
    """Removes from each matrix what is like noise; the mean over each row is kept.

    The noise level of each matrix comes from its median singular value.

    Args:
        matrices: shape (B, m, n) with n samples (frames, or like patches) as columns, n at most m.
        level: multiplies the noise level that was found.
        rule: see `shrink`.

    Returns:
        The same shape.
    """
    _, m, n = matrices.shape
    mean = matrices.mean(dim=2, keepdim=True)
    centred = (matrices - mean).double()
    # The n x n Gram matrix has the same right vectors at a fraction of the cost; double keeps what squaring loses.
    squares, right = torch.linalg.eigh(centred.mT @ centred)
    values = squares.clamp_min(0).sqrt()
    rank = n - 1  # centring took one dimension, whose 0 stands first
    beta = rank / m
    unit = values[:, 1:].median(dim=1, keepdim=True).values / marchenko_pastur_median(beta) ** 0.5 * level
    floor = torch.finfo(torch.float32).tiny
    kept = shrink(values / unit.clamp_min(floor), beta, rule) * unit / values.clamp_min(floor)
    kept = torch.where(unit > floor, kept.clamp(0, 1), torch.ones_like(kept))
    projection = (right * kept[:, None, :]) @ right.mT
    change: Tensor = (centred @ projection).to(matrices.dtype)
    return mean + change


class SvdFilter(nn.Module):
    """Keeps what is alike between frames, or between like patches of one frame, and removes the rest.

    Clips of `frames` frames or more: each block of the picture over all frames is a matrix (pixels x frames), whose
    small singular values are noise and speckle that does not repeat. Shorter clips, and single frames: each patch is
    put beside the patches most like it within a search window, and the matrix (pixels x patches) is treated alike.
    Overlapping results are averaged. The result scales with the input.

    Args:
        level: multiplies the noise level found in each block; larger removes more.
        rule: "optimal", "soft" or "hard" shrinkage of the singular values.
        block: side of a block of a clip, in pixels; a multiple of 2. Clips of over 128 frames get larger ones.
        frames: shortest clip that is filtered over time; in shorter ones each frame is treated by itself.
        patch: side of a patch of a single frame, in pixels; a multiple of 2.
        alike: patches in a group.
        search: how far from a patch like patches are sought, in pixels.

    Attributes:
        stride, halo: the whole picture is treated at once.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Demene et al., Spatiotemporal clutter filtering of ultrafast ultrasound data, IEEE TMI 34 (2015); Guo et al.,
        An efficient SVD-based method for image denoising, IEEE TCSVT 26 (2016).

    >>> SvdFilter()(torch.zeros(1, 1, 30, 40, 1)).shape
    torch.Size([1, 1, 30, 40, 1])
    """

    def __init__(
        self,
        level: float = 1.0,
        rule: str = "optimal",
        block: int = 16,
        frames: int = 5,
        patch: int = 8,
        alike: int = 32,
        search: int = 12,
    ) -> None:
        super().__init__()
        if level < 0 or rule not in SHRINKAGES:
            raise OptionError(f"level must be 0 or more and rule one of {', '.join(SHRINKAGES)}; found {level}, {rule}")
        if block % 2 or patch % 2 or min(block, patch, search, frames) < 2 or alike > patch * patch:
            raise OptionError("block and patch must be even, frames and search 2 or more, alike at most patch squared")
        self.level, self.rule, self.block, self.frames = level, rule, block, frames
        self.patch, self.alike, self.search = patch, alike, search

    def forward(self, x: Tensor) -> Tensor:
        """Filters clips.

        Args:
            x: shape (N, 1, X, Y, T), or (N, 1, X, Y) for single frames.

        Returns:
            The same shape.
        """
        clips = x if x.ndim == 5 else x[..., None]
        long = clips.shape[-1] >= self.frames
        done = [self._clip(clip[0]) if long else self._frames(clip[0]) for clip in clips]
        return torch.stack(done)[:, None].reshape(x.shape)

    def _clip(self, clip: Tensor) -> Tensor:
        """(X, Y, T) by blocks over time, one row of blocks after another to spare memory."""
        # Noise is told from signal where a matrix has more pixels than frames: blocks grow with long clips.
        side = max(self.block, 2 * math.ceil((clip.shape[-1] / 2) ** 0.5))
        sizes, step = clip.shape[:2], side // 2
        # One step beyond each end, so that every pixel lies in four blocks.
        ends = [part for n in reversed(sizes) for part in (step, step + -n % step)]
        frames = F.pad(clip.movedim(-1, 0)[:, None], ends, mode="replicate")
        total, grid = torch.zeros_like(frames), frames.shape[2:]
        for start in range(0, grid[0] - side + 1, step):
            row = slice(start, start + side)
            blocks = F.unfold(frames[:, :, row], side, stride=step)
            cleaned = low_rank(blocks.permute(2, 1, 0), self.level, self.rule).permute(2, 1, 0)
            total[:, :, row] += F.fold(cleaned, (side, grid[1]), side, stride=step)
        return (total / 4)[:, 0, step : step + sizes[0], step : step + sizes[1]].movedim(0, -1)

    def _frames(self, clip: Tensor) -> Tensor:
        return torch.stack([self._frame(frame) for frame in clip.unbind(-1)], dim=-1)

    def _frame(self, frame: Tensor) -> Tensor:
        """(X, Y) by groups of like patches."""
        sizes, side = frame.shape, self.patch
        step = side // 2
        ends = [part for n in reversed(sizes) for part in (step, step + -n % step)]
        padded = F.pad(frame[None, None], ends, mode="replicate")[0, 0]
        width = padded.shape[1] - side + 1
        patches = F.unfold(padded[None, None], side)[0].T
        where = self._alike(padded, width)
        total, count = torch.zeros_like(patches), patches.new_zeros(len(patches), 1)
        for group in torch.split(where, 4096):
            matrices = patches[group].permute(0, 2, 1)
            cleaned = low_rank(matrices, self.level * CHOSEN, self.rule).permute(0, 2, 1)
            total.index_add_(0, group.flatten(), cleaned.reshape(-1, side * side))
            count.index_add_(0, group.flatten(), count.new_ones(group.numel(), 1))
        summed = F.fold(total.T[None], padded.shape, side)[0, 0]
        weight = F.fold(count.expand(-1, side * side).T[None], padded.shape, side)[0, 0]
        return (summed / weight)[step : step + sizes[0], step : step + sizes[1]]

    def _alike(self, padded: Tensor, width: int) -> Tensor:
        """For each patch of a grid of half-patch steps, the numbers of the patches most like it: (patches, alike)."""
        side, step, reach = self.patch, self.patch // 2, self.search
        rows = torch.arange(0, padded.shape[0] - side + 1, step, device=padded.device)
        columns = torch.arange(0, width, step, device=padded.device)
        far = torch.finfo(padded.dtype).max / 4
        wide = F.pad(padded[None, None], [reach] * 4, value=float("nan"))[0, 0]
        offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
        distances = []
        for i, j in offsets:
            shifted = wide[reach + i : reach + i + padded.shape[0], reach + j : reach + j + padded.shape[1]]
            distances.append(F.avg_pool2d((padded - shifted).square()[None, None], side, step)[0, 0].flatten())
        order = torch.stack(distances, dim=1).nan_to_num(nan=far)
        chosen = order.topk(min(self.alike, len(offsets)), dim=1, largest=False).indices
        moves = torch.tensor([i * width + j for i, j in offsets], device=padded.device)
        places = (rows[:, None] * width + columns[None, :]).flatten()
        return (places[:, None] + moves[chosen]).clamp_(0, (padded.shape[0] - side + 1) * width - 1)
