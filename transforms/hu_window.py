# SPDX-License-Identifier: Apache-2.0
"""Windows on Hounsfield units, as radiologists name them: a level and a width."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin, RandomTwin

WindowName = Literal["soft", "lung", "bone", "brain", "liver", "mediastinum"]
WINDOWS: dict[WindowName, tuple[float, float]] = {
    "soft": (50.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "liver": (30.0, 150.0),
    "mediastinum": (50.0, 350.0),
}
"""Level and width in HU."""


def window(name: WindowName) -> tuple[float, float]:
    """Level and width of a named window, in HU.

    Raises:
        OptionError: there is no window of that name.

    >>> window("soft")
    (50.0, 400.0)
    """
    if name not in WINDOWS:
        raise OptionError(f"a window is one of {', '.join(get_args(WindowName))}; found {name}")
    return WINDOWS[name]


class HUWindow:
    """Grey values 0 to 1 from Hounsfield units.

    Args:
        level: HU that becomes 0.5, or the name of a window.
        width: HU from black to white; left out where a name is given.
        clip: False lets values beyond black and white pass.

    Raises:
        OptionError: there is no such window, or no width above 0.

    >>> import torch
    >>> HUWindow("soft")(torch.tensor([-1000.0, 50.0, 150.0]))
    tensor([0.0000, 0.5000, 0.7500])
    >>> HUWindow(50, 400).back(torch.tensor([0.0, 0.5, 0.75]))
    tensor([-150.,   50.,  150.])
    """

    def __init__(self, level: float | WindowName, width: float | None = None, clip: bool = True) -> None:
        if isinstance(level, str):
            if width is not None:
                raise OptionError(f"the window {level} has a width of its own; leave {width} out")
            level, width = window(level)
        if width is None or width <= 0:
            raise OptionError(f"a window needs a width above 0 HU; found {width}")
        self.low, self.width, self.clip = level - width / 2, width, clip

    def __call__(self, image: Tensor) -> Tensor:
        """Grey values, float32, of an image in HU."""
        grey = (image.float() - self.low) / self.width
        return grey.clamp(0, 1) if self.clip else grey

    def back(self, grey: Tensor) -> Tensor:
        """HU from grey values; what was clipped stays at the ends."""
        return grey.float() * self.width + self.low


class HUWindowd(DictionaryTwin):
    """Dictionary twin of `HUWindow`."""

    of = HUWindow


class RandHUWindow(RandomTwin):
    """Draws a level and a width, then calls `HUWindow`.

    Args:
        level: lowest and highest, in HU, drawn evenly between.
        width: narrowest and widest, in HU.
        prob: chance that anything is done at all.
        clip: as in `HUWindow`.
    """

    def __init__(
        self, level: tuple[float, float], width: tuple[float, float], prob: float = 1.0, clip: bool = True
    ) -> None:
        super().__init__(prob)
        self.level, self.width, self.clip = level, width, clip

    def draw(self) -> HUWindow:
        """The next window."""
        return HUWindow(self.evenly(self.level), self.evenly(self.width), self.clip)
