# SPDX-License-Identifier: Apache-2.0
"""Exact tiling against MONAI's sliding windows and the whole pass, in turn.

A 6-layer, 16-channel residual 3D network with seeded random weights on 256 x 256 x 64 voxels, two threads. Each pass
has a process of its own, so that nobody's settings of memory reach the others, and comes after one that is not
measured. Time is CPU seconds of the process, the least of the rounds. Also printed: the largest difference to the
whole pass, for odd sizes and a pooled U-Net too, and for each shipped bundle the share of voxels that is computed more
than once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from clarivox import engines, tiles
from clarivox.bundle import catalogue, load
from clarivox.devices import planned
from clarivox.windows import Windows
from tests.benchmarks.measure import Gate, gate, interleaved, least, options, report

USUAL = "MONAI, window 64, overlap .5, batch 4"
WHOLE = "whole pass"
BEST = "MONAI, window 64, overlap .25, batch 1, channels_last"


class Residual(nn.Module):
    """x + six 3-wide convolutions: what it returns depends on 6 voxels to each side."""

    def __init__(self, channels: int = 16, layers: int = 6) -> None:
        super().__init__()
        widths = [1, *[channels] * (layers - 1), 1]
        self.layers = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = torch.relu(layer(y))
        return x + self.layers[-1](y)


class Pooled(nn.Module):
    """A U-Net of two levels with max pooling and a transposed convolution; total stride 2, reach 6."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, channels, 3, padding=1)
        self.pool = nn.MaxPool3d(2)
        self.bottom = nn.Conv3d(channels, channels, 3, padding=1)
        self.up = nn.ConvTranspose3d(channels, channels, 2, stride=2)
        self.last = nn.Conv3d(2 * channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        return x + self.last(torch.cat([y, self.up(torch.relu(self.bottom(self.pool(y))))], 1))


def ours(network: nn.Module, x: Tensor, halo: int, stride: int = 1, budget: int | None = None) -> Tensor:
    """Exact tiles, as `enhance` makes them."""
    windows = Windows(3, halo=halo, stride=stride)
    return windows(x, network, run=planned(network, windows, x.device, budget))


def passes(call: Callable[[], Tensor]) -> Iterator[None]:
    """One pass to warm up, not measured, then the measured one."""
    torch.set_num_threads(2)
    with torch.inference_mode():
        call()
        yield
        call()
        yield


def network_and_input(shape: tuple[int, ...], channels_last: bool = False) -> tuple[nn.Module, Tensor]:
    """The same network and the same image in every process."""
    torch.manual_seed(0)
    network, x = Residual().eval(), torch.rand(1, 1, *shape)
    if channels_last:
        return network.to(memory_format=torch.channels_last_3d), x.contiguous(memory_format=torch.channels_last_3d)
    return network, x


def clarivox_tiles(shape: tuple[int, ...]) -> Iterator[None]:
    """Exact tiles, as `enhance` makes them."""
    network, x = network_and_input(shape)
    network = engines.eager(network, 3)
    yield from passes(lambda: ours(network, x, 6))


def whole_pass(shape: tuple[int, ...]) -> Iterator[None]:
    """The network on the whole image, channels last."""
    network, x = network_and_input(shape, channels_last=True)
    yield from passes(lambda: network(x))


def monai_best(shape: tuple[int, ...]) -> Iterator[None]:
    """MONAI's sliding windows at the settings that were fastest for them."""
    network, x = network_and_input(shape, channels_last=True)
    yield from passes(lambda: sliding_window_inference(x, (64,) * 3, 1, network, 0.25, "gaussian"))


def monai_usual(shape: tuple[int, ...]) -> Iterator[None]:
    """MONAI's sliding windows as its bundles set them."""
    network, x = network_and_input(shape)
    yield from passes(lambda: sliding_window_inference(x, (64,) * 3, 4, network, 0.5, "gaussian"))


def speed(shape: tuple[int, ...], rounds: int, slack: float = 1.0) -> tuple[list[dict[str, Any]], list[Gate]]:
    """Time of ours, of the whole pass, and of MONAI at its best and at its usual settings."""
    targets = {"clarivox": clarivox_tiles, WHOLE: whole_pass, BEST: monai_best, USUAL: monai_usual}
    names = {name: f"tests.benchmarks.tiling:{target.__name__}" for name, target in targets.items()}
    found = {name: least(runs) for name, runs in interleaved(names, repeats=rounds, shape=shape).items()}
    own = found["clarivox"].cpu_s
    rows = [
        {"what": name, "cpu s": run.cpu_s, "wall s": run.wall_s, "clarivox / this": own / run.cpu_s}
        for name, run in found.items()
    ]
    limits = {USUAL: 0.20, BEST: 0.85, WHOLE: 1.2}
    gates = [
        gate(f"CPU time over {k}", own / found[k].cpu_s, at_most=limit * slack, unit="") for k, limit in limits.items()
    ]
    with torch.inference_mode():
        (network, x), (other, laid) = network_and_input(shape), network_and_input(shape, channels_last=True)
        whole = other(laid)
        wrong = float((ours(engines.eager(network, 3), x, 6) - whole).abs().max() / whole.abs().max())
    return rows, [*gates, gate("difference to the whole pass", wrong, at_most=1e-6, unit="of the range")]


def exactness() -> tuple[list[dict[str, Any]], list[Gate]]:
    """The largest difference to the whole pass over sizes, networks and precisions."""
    rows, worst = [], {torch.float32: 0.0, torch.float64: 0.0}
    for name, network, halo, stride in (("residual", Residual(), 6, 1), ("pooled U-Net", Pooled(), 6, 2)):
        for shape in ((64, 48, 40), (61, 47, 33), (50, 37, 1)):
            for dtype in worst:
                torch.manual_seed(1)
                net = network.to(dtype).eval()
                x = torch.rand(1, 1, *shape, dtype=dtype)
                with torch.inference_mode():
                    tiled = ours(net, x, halo, stride, budget=2**22)
                    whole = Windows(3, tiling="whole", stride=stride)(x, net)
                wrong = float((tiled - whole).abs().max() / whole.abs().max())
                worst[dtype] = max(worst[dtype], wrong)
                rows.append({"network": name, "shape": str(shape), "dtype": str(dtype), "difference": wrong})
    gates = [gate("difference in float32", worst[torch.float32], at_most=1e-6, unit="of the range")]
    return rows, [*gates, gate("difference in float64", worst[torch.float64], at_most=1e-12, unit="of the range")]


def redundancy() -> list[dict[str, Any]]:
    """For each shipped bundle the voxels computed more than once, as a share, on images of 512 and of 2500 a side."""
    rows = []
    for info in catalogue():
        for side in (512, 2500) if info.spatial_dims == 2 else (512,):
            shape = (side, side) if info.spatial_dims == 2 else (side, side, 64)
            row: dict[str, Any] = {"bundle": info.name, "image": " x ".join(map(str, shape)), "tiling": info.tiling}
            if info.tiling == "exact":
                bundle = load(info.folder)
                windows, run = bundle.windows, planned(bundle.network, bundle.windows, torch.device("cpu"))
                plan = tiles.exact(shape, windows.halo(shape), windows.stride, run.limit)
                row["windows"] = len(plan)
                row["redundant"] = sum(tiles.voxels(tile.window) for tile in plan) / math.prod(shape) - 1
            rows.append(row)
    return rows


def main() -> int:
    """Print the tables; exit code 1 where a gate fails."""
    parser = options(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 64))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--slack", type=float, default=1.0, help="times the limits of CPU time, for a noisy machine")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    fast, gates = speed(tuple(chosen.shape), chosen.rounds, chosen.slack)
    same, more = exactness()
    shares = redundancy()
    for rows in (same, shares):
        report("tiling", rows, [])
    return report("tiling", fast, gates + more, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
