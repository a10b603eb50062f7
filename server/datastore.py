# SPDX-License-Identifier: Apache-2.0
"""The images and labels of MONAI Label's datastore: rows in the database, files in the store of blobs.

Clients name images as they like. A name is never a path and never stands in the database (see `seal`); inside the
server an image is known by an id of our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, select, update

from clarivox.errors import NotFoundError, OptionError
from clarivox.server import tables
from clarivox.server.job import FileRef, Job, Role, State, new_id
from clarivox.server.seal import Seal
from clarivox.server.transitions import disuse, use

if TYPE_CHECKING:
    from clarivox.server.dialects import Database

FINAL, ORIGINAL = "final", "original"
"""Tags of labels in MONAI Label: the reviewer's, and a model's."""

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Image:
    """An image of the datastore."""

    key: str
    """Our own id."""
    name: str
    """As clients call it."""
    file: FileRef
    info: dict[str, Any]
    created: float
    parent: str | None
    """Key of the image that it was made from."""
    job: str | None
    """The job that made it."""
    bundle: str
    shown: FileRef | None
    """What viewers are given for it, where that is not its file."""

    @property
    def enhanced(self) -> bool:
        """Whether a bundle made it."""
        return self.job is not None

    @property
    def extension(self) -> str:
        """Of its file: `.nii.gz`, `.zip`."""
        return extension(self.file)


@dataclass(frozen=True)
class Label:
    """A label of an image."""

    tag: str
    file: FileRef
    info: dict[str, Any]

    @property
    def extension(self) -> str:
        """Of its file."""
        return extension(self.file)


class Datastore:
    """Reads and changes the datastore. Cheap to make; holds nothing but its two parts."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    def put(self, name: str, file: FileRef, info: Mapping[str, Any] | None = None) -> Image:
        """Adds an image, or gives the one of that name another file; its labels and its results stay.

        Raises:
            OptionError: the name cannot be one (code bad_image_name).
        """
        check_name(name)
        mark = self._seal.mark(name)
        with self._database.write(alone=True) as connection:
            row = connection.execute(select(tables.image).where(tables.image.c.mark == mark)).one_or_none()
            if row is not None and row.file is not None:
                known = self._seal.open(row.sealed)["info"]
                sealed = self._seal.close({"name": name, "info": known | dict(info or {})})
                disuse(self._database, connection, f"image:{row.id}", self._database.now(connection))
                connection.execute(
                    update(tables.image)
                    .where(tables.image.c.id == row.id)
                    .values(file=vars(file), sealed=sealed, shown=None, job_id=None, parent_id=None, bundle="")
                )
                key = row.id
            else:
                if row is not None:
                    self._make_way(connection, row.id, name)
                key = new_id()
                self._insert(connection, key, mark, name, dict(info or {}), file=vars(file))
            use(self._database, connection, f"image:{key}", file.sha256, "datastore")
        return self.get(key)

    def get(self, key: str) -> Image:
        """An image by our own id.

        Raises:
            NotFoundError: there is none (code no_such_image).
        """
        return self._one(select(tables.image).where(tables.image.c.id == key))

    def find(self, name: str) -> Image:
        """An image as a client calls it: by its name, or by our own id.

        Raises:
            NotFoundError: there is none (code no_such_image).
        """
        where = (tables.image.c.mark == self._seal.mark(name)) | (tables.image.c.id == name[:36])
        return self._one(select(tables.image).where(where, tables.image.c.file.is_not(None)).limit(1))

    def images(self, *, enhanced: bool | None = None) -> list[Image]:
        """Every image, oldest first; only those that a bundle made, or only the others, where asked."""
        query = select(tables.image).where(tables.image.c.file.is_not(None)).order_by(tables.image.c.id)
        if enhanced is not None:
            made = tables.image.c.job_id
            query = query.where(made.is_not(None) if enhanced else made.is_(None))
        with self._database.read() as connection:
            return [self._image(row) for row in connection.execute(query)]

    def remove(self, name: str) -> None:
        """Removes an image and its labels; what was made from it stays.

        Raises:
            NotFoundError: there is none (code no_such_image).
        """
        key = self.find(name).key
        with self._database.write() as connection:
            now = self._database.now(connection)
            for row in connection.execute(select(tables.label.c.tag).where(tables.label.c.image_id == key)).all():
                disuse(self._database, connection, f"label:{key}/{row.tag}", now)
            disuse(self._database, connection, f"image:{key}", now)
            connection.execute(delete(tables.label).where(tables.label.c.image_id == key))
            connection.execute(delete(tables.image).where(tables.image.c.id == key))

    def show(self, image: Image, file: FileRef) -> None:
        """Keeps what viewers are given for an image, as long as it has the same file."""
        with self._database.write() as connection:
            row = connection.execute(select(tables.image.c.file).where(tables.image.c.id == image.key)).one_or_none()
            if row is not None and row.file == vars(image.file):
                connection.execute(update(tables.image).where(tables.image.c.id == image.key).values(shown=vars(file)))
                use(self._database, connection, f"image:{image.key}", file.sha256, "shown")

    def tell(self, name: str, info: Mapping[str, Any]) -> Image:
        """Adds to what is known of an image.

        Raises:
            NotFoundError: there is none (code no_such_image).
        """
        image = self.find(name)
        sealed = self._seal.close({"name": image.name, "info": image.info | dict(info)})
        with self._database.write() as connection:
            connection.execute(update(tables.image).where(tables.image.c.id == image.key).values(sealed=sealed))
        return self.get(image.key)

    # Labels

    def put_label(self, name: str, tag: str, file: FileRef, info: Mapping[str, Any]) -> Label:
        """Adds a label to an image, or replaces the one of that tag.

        Raises:
            NotFoundError: there is no such image (code no_such_image).
            OptionError: the tag cannot be one (code bad_tag).
        """
        check_tag(tag)
        key = self.find(name).key
        with self._database.write() as connection:
            disuse(self._database, connection, f"label:{key}/{tag}", self._database.now(connection))
            values = {"image_id": key, "tag": tag, "file": vars(file), "sealed": self._seal.close(info)}
            self._database.upsert(connection, tables.label, ("image_id", "tag"), values)
            use(self._database, connection, f"label:{key}/{tag}", file.sha256, "datastore")
        return self.label(name, tag)

    def labels(self) -> dict[str, list[Label]]:
        """Every label, by the key of its image."""
        found: dict[str, list[Label]] = {}
        with self._database.read() as connection:
            for row in connection.execute(select(tables.label).order_by(tables.label.c.tag)):
                found.setdefault(row.image_id, []).append(self._label(row))
        return found

    def label(self, name: str, tag: str) -> Label:
        """One label of an image.

        Raises:
            NotFoundError: there is no such image, or no such label (code no_such_label).
        """
        image = self.find(name)
        where = and_(tables.label.c.image_id == image.key, tables.label.c.tag == tag)
        with self._database.read() as connection:
            row = connection.execute(select(tables.label).where(where)).one_or_none()
        if row is None:
            raise NotFoundError("the image has no label of that tag", code="no_such_label")
        return self._label(row)

    def tell_label(self, name: str, tag: str, info: Mapping[str, Any]) -> Label:
        """Adds to what is known of a label.

        Raises:
            NotFoundError: there is no such image, or no such label (code no_such_label).
        """
        label, key = self.label(name, tag), self.find(name).key
        where = and_(tables.label.c.image_id == key, tables.label.c.tag == tag)
        sealed = self._seal.close(label.info | dict(info))
        with self._database.write() as connection:
            connection.execute(update(tables.label).where(where).values(sealed=sealed))
        return self.label(name, tag)

    def remove_label(self, name: str, tag: str) -> None:
        """Removes one label of an image.

        Raises:
            NotFoundError: there is no such image, or no such label (code no_such_label).
        """
        self.label(name, tag)
        key = self.find(name).key
        with self._database.write() as connection:
            disuse(self._database, connection, f"label:{key}/{tag}", self._database.now(connection))
            where = and_(tables.label.c.image_id == key, tables.label.c.tag == tag)
            connection.execute(delete(tables.label).where(where))

    def counts(self) -> dict[str, Any]:
        """How many images there are, how many have a final label, and how many labels of each tag."""
        with self._database.read() as connection:
            there = tables.image.c.file.is_not(None)
            total = connection.scalar(select(func.count()).select_from(tables.image).where(there))
            tags = connection.execute(select(tables.label.c.tag, func.count()).group_by(tables.label.c.tag))
            by_tag = {row[0]: int(row[1]) for row in tags}
        return {"total": total or 0, "completed": by_tag.get(FINAL, 0), "label_tags": by_tag}

    # What jobs make

    def expect(self, job: Job, parent: str | None, name: str) -> None:
        """Keeps a place for the result of a job; nobody sees it before the job has ended well. Twice is once.

        Args:
            job: an enhancement that was submitted.
            parent: key of the image that it is made from.
            name: what the result is called; a number is added where there is one of that name.
        """
        with self._database.write(alone=True) as connection:
            if connection.scalar(select(tables.image.c.id).where(tables.image.c.job_id == job.id)) is not None:
                return
            mark, free = self._free_name(connection, name)
            self._insert(
                connection, new_id(), mark, free, {}, job_id=job.id, parent_id=parent, bundle=job.bundle, file=None
            )

    def settle(self) -> None:
        """Takes the results of jobs that have ended into the datastore, and drops the places of those that failed."""
        waiting = (
            select(tables.image.c.id, tables.job.c.state, tables.job.c.results)
            .select_from(tables.image.outerjoin(tables.job, tables.job.c.id == tables.image.c.job_id))
            .where(tables.image.c.file.is_(None))
        )
        with self._database.read() as connection:
            rows = [row for row in connection.execute(waiting) if row.state not in (State.QUEUED, State.RUNNING)]
        for row in rows:
            files = [one for one in row.results or () if one["role"] == Role.RESULT]
            with self._database.write() as connection:
                open_place = and_(tables.image.c.id == row.id, tables.image.c.file.is_(None))
                if row.state != State.SUCCEEDED or not files:
                    connection.execute(delete(tables.image).where(open_place))
                    continue
                done = connection.execute(update(tables.image).where(open_place).values(file=files[0]))
                if done.rowcount:
                    use(self._database, connection, f"image:{row.id}", files[0]["sha256"], "datastore")

    def result_of(self, job_id: str) -> Image | None:
        """The image that a job made, where it belongs to the datastore."""
        query = select(tables.image).where(tables.image.c.job_id == job_id, tables.image.c.file.is_not(None))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._image(row)

    # Rows

    def _one(self, query: Select[Any]) -> Image:
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFoundError("there is no such image in the datastore; upload it first", code="no_such_image")
        return self._image(row)

    def _image(self, row: Row[Any]) -> Image:
        sealed = self._seal.open(row.sealed)
        shown = FileRef(**row.shown) if row.shown else None
        made = (row.parent_id, row.job_id, row.bundle, shown)
        return Image(row.id, sealed["name"], FileRef(**row.file), sealed["info"], row.created, *made)

    def _label(self, row: Row[Any]) -> Label:
        return Label(row.tag, FileRef(**row.file), self._seal.open(row.sealed))

    def _insert(
        self, connection: Connection, key: str, mark: str, name: str, info: dict[str, Any], **more: Any
    ) -> None:
        values: dict[str, Any] = {"id": key, "mark": mark, "sealed": self._seal.close({"name": name, "info": info})}
        values |= {"created": self._database.now(connection), "bundle": ""} | more
        connection.execute(insert(tables.image).values(**values))

    def _make_way(self, connection: Connection, key: str, name: str) -> None:
        """Gives the place of a result another name, as a client uses its."""
        mark, free = self._free_name(connection, name)
        sealed = self._seal.close({"name": free, "info": {}})
        connection.execute(update(tables.image).where(tables.image.c.id == key).values(mark=mark, sealed=sealed))

    def _free_name(self, connection: Connection, name: str) -> tuple[str, str]:
        for free in _numbered(name):
            mark = self._seal.mark(free)
            if connection.scalar(select(tables.image.c.id).where(tables.image.c.mark == mark)) is None:
                return mark, free
        raise AssertionError("numbers do not end")


def check_name(name: str) -> None:
    """Refuses what cannot be the name of an image.

    Raises:
        OptionError: it is empty, too long, or holds control characters (code bad_image_name).

    >>> check_name("1: CT Thorax")
    """
    if not name.strip() or len(name) > _LONGEST_NAME or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name):
        raise OptionError(
            f"the name of an image has 1 to {_LONGEST_NAME} characters, none of them for control",
            code="bad_image_name",
        )


def check_tag(tag: str) -> None:
    """Refuses what cannot be the tag of a label.

    Raises:
        OptionError: it is not 1 to 64 letters, digits, dots, dashes and underscores (code bad_tag).

    >>> check_tag("final")
    """
    if not _TAG.fullmatch(tag):
        raise OptionError("a tag has 1 to 64 letters, digits, dots, dashes and underscores", code="bad_tag")


def extension(file: FileRef) -> str:
    """The ending of a file's name: `.nii.gz`, `.zip`."""
    return "." + file.name.split(".", 1)[1] if "." in file.name else ""


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}__{number}"
        number += 1
