# SPDX-License-Identifier: Apache-2.0
"""A result in another format than the job made: converted when it is first asked for."""

from __future__ import annotations

from clarivox.server.deps import Services
from clarivox.server.job import FileRef, Job, Role

ENDINGS = {
    "nifti": (".nii", ".nii.gz"),
    "nrrd": (".nrrd",),
    "mha": (".mha",),
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
}


def is_already(found: Job, file: FileRef, form: str) -> bool:
    """Whether a result is in a format without being converted; a zip of DICOM where the input was, too."""
    wanted = found.params.get("as")
    return file.name.endswith(ENDINGS[form]) if form in ENDINGS else wanted == form


def converted(parts: Services, found: Job, file: FileRef, form: str) -> FileRef:
    """A result in a format; a limited child makes it, and it is kept for as long as nobody needs the room.

    Raises:
        InputError: the volume does not fit the format.
        CapacityError: the disk is full.
        BusyError: not now.
    """
    if is_already(found, file, form):
        return file
    known = parts.conversions.get((file.sha256, form))
    if known is None or not parts.blobs.has(known.sha256):
        like = [one for one in found.inputs if one.role == Role.LIKE]
        from clarivox.server.convert import convert  # its modules are of use to few requests

        known = convert(parts.settings, parts.blobs, file, form, like)
        parts.conversions[file.sha256, form] = known
    return known
