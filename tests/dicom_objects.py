# SPDX-License-Identifier: Apache-2.0
"""A small phantom for each kind of DICOM object, its file written, and read back."""

from pathlib import Path
from typing import Any

import numpy as np

from clarivox.io import read
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.volume import Axis, Channels, Provenance, Volume, blank_like

IDENTITY = Provenance(bundle="identity", version="1.0", digest="ab" * 32, task="identity")
DENOISED = Provenance(bundle="mr_unet_denoise", version="1.0", digest="cd" * 32, task="denoise", strength=0.5)
DOUBLED = Provenance(bundle="srcnn", version="1.0", digest="ef" * 32, task="superres", scale=(2.0, 2.0, 1.0))

AFFINE = np.array([[-0.7, 0, 0, 100], [0, -0.8, 0, 90], [0, 0, 2.5, -30], [0, 0, 0, 1.0]])


def phantom(kind: Kind) -> Volume:
    dtype: Any = {Kind.CT: np.int16, Kind.PET: np.int16, Kind.ENHANCED_CT: np.int16}.get(kind, np.uint16)
    more: dict[str, Any] = {}
    if kind in (Kind.US, Kind.US_CLIP, Kind.SC):
        dtype = np.uint8
    if kind is Kind.US_CLIP:
        more = {"channels": Channels.RGB, "third_axis": Axis.TIME}
    if kind in (Kind.DX, Kind.MG):
        more = {"stored_range": (0, 4095)}
    if kind is Kind.CT:
        more = {"intercept": np.array([-1024.0]), "padding": np.full((3, 2), -2000, np.int64)}
    if kind is Kind.PET:
        more = {"slope": np.array([0.5, 0.25, 1.5])}
    array = blank_like((3 if kind is Kind.US_CLIP else 1, 11, 9, 3), np.dtype(dtype))
    array[...] = np.random.default_rng(1).integers(0, 255, array.shape)
    return Volume(array, AFFINE, **more)


def series_of(kind: Kind | str, folder: Path, **attributes: Any) -> list[Path]:
    """The files of a phantom of one kind."""
    return save_series(new_series(phantom(Kind(kind)), kind, attributes=attributes), folder)


def read_phantom(kind: Kind | str, folder: Path, **attributes: Any) -> Volume:
    """A phantom of one kind as it comes back from its files; the first picture where each is its own volume."""
    files = series_of(kind, folder, **attributes)
    alone = Kind(kind) in (Kind.CR, Kind.DX, Kind.MG, Kind.US, Kind.SC)
    return read(files[0] if alone else folder)


def doubled(volume: Volume) -> Volume:
    """Every pixel four times, on a grid twice as fine along X and Y with the same outer edge."""
    array = volume.array.repeat(2, 1).repeat(2, 2)
    out = blank_like(array.shape, array.dtype)  # type: ignore[arg-type]
    out[...] = array
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :2].sum(axis=1) / 4
    affine[:3, :2] /= 2
    return volume.replace(array=out, affine=affine, provenance=DOUBLED)
