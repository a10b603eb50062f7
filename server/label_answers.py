# SPDX-License-Identifier: Apache-2.0
"""What the routes of MONAI Label read and answer: parameters as JSON in a form, files, and both in one body."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.responses import Response, StreamingResponse

from clarivox.errors import FormatError, InputError, LimitError
from clarivox.server.job import FileRef

_CHUNK = 1 << 20
_PARAMS_BYTES = 1 << 20

_TYPES = {
    "nifti": (".nii", "application/octet-stream"),
    "nrrd": (".nrrd", "application/octet-stream"),
    "mha": (".mha", "application/octet-stream"),
    "png": (".png", "image/png"),
    "jpeg": (".jpg", "image/jpeg"),
    "tiff": (".tiff", "image/tiff"),
    "dicom": (".dcm", "application/dicom"),
    "zip": (".zip", "application/zip"),
}


class Body(NamedTuple):
    """A file to send."""

    name: str
    media: str
    size: int
    pieces: Iterator[bytes]


def params_of(text: str) -> dict[str, Any]:
    """Parameters as a form carries them.

    Raises:
        InputError: they are no JSON object (code bad_params).
        LimitError: they are larger than a megabyte.

    >>> params_of('{"strength": 0.5}'), params_of("")
    ({'strength': 0.5}, {})
    """
    if len(text) > _PARAMS_BYTES:
        raise LimitError("params may be a megabyte of JSON", code="too_large")
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as cause:
        raise InputError("params must be a JSON object; it is not JSON", code="bad_params") from cause
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError("params must be a JSON object", code="bad_params")
    return found


def safe(name: str) -> str:
    """A name as a file name: clients join it to a folder without a look at it.

    >>> safe("1: CT Thorax"), safe("../../etc/passwd"), safe("")
    ('1_CT_Thorax', 'etc_passwd', 'image')
    """
    return re.sub(r"[^A-Za-z0-9.-]+|\.(?=\.)", "_", name).strip("._-")[:100] or "image"


def extension_of(name: str) -> str:
    """The ending of a client's file name that says a format of images, or nothing; the rest is not looked at.

    >>> extension_of("/home/doe/CT of J. Doe.nii.gz"), extension_of("x.exe"), extension_of("a.seg.nrrd")
    ('.nii.gz', '', '.seg.nrrd')
    """
    found = re.search(
        r"\.(nii\.gz|nii|seg\.nrrd|nrrd|mha|dcm|zip|png|jpe?g|tiff?|json|bin)$", Path(name).name, re.IGNORECASE
    )
    return found[0].lower() if found else ""


def file_ref(path: Path, sha256: str, bytes: int, role: str, client_name: str) -> FileRef:
    """A file that was sent, under a name of ours with the ending that its content asks for.

    Raises:
        FormatError: it is empty.
    """
    if bytes == 0:
        raise FormatError("the file is empty; send an image", code="unsupported_format")
    extension, media = _kind(path)
    if not extension:
        extension, media = extension_of(client_name), "application/octet-stream"
    elif extension == ".nrrd" and extension_of(client_name) == ".seg.nrrd":
        extension = ".seg.nrrd"
    return FileRef(role, sha256, bytes, media, f"image{extension}")


def _kind(path: Path) -> tuple[str, str]:
    """Ending and type by the first bytes. DICOM without its mark goes as its client named it."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head[:2] == b"\x1f\x8b":
        return ".nii.gz", "application/gzip"
    if head[128:132] == b"DICM":
        return _TYPES["dicom"]
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return _TYPES["nifti"]
    marks = {b"NRRD": "nrrd", b"PK": "zip", b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"II": "tiff", b"MM": "tiff"}
    marks[b"ObjectType"] = marks[b"NDims"] = "mha"
    return next((_TYPES[kind] for mark, kind in marks.items() if head.startswith(mark)), ("", ""))


def stored(path: Path, file: FileRef, name: str) -> Body:
    """A file of the store, to send under a name."""
    return Body(name, file.media, file.bytes, _read(path))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def one_of_zip(path: Path, name: str) -> Body | None:
    """The only file of a zip that packs nothing; None where there are several.

    Args:
        path: a zip that this server wrote.
        name: what the file is called.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) != 1 or entries[0].compress_type != zipfile.ZIP_STORED:
            return None

    def pieces() -> Iterator[bytes]:
        with zipfile.ZipFile(path) as archive, archive.open(entries[0]) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    return Body(name, "application/dicom", entries[0].file_size, pieces())


def sent(body: Body) -> Response:
    """A file as the whole answer."""
    headers = {"content-length": str(body.size), "content-disposition": f'attachment; filename="{safe(body.name)}"'}
    return StreamingResponse(body.pieces, media_type=body.media, headers=headers)


def both(params: Mapping[str, Any], body: Body) -> Response:
    """Parameters and a file in one body, with its length: MONAI Label's client reads past any other framing."""
    limit = f"clarivox{os.urandom(16).hex()}"
    head = (
        f'--{limit}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(params)}\r\n"
        f'--{limit}\r\nContent-Disposition: form-data; name="image"; filename="{safe(body.name)}"\r\n'
        f"Content-Type: {body.media}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{limit}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        yield from body.pieces
        yield tail

    headers = {"content-length": str(len(head) + body.size + len(tail))}
    return StreamingResponse(pieces(), media_type=f"multipart/form-data; boundary={limit}", headers=headers)
