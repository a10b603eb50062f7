# SPDX-License-Identifier: Apache-2.0
"""The instances of a series that nothing more came to, as one input of a job.

When a series counts as whole is said in pacs.yaml, by quiet time and longest wait for each calling AE title;
`Inbox.ready` goes by it. An instance that comes later opens its series again: all of its instances make a new job.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from clarivox.errors import NotFoundError
from clarivox.server.blobs import CHUNK, Blobs
from clarivox.server.job import FileRef, Role
from clarivox.server.pack import Pack
from clarivox.server.pacs.inbox import Inbox, Instance, Series


@dataclass(frozen=True)
class Group:
    """A series and the instances of it that are here, in the order of their digests."""

    series: Series
    instances: tuple[Instance, ...]

    @property
    def digest(self) -> str:
        """What identifies exactly these bytes."""
        said = "".join(f"{one.sop} {one.sha256}\n" for one in self.instances)
        return hashlib.sha256(f"{self.series.series}\n{said}".encode()).hexdigest()

    @property
    def late(self) -> bool:
        """Whether the series was routed before, without some of these."""
        return bool(self.series.jobs)


def group_of(inbox: Inbox, series: Series) -> Group:
    """The instances of a series as they are now."""
    return Group(series, tuple(sorted(inbox.rows(series.series), key=lambda one: one.sop)))


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
        raise NotFoundError("an instance that came in is not in the inbox any more", code="no_such_blob") from None
