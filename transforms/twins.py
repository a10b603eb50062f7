# SPDX-License-Identifier: Apache-2.0
"""The two twins of a transform: one for dictionaries, one that draws its settings at random."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

from monai.config.type_definitions import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


class DictionaryTwin(MapTransform):  # type: ignore[misc]
    """Does to some keys of a dictionary what its transform does to an image; the heir names the transform in `of`.

    Args:
        keys: what to change; every key gets the same.
        settings: of the transform.
        allow_missing_keys: True passes over keys that are not there.
        named: settings of the transform, by name.
    """

    of: ClassVar[type[Any]]

    def __init__(self, keys: KeysCollection, *settings: Any, allow_missing_keys: bool = False, **named: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform: Callable[[Tensor], Tensor] = self.of(*settings, **named)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of `data` with the keys transformed."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = self.transform(items[key])
        return items


class RandomTwin(RandomizableTransform):  # type: ignore[misc]
    """Draws a transform, then calls it; the heir says in `draw` how. What was drawn lies in `drawn`, to be run again.

    Args:
        prob: chance that anything is done at all.
    """

    def __init__(self, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.drawn: Callable[[Tensor], Tensor] | None = None

    def draw(self) -> Callable[[Tensor], Tensor]:
        """The next transform."""
        raise NotImplementedError

    def evenly(self, ends: tuple[float, float]) -> float:
        """A number between the two, each as likely."""
        return float(self.R.uniform(*ends))

    def seed(self) -> int:
        """A seed for the transform."""
        return int(self.R.randint(2**31))

    def randomize(self, data: Any = None) -> None:
        """Draws the next transform into `drawn`; None where nothing is to be done."""
        super().randomize(None)
        drawn = self.draw()
        self.drawn = drawn if self._do_transform else None

    def __call__(self, image: Tensor) -> Tensor:
        """A changed copy, or the image itself."""
        self.randomize()
        return image if self.drawn is None else self.drawn(image)
