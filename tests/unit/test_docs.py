# SPDX-License-Identifier: Apache-2.0
"""What README and docs tell a reader to type or to open is there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from clarivox.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "bundles").glob("*/docs/README.md"))
GIVEN = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
"""Options that end the command, so that a line with one of them is not parsed further."""
COMMAND = typer.main.get_command(app)


def named(page):
    return str(page.relative_to(ROOT))


def code_of(text):
    """Lines of the fenced blocks and inline code of a page."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", outside)]


def commands_of(text):
    """Each command line of clarivox in a page, as words."""
    for line in code_of(text):
        for part in line.split("&&"):
            if not part.strip().startswith("clarivox "):
                continue
            words = shlex.split(re.sub(r"[\[\]]", " ", part.replace("\\|", "|")), comments=True)
            # Of ct|mr|us|cxr the first stands for all.
            yield [word.split("|")[0] for word in words[1:]]


def options_of(command):
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | GIVEN


def parse(words):
    """Raise what the command line would raise before it does anything."""
    outer = COMMAND.make_context("clarivox", [word for word in words if word not in GIVEN] or ["info"])
    if not words or words[0].startswith("-"):
        assert {word for word in words if word.startswith("-")} <= options_of(COMMAND), words
        return
    if words[0] == "COMMAND":
        return
    command = COMMAND.get_command(outer, words[0])
    assert command is not None, f"there is no command {words[0]}"
    if isinstance(command, TyperGroup) and len(words) > 1 and not words[1].startswith("-"):
        inner = command.get_command(outer, words[1])
        assert inner is not None, f"{words[0]} has no command {words[1]}"
        command, words = inner, words[1:]
    unknown = {word for word in words[1:] if word.startswith("-")} - options_of(command)
    assert not unknown, f"{words[0]} has no {unknown}"
    if not GIVEN & set(words) and len(words) > 1:
        command.make_context(words[0], words[1:], parent=outer)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_to_a_file_leads_to_one(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    printed = re.findall(r"> (docs/\S+\.md)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    places = [(page.parent / link.split("#")[0]).resolve() for link in links if not re.match(r"[a-z]+:|#", link)]
    # A page that `make` prints may be yet to be printed.
    assert [p for p in places if not p.exists() and str(p.relative_to(ROOT)) not in printed] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_line_of_clarivox_is_one(page):
    for words in commands_of(page.read_text(encoding="utf-8")):
        parse(words)


def test_the_readme_and_the_page_of_commands_are_looked_at_whole():
    found = [words for page in PAGES for words in commands_of(page.read_text(encoding="utf-8"))]
    assert {words[0] for words in found if words} >= {
        "enhance",
        "info",
        "bundles",
        "compare",
        "sample",
        "doctor",
        "demo",
    }


@pytest.mark.parametrize(
    "words", [["enhance", "IN", "-b", "B", "-o", "OUT", "--sharpen"], ["info", "--sharpen"], ["sharpen"], ["--quick"]]
)
def test_a_command_line_that_is_none_would_be_found(words):
    with pytest.raises((AssertionError, TyperException), match=r"sharpen|quick"):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_target_of_make_is_in_the_makefile(page):
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {
        word
        for line in code_of(page.read_text(encoding="utf-8"))
        for word in re.findall(r"(?:^|&& )make ([a-z][a-z0-9-]*)", line)
    }
    assert wanted <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_module_to_run_is_there(page):
    modules = re.findall(r"python -m ((?:tests|clarivox)[\w.]*)", page.read_text(encoding="utf-8"))
    assert [module for module in modules if not _found(module)] == []


def _found(module):
    """Modules of the tests are found by their place, so that the folder need not be importable."""
    if module.startswith("clarivox"):
        return importlib.util.find_spec(module) is not None
    place = ROOT.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
