# SPDX-License-Identifier: Apache-2.0
"""A form with files (multipart/form-data), taken apart as it comes: no file is spooled first, none keeps its name.

The field of a file may have any name; only `like` means something. One file is stored as it is; several of one role
become one zip without compression, so that a series of a thousand slices is one file of the store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from clarivox.errors import InputError, LimitError
from clarivox.server.blobs import CHUNK, Blobs
from clarivox.server.job import Role
from clarivox.server.pack import Pack
from clarivox.server.pump import Pump
from clarivox.server.writing import Writer

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

    from clarivox.server.deps import Services

FIELDS = 64
FIELD_BYTES = 1 << 20
"""Of all fields that are no files, together."""


class Incoming:
    """The files of one role."""

    def __init__(self, role: Role, blobs: Blobs, stack: AsyncExitStack, entries: int) -> None:
        self.role, self._blobs, self._stack, self._entries = role, blobs, stack, entries
        self.count = 0
        self._pump: Pump | None = None
        self._writer: Writer | None = None
        self._pack: Pack | None = None
        self._first = ""

    async def begin(self) -> None:
        """The next file begins."""
        self.count += 1
        if self.count == 1:
            self._writer = self._stack.enter_context(self._blobs.writer())
            self._pump = await self._stack.enter_async_context(Pump(self._writer.hash, self._writer.store))
            return
        if self.count == 2:
            await self._pack_first()
        await self.data(b"")

    async def data(self, piece: bytes) -> None:
        """Bytes of the file."""
        if self._pump is not None:
            await self._pump.put(piece)

    async def end(self) -> None:
        """The file is whole."""
        if self.count == 1 and self._pump is not None and self._writer is not None:
            await self._pump.finish()
            self._first, _ = await run_in_threadpool(self._writer.commit)

    async def _pack_first(self) -> None:
        """A second file comes, so that the first one goes into a zip as well."""
        self._writer = self._stack.enter_context(self._blobs.writer())
        self._pack = Pack(self._writer, self._entries)
        self._pump = await self._stack.enter_async_context(Pump(self._pack.take))
        await self.data(b"")
        with self._blobs.path(self._first).open("rb") as stream:
            while piece := await run_in_threadpool(stream.read, CHUNK):
                await self.data(piece)

    async def finish(self) -> str:
        """The SHA-256 of the one file, or of the zip of all."""
        if self._pack is None or self._pump is None or self._writer is None:
            return self._first
        await self._pump.finish()
        await run_in_threadpool(self._pack.end)
        sha256, _ = await run_in_threadpool(self._writer.commit)
        return sha256


class Form:
    """A form that is being read.

    Args:
        boundary: of its parts.
        entries: files that one role may have.
        blobs: where the files go.
        stack: ends what was begun, whatever happens.
    """

    def __init__(self, boundary: bytes, entries: int, blobs: Blobs, stack: AsyncExitStack) -> None:
        self.fields: dict[str, str] = {}
        self.files: dict[Role, Incoming] = {}
        self.ended = False
        self._entries, self._blobs, self._stack = entries, blobs, stack
        self._happened: list[tuple[str, bytes]] = []
        self._header, self._headers = bytearray(), dict[str, bytes]()
        self._name, self._text, self._left = "", bytearray(), FIELD_BYTES
        self._file: Incoming | None = None
        spans = ("part_data", "header_field", "header_value")
        marks = ("part_begin", "part_end", "headers_finished", "end")
        calls: dict[str, Callable[..., None]] = {f"on_{name}": self._span(name) for name in spans}
        calls |= {f"on_{name}": self._mark(name) for name in marks}
        self._parser = MultipartParser(boundary, cast("MultipartCallbacks", calls))

    def _span(self, name: str) -> Callable[[bytes, int, int], None]:
        return lambda data, start, end: self._happened.append((name, data[start:end]))

    def _mark(self, name: str) -> Callable[[], None]:
        return lambda: self._happened.append((name, b""))

    async def take(self, piece: bytes) -> None:
        """The next bytes of the body.

        Raises:
            InputError: this is no form.
            LimitError: there are too many fields, or too many files.
        """
        try:
            self._parser.write(piece)
        except FormParserError:
            raise broken() from None
        happened, self._happened = self._happened, []
        for name, data in happened:
            match name:
                case "part_data" if self._file is not None:
                    await self._file.data(data)
                case "part_data":
                    self._keep(data)
                case "part_begin":
                    self._headers = {}
                case "header_field":
                    self._header += data
                case "header_value":
                    key = self._header.decode("latin-1").lower()
                    self._headers[key] = self._headers.get(key, b"") + data
                case "headers_finished":
                    await self._begin()
                case "part_end":
                    await self._end()
                case _:
                    self.ended = True
            if name != "header_field":
                self._header.clear()

    def _keep(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0 or len(self.fields) >= FIELDS:
            raise LimitError(
                f"a form has at most {FIELDS} fields and {FIELD_BYTES} bytes in them", code="form_too_large"
            )
        self._text += data

    async def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        if b"name" not in options:
            raise broken()
        self._name = options[b"name"].decode("utf-8", "replace")
        self._text = bytearray()
        if not options.get(b"filename"):
            return
        role = Role.LIKE if self._name == "like" else Role.INPUT
        if role not in self.files:
            self.files[role] = Incoming(role, self._blobs, self._stack, self._entries)
        self._file = self.files[role]
        await self._file.begin()

    async def _end(self) -> None:
        if self._file is not None:
            await self._file.end()
            self._file = None
        else:
            self.fields[self._name] = self._text.decode("utf-8", "replace")


def broken() -> InputError:
    """For a body that is no form, or only the beginning of one."""
    return InputError("the form is damaged, or broke off; send it again", code="bad_request")


async def read_form(request: Request, parts: Services) -> tuple[dict[str, str], dict[Role, str]]:
    """Take a form: its fields, and the SHA-256 of what was sent for each role.

    Raises:
        InputError: the form is damaged, broke off, or has no file.
        LimitError: there are too many fields, or too many files.
        CapacityError: the disk is full.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 200:
        raise broken()
    async with AsyncExitStack() as stack:
        form = Form(boundary, parts.settings.entries, parts.blobs, stack)
        try:
            async for piece in request.stream():
                if piece:
                    await form.take(piece)
        except ClientDisconnect:
            raise broken() from None
        if not form.ended:
            raise broken()
        if Role.INPUT not in form.files:
            raise InputError("the form has no file; name one, as file=@ct.nii.gz", code="no_file")
        return form.fields, {role: await one.finish() for role, one in form.files.items()}
