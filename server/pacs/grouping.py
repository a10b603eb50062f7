# SPDX-License-Identifier: Apache-2.0
"""The instances of a series that nothing more came to, as one input of a job.

When a series counts as whole is said in pacs.yaml, by quiet time and longest wait for each calling AE title;
`Inbox.ready` goes by it. An instance that comes later opens its series again: all of its instances make a new job.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import Dataset, dcmread

from clarivox.errors import NotFoundError
from clarivox.io.dicom_values import PARSE_ERRORS
from clarivox.io.dicom_warnings import Quiet
from clarivox.server.blobs import CHUNK, Blobs
from clarivox.server.job import FileRef, Role
from clarivox.server.pack import Pack
from clarivox.server.pacs.inbox import Inbox, Instance, Series

if TYPE_CHECKING:
    from hashlib import _Hash as Digest


@dataclass(frozen=True)
class Group:
    """A series and the instances of it that are here, in the order of their digests."""

    series: Series
    instances: tuple[Instance, ...]

    @property
    def late(self) -> bool:
        """Whether the series was routed before, without some of these."""
        return bool(self.series.jobs)


def group_of(inbox: Inbox, series: Series) -> Group:
    """The instances of a series as they are now."""
    return Group(series, tuple(sorted(inbox.rows(series.series), key=lambda one: one.sop)))


def digest_of(group: Group, inbox: Inbox) -> str:
    """What identifies these instances by what they say: the same that comes another way is no other work.

    A PACS that sends a file back encodes it anew, under a head of its own; its bytes differ, and its elements do not.

    Raises:
        NotFoundError: a file is not there any more, code no_such_blob.
    """
    said = "".join(f"{one.sop} {content_of(inbox.path(one)) or one.sha256}\n" for one in group.instances)
    return hashlib.sha256(f"{group.series.series}\n{said}".encode()).hexdigest()


def content_of(path: Path) -> str:
    """A digest of the standard elements of a file; "" where it cannot be read.

    Raises:
        NotFoundError: it is not there, code no_such_blob.
    """
    found = hashlib.sha256()
    try:
        with Quiet():
            _feed(found, dcmread(path, force=True))
    except FileNotFoundError:
        raise gone() from None
    except PARSE_ERRORS:
        return ""
    return found.hexdigest()


def _feed(digest: Digest, dataset: Dataset) -> None:
    for element in dataset:
        if element.tag.is_private or element.tag.element == 0:
            continue  # what is private has no type where types are not written down
        digest.update(int(element.tag).to_bytes(4, "little"))
        if element.VR == "SQ":
            for item in element.value or ():
                _feed(digest, item)
        elif isinstance(element.value, bytes):
            digest.update(element.value)
        else:
            digest.update(str(element.value).encode("utf-8", "surrogatepass"))
        digest.update(b"\0")


def gone() -> NotFoundError:
    """For a file that somebody took, or that was replaced just now."""
    return NotFoundError("an instance that came in is not in the inbox any more", code="no_such_blob")


def packed(group: Group, inbox: Inbox, blobs: Blobs, entries: int) -> FileRef:
    """The instances as one file of the store; the same instances make the same file.

    Args:
        group: not empty.
        inbox: where their files lie.
        blobs: the store.
        entries: most instances of a series.

    Raises:
        NotFoundError: a file is not there any more, code no_such_blob: it was replaced just now, or somebody took it.
        LimitError: these are too many instances.
        CapacityError: the disk is full.
    """
    try:
        if len(group.instances) == 1:
            sha256, size = blobs.put_file(inbox.path(group.instances[0]))
            return FileRef(Role.INPUT, sha256, size, "application/dicom", "image.dcm")
        with blobs.writer() as writer:
            pack = Pack(writer, entries)
            for one in group.instances:
                pack.take(b"")
                with inbox.path(one).open("rb") as source:
                    while piece := source.read(CHUNK):
                        pack.take(piece)
            pack.end()
            sha256, size = writer.commit()
            return FileRef(Role.INPUT, sha256, size, "application/zip", "image.zip")
    except FileNotFoundError:
        raise gone() from None
