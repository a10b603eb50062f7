# SPDX-License-Identifier: Apache-2.0
"""Pictures are written with the stored numbers or a named window, and without metadata."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import io
from clarivox.errors import OptionError, OutputError
from clarivox.volume import Channels, Unit, Volume, blank_like


def made(shape: tuple[int, int, int, int] = (1, 6, 5, 1), dtype: str = "u2", **more: object) -> Volume:
    array = blank_like(shape, np.dtype(dtype))
    array[:] = (np.arange(array.size) % 120).reshape(shape)
    return Volume(array, np.eye(4), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("png", "u1"), ("png", "u2"), ("tif", "u1"), ("tif", "u2"), ("tif", "i2"), ("tif", "i4"), ("tif", "f4")],
)
def test_stored_numbers_come_back(tmp_path: Path, suffix: str, dtype: str) -> None:
    volume = made(dtype=dtype)
    io.write(volume, tmp_path / f"a.{suffix}")
    again = io.read(tmp_path / f"a.{suffix}")
    assert again.array.dtype == volume.array.dtype
    np.testing.assert_array_equal(again.array, volume.array)


def test_colour_and_pages_come_back(tmp_path: Path) -> None:
    colour = made((3, 6, 5, 1), "u1", channels=Channels.RGB)
    io.write(colour, tmp_path / "a.png")
    np.testing.assert_array_equal(io.read(tmp_path / "a.png").array, colour.array)
    pages = made((1, 6, 5, 4), "i2")
    io.write(pages, tmp_path / "a.tif")
    np.testing.assert_array_equal(io.read(tmp_path / "a.tif").array, pages.array)


def test_signed_numbers_get_an_offset_that_is_said(tmp_path: Path) -> None:
    volume = made(dtype="i2", stored_range=(-1024, 3071), unit=Unit.HU)
    written = io.write(volume, tmp_path / "a.png")
    assert "stored value = pixel - 1024" in written.notes
    np.testing.assert_array_equal(io.read(tmp_path / "a.png").array, volume.array.astype(np.int32) + 1024)


def test_a_window_gives_eight_bits(tmp_path: Path) -> None:
    volume = made(dtype="i2", intercept=np.array([-20.0]), unit=Unit.HU)
    written = io.write(volume, tmp_path / "a.png", window=(0, 100))
    expected = np.clip(np.rint(volume.values() * 2.55), 0, 255)
    np.testing.assert_allclose(io.read(tmp_path / "a.png").array, expected, atol=1)
    assert "black is 0 HU" in written.notes[-1]
    inverted = io.write(volume.replace(inverted=True), tmp_path / "b.png", window=(0, 100))
    np.testing.assert_allclose(io.read(inverted.files[0]).array, 255 - expected, atol=1)


def test_several_slices_become_a_folder(tmp_path: Path) -> None:
    volume = made((1, 6, 5, 3))
    written = io.write(volume, tmp_path / "out", as_="png")
    assert [file.name for file in written.files] == ["slice_00000.png", "slice_00001.png", "slice_00002.png"]
    np.testing.assert_array_equal(io.read(written.files[2]).array[..., 0], volume.array[..., 2])
    with pytest.raises(OutputError):
        io.write(volume, tmp_path / "a.png")


def test_nothing_of_the_source_but_its_pixels_is_written(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Patient", "JANE")
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "a.png", pnginfo=text)
    io.write(io.read(tmp_path / "a.png"), tmp_path / "b.png")
    assert b"JANE" not in (tmp_path / "b.png").read_bytes()


def test_a_jpeg_becomes_png(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "a.jpg")
    assert io.write(io.read(tmp_path / "a.jpg"), tmp_path / "b.png").format == "png"


def test_a_palette_keeps_its_table(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    Image.fromarray(colours).quantize(8).save(tmp_path / "a.png")
    io.write(io.read(tmp_path / "a.png"), tmp_path / "b.png")
    before, after = (Image.open(tmp_path / name).convert("RGB") for name in ("a.png", "b.png"))
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        io.write(made(dtype="f4"), tmp_path / "a.png")
    assert caught.value.code == "needs_window"
    with pytest.raises(OptionError):
        io.write(made(), tmp_path / "a.png", window=(5, 5))
    with pytest.raises(OptionError):
        io.write(made((3, 6, 5, 1), "u1", channels=Channels.RGB), tmp_path / "a.png", window=(0, 5))
    with pytest.raises(OutputError):
        io.write(made(dtype="u1", channels=Channels.PALETTE), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
