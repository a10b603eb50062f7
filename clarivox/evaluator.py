# SPDX-License-Identifier: Apache-2.0
"""What `python -m monai.bundle run` runs: the same `enhance` as everyone else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from clarivox.bundle import assemble
from clarivox.enhance import enhance
from clarivox.errors import SeriesError


class Evaluator:
    """Enhances every volume of a data set and hands each to the postprocessing.

    Args:
        bundle_root: the bundle's folder.
        network, preprocessing, inferer: the parts of the bundle, as its configuration builds them.
        dataset: gives dictionaries with a `Volume` under "image".
        postprocessing: called with each dictionary, the volume in it enhanced; saves it.
        device: auto, cpu, cuda, cuda:N or mps.
        options: the bundle's options with their values.
        weights: path of the weights within the bundle, where it is not models/model.pt.
        engine, strength, allow_uneven, force: see `clarivox.enhance.enhance`.
    """

    def __init__(
        self,
        bundle_root: str,
        network: Any,
        preprocessing: Any,
        inferer: Any,
        dataset: Iterable[Mapping[str, Any]],
        postprocessing: Callable[[dict[str, Any]], Any],
        device: str = "auto",
        options: Mapping[str, Any] | None = None,
        weights: str | None = None,
        engine: str = "torch",
        strength: float = 1.0,
        allow_uneven: bool = False,
        force: bool = False,
    ) -> None:
        parts = {"network_def": network, "preprocessing": preprocessing, "inferer": inferer, "weights": weights}
        self.bundle = assemble(Path(bundle_root).resolve(), parts, dict(options or {}))
        self.dataset = dataset
        self.postprocessing = postprocessing
        self.how: dict[str, Any] = {
            "device": str(device),
            "engine": engine,
            "strength": strength,
            "allow_uneven": allow_uneven,
            "force": force,
        }

    def run(self) -> int:
        """Enhance and save everything; gives the number of volumes.

        Raises:
            SeriesError: the data set is empty.
        """
        count = 0
        for data in self.dataset:
            self.postprocessing(dict(data) | {"image": enhance(data["image"], self.bundle, **self.how)})
            count += 1
        if not count:
            raise SeriesError("there is nothing to enhance in the data set's folder", code="no_series")
        return count
