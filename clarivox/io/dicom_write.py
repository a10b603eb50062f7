# SPDX-License-Identifier: Apache-2.0
"""A derived DICOM series: each source instance's header with a listed set of changes, and the new pixels.

What changes stands in `dicom_derive` (all objects), `dicom_grid` (super-resolution) and `dicom_groups` (Enhanced
multi-frame). The same volume gives the same bytes: identifiers are made from the source's and from how it was
enhanced, and no clock is read. Dates of creation, content and series are written where `made_at` says them;
otherwise content and series keep the source's, and the date of creation is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from clarivox.errors import OptionError, OutputError
from clarivox.io.dicom_derive import Derivation, is_dropped, is_enhanced, key_of, put, reference, sop_class
from clarivox.io.dicom_encode import Bytes, Encoder, in_order, item, number, preamble_and_meta, sequence, text
from clarivox.io.dicom_files import save
from clarivox.io.dicom_grid import Finer
from clarivox.io.dicom_groups import Groups
from clarivox.io.dicom_lossy import lossy
from clarivox.io.dicom_pack import COMPRESSIONS, packed
from clarivox.io.dicom_source import DicomSource
from clarivox.io.dicom_uid import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from clarivox.io.dicom_warnings import Quiet
from clarivox.io.written import Written
from clarivox.volume import Channels, Provenance, Volume

_ULTRASOUND = (
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
_COLOUR = {Channels.RGB: "RGB", Channels.YBR: "YBR_FULL"}


@dataclass(frozen=True)
class Part:
    """One instance to be written: the source's header and the voxels that go under it."""

    index: int
    header: Dataset
    frames: list[int]
    """The source's frames from 0, rising."""
    places: list[tuple[int, int]]
    """For each of `frames` the (volume along C, slice along Z) that it holds."""
    many_frames: bool


def write_series(
    volume: Volume,
    folder: Path | str,
    *,
    overwrite: bool = False,
    compress: str | None = None,
    keep_private: tuple[str, ...] = (),
    made_at: datetime | None = None,
    tell: Callable[[float], None] | None = None,
) -> Written:
    """Write a volume as a series derived from the one it was read from.

    Args:
        volume: has a `DicomSource`, the source's dtype, and a provenance unless nothing was run.
        folder: appears when all instances are written; their names are IM0001.dcm and on, in the order of slices.
            For one instance also a file name that ends in .dcm.
        overwrite: replace a file, or a folder that holds nothing but what clarivox wrote; never the source.
        compress: jpegls for lossless JPEG-LS; None for Explicit VR Little Endian.
        keep_private: private creators whose elements are kept.
        made_at: date and time of creation, content and series; without it no clock enters the files.
        tell: called with the share of instances that are written.

    Raises:
        OutputError: no DICOM source (code needs_like), another dtype (code dtype_changed), a grid that is not the
            source's times the provenance's scale (code grid_changed), or the folder exists (code output_exists).
        OptionError: an unknown compression, or one that cannot hold these pixels.
        LimitError: an instance of over 4 GiB.
        CapacityError: the disk is full.
    """
    if compress not in COMPRESSIONS:
        raise OptionError(f"compression is jpegls or none; found {compress!r}")
    with Quiet():
        series = _Series(volume, compress, frozenset(keep_private), made_at)
        files = save(series.instances(tell), len(series.parts), folder, overwrite, series.source.files)
    return Written(files, "dicom", series.notes())


