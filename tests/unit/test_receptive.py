# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn

from clarivox.errors import BundleError
from clarivox.receptive import Reach, derived, probed


class Skipped(nn.Module):
    """Two levels with a skip: max pooling down, a transposed convolution up."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.bottom = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, dilation=1)
        self.pool, self.up = nn.AvgPool2d(2), nn.ConvTranspose2d(3, 3, 2, stride=2)
        self.last = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(torch.cat([y, self.up(self.bottom(self.pool(y)))], 1))


def test_a_chain_of_convolutions_is_derived_exactly() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 5, padding=2), nn.Conv2d(3, 1, 3, padding=2, dilation=2))
    assert derived(network, 2) == Reach(4, 1)
    assert probed(network, 2, Reach(4, 1)) == 4


def test_pooling_gives_the_stride_and_a_reach_that_is_not_too_small() -> None:
    reach = derived(Skipped(), 2)
    assert reach.stride == 2
    assert reach.halo - 1 <= probed(Skipped(), 2, reach) <= reach.halo


def test_a_network_that_knows_its_reach_is_believed() -> None:
    network = nn.Identity()
    network.halo, network.stride = 7, 4  # type: ignore[assignment]
    assert derived(network, 3) == Reach(7, 4)


def test_layers_that_see_everything_are_refused() -> None:
    with pytest.raises(BundleError, match="InstanceNorm2d sees the whole image"):
        derived(nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2)), 2)
    with pytest.raises(BundleError, match="GroupNorm"):
        derived(nn.GroupNorm(1, 1), 2)


def test_batch_norm_with_running_statistics_sees_one_voxel() -> None:
    assert derived(nn.Sequential(nn.BatchNorm2d(1)).eval(), 2) == Reach(0, 1)


def test_a_probe_leaves_the_network_as_it_was() -> None:
    network = Skipped()
    probed(network, 2, Reach(6, 2))
    assert next(network.parameters()).dtype is torch.float32
