# SPDX-License-Identifier: Apache-2.0
"""Pictures are read as stored, or refused where pillow would change them in silence."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import io
from clarivox.errors import ClarivoxError, DecodeError, FormatError, LimitError, TruncatedError
from clarivox.io.image import ImageSource
from clarivox.volume import Axis, Channels

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (20, 30)).astype(np.uint8)
GREY16 = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)


def png(width: int, height: int, bits: int, colour: int, raw: bytes) -> bytes:
    """A PNG file of any header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def saved(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("array", [GREY8, GREY16], ids=["8 bits", "16 bits"])
def test_grey_is_read_as_stored(tmp_path: Path, name: str, array: np.ndarray) -> None:
    volume = io.read(saved(tmp_path / name, array))
    assert volume.array.dtype == array.dtype
    np.testing.assert_array_equal(volume.frames[0, 0], array)
    assert "no spacing" in volume.notes[0]
    assert volume.spacing_mm == (1, 1, 1)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_tiff_of_wide_numbers_is_read_as_stored(tmp_path: Path, dtype: type) -> None:
    array = GREY16.astype(dtype) - 40_000
    np.testing.assert_array_equal(io.read(saved(tmp_path / "a.tif", array)).frames[0, 0], array)


def test_colour_is_three_channels_and_opaque_alpha_goes(tmp_path: Path) -> None:
    volume = io.read(saved(tmp_path / "a.png", COLOUR))
    assert volume.channels is Channels.RGB
    np.testing.assert_array_equal(volume.frames[:, 0].transpose(1, 2, 0), COLOUR)
    opaque = np.dstack([COLOUR, np.full((20, 30), 255, np.uint8)])
    same = io.read(saved(tmp_path / "b.png", opaque))
    np.testing.assert_array_equal(same.array, volume.array)
    assert "opaque" in same.notes[1]


def test_a_palette_stays_indices_with_their_table(tmp_path: Path) -> None:
    indexed = Image.fromarray(COLOUR).quantize(16)
    indexed.save(tmp_path / "a.png")
    volume = io.read(tmp_path / "a.png")
    assert volume.channels is Channels.PALETTE
    assert isinstance(volume.source, ImageSource)
    assert volume.source.palette is not None
    np.testing.assert_array_equal(volume.source.palette[volume.frames[0, 0]], np.asarray(indexed.convert("RGB")))


def test_jpeg_says_that_it_lost_something(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", GREY8)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.frames[0, 0], np.asarray(Image.open(path)))
    assert any("loss" in note for note in volume.notes)
    assert io.scan(path)[0].lossy


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_turned_picture_is_read_upright(tmp_path: Path, turn: int, name: str) -> None:
    from PIL import ImageOps

    mark = Image.Exif()
    mark[274] = turn
    path = saved(tmp_path / name, GREY8, exif=mark)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    volume = io.read(path)
    np.testing.assert_array_equal(volume.frames[0, 0], upright)
    assert io.scan(path)[0].shape == volume.shape
    assert any("upright" in note for note in volume.notes) == (turn > 1)


def test_pages_of_a_tiff_are_frames_of_a_clip(tmp_path: Path) -> None:
    more = [Image.fromarray(GREY8[::-1].copy()), Image.fromarray(GREY8.copy())]
    volume = io.read(saved(tmp_path / "a.tif", GREY8, save_all=True, append_images=more))
    assert (volume.third_axis, volume.shape) == (Axis.TIME, (1, 30, 20, 3))
    np.testing.assert_array_equal(volume.frames[0, 1], GREY8[::-1])


def test_pages_that_differ_are_refused(tmp_path: Path) -> None:
    for other in (GREY16, GREY8[:5]):
        path = saved(tmp_path / "a.tif", GREY8, save_all=True, append_images=[Image.fromarray(other)])
        with pytest.raises(FormatError, match="pages"):
            io.read(path)


def test_one_bit_and_few_bits_are_read_as_bytes_and_said(tmp_path: Path) -> None:
    Image.fromarray(GREY8).convert("1").save(tmp_path / "a.png")
    assert set(np.unique(io.read(tmp_path / "a.png").array)) == {0, 255}
    (tmp_path / "b.png").write_bytes(png(4, 2, 4, 0, b"\0\x12\x34" * 2))
    volume = io.read(tmp_path / "b.png")
    assert volume.frames[0, 0, 0].tolist() == [17, 34, 51, 68]
    assert any("stretched" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (png(3, 2, 16, 2, (b"\0" + bytes(18)) * 2), FormatError),
        (png(3, 2, 16, 4, (b"\0" + bytes(12)) * 2), FormatError),
        (png(60_000, 60_000, 8, 0, bytes(1000)), LimitError),
        (png(0x7FFFFFFF, 0x7FFFFFFF, 8, 0, bytes(1000)), LimitError),
        (png(20_000, 20_000, 8, 0, bytes(1000)), DecodeError),
        (png(0, 5, 8, 0, bytes(10)), DecodeError),
        (png(30, 20, 8, 0, bytes(620))[:50], TruncatedError),
        (b"\xff\xd8\xff\xe0" + bytes(50), DecodeError),
        (b"II*\0" + bytes(50), DecodeError),
    ],
)
def test_what_pillow_would_change_or_choke_on_is_refused(
    tmp_path: Path, content: bytes, error: type[ClarivoxError]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises((error, TruncatedError)):
        io.read(path)


def test_transparency_in_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        io.read(saved(tmp_path / "a.png", np.dstack([COLOUR, GREY8])))
    assert caught.value.code == "transparent"


def test_four_inks_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(FormatError):
        io.read(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_pictures_never_raise_anything_else(tmp_path: Path) -> None:
    seeds = [
        saved(tmp_path / "a.png", GREY16),
        saved(tmp_path / "b.jpg", COLOUR),
        saved(tmp_path / "c.tif", GREY8, compression="tiff_lzw"),
        saved(tmp_path / "d.tif", GREY8, save_all=True, append_images=[Image.fromarray(GREY8)]),
    ]
    for seed in range(200):
        draw = random.Random(seed)
        data = bytearray(draw.choice(seeds).read_bytes())
        for _ in range(draw.randint(1, 5)):
            data[draw.randrange(8, len(data))] = draw.randrange(256)
        mutant = tmp_path / "mutant"
        mutant.write_bytes(data[: draw.randrange(8, len(data))] if seed % 3 == 0 else data)
        try:
            io.read(mutant)
        except ClarivoxError:
            continue
