# SPDX-License-Identifier: Apache-2.0
"""Images of a data set that are read when they are wanted, and kept while they fit a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import overload

from torch import Tensor

Groups = tuple[tuple[Tensor, ...], ...]
"""What one file gives: several groups of images."""


class ImageCache:
    """Keeps what files gave; what was not used for longest goes first.

    Args:
        limit_bytes: of all images together; the newest is kept whatever its size.

    >>> import torch
    >>> cache = ImageCache(limit_bytes=8)
    >>> one, two = (lambda: ((torch.zeros(2),),)), (lambda: ((torch.ones(1),),))
    >>> [int(cache.get(key, make)[0][0].numel()) for key, make in (("a", one), ("b", two), ("b", two))]
    [2, 1, 1]
    >>> cache.made, list(cache.kept)
    (2, ['b'])
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.held, self.made = limit_bytes, 0, 0
        self.kept: OrderedDict[str, Groups] = OrderedDict()

    def get(self, key: str, make: Callable[[], Groups]) -> Groups:
        """The groups of a key, made anew where they are not kept."""
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        self.made += 1
        groups = self.kept[key] = make()
        self.held += bytes_of(groups)
        while self.held > self.limit_bytes and len(self.kept) > 1:
            _, gone = self.kept.popitem(last=False)
            self.held -= bytes_of(gone)
        return groups


def bytes_of(groups: Groups) -> int:
    """Memory that groups of images take; images that share memory count once."""
    stores = {image.untyped_storage().data_ptr(): image.untyped_storage().nbytes() for g in groups for image in g}
    return sum(stores.values())


class CachedImages(Sequence[Tensor]):
    """One group of a file's images, behind a cache.

    Args:
        cache: shared by the files of a data set.
        key: names the file.
        make: reads it and gives all its groups.
        group: which of them this is.
        sides: of each image, without the channel axis.
        size: bytes of the file's groups together.
    """

    def __init__(
        self,
        cache: ImageCache,
        key: str,
        make: Callable[[], Groups],
        group: int,
        sides: Sequence[tuple[int, ...]],
        size: int,
    ) -> None:
        self.cache, self.key, self.make, self.group = cache, key, make, group
        self.sides, self.size = tuple(sides), size

    def __len__(self) -> int:
        return len(self.sides)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, place: int | slice) -> Tensor | tuple[Tensor, ...]:
        return self.cache.get(self.key, self.make)[self.group][place]


def sides_of(images: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """The sides of images, without reading them."""
    return list(images.sides) if isinstance(images, CachedImages) else [tuple(image.shape[1:]) for image in images]
