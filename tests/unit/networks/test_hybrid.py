# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from clarivox.classical import Median, Srad
from clarivox.errors import OptionError
from clarivox.networks.dncnn import Dncnn
from clarivox.networks.hybrid import Hybrid
from clarivox.networks.mwcnn import Mwcnn


def test_a_network_that_keeps_the_residual_gives_back_the_picture() -> None:
    picture = torch.rand(2, 1, 12, 9)
    assert torch.allclose(Hybrid(Median(), nn.Identity())(picture), picture, atol=1e-6)


def test_a_network_that_finds_nothing_leaves_what_the_filter_gave() -> None:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(x)

    picture = torch.rand(1, 1, 12, 9)
    assert torch.equal(Hybrid(Median(), Nothing())(picture), Median()(picture))
    assert torch.equal(Hybrid(Median(), nn.Identity(), "filtered")(picture), Median()(picture))


@pytest.mark.parametrize("sees", ["residual", "filtered"])
def test_only_the_network_learns(sees: str) -> None:
    hybrid = Hybrid(Srad(3), Mwcnn(2, (4, 8), 2, norm=False), sees)
    picture = torch.rand(1, 1, 16, 16, requires_grad=True)
    torch.autograd.backward(hybrid(picture).square().mean())
    assert all(parameter.grad is not None for parameter in hybrid.network.parameters())
    assert len(list(hybrid.parameters())) == len(list(hybrid.network.parameters()))


def test_the_reach_is_that_of_both_and_unbounded_where_the_filter_s_is() -> None:
    both = Hybrid(Median(2), Dncnn(2, 4, 4))
    assert (both.halo, both.stride) == (6, 1)
    assert Hybrid(Srad(), Dncnn(2, 4, 4)).halo is None


def test_the_filter_works_in_single_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Hybrid(Srad(2), nn.Identity())(torch.rand(1, 1, 8, 8)).dtype == torch.float32


def test_a_view_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="residual or filtered"):
        Hybrid(Median(), nn.Identity(), "both")
