# SPDX-License-Identifier: Apache-2.0
"""Within Slicer: volumes to files and back, without a server."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer
import slicer.util
from ClarivoxLib import logic


class ClarivoxLogicTest(unittest.TestCase):
    """The grid and the stored type of a volume survive the way to a file and back."""

    def test_a_volume_comes_back_as_it_went(self):
        """Voxels, type and place are the same."""
        node = slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
        node.SetSpacing(0.5, 0.75, 2.0)
        with tempfile.TemporaryDirectory() as folder:
            back = logic.loaded(logic.saved(node, folder), node, "back")
            self.assertFalse(any(node.GetName() in path.name for path in Path(folder).iterdir()))
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(back)))
        self.assertTrue(logic.same_grid(node, back))
