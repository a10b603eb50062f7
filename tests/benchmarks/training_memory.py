# SPDX-License-Identifier: Apache-2.0
"""Memory of sampling patches: it must not grow with the data set once the pictures that are kept are full.

    python -m tests.benchmarks.training_memory [--volumes 8 32] [--batches 250]

Each volume is 192 x 192 x 24 float32 (3.5 MB) on the disk, as `clarivox preprocess` writes it; 16 MB are kept.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.measure import child, gate, options, report

KEPT_MB = 16


def sample(folder: str, batches: int) -> Iterator[object]:
    """Draws batches from a folder of volumes."""
    from clarivox.patches import Patches, pictures_of
    from clarivox.transforms.gaussian import RandGaussianNoise

    yield None
    groups = pictures_of(folder, f"{folder}/split.json", "train", cache_mb=KEPT_MB)
    patches = Patches(groups, RandGaussianNoise((0.01, 0.1), reference=1.0), size=48, batch_size=8)
    for number in range(batches):
        patches.batch(number)
    yield {"volumes": len(groups), "read": groups[0].images.cache.made}


def make(folder: Path, volumes: int) -> None:
    """Writes volumes and their split."""
    import numpy as np

    from clarivox import io
    from clarivox.volume import Volume

    names = [f"v{number}.nii" for number in range(volumes)]
    for number, name in enumerate(names):
        array = np.random.default_rng(number).random((1, 192, 192, 24), np.float32)
        io.write(Volume(np.asfortranarray(array), np.diag([1.0, 1.0, 5.0, 1.0])), folder / name)
    (folder / "split.json").write_text(json.dumps({"train": {name: [name] for name in names}}))


def main(arguments: list[str] | None = None) -> int:
    """Measures a small and a large set."""
    parser = options(__doc__)
    parser.add_argument("--volumes", type=int, nargs=2, default=[8, 32])
    parser.add_argument("--batches", type=int, default=250)
    asked = parser.parse_args(arguments)
    rows = []
    for volumes in asked.volumes:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), volumes)
            run = child("tests.benchmarks.training_memory:sample", folder=folder, batches=asked.batches)
        rows.append(
            {
                "volumes": volumes,
                "on disk, MB": volumes * 192 * 192 * 24 * 4 / 1e6,
                "kept, MB": KEPT_MB,
                "peak above start, MB": run.peak_rss_growth_mb,
                "files read": run.result["read"],
            }
        )
    small, large = (float(row["peak above start, MB"]) for row in rows)
    gates = [gate("memory of the large set over that of the small one", large / small, at_most=1.25, unit="x")]
    return report("training_memory", rows, gates, asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
