# SPDX-License-Identifier: Apache-2.0
"""A training of one weight, for tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clarivox.losses import RelativeSquaredError
from clarivox.training import Trainer
from clarivox.training_log import Shown


class Doubling:
    """The network shall learn to double; batch n is the same whenever it is asked for."""

    def __init__(self, hold_at: int = -1) -> None:
        self.hold_at = hold_at

    def batch(self, number: int) -> tuple[Tensor, ...]:
        while number == self.hold_at:
            time.sleep(1)
        inputs = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(number))
        return inputs, 2 * inputs


class Closeness:
    """How near the double it comes."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []

    def __call__(self, network: nn.Module) -> float:
        given = torch.arange(36.0).reshape(1, 1, 6, 6) / 36
        output = network(given.to(next(network.parameters()).device)).detach().cpu()
        self.shown = [Shown(given[0], output[0], 2 * given[0])]
        return -float((output - 2 * given).square().mean())


def trainer(folder: Path, steps: int, *, hold_at: int = -1, **changes: Any) -> Trainer:
    """A trainer whose bundle and checkpoint lie in a folder; it stands for ever at a batch where one is named."""
    torch.manual_seed(0)
    (folder / "bundle" / "configs").mkdir(parents=True, exist_ok=True)
    parts = {"network": nn.Conv2d(1, 1, 1), "train_dataset": Doubling(hold_at), "score": Closeness()}
    settings = {"learning_rate": 0.05, "warm_up": 5, "every": 20, "checkpoint": folder / "checkpoint.pt"}
    return Trainer(
        steps=steps, bundle_root=folder / "bundle", loss=RelativeSquaredError(), **(parts | settings | changes)
    )
