# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from clarivox.adversarial import Opponent
from clarivox.errors import CancelledError, OptionError
from tests.toy_training import trainer


def opponent(**settings: float) -> Opponent:
    torch.manual_seed(1)
    network = PatchDiscriminator(spatial_dims=2, channels=4, in_channels=1, num_layers_d=1)
    return Opponent(network, **{"weight": 0.01, "learning_rate": 1e-3} | settings)  # type: ignore[arg-type]


class Pictures:
    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        inputs = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(number))
        return inputs, 2 * inputs


def test_an_opponent_learns_to_tell_false_from_true() -> None:
    one = opponent()
    true, false = torch.ones(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    for _ in range(40):
        one.learn(false, true)
    assert float(one.cost(true)) < float(one.cost(false))


def test_its_verdict_moves_the_network_and_not_itself() -> None:
    one, outputs = opponent(), torch.zeros(2, 1, 16, 16, requires_grad=True)
    one.cost(outputs).backward()
    assert outputs.grad is not None and float(outputs.grad.abs().max()) > 0
    assert all(p.grad is None and p.requires_grad for p in one.network.parameters())


def test_a_training_with_an_opponent_resumes_with_both(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "a", 30, train_dataset=Pictures(), opponent=opponent(begin=4))
    whole.run()
    steps: list[object] = []
    stopped = trainer(
        tmp_path / "b",
        30,
        train_dataset=Pictures(),
        opponent=opponent(begin=4),
        progress=lambda step: steps.append(step) or len(steps) < 12,
    )
    with pytest.raises(CancelledError):
        stopped.run()
    resumed = trainer(tmp_path / "b", 30, train_dataset=Pictures(), opponent=opponent(begin=4))
    resumed.run()
    assert torch.equal(whole.averaged["weight"], resumed.averaged["weight"])
    assert whole.opponent is not None and resumed.opponent is not None
    for name, value in whole.opponent.network.state_dict().items():
        assert torch.equal(value, resumed.opponent.network.state_dict()[name])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="weight"):
        Opponent(nn.Conv2d(1, 1, 1), weight=-1)
