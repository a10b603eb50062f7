# SPDX-License-Identifier: Apache-2.0
import json
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.benchmarks.measure import gate
from tests.experiments.study import UNFINISHED, Study, TimeIsUpError, ended


class Doubling:
    """The network shall learn to double."""

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        inputs = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(number))
        return inputs, 2 * inputs


def closeness(network: nn.Module) -> float:
    return -float((network(torch.ones(1, 1, 6, 6)) - 2).square().mean().detach())


def config(steps: int = 40) -> dict[str, object]:
    return {
        "network_def": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
        "train_dataset": Doubling(),
        "validation": closeness,
        "loss": {"_target_": "clarivox.losses.RelativeSquaredError"},
        "trainer": {"steps": steps, "learning_rate": 0.05, "warm_up": 5, "every": 10},
    }


def test_a_network_is_trained_from_a_configuration_with_its_curve_and_time(tmp_path: Path) -> None:
    made = Study("toy", tmp_path).train("plain", config())
    assert made.facts["steps"] == 40 and made.facts["batch"] == 4 and made.facts["parameters"] == 2
    assert [step for step, _ in made.facts["curve"]] == [10, 20, 30, 40]
    assert made.facts["best"] == pytest.approx(closeness(made.network), abs=1e-3)
    assert not made.network.training


def test_training_ends_with_its_minutes_and_goes_on_from_there(tmp_path: Path) -> None:
    hasty = Study("toy", tmp_path, ends=time.monotonic() - 1)
    with pytest.raises(TimeIsUpError, match="plain at step 10"):
        hasty.train("plain", config())
    assert ended(lambda: hasty.train("plain", config()) and 0) == UNFINISHED
    stopped = Study("toy", tmp_path).train("plain", config())
    whole = Study("toy", tmp_path / "whole").train("plain", config())
    assert stopped.facts["curve"] == whole.facts["curve"]
    assert all(torch.equal(a, b) for a, b in zip(stopped.network.parameters(), whole.network.parameters(), strict=True))


def test_a_small_run_takes_few_steps_and_stays_apart(tmp_path: Path) -> None:
    small = Study("toy", tmp_path, small=True)
    assert small.train("plain", config()).facts["steps"] == 4
    assert small.report([], [gate("never", 0.0, at_least=1.0, unit="dB")]) == 0
    assert Study("toy", tmp_path).train("plain", config()).facts["steps"] == 40


def test_the_figures_are_kept_with_the_training(tmp_path: Path) -> None:
    study = Study("toy", tmp_path, json=tmp_path / "toy.json")
    made = study.train("plain", config())
    assert study.report([{"network": "plain", "score": made.facts["best"]}], [], [made.facts]) == 0
    kept = json.loads((tmp_path / "toy.json").read_text())
    assert kept["training"][0]["name"] == "plain" and kept["rows"][0]["network"] == "plain" and kept["machine"]["cores"]


def test_weights_of_one_begin_another(tmp_path: Path) -> None:
    study = Study("toy", tmp_path)
    study.train("first", config())
    again = config(steps=10)
    again["trainer"] |= {"init_from": study.weights_of("first"), "learning_rate": 1e-9}
    made = study.train("second", again)
    assert made.facts["best"] == pytest.approx(study.train("first", config()).facts["best"], abs=1e-3)
