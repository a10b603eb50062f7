# SPDX-License-Identifier: Apache-2.0
"""What each kind of new DICOM object must hold beyond what all share.

Source:
    DICOM PS3.3: A.3 CT, A.4 MR, A.21 PET, A.2 CR, A.26 DX, A.27 MG, A.6 US, A.7 US Multi-frame, A.8.1 SC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom import uid as uids
from pydicom.sequence import Sequence

from clarivox.io.dicom_plane import decimal, decimals, plane
from clarivox.volume import Channels, Volume


class Kind(StrEnum):
    """A kind of DICOM object that can be made new."""

    CT = "ct"
    MR = "mr"
    PET = "pet"
    CR = "cr"
    DX = "dx"
    MG = "mg"
    US = "us"
    US_CLIP = "us-clip"
    SC = "sc"
    ENHANCED_CT = "enhanced-ct"
    ENHANCED_MR = "enhanced-mr"


_GREY = (Channels.GREY,)
_ANY = (Channels.GREY, Channels.RGB, Channels.YBR)


@dataclass(frozen=True)
class Recipe:
    """How one kind of object is made.

    Attributes:
        sop_class: SOPClassUID.
        modality: Modality.
        complete: adds what this kind needs to a data set that holds patient, study and pixels.
        channels: what voxels it can hold.
        signed: True where stored values may be negative.
        rescaled: True where the object carries a rescale and padding.
        many_frames: True where all slices go into one instance.
    """

    sop_class: str
    modality: str
    complete: Callable[[Dataset, Volume, list[int]], None]
    channels: tuple[Channels, ...] = _GREY
    signed: bool = False
    rescaled: bool = False
    many_frames: bool = False


def fill(ds: Dataset, **elements: Any) -> Dataset:
    """Set elements by keyword; lists of data sets become sequences."""
    for keyword, value in elements.items():
        items = isinstance(value, list) and value and isinstance(value[0], Dataset)
        setattr(ds, keyword, Sequence(value) if items else value)
    return ds


def code(value: str, scheme: str, meaning: str, **more: Any) -> list[Dataset]:
    """A code sequence of one item."""
    return [fill(Dataset(), CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning, **more)]


def window(ds: Dataset, volume: Volume, slices: list[int]) -> tuple[str, str]:
    """WindowCenter and WindowWidth that show every value of these slices."""
    if volume.modality == "CT" or ds.get("Modality") == "CT":
        return "40", "400"
    values = volume.values((slice(None), slice(None), slice(None), slice(slices[0], slices[-1] + 1)))
    low, high = float(np.min(values)), float(np.max(values))
    return decimal(round((low + high) / 2, 3)), decimal(round(max(high - low, 1.0), 3))


def _place(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    here = plane(volume.affine, slices[0])
    fill(
        ds,
        ImagePositionPatient=decimals(here.position),
        ImageOrientationPatient=decimals(here.orientation),
        PixelSpacing=decimals(here.spacing),
        SliceThickness=decimal(volume.spacing_mm[2]),
        PatientPosition="HFS",
    )
    ds.WindowCenter, ds.WindowWidth = window(ds, volume, slices)


def _ct(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _place(ds, volume, slices)
    fill(ds, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], KVP="120", AcquisitionNumber="1", RescaleType="HU")
    fill(ds, BodyPartExamined="CHEST", ConvolutionKernel="STANDARD", PatientOrientation="")


def _mr(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _place(ds, volume, slices)
    fill(ds, ImageType=["ORIGINAL", "PRIMARY", "OTHER"], ScanningSequence="SE", SequenceVariant="NONE")
    fill(ds, ScanOptions="", MRAcquisitionType="2D", RepetitionTime="500", EchoTime="10", EchoTrainLength="1")
    fill(ds, BodyPartExamined="BRAIN", PatientOrientation="", MagneticFieldStrength="1.5")
    if (volume.slope == 1).all() and (volume.intercept == 0).all():
        del ds.RescaleSlope, ds.RescaleIntercept
    else:
        ds.RescaleType = "US"


def _pet(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _place(ds, volume, slices)
    isotope = fill(
        Dataset(),
        RadionuclideCodeSequence=code("77004003", "SCT", "^18^Fluorine"),
        RadiopharmaceuticalStartTime="110000",
        RadionuclideTotalDose="370000000",
        RadionuclideHalfLife="6586.2",
        RadionuclidePositronFraction="0.97",
    )
    fill(ds, ImageType=["ORIGINAL", "PRIMARY"], Units="BQML", CountsSource="EMISSION", CollimatorType="NONE")
    fill(ds, SeriesType=["STATIC", "IMAGE"], CorrectedImage=["DECY", "ATTN"], DecayCorrection="START")
    fill(ds, NumberOfSlices=volume.shape[3], ImageIndex=slices[0] + 1, FrameReferenceTime="0", DecayFactor="1")
    fill(ds, ActualFrameDuration="120000", RadiopharmaceuticalInformationSequence=[isotope], BodyPartExamined="CHEST")
    fill(ds, PatientOrientationCodeSequence=code("102538003", "SCT", "recumbent"), PatientOrientation="")
    supine = code("40199007", "SCT", "supine")
    del ds.PatientPosition
    ds.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = Sequence(supine)
    ds.PatientGantryRelationshipCodeSequence = Sequence(code("102540008", "SCT", "headfirst"))


def _flat(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    """A projection: spacing at the detector, no place in the patient."""
    del ds.FrameOfReferenceUID, ds.PositionReferenceIndicator
    ds.ImagerPixelSpacing = decimals(plane(volume.affine, slices[0]).spacing)
    ds.WindowCenter, ds.WindowWidth = window(ds, volume, slices)


def _cr(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _flat(ds, volume, slices)
    fill(ds, ImageType=["ORIGINAL", "PRIMARY"], BodyPartExamined="CHEST", ViewPosition="PA")
    fill(ds, PatientOrientation=["L", "F"], KVP="120", AcquisitionNumber="1")


def _dx(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _flat(ds, volume, slices)
    fill(ds, ImageType=["ORIGINAL", "PRIMARY", ""], PresentationIntentType="FOR PRESENTATION", ImageLaterality="U")
    fill(ds, AnatomicRegionSequence=code("51185008", "SCT", "Chest"), BodyPartExamined="CHEST")
    fill(ds, DetectorType="SCINTILLATOR", PositionerType="")
    fill(ds, PatientOrientation=["L", "F"], PixelIntensityRelationship="LOG", AcquisitionContextSequence=[])
    fill(ds, PixelIntensityRelationshipSign=1 if volume.inverted else -1, RescaleType="US", BurnedInAnnotation="NO")
    fill(ds, PresentationLUTShape="INVERSE" if volume.inverted else "IDENTITY", LossyImageCompression="00")
    fill(ds, KVP="120", ViewPosition="PA", ViewCodeSequence=code("272479007", "SCT", "postero-anterior"))
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"


def _mg(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _dx(ds, volume, slices)
    fill(ds, ImageLaterality="R", OrganExposed="BREAST", BodyPartExamined="BREAST", PositionerType="NONE")
    fill(ds, AnatomicRegionSequence=code("76752008", "SCT", "Breast"), BreastImplantPresent="NO")
    fill(ds, ViewCodeSequence=code("399162004", "SCT", "cranio-caudal"), PatientOrientation=["P", "L"], PatientSex="F")
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    del ds.ViewPosition


def _region(volume: Volume) -> Dataset:
    _, x, y, _ = volume.shape
    return fill(
        Dataset(),
        RegionSpatialFormat=1,
        RegionDataType=1,
        RegionFlags=0,
        RegionLocationMinX0=0,
        RegionLocationMinY0=0,
        RegionLocationMaxX1=x - 1,
        RegionLocationMaxY1=y - 1,
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=volume.spacing_mm[0] / 10,
        PhysicalDeltaY=volume.spacing_mm[1] / 10,
    )


def _us(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    del ds.FrameOfReferenceUID, ds.PositionReferenceIndicator
    fill(ds, ImageType=["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"], SequenceOfUltrasoundRegions=[_region(volume)])
    fill(ds, BodyPartExamined="ABDOMEN", PatientOrientation="", LossyImageCompression="00")


def _us_clip(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    _us(ds, volume, slices)
    ds.FrameTime = "40"
    ds.add_new("FrameIncrementPointer", "AT", 0x00181063)


def _sc(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    del ds.FrameOfReferenceUID, ds.PositionReferenceIndicator
    fill(ds, ConversionType="WSD", ImageType=["DERIVED", "SECONDARY"], PatientOrientation="", Laterality="")
    ds.Modality = volume.modality or "OT"


SINGLE: dict[Kind, Recipe] = {
    Kind.CT: Recipe(uids.CTImageStorage, "CT", _ct, signed=True, rescaled=True),
    Kind.MR: Recipe(uids.MRImageStorage, "MR", _mr, signed=True, rescaled=True),
    Kind.PET: Recipe(uids.PositronEmissionTomographyImageStorage, "PT", _pet, signed=True, rescaled=True),
    Kind.CR: Recipe(uids.ComputedRadiographyImageStorage, "CR", _cr),
    Kind.DX: Recipe(uids.DigitalXRayImageStorageForPresentation, "DX", _dx),
    Kind.MG: Recipe(uids.DigitalMammographyXRayImageStorageForPresentation, "MG", _mg),
    Kind.US: Recipe(uids.UltrasoundImageStorage, "US", _us, _ANY),
    Kind.US_CLIP: Recipe(uids.UltrasoundMultiFrameImageStorage, "US", _us_clip, _ANY, many_frames=True),
    Kind.SC: Recipe(uids.SecondaryCaptureImageStorage, "OT", _sc, _ANY),
}
