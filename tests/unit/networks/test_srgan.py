# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import PatchDiscriminator
from torch import nn

from clarivox.errors import OptionError
from clarivox.networks.srgan import SrganGenerator, steps
from clarivox.receptive import Reach, probed
from clarivox.transforms.bicubic import bicubic


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_reach_is_as_derived(scale: int) -> None:
    network = SrganGenerator(scale, 1, 2, norm=False)
    found = probed(network, 2, Reach(network.halo, network.stride), scale=scale)
    assert network.halo - 1 <= found <= network.halo


def test_with_a_skip_the_bicubic_image_comes_through() -> None:
    network, image = SrganGenerator(4, 1, 4, skip=True).eval(), torch.rand(1, 1, 7, 9)
    nn.init.zeros_(network.leave.weight)
    assert torch.equal(network(image), bicubic(image, (28, 36)))


def test_generator_and_patch_discriminator_learn_from_each_other() -> None:
    maker = SrganGenerator(2, 1, 4)
    judge = PatchDiscriminator(spatial_dims=2, channels=4, in_channels=1, num_layers_d=2)
    verdict = judge(maker(torch.rand(2, 1, 16, 16)))[-1]
    assert verdict.shape[:2] == (2, 1) and verdict[0].numel() > 1
    verdict.square().mean().backward()
    for network in (maker, judge):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_scales_are_taken_apart() -> None:
    assert [steps(scale) for scale in (2, 3, 8, 12)] == [[2], [3], [2, 2, 2], [2, 2, 3]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: SrganGenerator(1),
        lambda: SrganGenerator(5),
        lambda: SrganGenerator(0),
        lambda: SrganGenerator(kernel=4),
        lambda: SrganGenerator(centred=True),
        lambda: SrganGenerator(blocks=0),
    ],
)
def test_a_generator_that_cannot_be_built_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(OptionError):
        make()
