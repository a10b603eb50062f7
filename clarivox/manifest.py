# SPDX-License-Identifier: Apache-2.0
"""The digests of a bundle's files: what was published is what runs.

`python -m clarivox.manifest FOLDER ...` writes models/manifest.json anew after a bundle's files have changed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from clarivox.errors import BundleError, DigestError

MANIFEST = Path("models/manifest.json")


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a bundle but the manifest, by its path within the bundle."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): sha256(p) for p in files if p.relative_to(folder) != MANIFEST}


def seal(folder: Path) -> None:
    """Write the manifest of a bundle."""
    (folder / MANIFEST).parent.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps(digests(folder), indent=2) + "\n")


def verify(folder: Path) -> str:
    """Check every file that a bundle runs from, and give the digest that stands for it.

    Files that nothing runs from (the model card, the licence) are checked by `digests` in the tests only.

    Returns:
        SHA-256 of the weights, of all weight files together where there are several, or of configs/inference.yaml
        where there are none.

    Raises:
        BundleError: the manifest is absent or not readable.
        DigestError: a file is absent, differs, or is not listed.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as cause:
        raise BundleError(
            f"bundle {folder.name} has no readable {MANIFEST}; run python -m clarivox.manifest"
        ) from cause
    found = {p: d for p, d in digests(folder).items() if p.startswith(("configs/", "models/"))}
    expected = {p: d for p, d in listed.items() if p.startswith(("configs/", "models/"))}
    wrong = sorted(p for p in found.keys() | expected.keys() if found.get(p) != expected.get(p))
    if wrong:
        raise DigestError(
            f"bundle {folder.name} differs from its manifest in {', '.join(wrong)}; "
            "get it anew, or run python -m clarivox.manifest if you changed it yourself"
        )
    weights = [d for p, d in sorted(found.items()) if p.startswith("models/")]
    if not weights:
        return found["configs/inference.yaml"]
    return weights[0] if len(weights) == 1 else hashlib.sha256("".join(weights).encode()).hexdigest()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        seal(Path(name))
