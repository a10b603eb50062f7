# SPDX-License-Identifier: Apache-2.0
"""What new Enhanced CT and Enhanced MR objects must hold: functional groups, dimensions, frame types.

Source:
    DICOM PS3.3: A.38 Enhanced CT, A.36.2 Enhanced MR, C.7.6.16 functional groups, C.7.6.17 dimensions.
"""

from __future__ import annotations

from typing import Any

from pydicom import Dataset
from pydicom import uid as uids
from pydicom.sequence import Sequence

from clarivox.io.dicom_kinds import Kind, Recipe, code, fill, window
from clarivox.io.dicom_plane import decimal, decimals, plane
from clarivox.io.dicom_uid import uid
from clarivox.volume import Volume

_STACK_ID, _IN_STACK, _FRAME_CONTENT = 0x00209056, 0x00209057, 0x00209111


def _item(**elements: Any) -> list[Dataset]:
    return [fill(Dataset(), **elements)]


def _dimensions(ds: Dataset) -> None:
    organisation = uid("dimensions", ds.SOPInstanceUID)
    ds.DimensionOrganizationSequence = Sequence(_item(DimensionOrganizationUID=organisation))
    index = []
    for pointer in (_STACK_ID, _IN_STACK):
        item = fill(Dataset(), DimensionOrganizationUID=organisation)
        item.add_new("DimensionIndexPointer", "AT", pointer)
        item.add_new("FunctionalGroupPointer", "AT", _FRAME_CONTENT)
        index.append(item)
    ds.DimensionIndexSequence = Sequence(index)


def _frame(ds: Dataset, volume: Volume, z: int) -> Dataset:
    here, when = plane(volume.affine, z), f"{ds.ContentDate}{ds.ContentTime}"
    content = _item(
        FrameAcquisitionDateTime=when,
        FrameReferenceDateTime=when,
        FrameAcquisitionDuration=1.0,
        StackID="1",
        InStackPositionNumber=z + 1,
        DimensionIndexValues=[1, z + 1],
    )
    slope, intercept = decimal(volume.slope[z]), decimal(volume.intercept[z])
    rescale = _item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU" if ds.Modality == "CT" else "US")
    return fill(
        Dataset(),
        FrameContentSequence=content,
        PlanePositionSequence=_item(ImagePositionPatient=decimals(here.position)),
        PixelValueTransformationSequence=rescale,
    )


def _shared(ds: Dataset, volume: Volume, slices: list[int], region: list[Dataset]) -> Dataset:
    here = plane(volume.affine, 0)
    centre, width = window(ds, volume, slices)
    measures = _item(PixelSpacing=decimals(here.spacing), SliceThickness=decimal(volume.spacing_mm[2]))
    return fill(
        Dataset(),
        PixelMeasuresSequence=measures,
        PlaneOrientationSequence=_item(ImageOrientationPatient=decimals(here.orientation)),
        FrameAnatomySequence=_item(FrameLaterality="U", AnatomicRegionSequence=region),
        FrameVOILUTSequence=_item(WindowCenter=centre, WindowWidth=width),
    )


def _frame_type(*fourth: str) -> dict[str, Any]:
    """DERIVED, not ORIGINAL: a made object has no acquisition to describe."""
    return {
        "FrameType": ["DERIVED", "PRIMARY", *fourth],
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }


def _enhanced(ds: Dataset, volume: Volume, slices: list[int], shared: Dataset, *fourth: str) -> None:
    _dimensions(ds)
    del ds.AcquisitionDate, ds.AcquisitionTime
    frame_type = _frame_type(*fourth)
    fill(ds, ImageType=frame_type.pop("FrameType"), **frame_type)
    fill(
        ds,
        AcquisitionDateTime=f"{ds.ContentDate}{ds.ContentTime}",
        AcquisitionDuration=1.0,
        AcquisitionNumber="1",
        AcquisitionContextSequence=[],
        ContentQualification="RESEARCH",
        PresentationLUTShape="IDENTITY",
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
        PatientPosition="HFS",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[_frame(ds, volume, z) for z in slices],
    )


def _ct(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    shared = _shared(ds, volume, slices, code("51185008", "SCT", "Chest"))
    event = _item(IrradiationEventUID=uid("irradiation", ds.SeriesInstanceUID))
    fill(shared, CTImageFrameTypeSequence=_item(**_frame_type("VOLUME", "NONE")))
    fill(shared, IrradiationEventIdentificationSequence=event)
    _enhanced(ds, volume, slices, shared, "VOLUME", "NONE")


def _mr(ds: Dataset, volume: Volume, slices: list[int]) -> None:
    shared = _shared(ds, volume, slices, code("12738006", "SCT", "Brain"))
    more = {"ComplexImageComponent": "MAGNITUDE", "AcquisitionContrast": "T1"}
    fill(shared, MRImageFrameTypeSequence=_item(**_frame_type("T1", "NONE"), **more))
    fill(ds, **more, ApplicableSafetyStandardAgency="IEC")
    _enhanced(ds, volume, slices, shared, "T1", "NONE")


ENHANCED: dict[Kind, Recipe] = {
    Kind.ENHANCED_CT: Recipe(uids.EnhancedCTImageStorage, "CT", _ct, signed=True, rescaled=True, many_frames=True),
    Kind.ENHANCED_MR: Recipe(uids.EnhancedMRImageStorage, "MR", _mr, rescaled=True, many_frames=True),
}
