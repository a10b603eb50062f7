# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest

from clarivox.bundle import load, shipped
from clarivox.errors import OptionError, SeriesError
from clarivox.evaluator import Evaluator
from clarivox.volume import Volume


def evaluator(dataset: list[dict[str, Any]], saved: list[dict[str, Any]], **how: Any) -> Evaluator:
    plain = load("identity")
    return Evaluator(
        str(shipped() / "identity"), plain.network, plain.preparing, plain.windows, dataset, saved.append, **how
    )


def test_every_volume_is_enhanced_and_saved() -> None:
    volume, saved = Volume(np.ones((1, 3, 2, 1), np.int16), np.eye(4)), []  # type: ignore[var-annotated]
    count = evaluator([{"image": volume, "name": "a"}] * 2, saved, device="cpu", strength=0.5).run()
    assert count == 2 and saved[1]["name"] == "a"
    assert saved[0]["image"].provenance.strength == 0.5


def test_an_empty_folder_is_an_error() -> None:
    with pytest.raises(SeriesError, match="nothing to enhance"):
        evaluator([], []).run()


def test_the_engine_can_be_chosen() -> None:
    volume, saved = Volume(np.ones((1, 3, 2, 1), np.int16), np.eye(4)), []  # type: ignore[var-annotated]
    evaluator([{"image": volume}], saved, engine="torch").run()
    assert saved[0]["image"].provenance.engine == "torch"
    with pytest.raises(OptionError, match="engine is torch or openvino"):
        evaluator([{"image": volume}], saved, engine="abacus").run()
