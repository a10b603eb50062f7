# SPDX-License-Identifier: Apache-2.0
"""Peak memory from file to file: read, one 3D layer of smoothing, write; beside MONAI's own pipeline.

    python -m tests.benchmarks.memory --json out.json

A 512 x 512 x 256 int16 NIfTI file (134 MB of voxels) goes through `clarivox.io.read`, `enhance` and `clarivox.io.write`
in a fresh process; then through LoadImage, SlidingWindowInferer and SaveImage with the same layer. Both are given
their imports before the measurement starts.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measure import child, gate, options, report

LAYER: dict[str, Any] = {
    "_target_": "torch.nn.AvgPool3d",
    "kernel_size": 3,
    "stride": 1,
    "padding": 1,
    "count_include_pad": False,
}
"""A convolution without weights: the mean of 27 voxels."""


def make_input(path: Path, shape: tuple[int, int, int]) -> None:
    """Write CT-like noise as an uncompressed NIfTI file."""
    from clarivox.io import write
    from clarivox.volume import Volume, blank_like

    rng = np.random.default_rng(1)
    array = blank_like((1, *shape), np.dtype(np.int16))
    for z in range(shape[2]):
        array[0, :, :, z] = rng.normal(40, 20, shape[:2]).astype(np.int16)
    write(Volume(array, np.diag([0.7, 0.7, 1.0, 1.0])), path)


def make_bundle(folder: Path) -> Path:
    """The identity bundle with one 3D layer in it."""
    import yaml

    import clarivox.bundle
    from clarivox.manifest import seal

    made = folder / "one_layer"
    shutil.copytree(clarivox.bundle.shipped() / "identity", made)
    configs = made / "configs"
    metadata = json.loads((configs / "metadata.json").read_text())
    metadata["clarivox"] |= {"task": "denoise", "spatial_dims": 3, "halo": [1, 1, 1]}
    (configs / "metadata.json").write_text(json.dumps(metadata))
    inference = yaml.safe_load((configs / "inference.yaml").read_text())
    inference["network_def"] = LAYER
    inference["inferer"]["spatial_dims"] = 3
    (configs / "inference.yaml").write_text(yaml.safe_dump(inference))
    seal(made)
    return made


def ours(source: str, bundle: str, result: str) -> Iterator[int]:
    """Read, enhance, write."""
    import clarivox.bundle
    from clarivox.enhance import enhance
    from clarivox.io import nifti_write, read, write  # noqa: F401 - the import is not measured

    loaded = clarivox.bundle.load(bundle)
    yield 0
    write(enhance(read(source), loaded, device="cpu", force=True), result)
    yield 1


def by_monai(source: str, bundle: str, result: str) -> Iterator[int]:
    """MONAI's transforms and inferer, at the settings that need least memory."""
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import LoadImage, SaveImage

    network = torch.nn.AvgPool3d(3, stride=1, padding=1, count_include_pad=False)
    load = LoadImage(reader="NibabelReader", ensure_channel_first=True)
    save = SaveImage(output_dir=str(Path(result).parent), output_ext=".nii", separate_folder=False, print_log=False)
    infer = SlidingWindowInferer(roi_size=(96, 96, 96), sw_batch_size=1, overlap=0.25)
    yield 0
    with torch.inference_mode():
        save(infer(load(source)[None], network)[0])
    yield 1


def main() -> int:
    """Run, print, and say whether the gate holds."""
    parser = options(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 256), metavar=("X", "Y", "Z"))
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.nii"
        make_input(source, tuple(chosen.shape))
        bundle = make_bundle(Path(folder))
        input_mb = source.stat().st_size / 1e6
        for name, call in (("clarivox", "ours"), ("MONAI", "by_monai")):
            target = Path(folder) / name / "out.nii"
            target.parent.mkdir()
            run = child(f"tests.benchmarks.memory:{call}", source=str(source), bundle=str(bundle), result=str(target))
            rows.append(
                {
                    "pipeline": name,
                    "peak MB above import": run.peak_rss_growth_mb,
                    "times the input": run.peak_rss_growth_mb / input_mb,
                    "CPU s": run.cpu_s,
                    "wall s": run.wall_s,
                }
            )
    limit = gate("peak memory over the input", rows[0]["times the input"], at_most=2.5, unit="times")
    return report("memory", rows, [limit], chosen.json)


if __name__ == "__main__":
    sys.exit(main())
