# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from clarivox.engines import OneDnnConv3d, eager, kept_memory


@pytest.mark.parametrize("about", [{"padding": 1}, {"padding": "same"}, {"padding_mode": "replicate", "padding": 1}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_faster_convolution_gives_the_same(about: dict[str, object], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(2, 5, 3, **about).to(dtype)  # type: ignore[arg-type]
    x = torch.rand(1, 2, 9, 8, 7, dtype=dtype)
    expected = plain(x)
    fast = eager(nn.Sequential(plain), 3)
    assert isinstance(fast[0], OneDnnConv3d)  # type: ignore[index]
    assert torch.allclose(fast(x), expected, atol=1e-6)


def test_weights_lie_channels_last_and_need_no_gradient() -> None:
    network = eager(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 2)
    assert next(network.parameters()).is_contiguous(memory_format=torch.channels_last)
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_memory_is_kept_for_a_while_only() -> None:
    with kept_memory(torch.device("cpu")):
        large = torch.zeros(2**20)
    with kept_memory(torch.device("cuda")):
        assert large.sum() == 0
