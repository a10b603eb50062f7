# SPDX-License-Identifier: Apache-2.0
"""A small classifier of small pictures: MONAI's ResNet, trained in seconds. Research only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.nets import ResNet
from numpy.typing import NDArray
from torch import Tensor, nn

from clarivox.errors import BundleError
from clarivox.prepare import PrepareVolume, StoredRange
from clarivox.volume import Volume

SIDE = 128
WIDTHS = (12, 24, 48, 96)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    steps: int = 200
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 0

    def words(self) -> str:
        """For people."""
        return (
            f"a ResNet of {len(WIDTHS)} stages reads pictures of {SIDE} x {SIDE}, trained in each fold for "
            f"{self.steps} steps of {self.batch} on the original images of the other patients"
        )


def classifier() -> nn.Module:
    """An untrained classifier: pictures (N, 1, X, Y) to one score each, shape (N, 1)."""
    network: nn.Module = ResNet(
        "basic",
        [1] * len(WIDTHS),
        list(WIDTHS),
        spatial_dims=2,
        n_input_channels=1,
        num_classes=1,
        conv1_t_size=5,
        conv1_t_stride=2,
    )
    return network


def picture_of(volume: Volume, side: int = SIDE) -> Tensor:
    """The middle slice of a volume as a classifier sees it: shape (1, side, side), mean 0, deviation 1.

    A picture that is not square is squeezed into one; shrinking is antialiased.
    """
    prepared = PrepareVolume(StoredRange())(volume)
    _, x, y, depth = prepared.shape
    middle = depth // 2
    values = prepared.read(0, (slice(0, x), slice(0, y), slice(middle, middle + 1)))[..., 0]
    small = F.interpolate(torch.from_numpy(values)[None, None], (side, side), mode="bilinear", antialias=True)[0]
    return (small - small.mean()) / small.std().clamp_min(1e-6)


def trained(
    pictures: Sequence[Tensor],
    positive: NDArray[np.bool_],
    recipe: Recipe,
    *,
    init_from: Path | None = None,
    number: int = 0,
) -> nn.Module:
    """A classifier trained on pictures: flipped from left to right, shifted by a sixteenth, brighter and darker.

    Both classes are drawn equally often. The same arguments give the same weights on the same machine.

    Args:
        pictures: shape (1, side, side) each.
        positive: which show what a high score means.
        recipe: how.
        init_from: weights to begin with, as `write` wrote them.
        number: of the fold, so that each draws its own.

    Raises:
        BundleError: `init_from` is not of this classifier.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * recipe.seed + number)
        network = classifier()
        if init_from is not None:
            _begin(network, init_from)
        stack = torch.stack(list(pictures))
        truth = torch.from_numpy(np.asarray(positive)).float()
        draw = np.random.default_rng((recipe.seed, number))
        classes = [np.flatnonzero(positive), np.flatnonzero(~np.asarray(positive))]
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps)
        for _ in range(recipe.steps):
            chosen = np.concatenate([draw.choice(places, recipe.batch // 2) for places in classes])
            batch = varied(stack[chosen], draw)
            loss = F.binary_cross_entropy_with_logits(network(batch)[:, 0], truth[chosen] * 0.9 + 0.05)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return network.eval()


def varied(batch: Tensor, draw: np.random.Generator) -> Tensor:
    """The pictures flipped along X, moved, and scaled at random; shape (N, 1, side, side)."""
    reach = batch.shape[-1] // 16
    wide = F.pad(batch, (reach,) * 4, mode="replicate")
    side = batch.shape[-1]
    made = []
    for picture in wide:
        i, j = draw.integers(0, 2 * reach + 1, 2)
        moved = picture[:, i : i + side, j : j + side]
        made.append((moved.flip(1) if draw.random() < 0.5 else moved) * draw.uniform(0.8, 1.25) + draw.normal(0, 0.1))
    return torch.stack(made)


@torch.inference_mode()
def scores_of(network: nn.Module, pictures: Sequence[Tensor]) -> NDArray[np.float64]:
    """The score of each picture, as the mean of itself and its mirror image."""
    found = []
    for part in torch.split(torch.stack(list(pictures)), 64):
        found.append((network(part) + network(part.flip(2)))[:, 0] / 2)
    return torch.cat(found).double().numpy()


def write(network: nn.Module, path: Path) -> None:
    """Write a classifier's weights, for `init_from`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)


def _begin(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, AttributeError, UnpicklingError) as cause:
        raise BundleError(f"the weights {path.name} cannot be read or are not of this classifier") from cause
