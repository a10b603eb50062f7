# SPDX-License-Identifier: Apache-2.0
"""Every ultrasound network against its own input and SRAD, on simulated speckle. Real frames: see `us_real`.

    python -m tests.benchmarks.us_despeckle [--pictures 18] [--json out.json]

Simulated: CT and MR slices and radiographs of subjects that nothing was trained or selected on, read as grey levels, 8
bits, 256 pixels along the longer side, some cut to a sector; fully developed speckle of two pulses. PSNR and SSIM
(Gaussian window) of the whole picture, range 255. SRAD is told the simulation's dynamic range; its steps and level were
searched on the validation subjects (`--search`). The burst network sees five moving frames of which the middle one
counts, and SRAD that frame.
"Phantom" is another simulation (a curved array, a pulse that widens with depth, noise), inside its sector, and 3 pixels
within its outline, which networks wear down.

Gated: ahead of input and SRAD in PSNR and SSIM on each pulse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from clarivox import bundle
from clarivox.content import content
from clarivox.enhance import enhance
from clarivox.metrics import psnr, ssim
from clarivox.patches import spread
from clarivox.phantoms.us import us
from clarivox.transforms.burst import Burst
from clarivox.transforms.speckle import Speckle
from clarivox.volume import Axis, Volume
from tests.benchmarks.measure import Gate, gate, options, report
from tests.benchmarks.us_svd import volume_of

NETWORKS = (
    "us_unet_enhance",
    *(f"us_{name}_despeckle" for name in ("dncnn", "ffdnet", "cbdnet", "mwcnn", "kpn", "mwkpn", "ldfn", "gdfn")),
    "us_kpn_burst_despeckle",
)
PULSES = {"fine": (2.0, 3.5, 60.0), "coarse": (3.0, 5.5, 50.0)}
"""Pulse along depth and across the beam in pixels, and dynamic range in dB."""
SRAD = {"fine": (20, 1.5), "coarse": (20, 2.0)}
"""Steps and level, the best of a search on the validation subjects."""
Grey = NDArray[np.float32]


def stored(pictures: torch.Tensor, axis: Axis = Axis.SPACE) -> Volume:
    """Grey levels 0 to 1, shape (N, X, Y), as an 8-bit ultrasound volume (1, X, Y, N)."""
    array = (pictures.clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)[None]
    return volume_of(np.ascontiguousarray(array), axis)


def despeckled(volume: Volume, network: bundle.Bundle, place: int | None = None) -> Grey:
    """Grey values (X, Y) of one frame after enhancement; the middle one unless told."""
    values = enhance(volume, network, device="cpu").values()[0]
    return np.asarray(values[..., values.shape[2] // 2 if place is None else place])


def cases(data: Path, part: str, pictures: int, pulse: str) -> Iterator[tuple[Volume, Volume, Grey]]:
    """Speckled frame, five speckled frames in motion, and the truth (0 to 255), for evenly chosen subjects."""
    split = bundle.find("us_unet_enhance").folder / "configs" / "split.json"
    groups = content(data, split, part, most=12, outlines=True)
    chosen = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, pictures).astype(int))]
    axial, lateral, range_db = PULSES[pulse]
    for seed, image in enumerate(spread(chosen, each=1), start=100):
        make = Speckle(seed, axial_px=axial, lateral_px=lateral, range_db=range_db, kept=0.5, margin=True)
        frames = Burst(5, shift_px=2.0, turn_degrees=1.0, seed=seed, still=2)(image).clamp(0, 1)
        yield stored(make(image)), stored(make(frames), Axis.TIME), (image[0] * 255).round().numpy()


def figures(image: Grey, truth: Grey, name: str) -> dict[str, float]:
    """PSNR and SSIM of one picture, range 255."""
    return {f"{name}_db": psnr(image, truth, data_range=255), f"{name}_ssim": ssim(image, truth, data_range=255)}


def simulated(data: Path, pictures: int, loaded: dict[str, bundle.Bundle]) -> Iterator[dict[str, Any]]:
    """One row for each network and pulse: means over the pictures, and the lead over SRAD with its spread."""
    for pulse, (iterations, level) in SRAD.items():
        srad = bundle.load("us_srad_despeckle", iterations=iterations, level=level, range_db=PULSES[pulse][2])
        found: dict[str, list[dict[str, float]]] = {name: [] for name in loaded}
        for frame, clip, truth in cases(data, "test", pictures, pulse):
            middle = stored(torch.from_numpy(clip.values()[0][..., 2])[None] / 255)
            peers = {
                id(volume): figures(despeckled(volume, srad), truth, "srad")
                | figures(volume.values()[0][..., 0], truth, "input")
                for volume in (frame, middle)
            }
            for name, network in loaded.items():
                burst = network.info.clip
                after = figures(despeckled(clip if burst else frame, network), truth, "after")
                found[name].append(after | peers[id(middle if burst else frame)])
        for name, rows in found.items():
            lead = np.array([row["after_db"] - row["srad_db"] for row in rows])
            means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
            yield (
                {"network": name, "set": f"simulated, {pulse}", "pictures": len(rows)}
                | means
                | {
                    "lead_db": float(lead.mean()),
                    "lead_sd": float(lead.std(ddof=1)) if len(lead) > 1 else 0.0,
                }
            )


def phantom(loaded: dict[str, bundle.Bundle]) -> Iterator[dict[str, Any]]:
    """The middle frame of a phantom's clip, inside its sector, and 3 pixels within; SRAD with its own defaults."""
    speckled, truth = us(size=256, slices=5, seed=5, drift=0.2)
    clean = truth.values()[0][..., 2]
    single = volume_of(np.ascontiguousarray(speckled.array[..., 2:3]), Axis.SPACE)
    images = {"input": single.values()[0][..., 0], "srad": despeckled(single, bundle.load("us_srad_despeckle"))}
    masks = {"phantom": clean > 0, "phantom, 3 px within": ndimage.binary_erosion(clean > 0, iterations=3)}
    for name, network in loaded.items():
        images["after"] = despeckled(speckled if network.info.clip else single, network)
        for where, mask in masks.items():
            yield {"network": name, "set": where, "pictures": 1} | {
                f"{key}_db": psnr(image, clean, data_range=255, mask=mask) for key, image in images.items()
            }


