# SPDX-License-Identifier: Apache-2.0
"""Bias-free against biased: two DnCNNs of 12 layers and 32 features, trained alike on noise of sigma 0 to 10 only.

One adds constants in its convolutions and its batch normalisation, the other adds none, so that f(a x) = a f(x). Both
are then given the 40 pictures held back with noise of sigma 5 to 90 (of 255, not clipped). PSNR in dB of what is
clipped to the range, which is 1, the mean over the pictures: `clarivox.protocols`. The trainings are alike and short:
neither curve is level, and the biased network is behind within the trained range too, if by less. Source: Mohan et al.,
arXiv 1906.05478.
"""

from __future__ import annotations

from typing import Any

from clarivox.protocols import DncnnGray, mean_psnr
from tests.benchmarks.measure import gate
from tests.experiments.photos import held_back, of_network, patches, validation
from tests.experiments.study import Study, ended

SIGMAS = (5, 10, 30, 50, 90)
TRAINED = (0, 10)


def recipe(bias: bool, study: Study) -> dict[str, Any]:
    """What is trained, and how; the same but for the constants."""
    return {
        "network_def": {"_target_": "clarivox.networks.dncnn.Dncnn", "layers": 12, "features": 32, "bias": bias},
        "train_dataset": patches(TRAINED, size=40, batch_size=16, small=study.small),
        "validation": validation([5, 10], small=study.small),
        "loss": {"_target_": "clarivox.losses.RelativeSquaredError"},
        "trainer": {"steps": 1200, "learning_rate": 1e-3, "every": 200, "amp": True, "seed": 1},
    }


def main(arguments: list[str] | None = None) -> int:
    """Train both, then print what each removes from noise that it was, and was not, trained on."""
    study = Study.asked(__doc__, "bias_free", arguments)
    made = {name: study.train(name, recipe(bias, study)) for name, bias in (("bias-free", False), ("biased", True))}
    images = held_back(small=study.small)
    rows: list[dict[str, Any]] = []
    for sigma in SIGMAS:
        protocol = DncnnGray(sigma)
        figures = {name: mean_psnr(protocol, images, of_network(one.network)) for name, one in made.items()}
        rows.append(
            {"sigma": sigma, "trained on": "yes" if sigma <= TRAINED[1] else "no"}
            | {"noisy dB": mean_psnr(protocol, images, lambda noisy: noisy)}
            | {f"{name} dB": figure for name, figure in figures.items()}
            | {"lead dB": figures["bias-free"] - figures["biased"]}
        )
    gates = [gate("bias-free ahead of biased at sigma 90", rows[-1]["lead dB"], at_least=3.0, unit="dB")]
    return study.report(rows, gates, [one.facts for one in made.values()])


if __name__ == "__main__":
    raise SystemExit(ended(main))
