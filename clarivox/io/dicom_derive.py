# SPDX-License-Identifier: Apache-2.0
"""What a derived instance says of itself, and which of the source's elements it leaves out.

Everything that is neither in `DROPPED` nor in `CHANGED` is kept byte for byte: patient, study, frame of reference,
position and orientation, acquisition, rescale, windows, regions of ultrasound. docs/dicom-conformance.md lists the
same tables; a test compares.

Source:
    DICOM PS3.3 C.7.6.1 General Image, C.12.4 General Reference, C.12.1 SOP Common; PS3.16 CID 7203; PS3.15 annex E.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom import Dataset
from pydicom import uid as uids

import clarivox
from clarivox.io.dicom_encode import Bytes, Encoder, in_order, item, sequence, tag_and_vr, text
from clarivox.io.dicom_uid import uid, uid_under
from clarivox.volume import Provenance

DROPPED: dict[str, str] = {
    "InstanceCreationDate": "says when the source was made",
    "InstanceCreationTime": "says when the source was made",
    "InstanceCreatorUID": "says who made the source",
    "ReferencedPerformedProcedureStepSequence": "the derived image is no part of the modality's procedure step",
    "PerformedProcedureStepStartDate": "as above",
    "PerformedProcedureStepStartTime": "as above",
    "PerformedProcedureStepEndDate": "as above",
    "PerformedProcedureStepEndTime": "as above",
    "PerformedProcedureStepID": "as above",
    "PerformedProcedureStepDescription": "as above",
    "SmallestImagePixelValue": "describes the source's pixels",
    "LargestImagePixelValue": "describes the source's pixels",
    "SmallestPixelValueInSeries": "describes the source's pixels",
    "LargestPixelValueInSeries": "describes the source's pixels",
    "SmallestImagePixelValueInPlane": "describes the source's pixels",
    "LargestImagePixelValueInPlane": "describes the source's pixels",
    "IconImageSequence": "a small picture of the source",
    "MACParametersSequence": "belongs to a digital signature",
    "DigitalSignaturesSequence": "signs the source",
    "DataSetTrailingPadding": "nothing",
    "PixelData": "replaced by the result",
    "FloatPixelData": "left over",
    "DoubleFloatPixelData": "left over",
    "ExtendedOffsetTable": "describes the source's encoding",
    "ExtendedOffsetTableLengths": "describes the source's encoding",
}
"""Elements that are left out at any depth, and why. Also groups 50xx (curves), 60xx (overlays), private ones."""

CHANGED: dict[str, str] = {
    "ImageType": "value 1 DERIVED, value 2 SECONDARY (PET and Enhanced objects keep theirs); further values kept",
    "SOPInstanceUID": "new",
    "SeriesInstanceUID": "new",
    "SeriesNumber": "the source's x 100 + 1 denoise, 2 despeckle, 3 superres, 4 identity, 9 other",
    "SeriesDescription": "the source's, shortened to make room, the bundle's name, and whether it may invent texture",
    "ReferencedSeriesSequence": "added: the source series with its instances",
    "SourceImageSequence": "the source instance, purpose 121322 DCM",
    "DerivationDescription": "what was done, added to what stood there",
    "DerivationCodeSequence": "113087 DCM Smoothing, 113085 Spatial resampling, or 113053 (x 1) for identity, added",
    "ContributingEquipmentSequence": "one item added: bundle, versions, digest of the weights, options",
}
"""Elements that every derived instance has anew, and how."""

_DROPPED_TAGS = frozenset(tag_and_vr(keyword)[0] for keyword in DROPPED)
_TASK_NUMBER = {"denoise": 1, "despeckle": 2, "superres": 3, "identity": 4}
_TASK_CODE = {
    "denoise": ("113087", "DCM", "Smoothing"),
    "despeckle": ("113087", "DCM", "Smoothing"),
    "superres": ("113085", "DCM", "Spatial resampling"),
    "identity": ("113053", "DCM", "Pixel by pixel multiplication"),
}
"""Of a copy with equal pixels CID 7203 knows no code; multiplication, by 1, is the one that is true."""

_OTHER_CODE = ("other", "99CLARIVOX", "Other change of pixel values")
_PRIMARY_ONLY = (uids.PositronEmissionTomographyImageStorage,)
"""SOP classes whose ImageType knows no SECONDARY: PET."""

INVENTS = ", may invent texture"
_LONGEST_TEXT, _LONGEST_DESCRIPTION, _LONGEST_INTEGER = 1024, 64, 2**31 - 1


def is_dropped(tag: int) -> bool:
    """Whether an element is left out at any depth, private ones aside."""
    return tag in _DROPPED_TAGS or (tag >> 24) in (0x50, 0x60)


def coded(keyword: str, value: str, scheme: str, meaning: str) -> bytes:
    """A code sequence of one item."""
    return sequence(keyword, _code_item(value, scheme, meaning))


def _code_item(value: str, scheme: str, meaning: str) -> bytes:
    return item([text("CodeValue", value), text("CodingSchemeDesignator", scheme), text("CodeMeaning", meaning)])


@dataclass(frozen=True)
class Derivation:
    """One derived series: its identity, and the elements that all its instances share.

    Attributes:
        provenance: how the volume was enhanced.
        key: what the identifiers depend on besides the source's.
        made_at: when, if that is to be written.
        preserved: False where pixels moved (super-resolution).
    """

    provenance: Provenance
    key: tuple[Any, ...]
    made_at: datetime | None
    preserved: bool

    def new_uid(self, header: Dataset, keyword: str) -> str:
        """The derived counterpart of one of the source's identifiers."""
        source = str(header.get(keyword, ""))
        parts = (keyword, source or self._digest(header), *self.key)
        if header.get("PatientIdentityRemoved") == "YES" and source:
            return uid_under(source, *parts)
        return uid(*parts)

    def _digest(self, header: Dataset) -> str:
        """What stands for an identifier that a source lacks: all else that its header says."""
        plain = Encoder(is_dropped)
        return hashlib.sha256(in_order(plain.dataset(header))).hexdigest()

    def series(self, header: Dataset, references: bytes, encoder: Encoder) -> Bytes:
        """The new elements that instances of one kind and history share."""
        found: Bytes = {}
        put(found, text("SeriesInstanceUID", self.new_uid(header, "SeriesInstanceUID")))
        put(found, text("SeriesNumber", self._series_number(header)))
        put(found, self._series_description(header, encoder))
        put(found, self._sequence(header, "ContributingEquipmentSequence", self._equipment(), encoder))
        refers = not is_enhanced(header) or "PerFrameFunctionalGroupsSequence" in header
        if header.get("SeriesInstanceUID") and refers:
            put(found, self._sequence(header, "ReferencedSeriesSequence", references, encoder))
        if not is_enhanced(header):
            put(found, self._description(header, encoder))
            put(found, self._sequence(header, "DerivationCodeSequence", self.code_item(), encoder))
        for keyword, when in self._dates().items():
            put(found, text(keyword, when))
        return found

    def instance(self, header: Dataset) -> Bytes:
        """The new elements of one instance."""
        found: Bytes = {}
        put(found, text("SOPClassUID", sop_class(header)))
        put(found, text("SOPInstanceUID", self.new_uid(header, "SOPInstanceUID")))
        if not is_enhanced(header):
            put(found, _image_type(header))
        if not is_enhanced(header) and header.get("SOPInstanceUID"):
            put(found, sequence("SourceImageSequence", self.source_item(header)))
        return found

    def code_item(self) -> bytes:
        """The item of DerivationCodeSequence."""
        return _code_item(*_TASK_CODE.get(self.provenance.task, _OTHER_CODE))

    def source_item(self, header: Dataset, frame: int | None = None) -> bytes:
        """An item of SourceImageSequence; `frame` counts from 1."""
        found = reference(header)
        if frame is not None:
            put(found, text("ReferencedFrameNumber", str(frame)))
        put(found, text("SpatialLocationsPreserved", "YES" if self.preserved else "NO"))
        meaning = "Source image for image processing operation"
        put(found, coded("PurposeOfReferenceCodeSequence", "121322", "DCM", meaning))
        return item([in_order(found)])

    def _dates(self) -> dict[str, str]:
        if self.made_at is None:
            return {}
        day, time = self.made_at.strftime("%Y%m%d"), self.made_at.strftime("%H%M%S")
        names = ("InstanceCreation", "Content", "Series")
        return {f"{name}{what}": value for name in names for what, value in (("Date", day), ("Time", time))}

    def _series_number(self, header: Dataset) -> str:
        last = _TASK_NUMBER.get(self.provenance.task, 9)
        try:
            source = int(header.get("SeriesNumber") or 90)
        except ValueError:
            source = 90
        number = abs(source) * 100 + last
        return str(number if number <= _LONGEST_INTEGER else 9000 + last)

    def _series_description(self, header: Dataset, encoder: Encoder) -> bytes:
        run = self.provenance
        name = f"{run.bundle} x{run.scale[0]:g}" if run.scale[0] != 1 else run.bundle
        warning = INVENTS if run.may_invent else ""
        ending = f"[{name[: _LONGEST_DESCRIPTION - 2 - len(warning)]}{warning}]"
        start = str(header.get("SeriesDescription") or "")[: _LONGEST_DESCRIPTION - len(ending) - 1].rstrip()
        return encoder.value("SeriesDescription", f"{start} {ending}".lstrip())

    def _description(self, header: Dataset, encoder: Encoder) -> bytes:
        done = sentence(self.provenance)[:_LONGEST_TEXT]
        before = str(header.get("DerivationDescription") or "")[: max(_LONGEST_TEXT - len(done) - 2, 0)]
        return encoder.value("DerivationDescription", f"{before}; {done}" if before else done)

    def _sequence(self, header: Dataset, keyword: str, new: bytes, encoder: Encoder) -> bytes:
        """The source's items, save one on its own series, with ours added."""
        own = header.get("SeriesInstanceUID")
        others = [inner for inner in header.get(keyword) or [] if inner.get("SeriesInstanceUID", "") != own]
        return sequence(keyword, *(item([in_order(encoder.nested(inner))]) for inner in others), new)

    def _equipment(self) -> bytes:
        run = self.provenance
        found: Bytes = {}
        put(found, text("Manufacturer", "clarivox"))
        put(found, text("ManufacturerModelName", run.bundle[:64]))
        put(found, text("SoftwareVersions", *software_versions(run)))
        if self.made_at is not None:
            put(found, text("ContributionDateTime", self.made_at.strftime("%Y%m%d%H%M%S")))
        put(found, text("ContributionDescription", sentence(self.provenance)[:_LONGEST_TEXT]))
        put(found, coded("PurposeOfReferenceCodeSequence", "109102", "DCM", "Processing Equipment"))
        return item([in_order(found)])


