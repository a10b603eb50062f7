# SPDX-License-Identifier: Apache-2.0
"""The Haar transform and MWCNN."""

import numpy as np
import pytest
import pywt
import torch

from clarivox.errors import OptionError
from clarivox.networks.haar import decompose, recompose
from clarivox.networks.mwcnn import Mwcnn
from clarivox.receptive import Reach, probed


def picture(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (1, 2, 8, 4, 12)])
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_the_inverse_gives_the_image_back(shape: tuple[int, ...], levels: int) -> None:
    image = picture(*shape)
    assert torch.allclose(recompose(decompose(image, levels), levels), image, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1, 8, 6), (1, 1, 4, 6, 8)])
def test_the_transform_is_orthonormal(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    matrix = torch.stack([decompose(unit.reshape(shape)).flatten() for unit in torch.eye(size)])
    assert torch.allclose(matrix @ matrix.T, torch.eye(size), atol=1e-6)


def test_subbands_are_those_of_pywavelets() -> None:
    image = picture(1, 1, 8, 10)
    smooth, (differs_along_x, differs_along_y, both) = pywt.dwt2(image[0, 0].numpy(), "haar")
    expected = np.stack([smooth, differs_along_y, differs_along_x, both])
    assert np.allclose(decompose(image)[0].numpy(), expected)


def test_subbands_in_3d_are_those_of_pywavelets() -> None:
    image = picture(1, 1, 4, 6, 8)
    found = pywt.dwtn(image[0, 0].numpy(), "haar")
    names = ["aaa", "aad", "ada", "add", "daa", "dad", "dda", "ddd"]
    assert np.allclose(decompose(image)[0].numpy(), np.stack([found[name] for name in names]))


def test_autocast_does_not_round_the_transform() -> None:
    image = torch.rand(1, 1, 8, 8)
    exact = decompose(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decompose(image), exact)


def test_sides_and_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="divisible by 4 voxels; found 8 x 6"):
        decompose(torch.zeros(1, 1, 8, 6), 2)
    with pytest.raises(OptionError, match="found 6"):
        recompose(torch.zeros(1, 6, 4, 4))


def test_an_untrained_mwcnn_is_near_the_identity() -> None:
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert float((Mwcnn(channels=(8, 16)).eval()(image) - image).abs().mean()) < 0.3


def test_the_reach_of_an_mwcnn_is_as_derived() -> None:
    network = Mwcnn(channels=(2, 3), convolutions=2, norm=False)
    reach = Reach(network.halo, network.stride)
    assert network.halo - network.stride <= probed(network, 2, reach) <= network.halo


@pytest.mark.parametrize("wrong", [{"channels": ()}, {"convolutions": 1}, {"spatial_dims": 4}])
def test_an_mwcnn_that_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Mwcnn(**wrong)  # type: ignore[arg-type]
