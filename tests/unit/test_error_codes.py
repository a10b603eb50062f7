# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from clarivox.cli.screen import EXIT_CODES
from tests.errors import classes, rows

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def test_every_code_in_the_source_stands_in_the_table_and_no_other():
    documented = TABLE.findall((ROOT / "docs" / "errors.md").read_text())
    assert sorted(documented) == sorted(rows()), "run: python -m tests.errors > docs/errors.md"


def test_codes_are_short_stable_words():
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{2,39}", code) for code in rows())


def test_every_class_has_a_code_of_its_own():
    codes = [kind.code for kind in classes().values()]
    assert len(set(codes)) == len(codes)


def test_the_exit_codes_of_the_help_stand_in_the_documentation():
    text = (ROOT / "docs" / "cli.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in text
