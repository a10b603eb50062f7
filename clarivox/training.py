# SPDX-License-Identifier: Apache-2.0
"""A small training loop: resumes where it stopped, keeps an average of the weights, and writes a bundle's model."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from clarivox import checkpoints, manifest, parallel
from clarivox.adversarial import Opponent
from clarivox.errors import CancelledError, CapacityError, OptionError, TrainingError
from clarivox.progress import Progress, Step
from clarivox.training_log import Row, TrainingLog
from clarivox.weights import channels_last, fill, read_weights, write_model

logger = logging.getLogger(__name__)

_LOOK = 20
"""Steps between looks at the loss: on a GPU each look waits for the work that was given to it."""


class Batches(Protocol):
    """What the loop trains on."""

    def batch(self, number: int) -> tuple[Tensor, ...]:
        """Inputs and targets of one step, the same for the same number; a third part goes to the network too."""


class Score(Protocol):
    """What decides which weights are kept. Where it has an attribute `shown`, these pictures are written."""

    def __call__(self, network: nn.Module) -> float:
        """Larger is better. The network is where it was trained: give it images on the device of its parameters."""


class Pace(NamedTuple):
    """How fast a training goes."""

    step_s: float
    score_s: float


class _Numbered(Dataset[tuple[Tensor, ...]]):
    """Batches by number for torch's loader: this process's share of each."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        return parallel.share(tuple(self.batches.batch(number)))


