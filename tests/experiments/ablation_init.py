# SPDX-License-Identifier: Apache-2.0
"""From scratch against init_from: the U-Net of `mr_unet_denoise` learns to take simulated speckle away, from random
weights (two seeds) and from those that it learned on MR noise, with the same batches and as many steps.

Data, degradation, loss and learning rate of the us_* bundles (`configs/train.yaml`); few steps, since transfer is of
use where there are few. PSNR in dB, range 255, whole picture: one picture of each of 18 test subjects, the mean of two
pulses. A difference counts as shown where it is larger than its 95 % interval over the subjects and than what the seeds
make.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import yaml

from clarivox import bundle
from tests.experiments.despeckling import SUBJECTS, config, scores, size, table
from tests.experiments.study import Study, ended

STEPS, SEEDS, SOURCE = (100, 300), (1, 2), "mr_unet_denoise"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, print."""
    study = Study.asked(__doc__, "ablation_init", arguments)
    folder = bundle.find(SOURCE).folder
    network = yaml.safe_load((folder / "configs" / "inference.yaml").read_text(encoding="utf-8"))["network_def"]
    made, training, about = {}, [], {}
    for steps in STEPS:
        for begun, path in (("scratch", None), (SOURCE, str(folder / "models" / "model.pt"))):
            for seed in SEEDS if path is None else SEEDS[:1]:
                name = f"{begun}_{steps}_{seed}"
                run = study.train(name, config(network, steps=steps, seed=seed, init_from=path, warm_up=50))
                made[begun, steps, seed] = run.network
                training.append(run.facts)
                about[f"{begun}, {steps} steps"] = {"steps": steps, "begun from": begun} | size(run.network)
    each = scores({f"{a}_{b}_{c}": value for (a, b, c), value in made.items()}, 2 if study.small else SUBJECTS)
    found = {
        f"{begun}, {steps} steps": np.stack(
            [each[f"{begun}_{steps}_{seed}"] for seed in SEEDS if (begun, steps, seed) in made]
        )
        for begun, steps, _ in made
    }
    pairs = [(f"scratch, {steps} steps", f"{SOURCE}, {steps} steps") for steps in STEPS]
    return study.report(table(about, found, pairs), [], training)


if __name__ == "__main__":
    raise SystemExit(ended(main))
