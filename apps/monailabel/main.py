# SPDX-License-Identifier: Apache-2.0
"""The bundles of clarivox as an app of the stock MONAI Label server.

    monailabel start_server --app apps/monailabel --studies FOLDER

A result is a new image of the datastore, IMAGE__BUNDLE, with the type and geometry of its source; the viewers get it as
the next sample (latest_enhanced), and an empty label map in place of labels. `clarivox serve` needs no stock server.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.random import Random

from clarivox import io
from clarivox.bundle import BundleInfo, Shelf, catalogue
from clarivox.enhance import enhance
from clarivox.server.label_map import Grid, empty
from clarivox.server.label_models import config, options

MARK = "clarivox"
"""Key of an image's info that says what made it."""


class Enhance(InferTask):
    """One bundle; calls itself a segmentation without labels, as the viewers list no other."""

    def __init__(self, app: MONAILabelApp, info: BundleInfo, shelf: Shelf) -> None:
        super().__init__("segmentation", [], info.spatial_dims, info.description, config(info))
        self.app, self.bundle, self.shelf = app, info, shelf

    def is_valid(self) -> bool:
        """Bundles are checked when they are loaded."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Enhances the image, adds the result to the datastore, and gives an empty label map."""
        began, source = time.monotonic(), Path(request["image"])
        chosen, strength = options(self.bundle, request)
        before = io.read(source)
        after = enhance(before, self.shelf.load(self.bundle.name, **chosen), strength=strength)
        name = f"{source.name.split('.', 1)[0]}__{self.bundle.name}"
        suffix = ".nii.gz" if source.is_dir() or source.suffix in (".dcm", ".zip") else "".join(source.suffixes)
        made = after.provenance
        about = {MARK: {"bundle": self.bundle.name, "version": self.bundle.version}}
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / f"{name}{suffix}"
            io.write(after, target, as_="nifti" if suffix == ".nii.gz" else None)
            image = self.app.datastore().add_image(name, str(target), about)
        grid = Grid(before.shape[1:], tuple(map(tuple, before.affine.tolist())))
        label = empty(grid, str(request.get("result_extension", ".nrrd")), str(request.get("result_dtype", "uint8")))
        with tempfile.NamedTemporaryFile(suffix=label.extension, delete=False) as file:
            file.writelines(label.pieces)
        seconds = round(time.monotonic() - began, 3)
        notes = list(made.notes) if made else []
        return file.name, {"label_names": {}, "latencies": {"total": seconds}, "image": image, "notes": notes}


class LatestEnhanced(Strategy):
    """Gives the newest image that a bundle made."""

    def __init__(self) -> None:
        super().__init__("The newest enhanced image")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image's id, or None where there is none."""
        made = {name: datastore.get_image_info(name) for name in datastore.list_images()}
        made = {name: info for name, info in made.items() if MARK in info}
        newest = max(made, key=lambda name: made[name].get("ts", 0), default=None)
        return {"id": newest, "weight": 1} if newest else None


class Clarivox(MONAILabelApp):
    """Every bundle as a model; nothing is trained here."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        super().__init__(app_dir, studies, conf, name="clarivox", description="Medical image enhancement", labels=[])

    def init_infers(self) -> dict[str, InferTask]:
        """The models."""
        shelf = Shelf()
        return {info.name: Enhance(self, info, shelf) for info in catalogue()}

    def init_strategies(self) -> dict[str, Strategy]:
        """The strategies."""
        return {"latest_enhanced": LatestEnhanced(), "random": Random()}
