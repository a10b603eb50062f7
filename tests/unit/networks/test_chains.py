# SPDX-License-Identifier: Apache-2.0
"""DnCNN, FFDNet, RED-CNN and VDSR."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clarivox.errors import OptionError
from clarivox.networks.dncnn import Dncnn
from clarivox.networks.ffdnet import Ffdnet
from clarivox.networks.redcnn import Redcnn
from clarivox.networks.vdsr import Vdsr
from clarivox.receptive import Reach, probed
from clarivox.transforms.bicubic import bicubic


@pytest.mark.parametrize(
    ("make", "furthest"),
    [
        (lambda: Dncnn(layers=4, features=8), 4),
        (lambda: Redcnn(depth=2, features=8), 8),
        (lambda: Ffdnet(layers=3, features=8, sigma=None), 7),
    ],
    ids=["dncnn", "redcnn", "ffdnet"],
)
def test_the_reach_is_as_derived(make: Callable[[], nn.Module], furthest: int) -> None:
    network = make()
    reach = Reach(network.halo, network.stride)  # type: ignore[arg-type]
    assert probed(network, 2, reach) == furthest <= reach.halo


def test_dncnn_takes_away_what_it_finds() -> None:
    network, image = Dncnn(layers=3, features=4).eval(), torch.rand(1, 1, 8, 8)
    assert torch.allclose(network(image) + network.noise(image), image)


def test_dncnn_without_constants_has_none() -> None:
    network = Dncnn(layers=4, features=4, bias=False)
    assert {name.split(".")[-1] for name, _ in network.named_parameters()} == {"weight"}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_ffdnet_follows_the_level_it_is_given() -> None:
    network, image = Ffdnet(layers=3, features=8, sigma=0.1), torch.rand(1, 1, 9, 12)
    assert torch.equal(network(image), network(image, 0.1))
    assert torch.allclose(network(image, torch.full_like(image, 0.3)), network(image, 0.3), atol=1e-6)
    assert not torch.allclose(network(image, 0.3), network(image), atol=1e-3)


def test_ffdnet_takes_its_map_as_a_second_channel() -> None:
    network = Ffdnet(layers=3, features=4).eval()
    x, levels = torch.rand(2, 1, 9, 8), torch.rand(2, 1, 9, 8)
    assert torch.equal(network(torch.cat([x, levels], dim=1)), network(x, levels))


def test_ffdnet_without_constants_scales_with_image_and_level() -> None:
    network, image = Ffdnet(layers=3, features=8, bias=False).double(), torch.rand(1, 1, 8, 8).double()
    assert torch.allclose(network(4 * image, 0.4), 4 * network(image, 0.1))


def test_a_blind_ffdnet_takes_no_level() -> None:
    with pytest.raises(OptionError, match="blind"):
        Ffdnet(layers=3, features=4, sigma=None)(torch.zeros(1, 1, 8, 8), 0.1)


def test_redcnn_is_the_published_graph() -> None:
    network, x = Redcnn(features=3), torch.rand(1, 1, 26, 23)
    conv = [lambda v, layer=layer: F.relu(layer(v)) for layer in network.encoder]
    deconv = network.decoder
    second = conv[1](conv[0](x))
    fourth = conv[3](conv[2](second))
    y = F.relu(deconv[0](conv[4](fourth)) + fourth)
    y = F.relu(deconv[2](F.relu(deconv[1](y))) + second)
    assert torch.equal(network(x), F.relu(deconv[4](F.relu(deconv[3](y))) + x))


def test_redcnn_lets_negative_values_through_only_where_told() -> None:
    dark = torch.full((1, 1, 24, 24), -1.0)
    assert float(Redcnn(features=4)(dark).detach().min()) == 0
    assert float(Redcnn(features=4, positive=False)(dark).detach().min()) < 0


def test_vdsr_adds_detail_to_the_bicubic_image_at_any_scale() -> None:
    network, image = Vdsr(2, 3, 4), torch.rand(1, 1, 9, 8)
    nn.init.zeros_(network.detail[-1].weight)  # type: ignore[arg-type]
    assert torch.equal(network(image), bicubic(image, (18, 16)))
    assert torch.equal(network(image, scale=3), bicubic(image, (27, 24)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dncnn(layers=2),
        lambda: Dncnn(spatial_dims=1),
        lambda: Ffdnet(sigma=-1.0),
        lambda: Redcnn(kernel=4),
        lambda: Redcnn(spatial_dims=4),
        lambda: Vdsr(scale=0),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(OptionError):
        make()