def key_of(run: Provenance) -> tuple[Any, ...]:
    """What identifiers depend on: what was run, and not where or how long; engines round differently."""
    what = (run.bundle, run.version, run.digest, run.task, run.options, run.strength, run.scale, run.forced)
    return what if run.engine == "torch" else (*what, run.engine)


def software_versions(run: Provenance) -> list[str]:
    """What ran: clarivox, the weights' digest, the bundle. The digest fills its value, so the last one takes the pad.

    >>> software_versions(Provenance("identity", "1.0", "", "identity"))[1:]
    ['identity 1.0']
    """
    return [f"clarivox {clarivox.__version__}", *filter(None, [run.digest[:64]]), f"{run.bundle} {run.version}"[:63]]


def sentence(run: Provenance) -> str:
    """What was done, in words.

    >>> sentence(Provenance("mr_unet_denoise", "1.0", "ab" * 32, "denoise"))  # doctest: +ELLIPSIS
    'clarivox ...: denoise by mr_unet_denoise 1.0, abababababab, strength 1'
    """
    done = f"clarivox {clarivox.__version__}: {run.task} by {run.bundle} {run.version}".rstrip()
    done += f", {run.digest[:12]}" if run.digest else ""
    done += f", strength {run.strength:g}"
    if run.options:
        done += ", " + json.dumps(run.options, sort_keys=True, default=str)
    if run.scale != (1.0, 1.0, 1.0):
        done += ", scale " + "x".join(f"{factor:g}" for factor in run.scale)
    if run.engine != "torch":
        done += f", engine {run.engine}"
    if run.clipped_voxels:
        done += f"; {run.clipped_voxels} voxels clipped"
    if run.forced:
        done += "; the bundle is not made for this kind of image, the user insisted"
    if run.may_invent:
        done += INVENTS
    return done + ("; fine texture may not be in the source" if run.task == "superres" else "")


