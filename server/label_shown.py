# SPDX-License-Identifier: Apache-2.0
"""What a viewer is given for an image: the file itself, or of a DICOM series one that every viewer reads."""

from __future__ import annotations

from clarivox.server.datastore import Image
from clarivox.server.job import FileRef
from clarivox.server.label_parts import Labels, is_dicom


def shown(labels: Labels, image: Image) -> FileRef:
    """The file to send for an image; a DICOM series is converted on the first call, by a limited child.

    Raises:
        InputError: it cannot be converted.
        BusyError: not now.
    """
    if not is_dicom(image.file):
        return image.file
    if image.shown is not None and labels.parts.blobs.has(image.shown.sha256):
        return image.shown
    from clarivox.server.convert import convert  # its modules are of use to few requests

    made = convert(labels.parts.settings, labels.parts.blobs, image.file, "nifti")
    labels.datastore.show(image, made)
    return made
