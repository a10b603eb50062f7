# SPDX-License-Identifier: Apache-2.0
"""`clarivox train` for cxr_srcnn_superres on a CPU: from an empty folder to a validated bundle in under 10 minutes.

    python -m tests.benchmarks.train_srcnn [--minutes 8] [--pictures 96]

Data: the 96 pictures of 512 x 512 of NIH ChestX-ray14 below CLARIVOX_DATA, dealt out by patient. Beginning with weights
at random; x2; the new bundle is then checked as every shipped one is, and enlarges the pictures of its test patients,
shrunk by antialiased bicubic interpolation and rounded to 8 bits. PSNR in dB, range 255, border of 2 pixels left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measure import gate, options, report


def enlarged(bundle: Path, data: Path) -> Iterator[tuple[float, float]]:
    """PSNR of bicubic interpolation and of the bundle for each picture of the test patients."""
    import torch

    from clarivox import io
    from clarivox.bundle import load
    from clarivox.enhance import enhance
    from clarivox.metrics import psnr
    from clarivox.transforms.bicubic import BicubicResize, bicubic

    loaded = load(bundle, scale=2)
    split = json.loads((bundle / "configs" / "split.json").read_text())
    for paths in split["test"].values():
        for path in paths:
            truth = io.read(data / path)
            values = torch.from_numpy(np.ascontiguousarray(truth.values()[0, :, :, 0]))[None] / 255
            small = BicubicResize(0.5, levels=256)(values)
            plain = bicubic(small, values.shape[1:]).clamp(0, 1)[0]
            stored = (small * 255).round().numpy().astype(np.uint8)[..., None]
            volume = truth.replace(array=np.asfortranarray(stored), source=None, stored_range=(0, 255), modality="DX")
            result = enhance(volume, loaded, device="cpu").values()[0, :, :, 0]
            inner = (slice(2, -2), slice(2, -2))
            yield tuple(  # type: ignore[misc]
                psnr(np.rint(image)[inner], 255 * values[0].numpy()[inner], data_range=255.0)
                for image in (255 * plain.numpy(), result)
            )


def main(arguments: list[str] | None = None) -> int:
    """Trains, checks, measures."""
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--pictures", type=int, default=96)
    asked = parser.parse_args(arguments)
    source = Path(os.environ["CLARIVOX_DATA"]) / "cxr" / "nih_512"
    with tempfile.TemporaryDirectory() as folder:
        data, bundle = Path(folder) / "data", Path(folder) / "my_superres"
        data.mkdir()
        for path in sorted(source.glob("*.png"))[: asked.pictures]:
            shutil.copy(path, data)
        words = ["train", "cxr_srcnn_superres", "--data", str(data), "--output", str(bundle), "--device", "cpu"]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", "from clarivox.cli.main import run; run()", *words, "--minutes", str(asked.minutes)],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        plan: dict[str, Any] = json.loads((Path(folder) / "my_superres.training" / "plan.json").read_text())
        split = json.loads((bundle / "configs" / "split.json").read_text())
        pairs = np.array(list(enlarged(bundle, Path(folder) / "my_superres.training" / "data")))
    gain = float((pairs[:, 1] - pairs[:, 0]).mean())
    row = {
        "patients": "/".join(str(len(split[part])) for part in ("train", "validation", "test")),
        "steps": plan["steps"],
        "ms a step": 1e3 * plan["step_s"],
        "seconds in all": seconds,
        "bicubic, dB": float(pairs[:, 0].mean()),
        "the new bundle, dB": float(pairs[:, 1].mean()),
        "mean gain, dB": gain,
    }
    limit = 60 * asked.minutes * 1.25 + 45
    gates = [gate("from an empty folder to a validated bundle", seconds, at_most=min(600.0, limit), unit="s")]
    if asked.minutes >= 5:
        gates.append(gate("mean gain over bicubic on patients not trained on", gain, at_least=0.0, unit="dB"))
    return report("train_srcnn", [row], gates, asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
