# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows, and the short names of `import clarivox as cv`."""

from pathlib import Path

import numpy as np
import pytest

import clarivox as cv
from clarivox.shown import html


@pytest.mark.parametrize("kind", ["ct", "mr", "us", "cxr"])
def test_every_kind_of_volume_has_a_picture(kind: str) -> None:
    pair = getattr(cv.phantoms, kind)(size=64)
    shown = pair.degraded._repr_html_()
    assert shown.count("<img") == min(3, pair.degraded.shape[3])
    assert f"{pair.degraded.shape[1]} × {pair.degraded.shape[2]}" in shown


def test_an_enhanced_volume_says_what_made_it_and_its_notes() -> None:
    noisy, truth = cv.phantoms.mr(size=64, slices=2)
    result = cv.enhance(noisy, "mr_unet_denoise", device="cpu", strength=0.5)
    shown = cv.Beside(noisy, result, truth)._repr_html_()
    assert "mr_unet_denoise" in shown and "strength 0.5" in shown and shown.count("<img") == 4
    assert "simulated" in shown


def test_words_from_a_file_cannot_become_markup() -> None:
    noisy = cv.phantoms.mr(size=64, slices=1).degraded.replace(notes=("<script>alert(1)</script>",))
    assert "<script>" not in html(noisy)


def test_a_path_is_enhanced_as_the_volume_that_it_holds(tmp_path: Path) -> None:
    noisy = cv.phantoms.mr(size=64, slices=2).degraded
    cv.write(noisy, tmp_path / "scan.nii.gz")
    from_path = cv.enhance(tmp_path / "scan.nii.gz", "mr_unet_denoise", device="cpu")
    from_volume = cv.enhance(cv.read(tmp_path / "scan.nii.gz"), "mr_unet_denoise", device="cpu")
    assert np.array_equal(from_path.array, from_volume.array)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = cv.nothing
    assert "enhance" in dir(cv)
