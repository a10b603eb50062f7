# SPDX-License-Identifier: Apache-2.0
"""Hybrid against plain: a classical filter before a network, or not, on simulated ultrasound speckle.

Each network is trained by the data, degradation, loss and learning rate of `us_unet_enhance`, for the same steps and
with the same batches and seed; they differ in the filter alone. "On the residual": the network sees what the filter
took away and puts back what it finds in it. "On the filtered": it sees the filter's result. MWCNN works in the wavelet
domain, and wavelet shrinkage is a filter there. PSNR in dB, range 255, whole picture: one picture of each of 18 test
subjects, the mean of two pulses; the filters alone stand beside. A difference counts as shown where it is larger than
its 95 % interval over the subjects. What another seed would give is not known, and short trainings favour whoever
begins nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from clarivox.classical import Srad, WaveletShrinkage
from tests.experiments.despeckling import SUBJECTS, config, scores, size, table
from tests.experiments.study import Study, ended

STEPS = 250
UNET = {
    "_target_": "clarivox.networks.unet.RestorationUNet",
    "channels": [16, 32, 48],
    "blocks": 1,
    "bias": True,
}
MWCNN = {"_target_": "clarivox.networks.mwcnn.Mwcnn", "channels": [24, 32], "convolutions": 2, "norm": False}
SRAD = {"_target_": "clarivox.classical.Srad", "iterations": 12}
SHRINKAGE = {"_target_": "clarivox.classical.WaveletShrinkage", "level": 2.0}


def hybrid(filter_: dict[str, Any], network: dict[str, Any], sees: str) -> dict[str, Any]:
    """network_def of a hybrid."""
    return {
        "_target_": "clarivox.networks.hybrid.Hybrid",
        "filter": dict(filter_),
        "network": dict(network),
        "sees": sees,
    }


NETWORKS = {
    "U-Net": UNET,
    "SRAD, U-Net on the residual": hybrid(SRAD, UNET, "residual"),
    "shrinkage, U-Net on the residual": hybrid(SHRINKAGE, UNET, "residual"),
    "MWCNN": MWCNN,
    "SRAD, MWCNN on the filtered": hybrid(SRAD, MWCNN, "filtered"),
}
FILTERS = {"SRAD alone": Srad(12), "shrinkage alone": WaveletShrinkage(2.0)}
PAIRS = [("U-Net", name) for name in NETWORKS if "U-Net on" in name] + [("MWCNN", "SRAD, MWCNN on the filtered")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, print."""
    study = Study.asked(__doc__, "hybrid", arguments)
    training, networks, about = [], dict[str, nn.Module](FILTERS), dict[str, dict[str, Any]]()
    for name in FILTERS:
        about[name] = {"steps": "", "parameters": 0}
    for name, network in NETWORKS.items():
        folder = name.replace(", ", "_").replace(" ", "_").lower()
        made = study.train(folder, config(network, steps=STEPS))
        training.append(made.facts)
        networks[name] = made.network
        learns = made.network.network if "," in name else made.network
        about[name] = {"steps": made.facts["steps"]} | size(learns)
    found = scores(networks, 2 if study.small else SUBJECTS)
    return study.report(table(about, found, PAIRS), [], training)


if __name__ == "__main__":
    raise SystemExit(ended(main))
