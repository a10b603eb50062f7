# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clarivox.devices import planned
from clarivox.errors import BundleError, CapacityError
from clarivox.passes import Run
from clarivox.windows import Windows


def layered(dims: int, channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    return nn.Sequential(conv(channels, 4, 3, padding=1), nn.ReLU(), conv(4, 1, 5, padding=2)).double().eval()


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.pool, self.conv = nn.AvgPool2d(4), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.interpolate(self.conv(self.pool(x)), scale_factor=4.0)


def small(windows: Windows, network: nn.Module, voxels: int) -> Run:
    run = planned(network, windows, torch.device("cpu"))
    run.budget_bytes = voxels * run.footprint
    return run


@pytest.mark.parametrize(("dims", "shape"), [(2, (37, 22)), (3, (17, 13, 11)), (3, (9, 34, 1))])
def test_exact_windows_equal_the_whole_pass(dims: int, shape: tuple[int, ...]) -> None:
    network, windows = layered(dims), Windows(dims, halo=3)
    x = torch.rand(2, 1, *shape, dtype=torch.float64)
    run = small(windows, network, 300)
    assert torch.allclose(windows(x, network, run=run), network(x), atol=1e-14, rtol=0)
    assert run.windows > 2


@pytest.mark.parametrize("shape", [(40, 32), (41, 30), (5, 3)])
def test_pooled_networks_are_exact_on_sizes_that_their_stride_does_not_divide(shape: tuple[int, int]) -> None:
    network = Pooled().double().eval()
    windows, whole = Windows(2, halo=8, stride=4), Windows(2, "whole", stride=4)
    x = torch.rand(1, 1, *shape, dtype=torch.float64)
    assert torch.allclose(windows(x, network, run=small(windows, network, 400)), whole(x, network), atol=1e-14, rtol=0)


def test_a_halo_that_is_too_small_shows() -> None:
    network, windows = layered(2), Windows(2, halo=1)
    x = torch.rand(1, 1, 40, 40, dtype=torch.float64)
    assert (windows(x, network, run=small(windows, network, 200)) - network(x)).abs().max() > 1e-3


def test_a_finer_grid_is_put_together() -> None:
    network, windows = nn.Upsample(scale_factor=3, mode="nearest"), Windows(2, scale=3)
    x = torch.rand(1, 1, 20, 9)
    assert windows(x, network, run=small(windows, network, 50)).equal(network(x))


@pytest.mark.parametrize("window", [8, 16, 64])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_blended_windows_of_an_identity_give_the_image(window: int, overlap: float) -> None:
    x = torch.rand(2, 2, 21, 30, 18)
    blended = Windows(3, "blended", stride=2, window=window, overlap=overlap)
    assert torch.allclose(blended(x, lambda y: y), x, atol=1e-6)


def test_blending_sums_in_float32_whatever_the_network_gives() -> None:
    x = torch.rand(1, 1, 40, 40)
    out = Windows(2, "blended", window=16, overlap=0.5)(x, lambda y: y.half())
    assert out.dtype == torch.float32 and (out - x).abs().max() < 6e-4


def test_a_seam_of_blended_windows_is_smooth() -> None:
    calls = iter(range(100))
    out = Windows(2, "blended", window=16, overlap=0.5)(
        torch.zeros(1, 1, 16, 40), lambda y: torch.full_like(y, float(next(calls)))
    )
    assert out[0, 0, 0].diff().abs().max() < 0.5


def test_neither_the_input_nor_the_return_of_the_network_is_written_to() -> None:
    x = torch.rand(1, 1, 30, 30)
    before, kept = x.clone(), []

    def network(y: Tensor) -> Tensor:
        kept.append((y, y.clone()))
        return y

    for tiling in ("exact", "blended", "whole"):
        out = Windows(2, tiling, window=16)(x, network)
        out.zero_()
    assert x.equal(before) and all(y.equal(copy) for y, copy in kept)


def test_a_clip_is_cut_in_space_only() -> None:
    shapes = []

    def network(y: Tensor) -> Tensor:
        shapes.append(tuple(y.shape[2:]))
        return y

    windows = Windows(3, halo=[2, 2], clip=True)
    windows(torch.rand(1, 1, 30, 30, 7), network, run=Run(footprint=1, budget_bytes=2000))
    assert len(shapes) > 1 and {shape[2] for shape in shapes} == {7}


class Small(nn.Module):
    """Works on at most so many voxels at a time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > self.most:
            raise torch.OutOfMemoryError("made up")
        return 2 * x


def test_out_of_memory_first_takes_fewer_windows_at_a_time() -> None:
    x, run = torch.rand(8, 1, 10, 10), Run(batch=8)
    assert Windows(2)(x, Small(200), run=run).equal(2 * x)
    assert run.batch == 2 and run.notes == [
        "out of memory on cpu: 4 windows at a time",
        "out of memory on cpu: 2 windows at a time",
    ]


def test_out_of_memory_then_takes_smaller_windows_with_the_same_result() -> None:
    x, run = torch.rand(2, 1, 40, 30), Run(batch=2)
    assert Windows(2, halo=1)(x, Small(500), run=run).equal(2 * x)
    assert run.notes[-1] == "out of memory on cpu: smaller windows, with the same result"


def test_a_batch_that_fails_midway_is_not_begun_anew() -> None:
    x, calls, shares = torch.rand(4, 1, 30, 30), [], []

    def network(y: Tensor) -> Tensor:
        calls.append(len(y))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("made up")
        return y

    run = Run(batch=4, footprint=1, budget_bytes=500, on_window=shares.append)
    assert Windows(2)(x, network, run=run).equal(x)
    assert calls == [4, 4, 2, 2] and abs(sum(shares) - 1) < 1e-9


def test_later_images_begin_with_the_windows_that_fitted() -> None:
    x, run = torch.rand(3, 1, 32, 32), Run()
    failed = []

    class Counting(Small):
        def forward(self, y: Tensor) -> Tensor:
            failed.append(y.numel() > self.most)
            return super().forward(y)

    Windows(2)(x, Counting(300), run=run)
    assert not any(failed[len(failed) // 2 :])


@pytest.mark.parametrize("tiling", ["exact", "whole", "blended"])
def test_what_fits_nowhere_is_said(tiling: str) -> None:
    with pytest.raises(CapacityError, match="memory"):
        Windows(2, tiling, window=16)(torch.rand(1, 1, 20, 20), Small(0), run=Run(host=True))


def test_blended_windows_are_summed_on_the_host_when_the_device_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros: Callable[..., Tensor] = torch.zeros
    asked = []

    def full(*args: object, **kwargs: object) -> Tensor:
        asked.append(kwargs.get("device"))
        if len(asked) == 1:
            raise torch.OutOfMemoryError("made up")
        return zeros(*args, **kwargs)

    monkeypatch.setattr(torch, "zeros", full)
    x, run = torch.rand(1, 1, 40, 40), Run()
    assert torch.allclose(Windows(2, "blended", window=16)(x, lambda y: y, run=run), x, atol=1e-6)
    assert run.host and run.notes == ["out of memory on cpu: windows are summed on the host"]


def test_another_shape_than_promised_is_refused() -> None:
    with pytest.raises(BundleError, match="must return"):
        Windows(2)(torch.rand(1, 1, 8, 8), lambda y: y[..., 1:])


@pytest.mark.parametrize("wrong", [{"tiling": "other"}, {"halo": -1}, {"stride": 0}, {"halo": [1]}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BundleError):
        Windows(2, **wrong)  # type: ignore[arg-type]


def test_the_share_done_adds_up_to_one() -> None:
    for tiling in ("exact", "blended"):
        shares: list[float] = []
        run = Run(footprint=1, budget_bytes=200, on_window=shares.append)
        Windows(2, tiling, window=16)(torch.rand(3, 1, 40, 30), lambda y: y, run=run)
        assert len(shares) > 6 and abs(sum(shares) - 1) < 1e-9
