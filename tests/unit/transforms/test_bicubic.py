# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import BicubicResize, bicubic, bicubic_matrix


def picture(x: int, y: int) -> torch.Tensor:
    return torch.rand(1, x, y, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("factor", [2, 3, 4, 1 / 2, 1 / 3, 1 / 4, 0.75])
def test_it_agrees_with_pillows_bicubic_on_floats(factor: float) -> None:
    image = picture(36, 48)
    ours = BicubicResize(factor)(image)[0].numpy()
    pillow = Image.fromarray(image[0].numpy()).resize(ours.shape[::-1], Image.Resampling.BICUBIC)
    assert np.abs(ours - np.asarray(pillow)).max() < 1e-5


def test_matlabs_kernel_is_used_inside() -> None:
    # imresize([0 0 0 0 1 0 0 0 0], 2): the cubic with a = -0.5 at quarter offsets.
    row = torch.zeros(1, 1, 9)
    row[0, 0, 4] = 1
    expected = [-0.0234375, -0.0703125, 0.2265625, 0.8671875, 0.8671875, 0.2265625, -0.0703125, -0.0234375]
    enlarged = bicubic(row, (18,))[0, 0]
    assert torch.allclose(enlarged[5:13], torch.tensor(expected), atol=1e-6)


def test_a_constant_stays_constant_to_the_border() -> None:
    assert torch.allclose(BicubicResize(1 / 4)(torch.full((1, 21, 9), 0.7)), torch.tensor(0.7))


def test_lengths_are_rounded_up_and_exact_thirds_are_not() -> None:
    assert BicubicResize(1 / 3)(picture(10, 9)).shape == (1, 4, 3)


def test_eight_bit_results_are_whole_grey_levels() -> None:
    result = BicubicResize(3, levels=256)(picture(9, 9)) * 255
    assert torch.allclose(result, result.round(), atol=1e-4)
    assert float(result.min()) >= 0 and float(result.max()) <= 255


def test_rows_of_the_matrix_sum_to_one() -> None:
    assert torch.allclose(bicubic_matrix(7, 20).sum(dim=1), torch.ones(20))


def test_each_axis_may_have_its_own_factor() -> None:
    resize = BicubicResize((2, 1, 0.5))
    assert resize(torch.rand(1, 3, 4, 6)).shape == (1, 6, 4, 3)
    with pytest.raises(OptionError, match="2 axes"):
        resize(torch.rand(1, 3, 4))


def test_a_factor_of_zero_is_refused() -> None:
    with pytest.raises(OptionError, match="above 0"):
        BicubicResize(0)


def test_a_first_call_in_inference_or_on_another_device_does_not_spoil_later_ones() -> None:
    with torch.inference_mode():
        bicubic(torch.rand(1, 1, 11, 13), (22, 26))
    with torch.device("meta"):
        bicubic(torch.rand(1, 1, 12, 14), (24, 28))
    for sides in ((11, 13), (12, 14)):
        image = torch.rand(1, 1, *sides, requires_grad=True)
        bicubic(image, [2 * n for n in sides]).sum().backward()
        assert image.grad is not None


def test_autocast_does_not_round_the_image() -> None:
    image = torch.rand(1, 1, 8, 8)
    exact = bicubic(image, (16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bicubic(image, (16, 16)), exact)
