# SPDX-License-Identifier: Apache-2.0
"""What a diffusion must be measured by: a 3D U-Net trained on exactly the blocks of the two diffusion bundles.

Blocks, their order, batch, number of steps, optimiser and arithmetic are those of each bundle's train.yaml, and the
last weights are kept, as there; the network (of like cost for a voxel and call) and the loss (squared error of the
volume) differ. Crops, degradations and figures are those of `python -m tests.benchmarks.diffusion`, whose table belongs
beside this one. PSNR and SSIM (Gaussian, 11 x 11, slice by slice): MR, range the crop's 99th percentile; CT, within the
window 50/400. CPU seconds of one thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser

from clarivox import bundle
from clarivox.blocks import BlockValidation
from clarivox.networks.unet import RestorationUNet
from clarivox.prepare import PrepareVolume
from clarivox.volume import Volume
from clarivox.windows import Windows
from tests.benchmarks.diffusion_cases import DEEP, DEGREES, SIDE, cases, means, rows_of
from tests.experiments.study import Study, ended

UNET = {
    "_target_": "clarivox.networks.unet.RestorationUNet",
    "spatial_dims": 3,
    "channels": [32, 48],
    "blocks": 2,
    "fold_factor": 2,
    "bias": False,
}
METHOD = "3D U-Net, same blocks"


class SquaredError(torch.nn.Module):
    """Mean squared error, in units of the diffusion's difference, so that the same learning rate fits."""

    def __init__(self, difference: float) -> None:
        super().__init__()
        self.difference = difference

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """The mean over the batch."""
        return ((outputs - targets) / self.difference).square().mean()


def recipe(study: Study, modality: str, data: str) -> dict[str, Any]:
    """As the bundle is trained, but for the network and the loss."""
    folder = bundle.find(f"{modality}_ddpm3d_denoise").folder
    parser = ConfigParser(yaml.safe_load((folder / "configs" / "train.yaml").read_text()))
    out = study.work / study.name / modality
    for key, value in {"bundle_root": str(folder), "dataset_dir": data, "output_dir": str(out)}.items():
        parser[key] = value
    return {
        "network_def": UNET,
        "train_dataset": parser.get_parsed_content("blocks"),
        "validation": BlockValidation(parser.get_parsed_content("validation_pairs")),
        "loss": SquaredError(parser["difference"]),
        "trainer": {name: parser[name] for name in ("steps", "learning_rate", "amp")}
        | {"every": parser["trainer#every"], "keep": parser["trainer#keep"], "seed": 1},
    }


class Denoiser:
    """The U-Net behind the bundle's own scaling, in exact windows."""

    def __init__(self, modality: str, network: RestorationUNet) -> None:
        self.prepare: PrepareVolume = bundle.load(f"{modality}_ddpm3d_denoise").preparing
        self.network = network
        self.windows = Windows(3, "exact", halo=network.halo, stride=network.stride)

    def __call__(self, volume: Volume) -> Any:
        """Values of shape (X, Y, Z) in the volume's unit."""
        prepared = self.prepare(volume)
        seen = prepared.tensor()
        change = self.windows(seen[None], self.network)[0] - seen
        return volume.values()[0] + change[0].numpy() * np.float32(prepared.scale(0)[1])


def main(arguments: list[str] | None = None) -> int:
    """Train both, then measure both on the benchmark's crops."""
    study = Study.asked(__doc__, "diffusion_unet", arguments)
    data = os.environ.get("CLARIVOX_DATA", "")
    if not Path(data).is_dir():
        raise SystemExit("name the folder of data sets by CLARIVOX_DATA")
    rows, training = [], []
    for modality in ("mr",) if study.small else ("mr", "ct"):  # the simulation of CT takes minutes
        made = study.train(modality, recipe(study, modality, data))
        training.append(made.facts)
        degrees = DEGREES[modality][-1:] if study.small else DEGREES[modality]
        found = cases(modality, data, 32 if study.small else SIDE, 12 if study.small else DEEP, degrees)
        method = {METHOD: Denoiser(modality, made.network)}
        rows += means([row for case in found for row in rows_of(case, method)])
    return study.report(rows, [], training)


if __name__ == "__main__":
    raise SystemExit(ended(main))
