# SPDX-License-Identifier: Apache-2.0
"""The datastore as one zip, made while it is sent: it takes neither memory nor disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clarivox.server.label_answers import safe

if TYPE_CHECKING:
    from clarivox.server.blobs import Blobs
    from clarivox.server.datastore import Image, Label

_CHUNK = 1 << 20


class _Outgoing(io.RawIOBase):
    """Takes what the zip writes until it is sent."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        """It only writes, and cannot go back."""
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        """Keeps a piece."""
        self._waiting += piece
        return len(piece)

    def taken(self) -> bytes:
        """What has come since the last time."""
        piece = bytes(self._waiting)
        self._waiting.clear()
        return piece


def archive(images: Sequence[Image], labels: Mapping[str, Sequence[Label]], blobs: Blobs) -> Iterator[bytes]:
    """Images at the top, labels below labels/TAG, as MONAI Label has it; files that are gone are left out."""
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_STORED) as packed:
        for place, path in _entries(images, labels, blobs):
            if not path.is_file():
                continue
            entry = zipfile.ZipInfo(place)
            with path.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                while piece := source.read(_CHUNK):
                    target.write(piece)
                    yield outgoing.taken()
    yield outgoing.taken()


def _entries(
    images: Sequence[Image], labels: Mapping[str, Sequence[Label]], blobs: Blobs
) -> Iterator[tuple[str, Path]]:
    taken: set[str] = set()
    for image in images:
        stem = safe(image.name)
        if stem.lower() in taken:
            stem = f"{stem}_{image.key[-12:]}"
        taken.add(stem.lower())
        yield stem + image.extension, blobs.path(image.file.sha256)
        for label in labels.get(image.key, ()):
            yield f"labels/{label.tag}/{stem}{label.extension}", blobs.path(label.file.sha256)
