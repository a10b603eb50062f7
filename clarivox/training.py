# SPDX-License-Identifier: Apache-2.0
"""A small training loop: resumes where it stopped, keeps an average of the weights, and writes a bundle's model."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from clarivox import manifest
from clarivox.transforms.bicubic import bicubic

logger = logging.getLogger(__name__)


class Batches(Protocol):
    """What the loop trains on."""

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one step; the same for the same number."""


class Score(Protocol):
    """What decides which weights are kept."""

    def __call__(self, network: nn.Module) -> float:
        """Larger is better."""


class RelativeSquaredError(nn.Module):
    """Squared error of each patch, relative to the error of the input, so that faint and strong faults count alike.

    An input on a coarser grid than the target is enlarged by bicubic interpolation first.

    Args:
        power: 1 makes every level of degradation count the same; 0 is the plain squared error.
        floor: squared error below which an input counts as clean, in squared image units.
        shave: voxels left out along each border of a patch, where its neighbourhood was cut off.
    """

    def __init__(self, power: float = 0.75, floor: float = 1e-5, shave: int = 0) -> None:
        super().__init__()
        self.power, self.floor, self.shave = power, floor, shave

    def forward(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes (N, C, *spatial), `inputs` perhaps on a coarser grid."""
        sizes = targets.shape[2:]
        inner = (slice(None), slice(None), *[slice(self.shave, n - self.shave) for n in sizes])
        each = (outputs - targets)[inner].square().flatten(1).mean(1)
        given = (bicubic(inputs, sizes) - targets)[inner].square().flatten(1).mean(1)
        return (each / (given + self.floor) ** self.power).mean()


def write_model(network: nn.Module, bundle_root: Path, weights: str = "models/model.pt") -> None:
    """Writes a network's weights into a bundle, a plain state dict in half precision, and seals the bundle anew."""
    path = bundle_root / weights
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().cpu().clone() for name, value in network.state_dict().items()}
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
    manifest.seal(bundle_root)


Laid = TypeVar("Laid", Tensor, nn.Module)


def channels_last(item: Laid) -> Laid:
    """Lays a tensor's, or a module's, memory out channels last, in which convolutions train up to twice as fast."""
    if isinstance(item, Tensor):
        layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
        return item.contiguous(memory_format=layouts.get(item.ndim, torch.contiguous_format))
    for part in item.parameters():
        part.data = channels_last(part.data)
    return item


class Trainer:
    """Trains a network step by step, with Adam, a cosine learning rate after a warm-up, and an average of the weights.

    The average is what is scored and written. A checkpoint holds everything, so that a run that was stopped and begun
    again ends with the same weights as one that was not.

    Args:
        network: trained in place.
        train_dataset: batches by number.
        score: judges the averaged network; the best so far is written as the model.
        loss: called with outputs, targets and inputs.
        steps: batches in all.
        learning_rate: its peak.
        bundle_root: the bundle that the weights go into.
        weights: their path within it.
        checkpoint: the file to resume from and to write, outside the bundle.
        init_from: weights to begin with, as `write_model` wrote them; None begins with the network's own.
        every: steps between scores and checkpoints.
        average: how much of the average stays at each step.
        seed: for the network's own draws, if it has any.
        amp: compute in bfloat16 where that is safe; the weights stay in single precision.
        device: where to train.
    """

    def __init__(
        self,
        network: nn.Module,
        train_dataset: Batches,
        score: Score,
        *,
        loss: nn.Module,
        steps: int,
        bundle_root: str | Path,
        checkpoint: str | Path,
        weights: str = "models/model.pt",
        init_from: str | Path | None = None,
        amp: bool = False,
        learning_rate: float = 1e-3,
        warm_up: int = 200,
        every: int = 500,
        average: float = 0.998,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.network = channels_last(network.to(self.device))
        self.data, self.score, self.loss = train_dataset, score, loss
        self.steps, self.warm_up, self.every, self.seed = steps, warm_up, every, seed
        self.learning_rate, self.average, self.amp = learning_rate, average, amp
        self.bundle_root, self.weights, self.checkpoint = Path(bundle_root), weights, Path(checkpoint)
        if init_from is not None:
            state = torch.load(init_from, map_location=self.device, weights_only=True)
            self.network.load_state_dict({name: value.float() for name, value in state.items()})
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.averaged = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step, self.best = 0, -math.inf

    def run(self) -> None:
        """Trains to the last step, from the checkpoint where there is one."""
        if self.checkpoint.exists():
            self._resume()
        began, first = time.monotonic(), self.step
        while self.step < self.steps:
            loss = self._advance()
            if self.step % self.every == 0 or self.step == self.steps:
                score = self._judge()
                self._save()
                pace = (time.monotonic() - began) / (self.step - first)
                logger.info(
                    "step %d loss %.5f score %.3f best %.3f %.2f s/step", self.step, loss, score, self.best, pace
                )

    def _rate(self) -> float:
        if self.step < self.warm_up:
            return self.learning_rate * (self.step + 1) / self.warm_up
        done = (self.step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def _advance(self) -> float:
        torch.manual_seed(self.seed + self.step)
        inputs, targets = (channels_last(part.to(self.device)) for part in self.data.batch(self.step))
        self.optimizer.param_groups[0]["lr"] = self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            outputs = self.network(inputs)
        loss = self.loss(outputs.float(), targets, inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(self.average, self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.averaged[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def _judge(self) -> float:
        trained = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged)
        self.network.eval()
        score = self.score(self.network)
        if score > self.best:
            self.best = score
            write_model(self.network, self.bundle_root, self.weights)
        self.network.load_state_dict(trained)
        self.network.train()
        return score

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        logger.info("resumed at step %d", self.step)
