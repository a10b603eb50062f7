# SPDX-License-Identifier: Apache-2.0
"""What a network does to one picture, made visible: its filter at a voxel, the kernels it predicts, its activations.

The picture goes through the bundle's own preparation. At one voxel, a network is a linear filter of its input plus a
constant: the filter is a row of the Jacobian. A network without constants has none to add, so the filter times the
input is its output, exactly; how exactly is measured and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clarivox.bundle import Bundle
from clarivox.enhance import check_kind
from clarivox.errors import OptionError
from clarivox.evidence import steepest
from clarivox.networks.kpn import Kpn
from clarivox.prepare import Items
from clarivox.regions import flat_regions
from clarivox.tiles import Box
from clarivox.volume import Volume

SIDES = {2: 256, 3: 48}
"""Longest side of the part that is looked at; a gradient through more takes long and shows no more."""
HOMOGENEOUS = 1e-3
"""Largest departure from f(2 x) = 2 f(x), as a share of the output, of a network without constants."""
MAPS = 5
"""Maps of a layer that are kept: those that vary most."""
MOST_LAYERS = 400

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Filter:
    """What the network computes at one voxel, as a filter of its input."""

    at: tuple[int, ...]
    """The voxel of the volume."""
    what: str
    """Why it was chosen."""
    weights: Map
    """Of the picture's own channel around the voxel, shape (W, W), odd."""
    output: float
    product: float
    """Filter times input, over all channels and the whole part."""
    remainder: float
    """What the filter does not explain: 0 for a network without constants, else its constant here."""
    others: float
    """Share of the product that comes from further channels: neighbours, a noise map."""
    total: float
    """Sum of the weights: what happens to a constant picture."""
    centre: float
    negative: float
    """Share of the absolute weight that is below 0."""
    width_px: float
    """Root mean square distance of the absolute weights."""


@dataclass(frozen=True)
class Kernels:
    """Kernels that a part of the network predicted."""

    layer: str
    scope: str
    """local, one for each voxel, or global."""
    at: tuple[tuple[int, ...], ...]
    stacks: tuple[Map, ...]
    """For each voxel (one for global kernels), shape (channels, K, K); of 3D kernels the middle plane."""
    centre: Map | None
    """The middle tap of the first channel at each voxel, shape (X, Y); None for global kernels."""


@dataclass(frozen=True)
class Layer:
    """What one layer gave."""

    name: str
    kind: str
    shape: tuple[int, ...]
    mean: float
    deviation: float
    smallest: float
    largest: float
    zero: float
    """Share of exact zeros."""
    idle: int
    """Channels that are the same everywhere."""
    maps: tuple[tuple[int, Map], ...]
    """Channel and values, shape (X, Y)."""


@dataclass(frozen=True)
class Interpretation:
    """Everything about one picture."""

    bundle: str
    without_constants: bool
    departure: float
    """Of f(2 x) from 2 f(x), as a share of the output."""
    part: tuple[slice, ...]
    """Which voxels were looked at."""
    given: Map
    """The network's input there, shape (X, Y)."""
    result: Map
    """Its output, perhaps on a finer grid."""
    filters: tuple[Filter, ...]
    kernels: tuple[Kernels, ...]
    layers: tuple[Layer, ...]

    @property
    def worst(self) -> float:
        """Largest remainder as a share of the output's range."""
        span = float(np.ptp(self.result)) or 1.0
        return max((abs(one.remainder) for one in self.filters), default=0.0) / span


