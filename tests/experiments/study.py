# SPDX-License-Identifier: Apache-2.0
"""What experiments share: training a small network so that it can be stopped and go on, and keeping the figures.

An experiment is a module with a docstring that says what is compared, on what data, by which figure (range, window,
variant), and this shape:

    def main(arguments=None):
        study = Study.asked(__doc__, "bias_free", arguments)
        rows, training = [], []
        for bias in (False, True):
            made = study.train(f"bias_{bias}", {
                "network_def": {"_target_": "clarivox.networks.dncnn.DnCnn", "bias": bias},
                "train_dataset": {"_target_": "clarivox.patches.Patches", ...},   # or an object
                "validation": {...},                                              # or a function of the network
                "loss": {"_target_": "clarivox.losses.RelativeSquaredError"},
                "trainer": {"steps": 2000, "learning_rate": 1e-3, "every": 200, "amp": True},
            })
            rows.append({"network": ..., "PSNR dB, range 1": measured(made.network)})
            training.append(made.facts)
        return study.report(rows, [gate(...)], training)

    if __name__ == "__main__":
        raise SystemExit(ended(main))

The configuration is the language of train.yaml, with objects where that is easier. `--small` cuts every training to
`SMALL_STEPS`; ask `study.small` to cut the data too. Rows are flat: column name to number or text; the name of a column
with a number says its unit. `tests.results` prints docs/RESULTS.md from the JSON.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from clarivox.training import Trainer
from tests.benchmarks.measure import Gate, machine, options, report

UNFINISHED = 75
"""Exit code of an experiment whose training is not at its end: EX_TEMPFAIL of sysexits.h, run it again."""
SMALL_STEPS = 4


class TimeIsUpError(Exception):
    """Training stopped at a checkpoint because its minutes are used."""


@dataclass(frozen=True)
class Trained:
    """A network with its best weights, and how it got them."""

    network: nn.Module
    facts: dict[str, Any]
    """name, parameters, steps, batch, minutes, best score, where, and the validation curve as [step, score] pairs."""


@dataclass
class Study:
    """One run of an experiment.

    Attributes:
        name: the experiment's module.
        work: checkpoints lie below `work/name`.
        json: where the figures go, or None.
        ends: clock reading after which training stops at the next checkpoint, or None.
        small: a few steps only.
    """

    name: str
    work: Path
    json: Path | None = None
    ends: float | None = None
    small: bool = False

    @classmethod
    def asked(cls, description: str | None, name: str, arguments: Sequence[str] | None = None) -> Study:
        """A study as the command line asks for it."""
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        parser = options(description)
        parser.add_argument(
            "--work", type=Path, metavar="DIR", default=Path("runs/experiments"), help="checkpoints go below this"
        )
        parser.add_argument("--minutes", type=float, metavar="M", help="of training, then stop at a checkpoint")
        parser.add_argument("--small", action="store_true", help="a few steps, to see that it runs")
        found = parser.parse_args(arguments)
        ends = None if found.minutes is None else time.monotonic() + 60 * found.minutes
        return cls(name, found.work, Path(found.json) if found.json else None, ends, found.small)

    def train(self, name: str, config: Mapping[str, Any]) -> Trained:
        """Train one network, going on from its checkpoint; one that is at its end is only loaded.

        Args:
            name: of the network within the experiment, also its folder's.
            config: network_def, train_dataset, validation, loss, and under "trainer" arguments of
                `clarivox.training.Trainer` (steps at least; init_from may be a path that `weights_of` gives).

        Raises:
            TimeIsUpError: the minutes are used; `ended` turns this into the exit code.
        """
        folder = self.work / self.name / (f"{name}_small" if self.small else name)
        parser = ConfigParser(dict(config))
        torch.manual_seed(config["trainer"].get("seed", 0))
        network = parser.get_parsed_content("network_def")
        how = {"every": 500} | dict(config["trainer"])
        if self.small:
            how |= {"steps": SMALL_STEPS, "every": SMALL_STEPS // 2, "warm_up": 1}
        log = _Log(folder / "curve.json", parser.get_parsed_content("train_dataset"), how["every"], self.ends)
        log.score = parser.get_parsed_content("validation")
        trainer = Trainer(
            network,
            log,
            log,
            loss=parser.get_parsed_content("loss"),
            bundle_root=folder,
            checkpoint=folder / "checkpoint.pt",
            **how,
        )
        log.step = lambda: trainer.step
        trainer.run()
        state = torch.load(self.weights_of(name), map_location="cpu", weights_only=True)
        network.load_state_dict({key: value.float() for key, value in state.items()})
        return Trained(network.cpu().eval(), {"name": name, "parameters": _count(network)} | log.facts(how["steps"]))

    def weights_of(self, name: str) -> Path:
        """Where the best weights of a network that was trained before lie, for init_from."""
        return self.work / self.name / (f"{name}_small" if self.small else name) / "models" / "model.pt"

    def report(
        self, rows: Sequence[Mapping[str, Any]], gates: Sequence[Gate], training: Sequence[Mapping[str, Any]] = ()
    ) -> int:
        """Print the table and the gates and keep the figures; the exit code, which a small run's gates leave at 0."""
        code = report(self.name, rows, gates, self.json, more={"training": list(training)})
        return 0 if self.small else code


def ended(main: Callable[[], int]) -> int:
    """The exit code of an experiment, also where its minutes ended."""
    try:
        return main()
    except TimeIsUpError as unfinished:
        print(f"not at its end: {unfinished}; run it again")
        return UNFINISHED


class _Log:
    """Stands between the trainer and its data and score: keeps the curve and the time, and stops when time is up."""

    def __init__(self, path: Path, data: Any, every: int, ends: float | None) -> None:
        self.path, self.data, self.every, self.ends = path, data, every, ends
        self.score: Callable[[nn.Module], float] = lambda network: 0.0
        self.step: Callable[[], int] = lambda: 0
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.seconds, self.scores, self.size = kept.get("seconds", 0.0), kept.get("scores", {}), kept.get("batch", 0)
        self.since = time.monotonic()

    def batch(self, number: int) -> Any:
        """A batch of the data; right after a checkpoint, and when time is up, none."""
        if self.ends is not None and number and number % self.every == 0 and time.monotonic() > self.ends:
            raise TimeIsUpError(f"{self.path.parent.name} at step {number}")
        made = self.data.batch(number)
        self.size = len(made[1])
        return made

    def __call__(self, network: nn.Module) -> float:
        """The score, which is kept."""
        score = float(self.score(network))
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now
        self.scores[str(self.step())] = score
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"seconds": self.seconds, "scores": self.scores, "batch": self.size, "machine": machine()}
        self.path.write_text(json.dumps(content, indent=1) + "\n")
        return score

    def facts(self, steps: int) -> dict[str, Any]:
        """What the log says of the whole training."""
        curve = sorted((int(step), score) for step, score in self.scores.items())
        return {
            "steps": steps,
            "batch": self.size,
            "minutes": self.seconds / 60,
            "best": max(score for _, score in curve),
            "curve": curve,
            "machine": json.loads(self.path.read_text())["machine"]["cpu"],
        }


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