def search(data: Path) -> None:
    """The best settings of SRAD on the validation subjects."""
    for pulse in PULSES:
        found = {}
        for iterations in (10, 20, 40, 80, 160):
            for level in (1.0, 1.5, 2.0, 3.0):
                srad = bundle.load("us_srad_despeckle", iterations=iterations, level=level, range_db=PULSES[pulse][2])
                scores = [
                    psnr(despeckled(frame, srad), truth, data_range=255)
                    for frame, _, truth in cases(data, "validation", 7, pulse)
                ]
                found[iterations, level] = float(np.mean(scores))
        for settings, score in sorted(found.items(), key=lambda one: -one[1])[:5]:
            print(f"{pulse}: steps {settings[0]}, level {settings[1]}: {score:.2f} dB")


def gates_of(rows: Sequence[dict[str, Any]]) -> Iterator[Gate]:
    """What each network must meet: its worst figure over the sets."""
    for name in NETWORKS:
        own = [row for row in rows if row["network"] == name]
        judged = [row for row in own if "after_ssim" in row]
        lead = min(row["after_db"] - max(row["input_db"], row["srad_db"]) for row in judged)
        yield gate(f"{name}: PSNR ahead of input and SRAD by", lead, at_least=0.0, unit="dB")
        lead = min(row["after_ssim"] - max(row["input_ssim"], row["srad_ssim"]) for row in judged)
        yield gate(f"{name}: SSIM ahead of input and SRAD by", lead, at_least=0.0, unit="")


def main() -> int:
    """Print the tables; 1 where a gate fails."""
    parser = options(__doc__, data=True)
    parser.add_argument("--pictures", type=int, default=18, help="subjects of the simulated part")
    parser.add_argument("--search", action="store_true", help="search SRAD's settings instead")
    chosen = parser.parse_args()
    data = Path(chosen.data)
    if chosen.search:
        search(data)
        return 0
    loaded = {name: bundle.load(name) for name in NETWORKS}
    rows = [*simulated(data, chosen.pictures, loaded), *phantom(loaded)]
    return report("us_despeckle", rows, list(gates_of(rows)), chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
