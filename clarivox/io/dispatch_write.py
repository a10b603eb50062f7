# SPDX-License-Identifier: Apache-2.0
"""Writing a volume: in the format that was asked for, that the name says, or that the source had."""

from __future__ import annotations

from pathlib import Path

from clarivox.errors import OptionError, OutputError
from clarivox.io.dispatch import told
from clarivox.io.written import Written
from clarivox.progress import Progress
from clarivox.volume import Volume

FORMATS = ("dicom", "nifti", "nrrd", "mha", "png", "tiff")
"""What `write` accepts as `as_`."""

_SUFFIXES = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".mha": "mha",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".dcm": "dicom",
}

Window = tuple[float, float]
"""The values shown as black and as white."""


def write(
    volume: Volume,
    path: Path | str,
    *,
    as_: str | None = None,
    like: Path | str | Volume | None = None,
    overwrite: bool = False,
    compress: str | None = None,
    keep_private: tuple[str, ...] = (),
    keep_text: bool = False,
    window: Window | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write one volume. Nothing appears under the final name before it is complete.

    Args:
        volume: what to write.
        path: a folder for a DICOM series or for several PNG slices, a file otherwise.
        as_: one of dicom, nifti, nrrd, mha, png, tiff. By default what the name of `path` says, then what the source
            was.
        like: for NIfTI or NRRD to DICOM: the series (a path, or a volume read from it) whose headers are to be used.
        overwrite: replace what is there.
        compress: jpegls for DICOM; None for uncompressed.
        keep_private: private creators of the DICOM source to keep.
        keep_text: keep free text of a NIfTI source, which may name the patient.
        window: for PNG and TIFF: the values shown as black and white, in 8 bits; by default stored numbers are kept.
        progress: called as the voxels go out; returning False cancels, and leaves nothing behind.

    Raises:
        OptionError: an unknown format, or an option of another format.
        OutputError: the volume does not fit the format, or the file exists.
        GeometryError: the format cannot hold the volume's geometry.
        CapacityError: the disk is full.
    """
    target = Path(path)
    chosen = as_ or format_of(volume, target)
    if chosen not in FORMATS:
        raise OptionError(f"a format is one of {', '.join(FORMATS)}; found {chosen!r}")
    if window is not None and chosen not in ("png", "tiff"):
        raise OptionError(f"a window is for png and tiff; {chosen} keeps the values")
    if like is not None and chosen != "dicom":
        raise OptionError(f"a series to be like is for dicom; found {chosen}")
    if chosen == "dicom":
        from clarivox.io.dispatch_dicom import write_dicom

        return write_dicom(
            volume,
            target,
            like=like,
            overwrite=overwrite,
            compress=compress,
            keep_private=keep_private,
            progress=progress,
        )
    if compress is not None or keep_private:
        raise OptionError(f"compression names and private creators are for dicom; found {chosen}")
    tell = told("write", progress)
    if chosen == "nifti":
        from clarivox.io import nifti_write

        return nifti_write.save(volume, target, overwrite=overwrite, keep_text=keep_text, tell=tell)
    if chosen in ("nrrd", "mha"):
        from clarivox.io import nrrd_write

        return nrrd_write.save(volume, target, as_=chosen, overwrite=overwrite, tell=tell)
    from clarivox.io import image_write

    return image_write.save(volume, target, as_=chosen, overwrite=overwrite, window=window, tell=tell)


def format_of(volume: Volume, path: Path) -> str:
    """What a name says, else what the source was; a picture becomes PNG, or TIFF where it has several pages.

    Raises:
        OutputError: neither says (code bad_name).
    """
    name = path.name.lower()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return _SUFFIXES[suffix]
    if volume.source is None:
        raise OutputError(
            f"the volume has no source and {path.name!r} no known ending; name the format: {', '.join(FORMATS)}",
            code="bad_name",
        )
    return str(getattr(volume.source, "written_as", volume.source.format))


def suffix_of(format_: str) -> str:
    """How the name of a file of this format ends; "" for dicom, which is a folder.

    >>> suffix_of("nifti"), suffix_of("dicom")
    ('.nii.gz', '')
    """
    return {"nifti": ".nii.gz", "dicom": ""}.get(format_, f".{format_}")
