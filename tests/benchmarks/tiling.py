# SPDX-License-Identifier: Apache-2.0
"""Exact tiling against MONAI's sliding windows and the whole pass: one network, one process, in turn.

A 6-layer, 16-channel residual 3D network with seeded random weights on 256 x 256 x 64 voxels. Time is CPU seconds of
the process, the least of the rounds. Also printed: the largest difference to the whole pass, for odd sizes and a
pooled U-Net too, and for each shipped bundle the share of voxels that is computed more than once.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from clarivox import engines, tiles
from clarivox.bundle import catalogue, load
from clarivox.devices import planned
from clarivox.windows import Windows
from tests.benchmarks.measure import Gate, gate, options, report

USUAL = "MONAI, window 64, overlap .5, batch 4"
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


def timed(calls: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, tuple[float, float]]:
    """Least CPU and wall seconds of each call, the calls made in turn."""
    best = dict.fromkeys(calls, (float("inf"), float("inf")))
    for _ in range(rounds):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            now = (time.process_time() - cpu, time.perf_counter() - wall)
            best[name] = (min(best[name][0], now[0]), min(best[name][1], now[1]))
    return best


def ours(network: nn.Module, x: Tensor, halo: int, stride: int = 1, budget: int | None = None) -> Tensor:
    """Exact tiles, as `enhance` makes them."""
    windows = Windows(3, halo=halo, stride=stride)
    return windows(x, network, run=planned(network, windows, x.device, budget))


def speed(shape: tuple[int, ...], rounds: int) -> tuple[list[dict[str, Any]], list[Gate]]:
    """Time of the whole pass, of ours, and of MONAI at its usual and at its best settings."""
    torch.manual_seed(0)
    plain, last = Residual().eval(), Residual().eval()
    last.load_state_dict(plain.state_dict())
    last = last.to(memory_format=torch.channels_last_3d)
    fast = Residual()
    fast.load_state_dict(plain.state_dict())
    fast = engines.eager(fast, 3)
    x = torch.rand(1, 1, *shape)
    laid = x.contiguous(memory_format=torch.channels_last_3d)
    calls = {
        "clarivox": lambda: ours(fast, x, 6),
        "whole pass": lambda: last(laid),
        BEST: lambda: sliding_window_inference(laid, (64,) * 3, 1, last, 0.25, "gaussian"),
        USUAL: lambda: sliding_window_inference(x, (64,) * 3, 4, plain, 0.5, "gaussian"),
        f"{BEST}, our engine": lambda: sliding_window_inference(laid, (64,) * 3, 1, fast, 0.25, "gaussian"),
        "whole pass, our engine": lambda: fast(laid),
    }
    with torch.inference_mode():
        found = timed(calls, rounds)
        wrong = float((ours(fast, x, 6) - last(laid)).abs().max() / last(laid).abs().max())
    own = found["clarivox"][0]
    rows = [{"what": k, "cpu s": v[0], "wall s": v[1], "clarivox / this": own / v[0]} for k, v in found.items()]
    limits = {USUAL: 0.20, BEST: 0.85, "whole pass": 1.2}
    gates = [gate(f"CPU time over {k}", own / found[k][0], at_most=limit, unit="") for k, limit in limits.items()]
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
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    fast, gates = speed(tuple(chosen.shape), chosen.rounds)
    same, more = exactness()
    shares = redundancy()
    for rows in (same, shares):
        report("tiling", rows, [])
    return report("tiling", fast, gates + more, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
