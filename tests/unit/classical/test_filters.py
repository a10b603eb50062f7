# SPDX-License-Identifier: Apache-2.0
"""The filters for any modality, beside scikit-image's and SciPy's where those have them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from torch import nn

from clarivox.classical import Bicubic, Median, NonLocalMeans, TotalVariation, WaveletShrinkage
from clarivox.classical.nlm import STRICTNESS
from clarivox.classical.noise import noise_level
from clarivox.classical.tv import WEIGHT, gradient
from clarivox.errors import OptionError

FILTERS: dict[str, Callable[..., nn.Module]] = {
    "nlm": NonLocalMeans,
    "tv": TotalVariation,
    "wavelet": WaveletShrinkage,
}
every_filter = pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)


def truth(rows: int = 64, columns: int = 72) -> NDArray[np.float32]:
    """A disc, a ramp and stripes, 0 to about 100."""
    x, y = np.mgrid[:rows, :columns].astype(np.float32)
    picture = 20 + 0.5 * y + 40 * ((x - rows / 2) ** 2 + (y - columns / 2) ** 2 < (rows / 4) ** 2)
    picture[:, 60:] += 10 * np.sin(x[:, 60:])
    return picture


def noisy(sigma: float = 6.0) -> NDArray[np.float32]:
    clean = truth()
    return (clean + np.random.default_rng(4).normal(scale=sigma, size=clean.shape)).astype(np.float32)


def run(network: nn.Module, picture: NDArray[Any]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = network(torch.from_numpy(picture.astype(np.float32))[None, None])[0, 0].numpy()
    return result


def error(picture: NDArray[Any]) -> float:
    return float(np.square(picture - truth()).mean())


@every_filter
def test_noise_of_unknown_strength_goes_and_structure_stays(make: Callable[..., nn.Module]) -> None:
    assert error(run(make(), noisy())) < 0.4 * 36


@every_filter
def test_the_result_moves_and_scales_with_the_picture(make: Callable[..., nn.Module]) -> None:
    once = run(make(), noisy())
    assert np.allclose(run(make(), 4 * noisy() - 1000), 4 * once - 1000, atol=0.02)


@every_filter
def test_a_mirrored_picture_gives_the_mirrored_result(make: Callable[..., nn.Module]) -> None:
    options = {"shifts": 8} if make is WaveletShrinkage else {"iterations": 300} if make is TotalVariation else {}
    once, mirrored = run(make(**options), noisy()), run(make(**options), noisy()[:, ::-1].copy())[:, ::-1]
    assert np.abs(once - mirrored).mean() < 0.5


@every_filter
def test_level_zero_and_a_picture_without_noise_are_kept(make: Callable[..., nn.Module]) -> None:
    assert np.allclose(run(make(level=0), noisy()), noisy(), atol=1e-4)
    half = np.repeat([[0.0, 7.0]], 9, axis=0).repeat(10, axis=1)
    assert np.allclose(run(make(), half), half, atol=1e-4)


@every_filter
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
def test_a_picture_may_be_as_small_as_a_pixel(make: Callable[..., nn.Module], shape: tuple[int, int]) -> None:
    assert run(make(sigma=1), np.full(shape, 3.0)).shape == shape
    assert (run(make(), np.full(shape, 3.0)) == 3).all()


@every_filter
def test_each_picture_of_a_batch_is_treated_by_itself(make: Callable[..., nn.Module]) -> None:
    pair = torch.from_numpy(np.stack([noisy(3)[None], noisy(9)[None] + 50]))
    assert torch.allclose(make()(pair)[1:], make()(pair[1:]), atol=1e-4)


@every_filter
@pytest.mark.parametrize("wrong", [{"level": -1}, {"sigma": -1}])
def test_arguments_out_of_range_are_refused(make: Callable[..., nn.Module], wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        make(**wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NonLocalMeans(search=0),
        lambda: TotalVariation(iterations=-1),
        lambda: WaveletShrinkage(levels=0),
        lambda: Median(0),
        lambda: Bicubic(0),
    ],
)
def test_sizes_out_of_range_are_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(OptionError):
        make()


def test_the_noise_is_found_beside_black_and_saturated_areas() -> None:
    picture = truth(200, 200) + np.random.default_rng(0).normal(scale=5, size=(200, 200))
    picture[:, :80], picture[:60] = 0, 255
    assert float(noise_level(torch.from_numpy(picture)[None, None])) == pytest.approx(5, rel=0.06)


def test_non_local_means_is_its_formula() -> None:
    picture = noisy()[20:36, 25:42].astype(np.float64)
    near, far, sigma = 1, 3, 6.0
    wide = np.pad(picture, near + far, mode="reflect")
    expected = np.zeros_like(picture)
    for x, y in np.ndindex(picture.shape):
        i, j = x + near + far, y + near + far
        middle = wide[i - near : i + near + 1, j - near : j + near + 1]
        total = weights = 0.0
        for k, m in np.ndindex(2 * far + 1, 2 * far + 1):
            there = wide[i + k - far - near : i + k - far + near + 1, j + m - far - near : j + m - far + near + 1]
            distance = max(0.0, float(np.square(middle - there).mean()) - 2 * sigma**2)
            weight = np.exp(-distance / (STRICTNESS * sigma) ** 2)
            total, weights = total + weight * there[near, near], weights + weight
        expected[x, y] = total / weights
    assert np.allclose(run(NonLocalMeans(sigma=sigma, patch=near, search=far), picture), expected, atol=1e-3)


def test_non_local_means_is_as_good_as_that_of_scikit_image() -> None:
    ours = run(NonLocalMeans(sigma=6, patch=2, search=6), noisy())
    # Its fast mode sums 16 of the 25 squared differences of a patch.
    how = {"patch_size": 5, "patch_distance": 6, "h": 0.8 * STRICTNESS * 6, "sigma": 6, "fast_mode": True}
    assert error(ours) < 1.1 * error(denoise_nl_means(noisy().astype(np.float64), **how))


def test_total_variation_is_as_low_as_that_of_scikit_image() -> None:
    weight = WEIGHT * 6
    ours = run(TotalVariation(sigma=6, iterations=100), noisy()).astype(np.float64)
    theirs = denoise_tv_chambolle(noisy().astype(np.float64), weight=weight, eps=1e-9, max_num_iter=2000)

    def cost(picture: NDArray[Any]) -> float:
        slopes = gradient(torch.from_numpy(picture)[None, None])
        return float(np.square(picture - noisy()).sum() / 2 + weight * torch.hypot(*slopes).sum())

    assert cost(ours) <= 1.0005 * cost(theirs)
    assert np.abs(ours - theirs).max() < 0.5


def test_wavelet_shrinkage_without_shifts_is_that_of_scikit_image() -> None:
    ours = run(WaveletShrinkage(sigma=6, levels=3, shifts=1), noisy())
    theirs = denoise_wavelet(noisy(), sigma=6, wavelet="haar", mode="soft", wavelet_levels=3, method="BayesShrink")
    assert np.allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("radius", [1, 2])
def test_the_median_is_that_of_scipy(radius: int) -> None:
    theirs = ndimage.median_filter(noisy(), 2 * radius + 1, mode="nearest")
    assert (run(Median(radius), noisy()) == theirs).all()


def test_bicubic_is_that_of_pillow() -> None:
    picture = noisy()
    theirs = np.asarray(Image.fromarray(picture).resize((72 * 3, 64 * 3), Image.Resampling.BICUBIC))
    assert np.allclose(run(Bicubic(3), picture), theirs, atol=1e-3)
