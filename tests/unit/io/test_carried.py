# SPDX-License-Identifier: Apache-2.0
"""How numbers go into formats that know one scale or none."""

import numpy as np
import pytest

from clarivox.errors import OutputError
from clarivox.io.carried import blocks, rgb_of, with_one_scale, without_scale
from clarivox.volume import Volume, blank_like


def made(shape: tuple[int, int, int, int] = (2, 30, 20, 10), dtype: str = "i2", **more: object) -> Volume:
    array = blank_like(shape, np.dtype(dtype))
    array[:] = np.random.default_rng(0).integers(0, 100, shape)
    return Volume(array, np.eye(4), **more)  # type: ignore[arg-type]


def test_stored_numbers_are_given_as_views_in_memory_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clarivox.io.carried.BLOCK_BYTES", 3 * 30 * 20 * 2)
    volume = made()
    pieces = list(blocks(volume, with_one_scale(volume), lambda share: None))
    assert len(pieces) == 8
    assert all(np.shares_memory(piece, volume.array) and piece.flags.c_contiguous for piece in pieces)
    assert b"".join(piece.tobytes() for piece in pieces) == volume.frames.tobytes()


def test_the_last_share_told_is_the_whole() -> None:
    told: list[float] = []
    volume = made()
    list(blocks(volume, with_one_scale(volume), told.append))
    assert told[-1] == 1


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype", "stored_range", "expected"),
    [
        (1.0, 0.0, "u2", None, "uint16"),
        (1.0, -1024.0, "u2", (0, 4095), "int16"),
        (1.0, -1024.0, "u2", (0, 65535), "int16"),
        (1000.0, 0.0, "u2", (0, 65535), "int32"),
        (0.5, 0.0, "u2", None, "float32"),
        (2.0, 0.0, "f4", None, "float32"),
    ],
)
def test_whole_values_stay_integers(
    slope: float, intercept: float, dtype: str, stored_range: tuple[int, int] | None, expected: str
) -> None:
    volume = made(dtype=dtype, slope=np.array([slope]), intercept=np.array([intercept]), stored_range=stored_range)
    carried = without_scale(volume)
    assert carried.dtype == expected
    box = (slice(0, 1), slice(None), slice(None), slice(2, 4))
    np.testing.assert_allclose(carried.block(volume, box), volume.values(box), rtol=1e-6)


def test_only_bytes_of_luma_become_rgb() -> None:
    assert rgb_of(np.array([200, 128, 128], np.uint8).reshape(3, 1, 1)).ravel().tolist() == [200, 200, 200]
    with pytest.raises(OutputError):
        rgb_of(np.zeros((3, 1, 1), np.uint16))
