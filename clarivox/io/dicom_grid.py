# SPDX-License-Identifier: Apache-2.0
"""Where a finer grid changes a header: sizes, spacing, the first pixel's centre, and everything counted in pixels.

The outer edge of the picture stays where it was, so the centre of the first pixel moves inwards by half of what the
pixel lost: from p to p + (new - old) / 2 along rows and columns.

Source:
    DICOM PS3.3 C.7.6.2 Image Plane, 10.7.1.3 pixel spacing, C.8.5.5 ultrasound regions, C.7.6.11 shutters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from clarivox.errors import GeometryError
from clarivox.io.dicom_derive import put
from clarivox.io.dicom_encode import Bytes, Encoder, in_order, item, number, sequence, text
from clarivox.io.dicom_plane import decimals, shifted

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Rows first, then columns."""

_ROW_EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CollimatorUpperHorizontalEdge",
    "CollimatorLowerHorizontalEdge",
)
_COLUMN_EDGES = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "RadiusOfCircularShutter",
    "CollimatorLeftVerticalEdge",
    "CollimatorRightVerticalEdge",
    "RadiusOfCircularCollimator",
)
_ROW_COLUMN_PAIRS = (
    "CenterOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "CenterOfCircularCollimator",
    "VerticesOfThePolygonalCollimator",
)


@dataclass(frozen=True)
class Finer:
    """A grid with more pixels on the same area.

    Attributes:
        columns: new pixels for each old one along a row.
        rows: new pixels for each old one down a column.
    """

    columns: float
    rows: float

    @property
    def same(self) -> bool:
        """True where nothing changes."""
        return self.columns == 1 and self.rows == 1

    def plane(self, header: Dataset, orientation: Dataset | None = None, spacing: Dataset | None = None) -> Bytes:
        """Spacing and position, from whichever data sets hold them.

        Args:
            header: holds what is to change.
            orientation: holds ImageOrientationPatient, if not `header`.
            spacing: holds the old PixelSpacing, if not `header`.
        """
        found: Bytes = {}
        for keyword in SPACINGS:
            old = header.get(keyword)
            if old:
                new = (float(old[0]) / self.rows, float(old[1]) / self.columns)
                put(found, text(keyword, *decimals(new)))
        position = header.get("ImagePositionPatient")
        axes = (orientation or header).get("ImageOrientationPatient")
        size = (spacing or header).get("PixelSpacing")
        if position and axes and size:
            move = [float(size[0]) * (1 / self.rows - 1) / 2, float(size[1]) * (1 / self.columns - 1) / 2]
            start = np.array([float(v) for v in position])
            put(found, text("ImagePositionPatient", *decimals(shifted(start, np.array(axes, float), *move))))
        return found

    def picture(self, header: Dataset, rows: int, columns: int, encoder: Encoder) -> Bytes:
        """Everything of a top-level header that a finer grid changes.

        Raises:
            GeometryError: more than 65535 rows or columns.
        """
        if max(rows, columns) > 0xFFFF:
            raise GeometryError(f"DICOM holds at most 65535 rows and columns; found {rows} x {columns}; scale less")
        found = self.plane(header)
        put(found, number("Rows", rows))
        put(found, number("Columns", columns))
        aspect = header.get("PixelAspectRatio")
        if aspect and self.rows != self.columns:
            ratio = float(aspect[0]) / self.rows / (float(aspect[1]) / self.columns)
            put(found, text("PixelAspectRatio", str(round(ratio * 10000)), "10000"))
        self._edges(found, header)
        regions = header.get("SequenceOfUltrasoundRegions")
        if regions:
            items = (item([in_order(self._region(region, encoder))]) for region in regions)
            put(found, sequence("SequenceOfUltrasoundRegions", *items))
        return found

    def _edges(self, found: Bytes, header: Dataset) -> None:
        for keywords, factors in (
            (_ROW_EDGES, (self.rows,)),
            (_COLUMN_EDGES, (self.columns,)),
            (_ROW_COLUMN_PAIRS, (self.rows, self.columns)),
        ):
            for keyword in keywords:
                old = header.get(keyword)
                if old is not None and old != "":
                    values = [old] if isinstance(old, int) else list(old)
                    new = [round(int(v) * factors[i % len(factors)]) for i, v in enumerate(values)]
                    put(found, text(keyword, *(str(v) for v in new)))

    def _region(self, region: Dataset, encoder: Encoder) -> Bytes:
        """One ultrasound region: its corners are pixels from 0, inclusive; its deltas are lengths of a pixel."""
        found = encoder.nested(region)
        for keyword, by, move in (
            ("RegionLocationMinX0", self.columns, _first),
            ("RegionLocationMinY0", self.rows, _first),
            ("RegionLocationMaxX1", self.columns, _last),
            ("RegionLocationMaxY1", self.rows, _last),
            ("ReferencePixelX0", self.columns, _inside),
            ("ReferencePixelY0", self.rows, _inside),
        ):
            if region.get(keyword) is not None:
                put(found, encoder.value(keyword, move(int(region.get(keyword)), by)))
        for keyword, by in (("PhysicalDeltaX", self.columns), ("PhysicalDeltaY", self.rows)):
            if region.get(keyword) is not None:
                put(found, encoder.value(keyword, float(region.get(keyword)) / by))
        return found


def _first(old: int, by: float) -> int:
    return round(old * by)


def _last(old: int, by: float) -> int:
    return round((old + 1) * by) - 1


def _inside(old: int, by: float) -> int:
    return round((old + 0.5) * by - 0.5)
