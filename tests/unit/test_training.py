# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clarivox import manifest
from clarivox.training import RelativeSquaredError, Trainer, write_model


class Doubling:
    """The network shall learn to double; batch n is the same whenever it is asked for."""

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        inputs = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(number))
        return inputs, 2 * inputs


def closeness(network: nn.Module) -> float:
    return -float((network(torch.ones(1, 1, 6, 6)) - 2).square().mean().detach())


def trainer(folder: Path, steps: int) -> Trainer:
    torch.manual_seed(0)
    (folder / "bundle" / "configs").mkdir(parents=True, exist_ok=True)
    return Trainer(
        nn.Conv2d(1, 1, 1),
        Doubling(),
        closeness,
        loss=RelativeSquaredError(),
        steps=steps,
        learning_rate=0.05,
        warm_up=5,
        every=20,
        bundle_root=folder / "bundle",
        checkpoint=folder / "checkpoint.pt",
    )


def test_it_learns_and_writes_weights_in_half_precision_under_a_fresh_manifest(tmp_path: Path) -> None:
    run = trainer(tmp_path, 120)
    run.run()
    assert run.best > -0.01
    state = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert "models/model.pt" in manifest.digests(tmp_path / "bundle")
    (tmp_path / "bundle/configs/inference.yaml").write_text("{}")
    manifest.seal(tmp_path / "bundle")
    assert manifest.verify(tmp_path / "bundle")


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "a", 40)
    whole.run()
    stopped = trainer(tmp_path / "b", 40)
    while stopped.step < 20:
        stopped._advance()
    stopped._judge()
    stopped._save()
    resumed = trainer(tmp_path / "b", 40)
    resumed.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, resumed.averaged[name])


def test_the_best_weights_are_kept_when_later_ones_are_worse(tmp_path: Path) -> None:
    run = trainer(tmp_path, 40)
    scores = iter([1.0, 0.5])
    run.score = lambda network: next(scores)
    run.run()
    first = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)["weight"]
    assert run.best == 1.0
    assert not torch.equal(first.float(), run.averaged["weight"])


def test_training_can_begin_with_weights_of_another(tmp_path: Path) -> None:
    given = nn.Conv2d(1, 1, 1)
    write_model(given, tmp_path / "bundle")
    (tmp_path / "bundle/configs").mkdir()
    run = Trainer(
        nn.Conv2d(1, 1, 1),
        Doubling(),
        closeness,
        loss=RelativeSquaredError(),
        steps=1,
        bundle_root=tmp_path / "bundle",
        checkpoint=tmp_path / "checkpoint.pt",
        init_from=tmp_path / "bundle/models/model.pt",
    )
    assert torch.equal(run.averaged["weight"], given.weight.detach().half().float())


def test_the_loss_counts_strong_and_faint_noise_alike_at_power_one() -> None:
    truth = torch.zeros(2, 1, 8, 8)
    inputs = torch.stack([torch.full((1, 8, 8), 0.1), torch.full((1, 8, 8), 1.0)])
    loss = RelativeSquaredError(power=1, floor=0)
    assert float(loss(inputs / 2, truth, inputs)) == pytest.approx(0.25)


def test_the_loss_takes_inputs_on_a_coarser_grid_and_leaves_the_border_out() -> None:
    truth = torch.ones(1, 1, 8, 8)
    outputs = truth.clone()
    outputs[..., 0] = 9
    assert float(RelativeSquaredError(shave=1)(outputs, truth, torch.zeros(1, 1, 4, 4))) == 0
