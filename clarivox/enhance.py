# SPDX-License-Identifier: Apache-2.0
"""The one path from a volume to an enhanced volume.

The command line, the server, the Python API and `python -m monai.bundle run` all come through `enhance`.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from clarivox import bundle as bundles
from clarivox.bundle import Bundle, BundleInfo
from clarivox.errors import CapacityError, GeometryError, ModalityError, OptionError
from clarivox.io import read
from clarivox.progress import Meter, Progress
from clarivox.volume import Axis, Channels, Fault, Provenance, Volume

INVENTS = "{} may invent texture: fine detail in the result need not be in the source; not for diagnosis"


def enhance(
    volume: Volume | str | Path,
    bundle: Bundle | str | Path,
    *,
    device: str = "auto",
    engine: str = "torch",
    strength: float = 1.0,
    allow_uneven: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    memory_limit_bytes: int | None = None,
) -> Volume:
    """Enhance a volume with a bundle.

    Args:
        volume: what to enhance, or the file, folder or zip that holds it alone; never changed.
        bundle: a loaded bundle, or the name or folder of one.
        device: auto, cpu, cuda, cuda:N or mps.
        engine: torch or openvino, on the CPU; a network that OpenVINO cannot run is run by torch, with a note.
        strength: share of the change to apply, 0 to 1; 0 gives back every voxel bit for bit.
        allow_uneven: let a 2D bundle treat slices of a series with missing slices, or without a common stack.
        force: run although the bundle does not declare the volume's modality; the result says so.
        progress: called after each window; returning False cancels.
        memory_limit_bytes: memory for windows and their activations; by default what the device has.

    Returns:
        A new volume in the source's dtype, on the grid that the bundle declares, with its `provenance`.

    Raises:
        InputError: there is not one volume to read at the path.
        ModalityError: the bundle does not declare this kind of image.
        GeometryError: the slices do not lie as the bundle needs them.
        OptionError: `strength`, `device` or `engine` is out of range, or OpenVINO is not installed.
        CapacityError: the smallest window fits no device.
        CancelledError: `progress` returned False.

    >>> import numpy as np
    >>> small = Volume(np.arange(24, dtype=np.int16).reshape(1, 4, 3, 2), np.eye(4))
    >>> same = enhance(small, "identity", device="cpu")
    >>> bool((same.array == small.array).all()), same.provenance.bundle
    (True, 'identity')
    """
    from clarivox import restore
    from clarivox.devices import chosen, fallbacks, planned
    from clarivox.engines import place_for
    from clarivox.prepare import Items

    started = time.monotonic()
    loaded = bundle if isinstance(bundle, Bundle) else bundles.load(bundle)
    info = loaded.info
    check_request(info, strength, device, engine)
    volume = volume if isinstance(volume, Volume) else read(volume, allow_uneven=allow_uneven, progress=progress)
    places = fallbacks(chosen(place_for(engine, device)))
    notes = check_kind(volume, loaded, force) + check_slices(volume, loaded, allow_uneven)
    prepared = loaded.prepare(volume)
    items = Items(prepared, info.spatial_dims, loaded.windows.neighbours, info.clip)
    c, x, y, z = volume.shape
    finer = (c, x * loaded.scale[0], y * loaded.scale[1], z * loaded.scale[2])
    array = restore.room(finer, volume.array.dtype, memory_limit_bytes)
    network = loaded.for_openvino() if engine == "openvino" else None
    back: tuple[str, ...] = ()
    if isinstance(network, str):
        back = (f"run by torch, not OpenVINO: {network}",)
        network, engine = None, "torch"
    for place in places:
        run, tally = planned(loaded.network.to(place), loaded.windows, place, memory_limit_bytes), restore.Tally()
        run.on_window = Meter("enhance", 1.0, progress).advance
        try:
            pieces = loaded.infer(items, run, network)
            if info.grid == "scaled":
                restore.rescaled(pieces, items, loaded.scale, tally, array)
            else:
                restore.restored(pieces, items, strength, tally, array)
            break
        except CapacityError as cause:
            back += (*run.notes, f"{cause}; the next device was tried")
            failed = cause
    else:
        raise failed
    voxels = math.prod(items.shape) * len(items)
    provenance = Provenance(
        bundle=info.name,
        version=info.version,
        digest=loaded.digest,
        task=info.task,
        options=dict(loaded.options),
        strength=strength,
        scale=tuple(float(n) for n in loaded.scale),  # type: ignore[arg-type]
        device=str(place),
        engine=engine,
        seconds=time.monotonic() - started,
        windows=run.windows,
        redundancy=run.computed / voxels,
        clipped_voxels=tally.clipped,
        forced=force and not info.accepts(volume.modality),
        may_invent=info.may_invent,
        notes=(*notes, *back, *run.notes, *tally.notes(voxels)),
        steps_back=(*back, *run.notes),
    )
    if info.grid == "scaled":
        return restore.on_finer_grid(volume, array, loaded.scale, provenance)
    return volume.replace(array=array, provenance=provenance)


def check_request(info: BundleInfo, strength: float, device: str, engine: str = "torch") -> None:
    """Refuse what no volume could mend, before one is read.

    Raises:
        OptionError: `strength`, `device` or `engine` is out of range, or OpenVINO is not installed.
    """
    from clarivox.devices import chosen
    from clarivox.engines import place_for

    if not 0 <= strength <= 1:
        raise OptionError(f"strength must be between 0 and 1; found {strength}")
    if info.grid == "scaled" and strength != 1:
        raise OptionError(f"bundle {info.name} changes the grid, so strength must be 1; found {strength}")
    place = place_for(engine, device)
    if place != "auto":
        chosen(place)


def check_kind(volume: Volume, bundle: Bundle, force: bool) -> tuple[str, ...]:
    """Notes on the kind of image.

    Raises:
        ModalityError: the bundle does not declare the modality, or the volume holds indices of a palette.
    """
    info = bundle.info
    invents = (INVENTS.format(info.name),) if info.may_invent else ()
    if volume.channels is Channels.PALETTE and not (info.accepts_palette and not info.weights):
        raise ModalityError(
            f"bundle {info.name} works on intensities; found indices into a colour table; convert to RGB first",
            code="palette",
        )
    allowed = ", ".join(info.modalities)
    if not info.accepts(volume.modality):
        if not force:
            raise ModalityError(
                f"bundle {info.name} is for {allowed}; found {volume.modality}; choose another bundle, or force it "
                "(--force; over HTTP -F force=true)"
            )
        return (*invents, f"forced: bundle {info.name} is for {allowed}, and the image is {volume.modality}")
    if info.modalities and not volume.modality:
        return (*invents, f"the source does not say its modality; taken as {allowed}", *_doubt(volume, allowed))
    return invents


def _doubt(volume: Volume, allowed: str) -> tuple[str, ...]:
    """A warning where an image without a modality has values that only CT and its like have."""
    if "CT" in allowed or "PT" in allowed:
        return ()
    # A thousand voxels of each of some slices tell air at -1000 HU from a noise around 0.
    step = [max(1, side // 32) for side in volume.shape[1:]]
    every = volume.values((slice(0, 1), *(slice(None, None, n) for n in step)))  # type: ignore[arg-type]
    finite = every[np.isfinite(every)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)
    if low >= -0.1 * abs(high):
        return ()
    return (f"values reach below {low:.4g}, as in CT; images of {allowed} have none: look whether the bundle fits",)


def check_slices(volume: Volume, bundle: Bundle, allow_uneven: bool) -> tuple[str, ...]:
    """Notes on how the slices lie.

    Raises:
        GeometryError: the bundle needs slices that lie otherwise.
    """
    info = bundle.info
    if info.spatial_dims == 3 and not info.clip and volume.third_axis is Axis.TIME:
        raise GeometryError(f"bundle {info.name} is for volumes; found a clip; use a 2D bundle", code="clip")
    if volume.irregular is None:
        return ()
    fault, message = volume.irregular.fault, volume.irregular.message
    flat = info.spatial_dims == 2 and bundle.windows.neighbours == 0
    if fault is Fault.TILTED or (flat and (fault is Fault.UNEVEN or allow_uneven)):
        return (message,)
    step = "use a 2D bundle" if not flat else "allow uneven slices (--allow-uneven) to treat each by itself"
    raise GeometryError(f"bundle {info.name} needs evenly spaced slices; {message}; {step}", code=str(fault))


class _Callable(ModuleType):
    """Lets `clarivox.enhance(...)` be the function, where `clarivox.enhance` is this module."""

    def __call__(self, *args: Any, **options: Any) -> Volume:
        return enhance(*args, **options)


sys.modules[__name__].__class__ = _Callable
