# SPDX-License-Identifier: Apache-2.0
"""Running a network over images window by window, as a MONAI inferer.

Three ways of tiling, and a bundle's metadata says which its network needs:

    exact     windows with a halo as wide as the receptive field: the result equals a whole pass
    blended   overlapping windows with Gaussian weights: for attention and global statistics
    whole     one pass over the image

Finished pieces come one after another, so writing them can go on while the next window is computed. The network's
return and the caller's input are never written to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from monai.inferers import Inferer

from clarivox import tiles
from clarivox.devices import planned
from clarivox.engines import kept_memory
from clarivox.errors import BundleError, CapacityError
from clarivox.passes import Images, Piece, Predictor, Run
from clarivox.tiles import Box, Tile

_Job = tuple[range, Tile]
"""Which images, and which window of each."""


class Windows(Inferer):  # type: ignore[misc]
    """Tiles images, runs a network over the tiles, and gives finished pieces.

    Args:
        spatial_dims: 2 for slices, 3 for volumes and clips.
        tiling: exact, blended or whole.
        halo: reach of the network in voxels, one number or one for each axis; from the bundle's metadata.
        stride: total stride of the network; images are extended to multiples of it by repeating the last voxel.
        scale: output voxels for each input voxel along the scaled axes (all axes of an image).
        window: sides of blended windows.
        overlap: least share by which blended windows overlap.
        neighbours: slices on each side that a 2.5D network sees as further channels.
        clip: the third axis is time and is never cut.

    Raises:
        BundleError: an argument is out of range.

    >>> double = Windows(2, halo=1)(torch.ones(1, 1, 5, 4), lambda x: 2 * x)
    >>> double.shape, double.max()
    (torch.Size([1, 1, 5, 4]), tensor(2.))
    """

    def __init__(
        self,
        spatial_dims: int,
        tiling: str = "exact",
        halo: int | list[int] = 0,
        stride: int = 1,
        scale: int = 1,
        window: int = 96,
        overlap: float = 0.25,
        neighbours: int = 0,
        clip: bool = False,
    ) -> None:
        if tiling not in ("exact", "blended", "whole") or spatial_dims not in (2, 3):
            raise BundleError(
                f"tiling is exact, blended or whole, in 2 or 3 dimensions; found {tiling}, {spatial_dims}"
            )
        reach = tuple(halo) if isinstance(halo, list | tuple) else (halo,) * spatial_dims
        if len(reach) < spatial_dims - clip or min(reach) < 0 or stride < 1 or scale < 1:
            raise BundleError(f"halo must be given for {spatial_dims} axes, stride and scale be 1 or more")
        self.spatial_dims = spatial_dims
        self.tiling = tiling
        self.reach = reach
        self.stride = (stride, stride, 1) if clip else (stride,) * spatial_dims
        self.scale = scale
        self.window = window
        self.overlap = overlap
        self.neighbours = neighbours
        self.clip = clip

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, run: Run | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """The network's output for a batch of images.

        Args:
            inputs: shape (B, C, *spatial); never changed.
            network: called with windows and `args`, `kwargs`.
            run: how the pass is made; by default as the device of `inputs` and the network's layers suggest.

        Returns:
            Shape (B, C', *spatial x scale), on the device of `inputs`.

        Raises:
            BundleError: the batch is empty, or the network returns another shape than it should.
            CapacityError: the smallest window does not fit the device.
        """
        images = _Stack(inputs)
        if run is None:
            if isinstance(network, torch.nn.Module) and not args and not kwargs:
                run = planned(network, self, inputs.device)
            else:
                run = Run(device=inputs.device)
        result: torch.Tensor | None = None
        for piece in self.pieces(images, lambda x: network(x, *args, **kwargs), run):
            if result is None:
                sides = tuple(side * self.scale for side in images.shape)
                result = piece.values.new_empty((len(images), piece.values.shape[0], *sides))
            result[piece.item][(slice(None), *piece.box)] = piece.values
        if result is None:
            raise BundleError("nothing to enhance: the batch is empty")
        return result.to(inputs.device)

    @property
    def channels(self) -> int:
        """Channels that the network takes: a slice and its neighbours."""
        return 2 * self.neighbours + 1

    @property
    def calls(self) -> int:
        """Network calls for each window."""
        return 1

    def with_one_call(self) -> Windows:
        """The same windows, with one network call each: what foretells the time of more."""
        return self

    def halo(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Reach along each axis of an image; as long as the axis where it must not be cut."""
        return (*self.reach[:2], shape[2]) if self.clip else self.reach[: self.spatial_dims]

    @torch.inference_mode()
    def pieces(self, images: Images, network: Predictor, run: Run) -> Iterator[Piece]:
        """Finished pieces, image by image and within an image slab by slab along the last axis.

        Args:
            images: what is enhanced.
            network: takes (B, C, *window), returns (B, C', *window x scale).
            run: how; its counters and notes are updated.

        Raises:
            CapacityError: the smallest window does not fit the device.
            BundleError: the network returns another shape than the metadata promises.
        """
        make = self._blend if self.tiling == "blended" else self._cut
        with kept_memory(run.device) if run.keep else contextlib.nullcontext():
            yield from make(images, network, run)

    def _cut(self, images: Images, network: Predictor, run: Run) -> Iterator[Piece]:
        """Finished cores of exact windows, or of the whole pass."""
        shape = images.shape
        plan = [tiles.whole(shape, self.stride)]
        if self.tiling == "exact":
            plan = tiles.exact(shape, self.halo(shape), self.stride, run.limit)
        total = len(images) * sum(tiles.voxels(tile.core) for tile in plan)
        run.batch = run.batch_of(max(tiles.voxels(tile.window) for tile in plan))
        first, jobs = 0, list[_Job]()
        while jobs or first < len(images):
            if not jobs:
                group = range(first, min(len(images), first + run.batch))
                first, jobs = group.stop, [(group, tile) for tile in plan]
            group, tile = jobs[0]
            values = self._predict(images, group, tile, network, run)
            if values is None:
                if len(group) > 1:
                    jobs = _fewer(jobs, run)
                else:
                    most = tiles.voxels(tile.window)
                    jobs = [(each, finer) for each, kept in jobs for finer in self._finer(kept, most, shape, run)]
                    plan = [finer for kept in plan for finer in self._finer(kept, most, shape, run)]
                continue
            jobs = jobs[1:]
            for item, value in zip(group, values, strict=True):
                yield Piece(item, self._scaled(tile.core), value)
            if run.on_window is not None:
                run.on_window(len(group) * tiles.voxels(tile.core) / total)

    def _finer(self, tile: Tile, most: int, shape: tuple[int, ...], run: Run) -> list[Tile]:
        """A tile cut in two where its window holds `most` voxels or more.

        Raises:
            CapacityError: it cannot be cut without changing the result.
        """
        if tiles.voxels(tile.window) < most:
            return [tile]
        halves = tiles.halved(tile, shape, self.halo(shape), self.stride) if self.tiling == "exact" else [tile]
        if len(halves) < 2:
            raise CapacityError(f"the network needs more memory than {run.device} has, and its window cannot be cut")
        run.note(f"out of memory on {run.device}: smaller windows, with the same result")
        return halves

    def _predict(self, images: Images, group: range, tile: Tile, network: Predictor, run: Run) -> torch.Tensor | None:
        """The network's output in the core of one window of several images; None where memory is not enough.

        Returns:
            Shape (B, C, *core x scale), on the host.
        """
        try:
            output = self._forward(images, group, tile.window, network, run)
        except torch.OutOfMemoryError:
            return None
        core = tuple(
            slice((c.start - w.start) * self.scale, (c.stop - w.start) * self.scale)
            for c, w in zip(tile.core, tile.window, strict=True)
        )
        return output[(slice(None), slice(None), *core)].to("cpu")

    def _forward(self, images: Images, group: range, window: Box, network: Predictor, run: Run) -> torch.Tensor:
        """The network's output for one window of several images, on the device."""
        output = network(channels_last(self._read(images, group, window).to(run.device)))
        return self._checked(output, group, window, run)

    def _read(self, images: Images, group: range, window: Box) -> torch.Tensor:
        """One window of several images, on the host; beyond an image its last voxel is repeated."""
        inside = tuple(slice(w.start, min(w.stop, n)) for w, n in zip(window, images.shape, strict=True))
        batch = torch.stack([images.read(item, inside) for item in group])
        beyond = [w.stop - i.stop for w, i in zip(window, inside, strict=True)]
        if any(beyond):
            pads = [n for extra in reversed(beyond) for n in (0, extra)]
            batch = torch.nn.functional.pad(batch, pads, mode="replicate")
        return batch

    def _checked(self, output: torch.Tensor, group: range, window: Box, run: Run) -> torch.Tensor:
        """The output, counted, if it has the shape that it should have.

        Raises:
            BundleError: it has another.
        """
        expected = tuple((w.stop - w.start) * self.scale for w in window)
        if tuple(output.shape[2:]) != expected or output.shape[0] != len(group):
            raise BundleError(f"the network must return {expected} for this window; it returned {tuple(output.shape)}")
        run.windows += len(group)
        run.computed += len(group) * tiles.voxels(window)
        return output

    def _scaled(self, box: Box) -> Box:
        """A box of the input in the output."""
        return tuple(slice(side.start * self.scale, side.stop * self.scale) for side in box)

    def _blend(self, images: Images, network: Predictor, run: Run) -> Iterator[Piece]:
        """Finished slabs of blended windows; a slab is finished when no later window reaches it."""
        for item in range(len(images)):
            yield from self._blend_one(images, item, network, run)

    def _blend_one(self, images: Images, item: int, network: Predictor, run: Run) -> Iterator[Piece]:
        shape = images.shape
        plan = tiles.blended(shape, self._window(shape), self.stride, self.overlap)
        weights = [_axis_weights(plan, axis, self.scale) for axis in range(self.spatial_dims)]
        sides = tuple(max(tile.window[axis].stop for tile in plan) * self.scale for axis in range(self.spatial_dims))
        deep = (plan[0].window[-1].stop - plan[0].window[-1].start) * self.scale
        total: torch.Tensor | None = None
        begun = 0
        run.share = 1 / (len(plan) * len(images))
        for number, tile in enumerate(plan):
            try:
                output = self._forward(images, range(item, item + 1), tile.window, network, run)[0]
                if total is None:
                    total = _room((output.shape[0], *sides[:-1], deep), run)
                box = self._scaled(tile.window)
                blend = output.float()
                for axis, side in enumerate(box):
                    bell = weights[axis][side.start // self.scale].to(blend.device)
                    blend = blend * bell.reshape([-1 if k == axis else 1 for k in range(self.spatial_dims)])
            except torch.OutOfMemoryError:
                raise CapacityError(f"one blended window does not fit the memory of {run.device}") from None
            total[(slice(None), *box[:-1], slice(None))] += blend.to(total.device)
            following = plan[number + 1].window[-1].start * self.scale if number + 1 < len(plan) else sides[-1]
            if following > begun:
                ready = min(following, shape[-1] * self.scale) - begun
                yield self._finished(item, total, begun, ready, shape)
                total = _moved_on(total, following - begun)
                begun = following
            self._tell(run)

    def _tell(self, run: Run) -> None:
        """Says that a blended window is done."""
        if run.on_window is not None:
            run.on_window(run.share)

    def _finished(self, item: int, total: torch.Tensor, begun: int, ready: int, shape: tuple[int, ...]) -> Piece:
        """The first `ready` voxels along the last axis of what is summed up, without what lies beyond the image."""
        box = (*(slice(0, side * self.scale) for side in shape[:-1]), slice(begun, begun + ready))
        inside = (slice(None), *box[:-1], slice(0, ready))
        return Piece(item, box, total[inside].to("cpu", copy=True))

    def _window(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Sides of a blended window; the time axis of a clip is never cut."""
        return tuple(shape[2] if self.clip and axis == 2 else self.window for axis in range(self.spatial_dims))


def _fewer(jobs: list[_Job], run: Run) -> list[_Job]:
    """Jobs of half as many images at a time as the first, which ran out of memory."""
    run.batch = len(jobs[0][0]) // 2
    run.note(f"out of memory on {run.device}: {run.batch} windows at a time")
    return [(group[i : i + run.batch], tile) for group, tile in jobs for i in range(0, len(group), run.batch)]


def _axis_weights(plan: list[Tile], axis: int, scale: int) -> dict[int, torch.Tensor]:
    """Normalised weights along one axis, by the first voxel of the window."""
    starts = sorted({tile.window[axis].start for tile in plan})
    side = plan[0].window[axis].stop - plan[0].window[axis].start
    bells = tiles.blend_weights([start * scale for start in starts], side * scale)
    return {start: torch.from_numpy(bell) for start, bell in zip(starts, bells, strict=True)}


def _room(shape: tuple[int, ...], run: Run) -> torch.Tensor:
    """Zeros to sum windows in: on the device, or on the host where they do not fit there."""
    if not run.host:
        try:
            return torch.zeros(shape, dtype=torch.float32, device=run.device)
        except torch.OutOfMemoryError:
            run.host = True
            run.note(f"out of memory on {run.device}: windows are summed on the host")
    return torch.zeros(shape, dtype=torch.float32)


def _moved_on(total: torch.Tensor, steps: int) -> torch.Tensor:
    """What is summed up, with the first `steps` voxels along the last axis dropped and as many zeros added."""
    rest = torch.zeros_like(total)
    if steps < total.shape[-1]:
        rest[..., : total.shape[-1] - steps] = total[..., steps:]
    return rest


def channels_last(batch: torch.Tensor) -> torch.Tensor:
    """A batch of shape (B, C, *spatial) with the channels next to each other in memory.

    With one channel every layout looks alike, and torch would take the other: the strides are set to say which, or the
    first convolution gives its result in the wrong one and the second copies it (benchmarks/tiling: 5 % of the time).

    >>> channels_last(torch.zeros(1, 1, 5, 4)).stride()
    (20, 1, 4, 1)
    """
    layout = torch.channels_last if batch.ndim == 4 else torch.channels_last_3d
    laid = batch.contiguous(memory_format=layout)
    if laid.shape[1] > 1:
        return laid
    return laid.contiguous().as_strided(laid.shape, (laid[0].numel(), 1, *laid.stride()[2:]))


class _Stack:
    """A batch of images in memory, as `Images`."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[2:])

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def read(self, item: int, box: Box) -> torch.Tensor:
        return self.inputs[item][(slice(None), *box)]
