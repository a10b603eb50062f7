# SPDX-License-Identifier: Apache-2.0
"""Seeded digital phantoms with known truth: CT, MR, ultrasound and chest radiograph.

Each function gives a pair of volumes, what a scanner would have shown and what is there. The same arguments give the
same voxels. Nothing is measured: every degradation is simulated, and the notes of the volumes say so.
"""

from clarivox.phantoms.ct import ct, ct_inserts
from clarivox.phantoms.cxr import cxr
from clarivox.phantoms.mr import mr
from clarivox.phantoms.shapes import Insert, Pair
from clarivox.phantoms.us import us

__all__ = ["Insert", "Pair", "ct", "ct_inserts", "cxr", "mr", "us"]
