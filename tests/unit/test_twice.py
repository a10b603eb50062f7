# SPDX-License-Identifier: Apache-2.0
"""A second try forgives a hiccup and says so, and forgives nothing else."""

from pathlib import Path

import pytest

from tests.twice import twice

SOUND = "def test_sound(): pass\n"
FLAKY = """
from pathlib import Path
def test_flaky():
    ran = Path(__file__).with_name("ran")
    before = ran.exists()
    ran.touch()
    assert before
"""
WRONG = "def test_wrong(): assert False\n"
BROKEN_FIXTURE = """
import pytest
@pytest.fixture
def server(): raise OSError("does not start")
def test_of_a_server(server): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "code", "late", "never", "runs"),
    [
        ({"test_a.py": SOUND}, 0, [], [], 1),
        ({"test_a.py": SOUND + FLAKY}, 0, ["test_a.py::test_flaky"], [], 2),
        ({"test_a.py": FLAKY, "test_b.py": WRONG}, 1, ["test_a.py::test_flaky"], ["test_b.py::test_wrong"], 2),
        ({"test_a.py": BROKEN_FIXTURE}, 1, [], ["test_a.py::test_of_a_server"], 2),
        ({"test_a.py": "import nothing_of_the_kind\n"}, 2, [], [], 1),
        ({}, 5, [], [], 1),
    ],
    ids=["sound", "flaky", "flaky and wrong", "a fixture", "no module", "no tests"],
)
def test_what_fails_once_is_named_and_what_fails_twice_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    files: dict[str, str],
    code: int,
    late: list[str],
    never: list[str],
    runs: int,
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert twice(["-q", "--rootdir", str(tmp_path), str(tmp_path)]) == code
    said = capfd.readouterr().out
    assert told(said, "passed only the second time") == late
    assert told(said, "failed twice") == never
    assert len(told(said, "once more")) == len(late) + len(never)
    assert said.count("== once more") == runs - 1


def told(said: str, about: str) -> list[str]:
    """The tests that a line names."""
    return [
        name
        for line in said.splitlines()
        if line.startswith(f"== {about}: ")
        for name in line.split(": ")[1].split(", ")
    ]
