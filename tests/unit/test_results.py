# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from tests.bundle_list import filled
from tests.results import measured, page, table

ROOT = Path(__file__).parents[2]

MACHINE = {"cores": 2, "cpu": "Toy", "python": "3.11", "date": "2026-01-01"}


def test_the_pages_are_what_the_stored_figures_and_the_bundles_give() -> None:
    results, readme = (ROOT / "docs" / "RESULTS.md", ROOT / "README.md")
    assert results.read_text() == page(ROOT / "docs" / "long"), "run make figures"
    assert readme.read_text() == filled(readme.read_text()), "run make figures"


def test_a_table_has_a_column_for_everything_that_a_row_says() -> None:
    lines = list(table([{"method": "a", "dB": 30.123456, "empty": ""}, {"method": "b|c", "s": None}]))
    assert lines == ["| method | dB |", "| --- | --- |", "| a | 30.12 |", "| b\\|c |  |"]


def test_a_measurement_stands_with_its_words_machine_conditions_and_training(tmp_path: Path) -> None:
    training = [{"name": "net", "steps": 4, "curve": [[2, 1.0], [4, 2.0]]}]
    content = {"name": "x", "machine": MACHINE, "rows": [{"a": 1}], "gates": [{"text": "ahead", "passed": False}]}
    (tmp_path / "mr_denoise.json").write_text(json.dumps(content | {"training": training}))
    text = "\n".join(measured("mr_denoise", tmp_path))
    assert "`python -m tests.benchmarks.mr_denoise` (2 cores, Toy" in text
    assert "Rician noise" in text and "**FAIL**: ahead" in text and "2: 1, 4: 2" in text


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    assert "Not measured yet: `python -m tests.benchmarks.speckle`" in "\n".join(measured("speckle", tmp_path))
    assert list(measured("no_such_experiment", tmp_path)) == []
