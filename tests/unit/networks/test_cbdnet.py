# SPDX-License-Identifier: Apache-2.0
"""CBDNet and the U-Net in it."""

import pytest
import torch

from clarivox.errors import OptionError
from clarivox.networks.cbdnet import Cbdnet
from clarivox.networks.encoder_decoder import EncoderDecoder
from clarivox.receptive import Reach, probed


def small() -> Cbdnet:
    return Cbdnet(2, (4, 8), (1, 2, 1), 4, 3, bias=False).eval().requires_grad_(False)


def test_the_estimated_noise_level_is_used_unless_one_is_given() -> None:
    network, image = small(), torch.rand(1, 1, 9, 12)
    level = network.noise_level(image)
    assert float(level.min()) >= 0 and float(level.max()) > 0
    image = image[..., :8, :]  # sides that need no filling
    assert torch.allclose(network(image), network(image, network.noise_level(image)))
    assert not torch.allclose(network(image), network(image, 0.9), atol=1e-3)


def test_without_constants_image_and_noise_level_scale_together() -> None:
    network, image = small().double(), torch.rand(1, 1, 8, 8).double()
    assert torch.allclose(network.noise_level(5 * image), 5 * network.noise_level(image))


@pytest.mark.parametrize("seed", range(8))
def test_the_estimator_never_begins_silent(seed: int) -> None:
    torch.manual_seed(seed)
    network = Cbdnet(channels=(4,), convolutions=(1,), estimator=4).requires_grad_(False)
    assert float(network.noise_level(torch.rand(1, 1, 16, 16)).sum()) > 0


def test_the_reach_is_as_derived() -> None:
    network = small()
    reach = Reach(network.halo, network.stride)
    assert network.halo - network.stride <= probed(network, 2, reach) <= network.halo


def test_the_reach_of_a_u_net_with_three_levels_is_as_derived() -> None:
    network = EncoderDecoder(2, 1, 1, (2, 3, 4), (1, 2, 2, 1, 1))
    halo = -(-(network.reach + network.stride - 1) // network.stride) * network.stride
    found = probed(network, 2, Reach(halo, network.stride))
    assert network.reach <= found <= network.reach + network.stride - 1


@pytest.mark.parametrize(
    "wrong", [{"layers": 1}, {"channels": ()}, {"convolutions": (1, 1)}, {"convolutions": (1, 1, 0, 1, 1)}]
)
def test_a_cbdnet_that_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Cbdnet(**wrong)  # type: ignore[arg-type]
