# SPDX-License-Identifier: Apache-2.0
"""ReLU against LeakyReLU and GELU: a small U-Net takes simulated speckle away, trained alike, two seeds each.

Data, degradation, loss and learning rate of the us_* bundles (`configs/train.yaml`), fewer steps; the batches are the
same for all. PSNR in dB, range 255, whole picture: one picture of each of 18 test subjects, the mean of two pulses. A
difference counts as shown where it is larger than its 95 % interval over the subjects and than what the seeds make.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.experiments.despeckling import SUBJECTS, config, scores, size, table
from tests.experiments.study import Study, ended

STEPS, SEEDS = 500, (1, 2)
ACTIVATIONS = ("relu", "leaky_relu", "gelu")
NETWORK = {"_target_": "clarivox.networks.unet.RestorationUNet", "channels": [24, 48, 72], "blocks": 1, "bias": True}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, print."""
    study = Study.asked(__doc__, "ablation_activation", arguments)
    networks, training = {}, []
    for name in ACTIVATIONS:
        for seed in SEEDS:
            made = study.train(f"{name}_{seed}", config(NETWORK | {"activation": name}, steps=STEPS, seed=seed))
            networks[f"{name}_{seed}"] = made.network
            training.append(made.facts)
    each = scores(networks, 2 if study.small else SUBJECTS)
    found = {name: np.stack([each[f"{name}_{seed}"] for seed in SEEDS]) for name in ACTIVATIONS}
    about = {"steps": STEPS, "seeds": len(SEEDS)} | size(networks[f"relu_{SEEDS[0]}"])
    rows = table(dict.fromkeys(ACTIVATIONS, about), found, [("relu", "leaky_relu"), ("relu", "gelu")])
    return study.report(rows, [], training)


if __name__ == "__main__":
    raise SystemExit(ended(main))
