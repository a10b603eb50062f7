# SPDX-License-Identifier: Apache-2.0
"""Wavelet on and off: MWCNN against the U-Net, MWKPN against KPN, as shipped in the us_* bundles.

All four were trained alike: same pictures, same batches, steps, loss and learning rate (their `configs/train.yaml`; a
test compares them), one seed each. They differ in size too, which the table shows: it compares these networks, not the
transform alone. PSNR in dB, range 255, whole picture: one picture of each of 18 test subjects, the mean of two pulses.
A difference counts as shown where it is larger than its 95 % interval over the subjects. What another seed would give
is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from clarivox import bundle
from tests.experiments.despeckling import SUBJECTS, scores, size, table
from tests.experiments.study import Study, ended

PAIRS = (("us_unet_enhance", "us_mwcnn_despeckle"), ("us_kpn_despeckle", "us_mwkpn_despeckle"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print."""
    study = Study.asked(__doc__, "ablation_wavelet", arguments)
    loaded = {name: bundle.load(name) for pair in PAIRS for name in pair}
    about = {}
    for name, one in loaded.items():
        recipe = yaml.safe_load((one.info.folder / "configs" / "train.yaml").read_text(encoding="utf-8"))
        wavelet = "on" if name in dict(PAIRS).values() else "off"
        about[name] = {"wavelet": wavelet, "steps": recipe["steps"], "seeds": 1} | size(one.network)
    found = scores({name: one.network for name, one in loaded.items()}, 2 if study.small else SUBJECTS)
    return study.report(table(about, found, PAIRS), [], [])


if __name__ == "__main__":
    raise SystemExit(ended(main))
