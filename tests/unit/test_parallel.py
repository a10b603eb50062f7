# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn, tensor

from clarivox import parallel
from clarivox.errors import OptionError


def test_alone_nothing_is_dealt_out_or_averaged() -> None:
    batch = (torch.arange(3.0), torch.arange(3.0))
    assert all(torch.equal(one, other) for one, other in zip(parallel.share(batch), batch, strict=True))
    assert parallel.agreed(2.5, torch.device("cpu")) == 2.5
    assert float(parallel.average_gradients(nn.Linear(1, 1), tensor(3.0))) == 3
    parallel.leave()


def test_each_process_gets_its_share_of_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "place", lambda: (1, 2))
    inputs, targets = parallel.share((tensor([0, 1, 2, 3]), tensor([[0], [1], [2], [3]])))
    assert inputs.tolist() == [1, 3] and targets.tolist() == [[1], [3]]
    with pytest.raises(OptionError, match="batch of 3") as caught:
        parallel.share((tensor([0, 1, 2]),))
    assert caught.value.code == "uneven_batch"


def test_gradients_and_loss_become_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    def added(flat: torch.Tensor) -> None:
        flat += torch.ones_like(flat)  # the other process's are all 1

    monkeypatch.setattr(parallel, "place", lambda: (0, 2))
    monkeypatch.setattr(torch.distributed, "all_reduce", added)
    network = nn.Conv2d(1, 2, 1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    assert float(parallel.average_gradients(network, tensor(5.0))) == 3
    assert all(bool((parameter.grad == 2).all()) for parameter in network.parameters())


def test_torchrun_is_asked_for_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(OptionError, match="torchrun") as caught:
        parallel.join()
    assert caught.value.code == "no_torchrun"
