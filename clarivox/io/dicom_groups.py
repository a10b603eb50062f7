# SPDX-License-Identifier: Apache-2.0
"""What changes in the functional groups of an Enhanced multi-frame object.

Source:
    DICOM PS3.3 C.7.6.16.2.6 Derivation Image, C.8.16.1 frame type and image type, C.8.13.2.1.1 evidence sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from clarivox.io.dicom_derive import Derivation, is_enhanced, put, reference, sentence
from clarivox.io.dicom_encode import Bytes, Encoder, in_order, item, sequence, tag_and_vr, text
from clarivox.io.dicom_grid import Finer

_FRAME_TYPES = (
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XAXRFFrameCharacteristicsSequence",
    "XRay3DFrameTypeSequence",
)
_DERIVATION = tag_and_vr("DerivationImageSequence")[0]
_PER_FRAME_VECTORS = ("FrameTimeVector", "FrameLabelVector", "FrameDelayVector")


@dataclass(frozen=True)
class Groups:
    """The functional groups of one derived multi-frame instance.

    Attributes:
        header: the source instance.
        frames: the source's frames that are written, from 0, in the order of writing.
        derivation: how they were enhanced.
        finer: the change of grid.
        encoder: has encoded `header`.
    """

    header: Dataset
    frames: list[int]
    derivation: Derivation
    finer: Finer
    encoder: Encoder

    def changes(self) -> Bytes:
        """The elements of the top level that differ from the source's."""
        found: Bytes = {}
        put(found, text("NumberOfFrames", str(len(self.frames))))
        if is_enhanced(self.header):
            put(found, self._type(self.header, "ImageType"))
        if "PerFrameFunctionalGroupsSequence" not in self.header:
            return found
        shared = (self.header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        per_frame = self.header.PerFrameFunctionalGroupsSequence
        groups = self._group(shared, shared)
        groups.pop(_DERIVATION, None)
        put(found, sequence("SharedFunctionalGroupsSequence", item([in_order(groups)])))
        items = [self._frame(per_frame[index], shared, index) for index in self.frames]
        put(found, sequence("PerFrameFunctionalGroupsSequence", *items))
        put(found, self._evidence())
        return found

    def outdated(self) -> set[int]:
        """Tags of elements that would describe frames which are not written."""
        whole = int(self.header.get("NumberOfFrames") or 1)
        return set() if len(self.frames) == whole else {tag_and_vr(keyword)[0] for keyword in _PER_FRAME_VECTORS}

    def _frame(self, group: Dataset, shared: Dataset, index: int) -> bytes:
        found = self._group(group, shared)
        inner: Bytes = {}
        put(inner, text("DerivationDescription", sentence(self.derivation.provenance)[:1024]))
        put(inner, sequence("DerivationCodeSequence", self.derivation.code_item()))
        put(inner, sequence("SourceImageSequence", self.derivation.source_item(self.header, index + 1)))
        before = [item([in_order(self.encoder.nested(old))]) for old in group.get("DerivationImageSequence") or []]
        put(found, sequence("DerivationImageSequence", *before, item([in_order(inner)])))
        return item([in_order(found)])

    def _group(self, group: Dataset, shared: Dataset) -> Bytes:
        found = self.encoder.nested(group)
        for keyword in _FRAME_TYPES:
            for inner in (group.get(keyword) or [])[:1]:
                if inner.get("FrameType"):
                    self._replace(found, keyword, inner, {0: self._type(inner, "FrameType")})
        if not self.finer.same:
            orientation = _inner(group, "PlaneOrientationSequence") or _inner(shared, "PlaneOrientationSequence")
            spacing = _inner(group, "PixelMeasuresSequence") or _inner(shared, "PixelMeasuresSequence")
            for keyword in ("PixelMeasuresSequence", "PlanePositionSequence"):
                place = _inner(group, keyword)
                if place is not None:
                    self._replace(found, keyword, place, self.finer.plane(place, orientation, spacing))
        return found

    def _replace(self, found: Bytes, keyword: str, inner: Dataset, changes: Bytes) -> None:
        elements = self.encoder.nested(inner)
        for encoded in changes.values():
            put(elements, encoded)
        put(found, sequence(keyword, item([in_order(elements)])))

    def _type(self, header: Dataset, keyword: str) -> bytes:
        """Value 2 stays what it is: these objects know only PRIMARY and MIXED."""
        words = [str(value) for value in header.get(keyword) or []]
        if not self.finer.same and len(words) > 3:
            words[3] = "RESAMPLED"
        return text(keyword, "DERIVED", *words[1:])

    def _evidence(self) -> bytes:
        study: Bytes = {}
        series: Bytes = {}
        put(series, text("SeriesInstanceUID", str(self.header.SeriesInstanceUID)))
        put(series, sequence("ReferencedSOPSequence", item([in_order(reference(self.header))])))
        put(study, sequence("ReferencedSeriesSequence", item([in_order(series)])))
        put(study, text("StudyInstanceUID", str(self.header.StudyInstanceUID)))
        return sequence("SourceImageEvidenceSequence", item([in_order(study)]))


def _inner(group: Dataset, keyword: str) -> Dataset | None:
    items = group.get(keyword)
    return items[0] if items else None
