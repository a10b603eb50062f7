# SPDX-License-Identifier: Apache-2.0
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from clarivox.errors import OptionError
from clarivox.server.label_map import Grid, empty

AFFINE = ((0.7, 0.1, 0.0, -20.5), (-0.1, 0.7, 0.0, 33.25), (0.0, 0.0, 2.5, -700.0), (0.0, 0.0, 0.0, 1.0))
GRID = Grid((5, 4, 3), AFFINE)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_itk_reads_an_empty_map_on_the_grid(tmp_path: Path, dtype: str, packed: bool) -> None:
    found = empty(GRID, ".nrrd", dtype, packed)
    path = tmp_path / "map.nrrd"
    path.write_bytes(b"".join(found.pieces))
    assert path.stat().st_size == found.size
    image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    assert (array.shape, array.dtype, array.any()) == ((3, 4, 5), np.dtype(dtype), False)
    ras = np.diag([-1, -1, 1]) @ np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    np.testing.assert_allclose(ras, np.array(AFFINE)[:3, :3], atol=1e-9)
    np.testing.assert_allclose(np.array(image.GetOrigin()) * (-1, -1, 1), np.array(AFFINE)[:3, 3])


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_nibabel_reads_an_empty_map_on_the_grid(tmp_path: Path, extension: str) -> None:
    found = empty(GRID, extension)
    path = tmp_path / f"map{extension}"
    path.write_bytes(b"".join(found.pieces))
    image = nibabel.load(path)
    assert (image.shape, image.get_data_dtype(), path.stat().st_size) == ((5, 4, 3), np.uint8, found.size)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert not np.asarray(image.dataobj).any()


def test_a_large_map_is_not_held_in_memory() -> None:
    found = empty(Grid((1024, 1024, 1024), AFFINE), packed=False)
    assert found.size > 1 << 30
    assert max(len(next(found.pieces)) for _ in range(3)) <= 1 << 20


def test_ohif_finds_raw_voxels_after_the_header() -> None:
    content = io.BytesIO(b"".join(empty(GRID, packed=False).pieces)).getvalue()
    head, voxels = content.split(b"\n\n", 1)
    assert b"encoding: raw" in head
    assert b"type: unsigned char" in head
    assert voxels == bytes(60)


def test_a_type_that_is_no_label_is_refused() -> None:
    with pytest.raises(OptionError, match="result_dtype"):
        empty(GRID, dtype="complex64")
