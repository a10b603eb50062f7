# SPDX-License-Identifier: Apache-2.0
"""What fuzzing has found stays mended, and the seeds of the fuzzer are good files."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import REGRESSIONS, run
from tests.fuzz.child import outcome
from tests.fuzz.mutate import mutant
from tests.fuzz.seeds import seeds

NO_IMAGES = {"nested_priv_SQ.dcm", "rtdose_1frame.dcm", "test-SR.dcm", "liver_1frame.dcm"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(REGRESSIONS.iterdir()), ids=lambda path: path.name)
def test_a_file_that_once_broke_the_reader_is_read_or_refused_by_name(path: Path) -> None:
    assert outcome(path)["outcome"] in ("read", "refused")


@pytest.mark.filterwarnings("ignore")
def test_every_seed_is_read_unless_it_is_no_image(tmp_path: Path) -> None:
    originals = seeds()
    assert len(originals) >= 30
    for name, data in originals.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert outcome(path)["outcome"] == ("refused" if name in NO_IMAGES else "read"), name


def test_damage_is_the_same_for_the_same_seed() -> None:
    data = bytes(range(256)) * 20
    assert mutant(data, "1/2") == mutant(data, "1/2")
    assert mutant(data, "1/2") != mutant(data, "1/3")


@pytest.mark.slow
def test_a_short_fuzz_run_finds_nothing() -> None:
    count, findings = run(mutants=64, seed=7, workers=1)
    assert findings == []
    assert sum(count.values()) == 64
