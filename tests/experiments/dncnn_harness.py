# SPDX-License-Identifier: Apache-2.0
"""The ruler itself: DnCNN-S as published, trained for sigma 25 on 352 of the 400 pictures, measured on 40 held back.

17 layers of 64 features with batch normalisation. White Gaussian noise of sigma 25 of 255, not clipped; PSNR in dB of
the clipped result, range 1, the mean over the pictures: `clarivox.protocols`. Eight further pictures give the
validation curve and choose the weights. The sets that the paper measures on (Set12, BSD68) are no part of the data; its
figures stand beside, and `clarivox evaluate BUNDLE FOLDER --protocol dncnn-gray --sigma 25` measures any folder. BM3D
is no peer here: its packages are for non-commercial use or under the GPL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarivox.protocols import DncnnGray, mean_psnr
from tests.benchmarks.measure import Gate, gate
from tests.benchmarks.photo_peers import peers
from tests.experiments.photos import held_back, of_network, of_part, patches, validation
from tests.experiments.study import Study, ended

SIGMA = 25
PUBLISHED_PATCHES = 50 * 128 * 1600
"""What the paper's training saw: 50 epochs of 128 x 1600 patches of 40 x 40."""
LEVEL = 0.02
"""dB: a curve that rose by less over its last quarter counts as level."""


def recipe(study: Study) -> dict[str, Any]:
    """What is trained, and how."""
    return {
        "network_def": {"_target_": "clarivox.networks.dncnn.Dncnn"},
        "train_dataset": patches((SIGMA, SIGMA), size=40, batch_size=16, small=study.small),
        "validation": validation([SIGMA], small=study.small),
        "loss": {"_target_": "clarivox.losses.RelativeSquaredError"},
        "trainer": {"steps": 2800, "learning_rate": 1e-3, "every": 140, "amp": True, "seed": 1},
    }


def told(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of the training, and whether its curve is level.

    A cosine learning rate flattens every curve at its end, so a curve counts as level only where it also rose by less
    than `LEVEL` over the last quarter of the steps.
    """
    curve = facts["curve"]
    before = max(score for step, score in curve if step <= 0.75 * curve[-1][0])
    rise = curve[-1][1] - before
    share = facts["steps"] * facts["batch"] / PUBLISHED_PATCHES
    return facts | {
        "rise over the last quarter dB": rise,
        "level": "yes" if rise < LEVEL else "no",
        "patches of those that the paper's training saw": f"{share:.2%}",
    }


def gates(rows: Sequence[dict[str, Any]]) -> list[Gate]:
    """DnCNN against the best filter."""
    here = {row["method"]: row["PSNR dB, range 1"] for row in rows}
    best = max((name for name in here if name.endswith("tuned")), key=lambda name: here[name])
    return [gate(f"DnCNN-S ahead of {best}", here["DnCNN-S, here"] - here[best], at_least=0.3, unit="dB")]


def main(arguments: list[str] | None = None) -> int:
    """Train, then print what it removes from the pictures held back."""
    study = Study.asked(__doc__, "dncnn_harness", arguments)
    made = study.train("dncnn_s", recipe(study))
    images = held_back(small=study.small)
    searched = [image for group in of_part("validation", small=study.small) for image in group.images]
    protocol = DncnnGray(SIGMA)
    methods = {"noisy": lambda noisy: noisy, "DnCNN-S, here": of_network(made.network)} | peers(searched[:4], SIGMA)
    rows: list[dict[str, Any]] = [
        {"method": name, "set": f"{len(images)} held back", "PSNR dB, range 1": mean_psnr(protocol, images, method)}
        for name, method in methods.items()
    ]
    rows += [
        {"method": f"{one.method}, published", "set": name, "PSNR dB, range 1": figure}
        for one in protocol.published
        for name, figure in one.figures.items()
    ]
    facts = told(made.facts)
    print({key: value for key, value in facts.items() if key != "curve"})
    return study.report(rows, gates(rows), [facts])


if __name__ == "__main__":
    raise SystemExit(ended(main))
