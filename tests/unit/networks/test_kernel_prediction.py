# SPDX-License-Identifier: Apache-2.0
"""The operator of predicted kernels, and the networks that predict them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from clarivox.errors import BundleError, OptionError
from clarivox.networks.dynamic_filter import filtered, scale_free, side
from clarivox.networks.kpn import Kpn
from clarivox.receptive import Reach, derived, probed


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def small(**arguments: object) -> Kpn:
    torch.manual_seed(0)
    return Kpn(**({"kernel": 3, "channels": (4, 8), "blocks": 1} | arguments)).requires_grad_(False)  # type: ignore[arg-type]


@pytest.mark.parametrize("sides", [(7, 9), (5, 6, 4)])
def test_one_kernel_for_the_image_is_a_correlation(sides: tuple[int, ...]) -> None:
    image, kernel = random(1, 1, *sides), random(*[3] * len(sides))
    found = filtered(image, kernel.reshape(1, 1, -1, *[1] * len(sides)))
    expected = ndimage.correlate(image[0, 0].numpy(), kernel.numpy(), mode="nearest")
    assert np.allclose(found[0, 0].numpy(), expected)


def test_each_pixel_is_filtered_by_its_own_kernel() -> None:
    image, kernels = random(2, 3, 6, 7), random(2, 3, 25, 6, 7)
    windows = nn.functional.unfold(nn.functional.pad(image, [2] * 4, mode="replicate"), 5)
    expected = (windows.reshape(2, 3, 25, 6, 7) * kernels).sum(dim=2)
    assert torch.allclose(filtered(image, kernels), expected)


@pytest.mark.parametrize("taps", [16, 24])
def test_taps_that_make_no_odd_kernel_are_refused(taps: int) -> None:
    with pytest.raises(OptionError, match=f"found {taps} taps"):
        side(taps, 2)


@pytest.mark.parametrize("shape", [(1, 2, 9, 6, 8), (1, 2, 9, 1, 1)])
def test_scale_free_kernels_do_not_know_how_bright_the_image_is(shape: tuple[int, ...]) -> None:
    logits, image = random(*shape) - 0.5, random(1, 2, 6, 8)
    assert torch.allclose(scale_free(1e6 * logits, 1e6 * image), scale_free(logits, image))
    assert scale_free(0 * logits, 0 * image).abs().max() == 0


def test_where_nothing_is_predicted_the_gradient_stays_small() -> None:
    logits = torch.zeros(1, 1, 9, 6, 8, requires_grad=True)
    scale_free(logits, torch.rand(1, 1, 6, 8)).sum().backward()
    assert logits.grad is not None and float(logits.grad.abs().max()) < 100


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("levels", [0, 2])
def test_signed_kernels_begin_near_the_identity(bias: bool, levels: int) -> None:
    image = torch.rand(1, 1, 32, 24)
    assert float((small(haar_levels=levels, bias=bias)(image) - image).abs().mean()) < 0.2


@pytest.mark.parametrize("scope", ["local", "global"])
def test_averages_are_never_negative_and_keep_a_flat_image(scope: str) -> None:
    network, flat = small(weights="average", scope=scope), torch.full((1, 1, 9, 12), 0.7)
    kernels = network.kernels(flat)
    assert kernels.shape == ((1, 1, 9, 10, 12) if scope == "local" else (1, 1, 9, 1, 1))
    assert float(kernels.min()) >= 0
    assert torch.allclose(kernels.sum(dim=2), torch.ones(()))
    assert torch.allclose(network(flat), flat)


def test_a_burst_is_the_mean_of_what_its_frames_say() -> None:
    for weights in ("signed", "average"):
        network, burst = small(frames=4, weights=weights), torch.rand(2, 4, 9, 12)
        assert network.per_frame(burst).shape == burst.shape
        assert torch.allclose(network(burst), network.per_frame(burst).mean(dim=1, keepdim=True))


def test_averages_of_a_burst_share_one_sum() -> None:
    network, burst = small(frames=4, weights="average"), torch.rand(1, 4, 8, 12)
    assert torch.allclose(network.kernels(burst).sum(dim=(1, 2)) / 4, torch.ones(()))


def test_subbands_have_their_own_kernels() -> None:
    network = small(frames=2, haar_levels=2)
    assert network.kernels(torch.rand(1, 2, 16, 24)).shape == (1, 2 * 16, 9, 4, 6)


def test_the_noise_level_is_followed_where_the_network_takes_one() -> None:
    for levels in (0, 1):
        network, image = small(sigma=0.1, haar_levels=levels), torch.rand(1, 1, 9, 12)
        assert torch.equal(network(image), network(image, 0.1))
        assert torch.allclose(network(image, torch.full_like(image, 0.5)), network(image, 0.5), atol=1e-6)
        assert not torch.equal(network(image), network(image, 0.5))
    with pytest.raises(OptionError, match="blind"):
        small()(image, 0.1)


@pytest.mark.parametrize("arguments", [{}, {"haar_levels": 1}, {"kernel": 9, "channels": (4,), "weights": "average"}])
def test_the_reach_of_local_kernels_is_as_derived(arguments: dict[str, object]) -> None:
    network = small(bias=False, **arguments)
    assert isinstance(network.halo, int)
    found = probed(network, 2, Reach(network.halo, network.stride))
    assert network.halo - network.stride < found <= network.halo


def test_global_kernels_see_the_whole_image_and_say_so() -> None:
    with pytest.raises(BundleError, match="sees the whole image"):
        derived(small(scope="global"), 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Kpn(frames=0),
        lambda: Kpn(kernel=4),
        lambda: Kpn(sigma=-1.0),
        lambda: Kpn(scope="regional"),
        lambda: Kpn(weights="free"),
        lambda: Kpn(haar_levels=1, weights="average"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(OptionError):
        make()


def test_filtering_in_training_equals_filtering_tap_by_tap() -> None:
    x, kernels = torch.rand(2, 3, 7, 6), torch.rand(2, 3, 25, 7, 6)
    tap_by_tap = filtered(x, kernels)
    assert torch.allclose(filtered(x, kernels.requires_grad_()), tap_by_tap, atol=1e-5)
