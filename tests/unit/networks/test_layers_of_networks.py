# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from clarivox.errors import OptionError
from clarivox.networks.layers import ScaleNorm, activation, aligned, convolution, cropped, filled, level_map


def test_scale_norm_divides_by_the_spread_of_the_batch_and_remembers_it() -> None:
    norm = ScaleNorm(2, momentum=1.0)
    x = (
        5
        + torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(0))
        * torch.tensor([2.0, 9.0])[:, None, None]
    )
    trained = norm(x)
    assert torch.allclose(trained.std(dim=(0, 2, 3)), torch.ones(2), atol=1e-3)
    assert torch.allclose(norm.eval()(x), trained, rtol=1e-4)
    assert torch.allclose(norm(3 * x), 3 * norm(x), rtol=1e-5)


def test_the_spread_is_not_an_output_of_the_first_steps_gradient() -> None:
    norm = ScaleNorm(1)
    norm(torch.rand(2, 1, 4, 4, requires_grad=True)).sum().backward()
    assert not norm.running_variance.requires_grad


def test_filling_repeats_the_last_voxel_and_cropping_undoes_it() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(filled(x, 4)[0, 0, :, -1], torch.tensor([2.0, 5.0, 5.0, 5.0]))
    assert torch.equal(cropped(filled(x, 4), x), x)
    assert filled(x, 1, 7).shape == (1, 1, 7, 7)
    assert filled(x, 1) is x


def test_a_halo_covers_the_reach_from_any_voxel_of_an_aligned_window() -> None:
    assert [aligned(reach, 4) for reach in (0, 1, 4, 5)] == [4, 4, 8, 8]


def test_a_noise_level_is_a_number_one_for_each_image_or_a_map() -> None:
    x = torch.zeros(2, 1, 3, 4, 5)
    assert torch.equal(level_map(x, 0.5), torch.full((2, 1, 3, 4, 5), 0.5))
    assert level_map(x, torch.tensor([0.1, 0.2]))[1].unique().tolist() == pytest.approx([0.2])
    own = torch.rand(2, 1, 3, 4, 5)
    assert torch.equal(level_map(x, own), own)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(OptionError, match="found 4"):
        convolution(4, 1, 1)
    with pytest.raises(OptionError, match="relu, leaky_relu, prelu, gelu"):
        activation("swish")
