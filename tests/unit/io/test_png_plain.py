# SPDX-License-Identifier: Apache-2.0
"""PNG without pillow, against pillow."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import io
from clarivox.errors import DecodeError, FormatError
from clarivox.io import png_plain
from clarivox.io.limits import Limits
from clarivox.png import decoded, encoded


def picture(*shape: int, dtype: str = "u1") -> np.ndarray:
    """Smooth with edges and noise, so that an encoder takes every filter."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    top = np.iinfo(dtype).max
    grey = 0.4 * top * (1 + np.sin(x / 9) * np.cos(y / 7)) + 0.1 * top * (x > y)
    grey = grey + np.random.default_rng(0).normal(scale=top / 500, size=grey.shape) * (y > shape[0] / 2)
    values = grey.clip(0, top).astype(dtype)
    return values if len(shape) == 2 else np.stack([values, values[::-1], 255 - values], axis=-1)


@pytest.mark.parametrize("pixels", [picture(48, 37), picture(40, 33, dtype="u2"), picture(31, 40, 3)], ids=str)
def test_every_filter_is_undone_as_pillow_does(pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png", optimize=True)
    assert (decoded((tmp_path / "a.png").read_bytes()) == pixels).all()
    ours, theirs = png_plain.load(tmp_path / "a.png", Limits(), lambda share: None), io.read(tmp_path / "a.png")
    assert (ours.array == theirs.array).all() and ours.array.dtype == theirs.array.dtype
    assert np.allclose(ours.affine, theirs.affine) and ours.stored_range == theirs.stored_range
    assert png_plain.describe(tmp_path / "a.png", Limits()).shape == theirs.shape


def test_what_was_written_is_read() -> None:
    assert (decoded(encoded(picture(9, 14))) == picture(9, 14)).all()


def test_other_kinds_and_damage_are_named(tmp_path: Path) -> None:
    Image.fromarray(picture(20, 20)).convert("P").save(tmp_path / "p.png")
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.jpg")
    for name in ("p.png", "a.jpg"):
        with pytest.raises(FormatError, match="pillow") as caught:
            png_plain.load(tmp_path / name, Limits(), lambda share: None)
        assert caught.value.code == "codec_missing"
    content = encoded(picture(20, 20))
    for damaged in (content[:60], content[:45] + b"\0\0\0\0" + content[49:]):
        with pytest.raises(DecodeError):
            decoded(damaged)
