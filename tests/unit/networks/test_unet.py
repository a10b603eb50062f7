# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from clarivox.errors import OptionError
from clarivox.networks.srcnn import Srcnn
from clarivox.networks.unet import RestorationUNet, fold, unfold
from clarivox.transforms.bicubic import bicubic


@pytest.mark.parametrize("sides", [(6, 9), (6, 9, 3)])
def test_unfold_undoes_fold(sides: tuple[int, ...]) -> None:
    image = torch.rand(2, 2, *sides)
    assert torch.equal(unfold(fold(image, 3), 3), image)


def test_fold_in_2d_is_pixel_unshuffle() -> None:
    image = torch.rand(1, 3, 8, 6)
    assert torch.equal(fold(image, 2), torch.nn.functional.pixel_unshuffle(image, 2))


def test_an_untrained_network_is_near_the_identity() -> None:
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert float((RestorationUNet()(image) - image).abs().mean()) < 0.1


@pytest.mark.parametrize("sides", [(24, 40), (21, 38)])
def test_windows_with_the_halo_equal_the_whole(sides: tuple[int, int]) -> None:
    network = RestorationUNet(2, (4, 8), 1).double().eval().requires_grad_(False)
    image = torch.rand(1, 1, sides[0], 6 * network.halo + sides[1], dtype=torch.float64)
    whole = network(image)
    cut = 2 * network.halo
    left = network(image[..., : cut + network.halo])[..., :cut]
    right = network(image[..., cut - network.halo :])[..., network.halo :]
    assert float((torch.cat([left, right], dim=3) - whole).abs().max()) < 1e-12


def test_the_last_layer_of_an_srcnn_with_a_skip_only_adds_to_the_bicubic_image() -> None:
    network = Srcnn(2)
    image = torch.rand(1, 1, 9, 8)
    for parameter in network.layers[-1].parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(network(image), bicubic(image, (18, 16)))


@pytest.mark.parametrize("wrong", [{"spatial_dims": 4}, {"channels": ()}])
def test_a_network_that_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        RestorationUNet(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"scale": 1}, {"kernels": (9, 4, 5)}])
def test_an_srcnn_that_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Srcnn(**wrong)  # type: ignore[arg-type]