def interpret(
    volume: Volume,
    bundle: Bundle,
    at: Sequence[tuple[int, int]] = (),
    *,
    slice_index: int | None = None,
    force: bool = False,
) -> Interpretation:
    """Look into a bundle's network while it sees one slice.

    Args:
        volume: what is enhanced.
        bundle: with a network.
        at: voxels (x, y) of which to show the filter; none takes an edge, a bright and a dark flat place.
        slice_index: along Z; None takes the middle.
        force: see `clarivox.enhance.enhance`.

    Raises:
        OptionError: the bundle has no trained network, or a voxel or slice lies outside.
        ModalityError: the bundle is for other images.
    """
    if not bundle.info.weights:
        raise OptionError(f"bundle {bundle.info.name} has no trained network to look into; choose one with weights")
    check_kind(volume, bundle, force)
    z = volume.shape[3] // 2 if slice_index is None else slice_index
    if not 0 <= z < volume.shape[3]:
        raise OptionError(f"slices run from 0 to {volume.shape[3] - 1}; found {z}")
    dims = bundle.info.spatial_dims
    items = Items(bundle.prepare(volume), dims, bundle.windows.neighbours, bundle.windows.clip)
    item = z if items.by_slice else 0
    chosen = list(at) or places(items, item, z)
    part = around(items.shape, chosen, z, dims, bundle.windows.stride)
    inside = [one for one in chosen if all(p.start <= v < p.stop for v, p in zip(one, part, strict=False))]
    if outside := [one for one in at if one not in inside]:
        raise OptionError(f"voxels must lie in the picture and within {SIDES[dims]} of each other; found {outside[0]}")
    x = items.read(item, part)[None]
    network = bundle.network
    depth = (z - part[2].start,) if dims == 3 else ()
    names = ("edge", "bright and flat", "dark and flat") if not at else ("chosen",) * len(inside)
    with torch.no_grad():
        layers, calls = watched(network, x)
        double = network(2 * x)
    result, filters = filters_at(network, x, part, inside, names, depth, bundle.windows.scale)
    departure = float((double - 2 * result).abs().max() / (2 * result.abs().max() + 1e-12))
    middle = (0, bundle.windows.neighbours, ...)
    return Interpretation(
        bundle.info.name,
        departure < HOMOGENEOUS,
        departure,
        part,
        _plane(x[middle], depth),
        _plane(result[0, 0], depth),
        tuple(filters),
        tuple(predicted(network, calls, part, inside, depth)),
        tuple(layers),
    )


