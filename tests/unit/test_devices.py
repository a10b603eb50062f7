# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from clarivox.devices import chosen, fallbacks, footprint, memory
from clarivox.errors import OptionError
from clarivox.windows import Windows

CPU = torch.device("cpu")


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False, raising=False)
    assert chosen("auto") == CPU and fallbacks(CPU) == [CPU]


@pytest.mark.parametrize("name", ["tpu9", "", "cuda:77", "meta"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(OptionError):
        chosen(name)


def test_the_cpu_stands_behind_every_device() -> None:
    assert fallbacks(torch.device("cuda", 0)) == [torch.device("cuda", 0), CPU]


def test_the_footprint_grows_with_the_widest_layer() -> None:
    wide, wider = nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(1, 99, 3, padding=1)
    assert footprint(wide, Windows(2)) == 2 * 4 * 65 and footprint(wider, Windows(2)) == 2 * 4 * 100
    assert 0 < footprint(nn.Identity(), Windows(3, stride=16)) < 2 * 4 * 65


def test_there_is_memory_on_a_cpu() -> None:
    assert memory(CPU) > 2**20