def put(found: Bytes, encoded: bytes) -> None:
    """File an encoded element under its tag."""
    found[int.from_bytes(encoded[:2], "little") << 16 | int.from_bytes(encoded[2:4], "little")] = encoded


def sop_class(header: Dataset) -> str:
    """SOPClassUID, also where only the file meta information says it."""
    meta = getattr(header, "file_meta", None) or Dataset()
    return str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID", ""))


def reference(header: Dataset) -> Bytes:
    """The two elements that point at an instance."""
    found: Bytes = {}
    put(found, text("ReferencedSOPClassUID", sop_class(header)))
    put(found, text("ReferencedSOPInstanceUID", str(header.get("SOPInstanceUID", ""))))
    return found


_ENHANCED = (
    uids.EnhancedCTImageStorage,
    uids.EnhancedMRImageStorage,
    uids.EnhancedMRColorImageStorage,
    uids.EnhancedPETImageStorage,
    uids.EnhancedXAImageStorage,
    uids.EnhancedXRFImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage,
    uids.LegacyConvertedEnhancedMRImageStorage,
    uids.LegacyConvertedEnhancedPETImageStorage,
)


def is_enhanced(header: Dataset) -> bool:
    """Whether the object says these things for each frame."""
    return sop_class(header) in _ENHANCED or "PerFrameFunctionalGroupsSequence" in header


def _image_type(header: Dataset) -> bytes:
    values = header.get("ImageType")
    words = [values] if isinstance(values, str) else [str(value) for value in values or []]
    second = words[1] if header.get("SOPClassUID") in _PRIMARY_ONLY and len(words) > 1 else "SECONDARY"
    return text("ImageType", "DERIVED", second, *words[2:])
