# SPDX-License-Identifier: Apache-2.0
"""Print the licences of what a bare install of clarivox brings with it, as Markdown: `python -m tests.licences`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
LESSER = re.compile(r"\bLGPL|Lesser", re.IGNORECASE)


def plain(name: str) -> str:
    """The normal form of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(name: str, seen: set[str]) -> Iterator[str]:
    """A package and everything it requires here, without extras."""
    if plain(name) in seen:
        return
    seen.add(plain(name))
    try:
        requirements = distribution(name).requires or []
    except PackageNotFoundError:
        return
    yield name
    for requirement in requirements:
        if "extra ==" not in requirement:
            yield from needs(re.split(r"[\s<>=!~;\[(]", requirement)[0], seen)


def licence(name: str) -> str:
    """What a package says of its licence, in one line."""
    metadata = distribution(name).metadata
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    said = metadata.get("License-Expression") or "; ".join(classifiers) or metadata.get("License") or "not stated"
    return said.splitlines()[0][:80]


def main() -> int:
    """Print the table; 1 where a licence is a strong copyleft."""
    names = sorted((n for n in needs("clarivox", set()) if plain(n) != "clarivox"), key=str.lower)
    print("# Licences\n\nclarivox: Apache-2.0. What a bare install brings with it, printed by `make licences`:\n")
    print("| package | version | licence |\n| --- | --- | --- |")
    refused = []
    for name in names:
        said = licence(name)
        if COPYLEFT.search(said) and not LESSER.search(said):
            refused.append(name)
        print(f"| {distribution(name).metadata['Name']} | {distribution(name).version.split('+')[0]} | {said} |")
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
