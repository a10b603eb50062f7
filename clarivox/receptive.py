# SPDX-License-Identifier: Apache-2.0
"""How far a network sees, and how its windows must be aligned.

The reach is derived from the layers, or taken from the network where its family computes it, and checked by a probe.
`python -m clarivox.receptive FOLDER ...` writes both numbers into a bundle's metadata and seals the bundle.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clarivox import manifest
from clarivox.bundle import Bundle, describe, load
from clarivox.errors import BundleError
from clarivox.tiles import rounded_up


class Reach(NamedTuple):
    """What exact tiling needs to know of a network."""

    halo: int
    """Input voxels to each side on which one output voxel depends, at most."""
    stride: int
    """Windows must begin at multiples of this many input voxels."""


UNBOUNDED = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.MultiheadAttention)
"""Layers that see the whole image; batch norm does not where it uses its running statistics."""


def derived(network: nn.Module, spatial_dims: int, channels: int = 1) -> Reach:
    """The reach of a network from its layers.

    A network that has `halo` and `stride` as whole numbers says so itself: its family computes them, functional steps
    included; a `halo` of None says that there is no bound. Otherwise every convolution and pooling adds half its
    kernel, in voxels of the grid that it works on; this is exact for a chain of layers, and not too small for branches.

    Raises:
        BundleError: a layer sees the whole image.

    >>> derived(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 1, 5, padding=2)), 2)
    Reach(halo=6, stride=2)
    """
    halo, stride = getattr(network, "halo", None), getattr(network, "stride", None)
    if isinstance(halo, int) and isinstance(stride, int):
        return Reach(halo, stride)
    if hasattr(network, "halo") and halo is None:
        raise BundleError(f"a network {type(network).__name__} as configured sees the whole image: tile it as whole")
    side = 64
    seen: list[float] = []
    coarsest = 1

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal coarsest
        running = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
        if isinstance(module, UNBOUNDED) and not running:
            raise BundleError(f"a layer {type(module).__name__} sees the whole image: blend its windows")
        coarsest = max(coarsest, side // min(inputs[0].shape[2], output.shape[2]))
        kernel = getattr(module, "kernel_size", None)
        if kernel is None:
            return
        width, dilation = (v if isinstance(v, int) else max(v) for v in (kernel, getattr(module, "dilation", 1)))
        grid = side / max(inputs[0].shape[2], output.shape[2])
        seen.append(((width - 1) * dilation + 1) // 2 * grid if width > 1 else 0)

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(look) for module in leaves]
    try:
        with torch.inference_mode():
            network(torch.zeros((1, channels, *(side,) * spatial_dims)))
    finally:
        for hook in hooks:
            hook.remove()
    return Reach(math.ceil(sum(seen)), coarsest)


def probed(network: nn.Module, spatial_dims: int, reach: Reach, channels: int = 1, scale: int = 1) -> int:
    """The reach of a network as a probe finds it: one voxel is changed, and the outputs that change are looked up.

    Each position within a cell of the total stride is tried, in float64, on an image so large that every output that
    could change lies within.

    Args:
        network: left as it is.
        spatial_dims: 2 or 3.
        reach: what to expect; bounds the image.
        channels: input channels.
        scale: output voxels for each input voxel along each axis.
    """
    exact = copy.deepcopy(network).double().eval()
    centre = rounded_up(reach.halo + 2, reach.stride)
    side = 2 * centre + reach.stride
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, channels, *(side,) * spatial_dims), generator=generator, dtype=torch.float64)
    furthest = 0
    with torch.inference_mode():
        before = exact(image)
        for phase in range(reach.stride):
            place = centre + phase
            changed = image.clone()
            spot = changed
            for axis in range(spatial_dims):
                spot = spot.narrow(axis + 2, place, 1)
            spot += 1.0
            moved = (exact(changed) != before).nonzero()[:, 2:] // scale
            if len(moved):
                furthest = max(furthest, int((moved - place).abs().max()))
    return furthest


def of_bundle(bundle: Bundle) -> Reach:
    """The reach over every choice that the bundle's options list."""
    schema = bundle.info.options.get("properties", {})
    listed = {name: rule["enum"] for name, rule in schema.items() if "enum" in rule}
    found = []
    for values in itertools.product(*listed.values()):
        each = load(bundle.info.folder, **dict(zip(listed, values, strict=True)))
        found.append(derived(each.network, each.info.spatial_dims, 2 * each.windows.neighbours + 1))
    return Reach(max(reach.halo for reach in found), max(reach.stride for reach in found))


def record(folder: Path) -> Reach:
    """Write the reach of a bundle's network into its metadata, and seal the bundle."""
    manifest.seal(folder)
    reach = of_bundle(load(folder.resolve()))
    metadata = describe(folder).metadata
    metadata["clarivox"] |= {"halo": [reach.halo] * metadata["clarivox"]["spatial_dims"], "stride": reach.stride}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
    manifest.seal(folder)
    return reach


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record(Path(name))