def places(items: Items, item: int, z: int) -> list[tuple[int, int]]:
    """An edge, and where they are found a bright and a dark flat place, as (x, y)."""
    x, y, *deep = items.shape
    box = (slice(0, x), slice(0, y), slice(z, z + 1)) if deep and not items.by_slice else (slice(0, x), slice(0, y))
    if items.by_slice and items.spatial_dims == 3:
        box = (*box, slice(0, 1))
    picture = items.read(item, box)[items.neighbours].numpy().reshape(x, y)
    found = [steepest(picture)[:2]]
    for region in flat_regions(picture[..., None], [0]) or ():
        found.append(((region.x[0] + region.x[1]) // 2, (region.y[0] + region.y[1]) // 2))
    near = [
        one
        for one in found
        if all(abs(a - b) < SIDES[items.spatial_dims] // 2 for a, b in zip(one, found[0], strict=True))
    ]
    return near


def around(shape: tuple[int, ...], at: Sequence[tuple[int, int]], z: int, dims: int, stride: tuple[int, ...]) -> Box:
    """The part of an image that is looked at: around the voxels, on the grid of the network's strides."""
    middle = [sum(values) // len(at) for values in zip(*at, strict=True)] + [z]
    part = []
    for length, centre, step in zip(shape, middle, stride, strict=False):
        side = min(length, SIDES[dims] // step * step)
        start = min(max(0, centre - side // 2), length - side) // step * step
        stop = start + max(step, (min(length, start + side) - start) // step * step)
        part.append(slice(start, min(length, stop)))
    return tuple(part)


def filters_at(
    network: nn.Module,
    x: Tensor,
    part: Box,
    at: Sequence[tuple[int, int]],
    names: Sequence[str],
    depth: tuple[int, ...],
    scale: int,
) -> tuple[Tensor, list[Filter]]:
    """The network's output, and the row of its Jacobian at each voxel."""
    given = x.clone().requires_grad_()
    result = network(given)
    found = []
    for voxel, what in zip(at, names, strict=False):
        inner = [v - p.start for v, p in zip(voxel, part, strict=False)] + list(depth)
        spot = tuple(scale * place + scale // 2 for place in inner)
        value = result[(0, 0, *spot)]
        (row,) = torch.autograd.grad(value, given, retain_graph=True)
        found.append(_filter(row[0], x[0], float(value.detach()), (*voxel, *depth), inner, what))
    return result.detach(), found


def _filter(row: Tensor, x: Tensor, output: float, voxel: tuple[int, ...], inner: list[int], what: str) -> Filter:
    every = row.double() * x.double()
    own = row.shape[0] // 2 if row.shape[0] % 2 else 0
    product = float(every.sum())
    plane = _plane(row[own], tuple(inner[2:]))
    size, distance = np.abs(plane), _distance(plane.shape, inner)
    weight = float(size.sum()) or 1.0
    return Filter(
        voxel,
        what,
        _crop(plane, inner),
        output,
        product,
        output - product,
        float((product - float(every[own].sum())) / product) if product else 0.0,
        float(row[own].sum()),
        float(plane[inner[0], inner[1]]),
        float(size[plane < 0].sum()) / weight,
        float(np.sqrt((size * distance**2).sum() / weight)),
    )


def _distance(shape: tuple[int, ...], inner: Sequence[int]) -> NDArray[np.float64]:
    x, y = np.mgrid[: shape[0], : shape[1]]
    away: NDArray[np.float64] = np.hypot(x - inner[0], y - inner[1])
    return away


def _crop(plane: Map, inner: Sequence[int]) -> Map:
    """The square around a voxel that holds 90 % of the absolute weight, 11 to 49 wide; 0 beyond the part."""
    size = np.abs(plane)
    reach = np.maximum(
        *(
            np.abs(axis - place)
            for axis, place in zip(np.mgrid[: plane.shape[0], : plane.shape[1]], inner, strict=False)
        )
    )
    sums = np.cumsum(np.bincount(reach.ravel(), size.ravel()))
    radius = int(min(24, max(5, np.searchsorted(sums, 0.9 * sums[-1]))))
    padded = np.pad(plane, radius)
    return padded[inner[0] : inner[0] + 2 * radius + 1, inner[1] : inner[1] + 2 * radius + 1]


def watched(network: nn.Module, x: Tensor) -> tuple[list[Layer], list[tuple[str, Kpn, tuple[Any, ...]]]]:
    """What each layer gave on one pass, and what each predictor of kernels was called with; the last call counts."""
    found: dict[str, Layer] = {}
    calls: dict[str, tuple[str, Kpn, tuple[Any, ...]]] = {}
    hooks = []

    def look(name: str, module: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim >= 4 and (name in found or len(found) < MOST_LAYERS):
            found[name] = _layer(name, module, output)

    def note(name: str, module: Kpn, inputs: tuple[Any, ...]) -> None:
        calls[name] = (name, module, inputs)

    for name, module in network.named_modules():
        if isinstance(module, Kpn):
            hooks.append(module.register_forward_pre_hook(lambda m, i, n=name: note(n, m, i)))
        if not list(module.children()):
            hooks.append(module.register_forward_hook(lambda m, _i, o, n=name: look(n, m, o)))
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values()), list(calls.values())


def _layer(name: str, module: nn.Module, output: Tensor) -> Layer:
    values = output[0].float()
    channels = values.flatten(1)
    spread = channels.std(dim=1)
    loudest = spread.argsort(descending=True)[:MAPS].tolist()
    middle = (values.shape[3] // 2,) if values.ndim == 4 else ()
    return Layer(
        name or "network",
        type(module).__name__,
        tuple(values.shape),
        float(channels.mean()),
        float(channels.std()),
        float(channels.min()),
        float(channels.max()),
        float((channels == 0).float().mean()),
        int((spread == 0).sum()),
        tuple((channel, _plane(values[channel], middle)) for channel in loudest),
    )


def predicted(
    network: nn.Module,
    calls: Sequence[tuple[str, Kpn, tuple[Any, ...]]],
    part: Box,
    at: Sequence[tuple[int, int]],
    depth: tuple[int, ...],
) -> Iterator[Kernels]:
    """The kernels of each predictor within the network, at the voxels."""
    for name, module, inputs in calls:
        with torch.no_grad():
            kernels = module.kernels(*inputs)[0].float()
        dims = kernels.ndim - 2
        length = round(kernels.shape[1] ** (1 / dims))
        shaped = kernels.reshape(kernels.shape[0], *[length] * dims, *kernels.shape[2:])
        if dims == 3:
            shaped = shaped[:, :, :, length // 2]
        if module.scope == "global":
            stack = shaped.flatten(3)[..., 0].numpy()
            yield Kernels(name or "network", "global", (), (stack,), None)
            continue
        coarse = 2**module.haar_levels
        stacks = []
        for voxel in at:
            spot = [(v - p.start) // coarse for v, p in zip(voxel, part, strict=False)] + [d // coarse for d in depth]
            stacks.append(shaped[(slice(None), slice(None), slice(None), *spot)].numpy())
        middle = shaped[(0, length // 2, length // 2)]
        centre = _plane(middle, tuple(d // coarse for d in depth))
        yield Kernels(name or "network", "local", tuple(at), tuple(stacks), centre)


def _plane(values: Tensor, depth: tuple[int, ...]) -> Map:
    """A picture (X, Y) of a picture or a volume."""
    flat = values if values.ndim == 2 else values[..., min(depth[0] if depth else 0, values.shape[2] - 1)]
    plane: Map = flat.detach().float().cpu().numpy()
    return plane