class Trainer:
    """Trains a network step by step, with Adam, a cosine learning rate after a warm-up, and an average of the weights.

    The average is what is scored and written. A checkpoint holds everything, so that a run that was stopped and begun
    again ends with the same weights as one that was not.

    Args:
        network: trained in place.
        train_dataset: batches by number.
        score: judges the averaged network; the best so far is written as the model.
        loss: called with outputs, targets and inputs, or see `clarivox.losses`.
        steps: batches in all.
        learning_rate: its peak.
        warm_up: steps over which it rises.
        bundle_root: the bundle that the weights go into.
        weights: their path within it.
        checkpoint: the file to resume from and to write, outside the bundle; validation pictures go beside it.
        init_from: weights to begin with, as `write_model` wrote them; None begins with the network's own.
        every: steps between scores and checkpoints.
        patience: scores without a better one after which training ends early; None never does.
        keep: "best" writes the weights of the best score, "last" the latest, where the score does not say what is
            wanted (adversarial training).
        average: how much of the average stays at each step.
        opponent: a discriminator that learns beside the network.
        seed: for the network's own draws, if it has any.
        amp: compute in bfloat16 where that is safe; the weights stay in single precision.
        device: where to train.
        workers: processes that make batches ahead; 0 makes each when it is wanted.
        log: path within the bundle of the table of losses and scores.
        tensorboard: folder for TensorBoard's curves and pictures; None writes none.
        progress: called after each step; returning False stops with a checkpoint.

    Raises:
        OptionError: an argument is out of range.
        BundleError: the weights to begin with cannot be read or are another network's.
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
        patience: int | None = None,
        keep: str = "best",
        average: float = 0.998,
        opponent: Opponent | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
        workers: int = 0,
        log: str = "docs/training.csv",
        tensorboard: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        if steps < 1 or every < 1 or keep not in ("best", "last"):
            raise OptionError(f"steps and every are 1 or more, keep best or last; found {steps}, {every}, {keep}")
        self.device = torch.device(device)
        self.network = channels_last(network.to(self.device))
        self.data, self.score, self.loss = train_dataset, score, loss.to(self.device)
        self.steps, self.warm_up, self.every, self.seed = steps, warm_up, every, seed
        self.learning_rate, self.average, self.amp = learning_rate, average, amp
        self.patience, self.keep, self.opponent = patience, keep, opponent
        self.bundle_root, self.weights, self.checkpoint = Path(bundle_root), weights, Path(checkpoint)
        self.workers, self.progress = workers, progress
        if init_from is not None:
            fill(self.network, read_weights(init_from), Path(init_from).name)
        if opponent is not None:
            opponent.to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.averaged = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step, self.best, self.stale = 0, -math.inf, 0
        self.sum, self.mark, self.spent = torch.zeros((), device=self.device), time.monotonic(), 0.0
        self.first = parallel.place()[0] == 0
        places = (self.bundle_root / log, self.checkpoint.parent / "pictures", tensorboard)
        self.log = TrainingLog(*(places if self.first else (None, None, None)))

    def run(self) -> None:
        """Trains to the last step, from the checkpoint where there is one.

        Raises:
            TrainingError: the loss is no longer a number (code nan_loss), or no checkpoint is whole.
            CapacityError: the disk is full (code disk_full), or a batch does not fit the device; the last checkpoint
                and the best weights so far stay.
            CancelledError: `progress` returned False; a checkpoint was written.
        """
        self.resume()
        self.began, self.from_step = time.monotonic(), self.step
        self.mark = self.began - self.spent
        for batch in self._batches():
            try:
                self.advance(batch)
            except torch.OutOfMemoryError as error:
                raise CapacityError(
                    f"a batch of {len(batch[0])} does not fit the memory of {self.device}; take a smaller batch_size "
                    "or patch_size"
                ) from error
            due = self.step % self.every == 0 or self.step == self.steps
            if due or self.step % _LOOK == 0:
                self._look()
            if due:
                self.judge()
                self.save()
            self._tell()
            if self._out_of_patience():
                logger.info("no better score in %d of %d steps; ended early", self.stale * self.every, self.step)
                break
        self.log.close()

    def _batches(self) -> Iterator[tuple[Tensor, ...]]:
        numbers = range(self.step, self.steps)
        if self._out_of_patience() or not numbers:
            return iter(())
        ready = _Numbered(self.data)
        if self.workers == 0:
            return (ready[number] for number in numbers)
        pinned = self.device.type == "cuda"
        return iter(DataLoader(ready, batch_size=None, sampler=numbers, num_workers=self.workers, pin_memory=pinned))

    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.stale >= self.patience

    def rate(self) -> float:
        """The learning rate of the next step."""
        if self.step < self.warm_up:
            return self.learning_rate * (self.step + 1) / self.warm_up
        done = (self.step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def advance(self, batch: tuple[Tensor, ...]) -> None:
        """One step on inputs, targets and perhaps a noise level."""
        torch.manual_seed(self.seed + self.step)
        inputs, targets, *level = (channels_last(part.to(self.device, non_blocking=True)) for part in batch)
        self.optimizer.param_groups[0]["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        outputs, loss = self._forward(inputs, targets, level)
        playing = self.opponent if self.opponent is not None and self.step >= self.opponent.begin else None
        if playing is not None:
            loss = loss + playing.cost(outputs)
        loss.backward()  # type: ignore[no-untyped-call]
        self.sum += parallel.average_gradients(self.network, loss.detach())
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        if playing is not None:
            playing.learn(outputs, targets)
        self.step += 1
        self._average()

    def _forward(self, inputs: Tensor, targets: Tensor, level: list[Tensor]) -> tuple[Tensor, Tensor]:
        whole = getattr(self.loss, "of_network", None)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            if whole is not None:
                outputs, loss = whole(self.network, inputs, targets, level, self.step)
                return outputs, loss
            outputs = self.network(inputs, *level)
        outputs = outputs.float()
        return outputs, self.loss(outputs, targets, inputs)

    def _average(self) -> None:
        keep = min(self.average, self.step / (self.step + 10))
        now = self.network.state_dict()
        smooth = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.averaged[n] for n in smooth], [now[n] for n in smooth], 1 - keep)
        for name in now.keys() - set(smooth):
            self.averaged[name].copy_(now[name])

    def _look(self) -> None:
        """Stops where the loss is no longer a number, or a weight, which the loss before it does not show."""
        weights = torch.stack([value.sum() for value in self.averaged.values() if value.is_floating_point()])
        if not math.isfinite(float(self.sum + weights.sum())):
            kept = f"the checkpoint of step {self.log.rows[-1].step} is kept" if self.log.rows else "nothing was kept"
            raise TrainingError(
                f"the loss is no longer a number at step {self.step}; {kept}; take a learning_rate below "
                f"{self.learning_rate:g}, or look for such values in the images",
                code="nan_loss",
            )

    def judge(self) -> float:
        """Scores the averaged weights, writes them where they are to be kept, and adds a row to the log."""
        trained = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged)
        self.network.eval()
        score = parallel.agreed(self.score(self.network) if self.first else 0.0, self.device)
        better = score > self.best
        self.stale = 0 if better else self.stale + 1
        self.best = max(self.best, score)
        self._note(score)
        if self.first:
            if better or self.keep == "last":
                write_model(self.network, self.bundle_root, self.weights)
            else:
                manifest.seal(self.bundle_root)
        self.network.load_state_dict(trained)
        self.network.train()
        return score

    def _note(self, score: float) -> None:
        rows, now = self.log.rows, time.monotonic()
        before = rows[-1] if rows else Row(0, 0.0, 0.0, 0.0, 0.0)
        loss = float(self.sum) / max(1, self.step - before.step)
        seconds = before.seconds + now - self.mark
        self.mark = now
        self.sum.zero_()
        rate = self.optimizer.param_groups[0]["lr"]
        self.log.add(Row(self.step, loss, score, rate, seconds), getattr(self.score, "shown", ()) if self.first else ())
        logger.info(
            "step %d of %d, loss %.5g, score %.3f, best %.3f, %.0f s",
            *(self.step, self.steps, loss, score, self.best, seconds),
        )

    def save(self) -> None:
        """Writes a checkpoint; the one before stays beside it."""
        if self.first:
            checkpoints.save(self.checkpoint, self.state())

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on; the tensors are the trainer's own."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "opponent": self.opponent.state_dict() if self.opponent is not None else None,
            "step": self.step,
            "steps": self.steps,
            "best": self.best,
            "stale": self.stale,
            "sum": float(self.sum),
            "seconds": time.monotonic() - self.mark,
            "rows": [list(row) for row in self.log.rows],
        }

    def resume(self) -> None:
        """Goes on from the checkpoint, where there is one.

        Raises:
            TrainingError: none is whole (code torn_checkpoint), or it is of another network.
        """
        state = checkpoints.load(self.checkpoint)
        if state is None:
            return
        self.restore(state)
        logger.info("resumed at step %d", self.step)
        if state["steps"] != self.steps:
            logger.warning(
                "the run was begun for %d steps; the learning rate now follows %d", state["steps"], self.steps
            )

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave.

        Raises:
            TrainingError: it is of another network (code other_checkpoint).
        """
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.opponent is not None:
                self.opponent.load_state_dict(state["opponent"])
        except (RuntimeError, ValueError, TypeError, KeyError) as cause:
            raise TrainingError(
                f"the checkpoint {self.checkpoint.name} is of another network; delete it, or name another",
                code="other_checkpoint",
            ) from cause
        self.averaged = {name: value.to(self.device) for name, value in state["averaged"].items()}
        self.step, self.best, self.stale = state["step"], state["best"], state["stale"]
        self.log.resume(state["rows"])
        self.sum.fill_(state["sum"])
        self.spent = state["seconds"]

    def last_step(self, steps: int) -> None:
        """Ends after so many steps instead; a short training is warmed up, scored and kept in proportion."""
        if self.opponent is not None:
            self.opponent.begin = round(self.opponent.begin * steps / self.steps)
        self.steps = steps
        self.warm_up = min(self.warm_up, max(1, steps // 10))
        self.every = min(self.every, max(1, steps // 4))

    def pace(self, seconds: float = 5.0) -> Pace:
        """Seconds a step and a score, from trials that leave no trace; `steps` may be set anew after it."""
        before = copy.deepcopy(self.state())
        batches = self._batches()
        marks = [time.monotonic()]
        while self.step < self.steps and (len(marks) < 5 or (marks[-1] - marks[1] < seconds and len(marks) < 200)):
            self.advance(next(batches))
            self.sum.item()  # waits for a GPU
            marks.append(time.monotonic())
        self.network.eval()
        self.score(self.network)
        scored = time.monotonic() - marks[-1]
        self.network.train()
        self.restore(before)
        warm = marks[1:] if len(marks) > 2 else marks
        return Pace((warm[-1] - warm[0]) / (len(warm) - 1), scored)

    def _tell(self) -> None:
        if self.progress is None:
            return
        pace = (time.monotonic() - self.began) / (self.step - self.from_step)
        going_on = self.progress(Step("train", self.step / self.steps, pace * (self.steps - self.step)))
        if going_on is False and self.step < self.steps:
            self._look()
            self.save()
            raise CancelledError(
                f"stopped on request at step {self.step} of {self.steps}; "
                f"the checkpoint {self.checkpoint.name} goes on from there"
            )
