# SPDX-License-Identifier: Apache-2.0
"""Regular expressions that others wrote: only such as cannot keep the processor busy for ever."""

from __future__ import annotations

import re
from re import _constants as names  # type: ignore[attr-defined]
from re import _parser as grammar  # type: ignore[attr-defined]
from typing import Any

from clarivox.errors import OptionError

LONGEST = 128
"""Characters of a pattern."""
TEXT_CHARS = 128
"""Characters of a text that are looked at; a description of DICOM has 64."""
REPEATS, CHOICES = 3, 8
"""Open repeats, and other choices, of one pattern: with them the worst text takes well under a second."""

_REPEATS = frozenset({names.MAX_REPEAT, names.MIN_REPEAT, names.POSSESSIVE_REPEAT})


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern that looks for its place in a text, capitals or not.

    Raises:
        OptionError: it is no regular expression, or one that may run for very long.

    >>> bool(compiled("chest|thorax").search("CT Thorax 1.0"))
    True
    >>> compiled("(a+)+b")
    Traceback (most recent call last):
    clarivox.errors.OptionError: a repeat stands within another repeat, which may run for ever; write it without
    """
    if len(pattern) > LONGEST:
        raise OptionError(f"a pattern has at most {LONGEST} characters; found {len(pattern)}", code="bad_pattern")
    try:
        tree = grammar.parse(pattern, re.IGNORECASE)
        found = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as cause:
        raise OptionError(f"no regular expression: {cause}", code="bad_pattern") from None
    repeats, choices = _counted(tree, within=False)
    if repeats > REPEATS or choices > CHOICES:
        raise OptionError(
            f"a pattern has at most {REPEATS} repeats and {CHOICES} other choices; found {repeats} and {choices}",
            code="bad_pattern",
        )
    return found


def _counted(tree: Any, *, within: bool) -> tuple[int, int]:
    """How many repeats and how many other choices a pattern has.

    Raises:
        OptionError: one stands within a repeat: what it matches can be split in ever so many ways.
    """
    repeats = choices = 0
    for operation, argument in tree:
        choice = operation is names.BRANCH or (operation in _REPEATS and argument[0] != argument[1])
        if within and choice:
            what = "an alternative" if operation is names.BRANCH else "a repeat"
            raise OptionError(
                f"{what} stands within another repeat, which may run for ever; write it without", code="bad_pattern"
            )
        often = operation in _REPEATS and int(argument[1]) > 1
        repeats += choice and often
        choices += choice and not often
        for inner in _inner(argument):
            more = _counted(inner, within=within or often)
            repeats, choices = repeats + more[0], choices + more[1]
    return repeats, choices


def _inner(argument: Any) -> list[Any]:
    """The patterns within an operation."""
    if isinstance(argument, grammar.SubPattern):
        return [argument]
    if isinstance(argument, tuple | list):
        return [one for part in argument for one in _inner(part)]
    return []
