# SPDX-License-Identifier: Apache-2.0
"""How long each ultrasound network takes for a frame of 256 x 256, and what it costs.

    python -m tests.benchmarks.us_speed [--untimed] [--json out.json]

The whole way of `enhance`, in memory, least of some repeats, on as many threads as torch takes. Gated:
`us_unet_enhance` costs 100 kFLOP a pixel at most and, without --untimed, takes 0.3 s a frame at most.
"""

from __future__ import annotations

import time
from functools import partial

import torch

from clarivox import bundle
from clarivox.enhance import enhance
from clarivox.networks.cost import cost
from tests.benchmarks.measure import gate, options, report
from tests.benchmarks.us_despeckle import NETWORKS, stored


def timed(network: bundle.Bundle, repeats: int = 5) -> float:
    """Least seconds for a frame of 256 x 256, on as many threads as torch has."""
    frame = stored(torch.rand(1, 256, 256, generator=torch.Generator().manual_seed(1)))
    spent = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        enhance(frame, network, device="cpu")
        spent.append(time.perf_counter() - started)
    return min(spent[1:])


def main() -> int:
    """Print the table; 1 where a gate fails."""
    parser = options(__doc__)
    parser.add_argument("--untimed", action="store_true", help="print times, do not gate them")
    chosen = parser.parse_args()
    rows, gates = [], []
    for name in NETWORKS:
        network = bundle.load(name)
        seconds = timed(network)
        size = cost(partial(getattr, network, "network"), 2 * network.windows.neighbours + 1, 256, 256)
        threads = torch.get_num_threads()
        about = {"threads": threads, "parameters": size.parameters, "kFLOP a pixel": size.kflop, "seconds": seconds}
        rows.append({"network": name} | about)
        if name == "us_unet_enhance":
            gates.append(gate(f"{name}: cost", size.kflop, at_most=100, unit="kFLOP a pixel"))
            if not chosen.untimed:
                gates.append(gate(f"{name}: a frame of 256 x 256", seconds, at_most=0.3, unit="s"))
    return report("us_speed", rows, gates, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
