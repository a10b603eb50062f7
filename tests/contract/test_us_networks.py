# SPDX-License-Identifier: Apache-2.0
"""The ultrasound networks: one recipe for all of them, and published widths that can be trained."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from torch import nn

from clarivox.bundle import catalogue, find
from clarivox.losses import PixelLoss
from clarivox.networks.cost import cost

NAMES = sorted(info.name for info in catalogue() if info.weights and info.name.startswith("us_"))
every = pytest.mark.parametrize("name", NAMES)


def config(name: str, file: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(find(name).folder) / "configs" / file).read_text())
    return content


def network_of(name: str, file: str) -> nn.Module:
    network: nn.Module = ConfigParser(config(name, f"{file}.yaml")).get_parsed_content("network_def")
    return network


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def test_there_are_the_ten_of_the_starting_set() -> None:
    assert len(NAMES) == 10


@every
def test_data_seeds_steps_and_rate_are_the_same_for_all(name: str) -> None:
    first, other = config("us_unet_enhance", "train.yaml"), config(name, "train.yaml")
    own = ["network_def", "trainer"]
    if find(name).clip:  # a burst is simulated as a burst
        own += ["validation", "train_dataset"]
        assert without(first["train_dataset"], "degrade") == without(other["train_dataset"], "degrade")
    assert without(first, *own) == without(other, *own)
    assert without(first["trainer"], "loss") == without(other["trainer"], "loss")


@every
def test_no_subject_is_trained_on_and_tested_and_the_split_is_the_same_for_all(name: str) -> None:
    first, other = (Path(find(n).folder) / "configs" / "split.json" for n in ("us_unet_enhance", name))
    assert first.read_text() == other.read_text()


@every
def test_what_is_trained_is_what_runs(name: str) -> None:
    assert config(name, "train.yaml")["network_def"] == config(name, "inference.yaml")["network_def"]


@every
def test_the_published_width_is_larger_and_takes_a_training_step(name: str) -> None:
    frames = 5 if find(name).clip else 1
    narrow, wide = (cost(partial(network_of, name, file), frames, 64, 64) for file in ("inference", "published"))
    assert wide.parameters > 2 * narrow.parameters
    network = network_of(name, "published")
    x, last = torch.rand(2, frames, 16, 16), list(network.parameters())[-1]
    before = last.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    PixelLoss("charbonnier")(network(x), x[:, :1] / 2, x).backward()
    optimizer.step()
    assert not torch.equal(last, before) and torch.isfinite(last).all()
