# SPDX-License-Identifier: Apache-2.0
"""A stored file in another format, made by a limited child; for the routes, which never parse an input."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from clarivox.errors import BusyError, OptionError
from clarivox.server.blobs import Blobs
from clarivox.server.child_link import ChildDiedError, Nursery, limits_of, result_path, work_folder
from clarivox.server.inputs import laid
from clarivox.server.job import FileRef, Role
from clarivox.server.schemas import FORMS
from clarivox.server.settings import Settings
from clarivox.server.task import ROOM

AT_ONCE = 2
"""Conversions that run beside each other; the others wait."""

_free = threading.BoundedSemaphore(AT_ONCE)


def convert(settings: Settings, blobs: Blobs, file: FileRef, as_: str, like: Sequence[FileRef] = ()) -> FileRef:
    """A stored file in another format, itself stored; nobody uses it, so the store forgets it after a day.

    Args:
        settings: the limits.
        blobs: the store.
        file: a volume, or a zip of several or of a series.
        as_: one of `schemas.FORMS`.
        like: for DICOM of what is none: the series whose headers are to be used.

    Raises:
        OptionError: there is no such format.
        InputError: the volume does not fit the format; for DICOM without a series to be like, code needs_like.
        CapacityError: the disk is full.
        BusyError: the child was killed; ask again (code reader_killed).
    """
    if as_ not in FORMS:
        raise OptionError(f"a format is one of {', '.join(FORMS)}; found {as_!r}")
    nursery = Nursery(settings)
    with _free, work_folder(settings.data_dir.resolve() / "work", f"convert-{secrets.token_hex(8)}") as folder:
        source = laid(blobs, [file], folder / "input")
        order = {
            "do": "convert",
            "source": str(source),
            "as": as_,
            "like": str(laid(blobs, like, folder / "like") or ""),
            "deidentify": False,
            "limits": limits_of(settings),
        }
        try:
            (folder / ROOM).mkdir(mode=0o700)
            with nursery.child(folder / ROOM, readable=[folder]) as child:
                answer = child.call(order, lambda step: True, size_bytes=3 * file.bytes)
            (made,) = answer["files"]
            sha256, size = blobs.put_file(result_path(folder / ROOM, made["path"]))
        except ChildDiedError:
            raise BusyError("the conversion was stopped; ask again", code="reader_killed") from None
        finally:
            nursery.close()
    return FileRef(Role.RESULT, sha256, size, str(made["media"]), str(made["name"]))