class _Series:
    """One derived series while it is being written."""

    def __init__(
        self, volume: Volume, compress: str | None, keep_private: frozenset[str], made_at: datetime | None
    ) -> None:
        self.volume, self.compress = volume, compress
        self.source = _source(volume)
        run = volume.provenance or _unexplained(volume)
        self.finer = Finer(columns=run.scale[0], rows=run.scale[1])
        self.derivation = Derivation(run, (*key_of(run), self.source.part), made_at, self.finer.same)
        self.encoder = Encoder(is_dropped, keep_private)
        self.parts = list(_parts(self.source))
        self._check(run)
        self._uncompressed = 0
        self._shared: dict[str, Bytes] = {}
        self._references = self._reference_item()

    def instances(self, tell: Callable[[float], None] | None) -> Iterator[Iterator[bytes | memoryview]]:
        """The bytes of each file; `tell` hears the share of files that are written."""
        for done, part in enumerate(self.parts, start=1):
            yield self.instance(part)
            if tell is not None:
                tell(done / len(self.parts))

    def instance(self, part: Part) -> Iterator[bytes | memoryview]:
        """The bytes of one file in pieces."""
        header = part.header
        elements = self.encoder.dataset(header)
        before = str(header.get("DerivationDescription") or "")
        if before not in self._shared:
            self._shared[before] = self.derivation.series(header, self._references, self.encoder)
        elements |= self._shared[before]
        elements |= self.derivation.instance(header)
        elements |= self._pixel_description(header)
        elements |= lossy(header, self.source.files[part.index], len(part.frames))
        if not self.finer.same:
            elements |= self.finer.picture(header, self.volume.shape[2], self.volume.shape[1], self.encoder)
        if part.many_frames:
            groups = Groups(header, part.frames, self.derivation, self.finer, self.encoder)
            elements |= groups.changes()
            for tag in groups.outdated():
                elements.pop(tag, None)
        planes = self._planes(header)
        pixels = packed([self._frame(*place, planes) for place in part.places], self.compress, _bits_stored(header))
        self._uncompressed += self.compress is not None and pixels.syntax == ExplicitVRLittleEndian
        new_uid = self.derivation.new_uid(header, "SOPInstanceUID")
        yield preamble_and_meta(sop_class(header), new_uid, pixels.syntax, IMPLEMENTATION_UID, IMPLEMENTATION_NAME)
        yield in_order(elements)
        yield from pixels.pieces

    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        notes = []
        if self.encoder.dropped_private:
            notes.append(f"{self.encoder.dropped_private} private elements left out; name their creator to keep them")
        if self._uncompressed:
            notes.append(f"{self._uncompressed} instances would have grown by compression and were left uncompressed")
        return tuple(notes)

    def _frame(self, channel: int, z: int, planes: bool) -> NDArray[Any]:
        frames = self.volume.frames
        if self.volume.channels in _COLOUR:
            return frames[:, z] if planes else frames[:, z].transpose(1, 2, 0)
        frame: NDArray[Any] = frames[channel, z]
        return frame

    def _pixel_description(self, header: Dataset) -> Bytes:
        found: Bytes = {}
        name = _COLOUR.get(self.volume.channels)
        if name is not None:
            put(found, text("PhotometricInterpretation", name))
            put(found, number("PlanarConfiguration", int(self._planes(header))))
        return found

    def _planes(self, header: Dataset) -> bool:
        """Colour plane after colour plane: only where ultrasound asks for it, PS3.3 C.8.5.6.1.16."""
        ybr = self.volume.channels is Channels.YBR and self.compress is None
        return ybr and sop_class(header) in _ULTRASOUND

    def _reference_item(self) -> bytes:
        instances = [item([in_order(reference(part.header))]) for part in self.parts]
        found: Bytes = {}
        put(found, sequence("ReferencedInstanceSequence", *instances))
        put(found, text("SeriesInstanceUID", self.source.series_uid))
        return item([in_order(found)])

    def _check(self, run: Provenance) -> None:
        channels, x, y, z = self.volume.shape
        volumes = channels if self.volume.channels is Channels.VOLUMES else 1
        if run.scale[2] != 1 or self.source.placement.shape[:2] != (volumes, z):
            raise OutputError(
                f"a derived DICOM series has the source's slices; found {volumes} x {z} for "
                f"{self.source.placement.shape[0]} x {self.source.placement.shape[1]}; write NIfTI instead",
                code="grid_changed",
            )
        for part in self.parts:
            bits, signed = part.header.get("BitsAllocated"), part.header.get("PixelRepresentation", 0)
            expected = np.dtype(f"{'i' if signed else 'u'}{max(int(bits or 8), 8) // 8}")
            if self.volume.array.dtype != expected:
                raise OutputError(
                    f"a derived DICOM series keeps the source's {expected} voxels; found {self.volume.array.dtype}; "
                    "round the result to the source's stored numbers, or write NIfTI",
                    code="dtype_changed",
                )
            rows, columns = round(part.header.Rows * run.scale[1]), round(part.header.Columns * run.scale[0])
            if (rows, columns) != (y, x):
                raise OutputError(
                    f"the source's {part.header.Rows} x {part.header.Columns} pixels scaled by {run.scale[:2]} are "
                    f"{rows} x {columns}; found {y} x {x}",
                    code="grid_changed",
                )


def _source(volume: Volume) -> DicomSource:
    if not isinstance(volume.source, DicomSource):
        raise OutputError(
            "a DICOM series needs headers, and this volume was not read from DICOM; name a series to be like (--like)",
            code="needs_like",
        )
    return volume.source


def _parts(source: DicomSource) -> Iterator[Part]:
    """The instances in the order of slices, each with the frames that the volume holds."""
    places: dict[int, dict[int, tuple[int, int]]] = {}
    volumes, depth, _ = source.placement.shape
    for v in range(volumes):
        for z in range(depth):
            instance, frame = (int(n) for n in source.placement[v, z])
            places.setdefault(instance, {})[frame] = (v, z)
    for instance, frames in places.items():
        header = source.headers[instance]
        rising = sorted(frames)
        many = int(header.get("NumberOfFrames") or 1) > 1 or is_enhanced(header)
        yield Part(instance, header, rising, [frames[frame] for frame in rising], many)


def _bits_stored(header: Dataset) -> int:
    return int(header.get("BitsStored") or header.BitsAllocated)


def _unexplained(volume: Volume) -> Provenance:
    """A provenance for voxels of which nobody says how they came to be: their own digest names them."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.frames).data).hexdigest()
    return Provenance(bundle="no bundle", version="", digest=digest, task="change by the user")
