# SPDX-License-Identifier: Apache-2.0
"""A burst: one picture several times, moved a little from frame to frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


class Burst:
    """Repeats a picture as frames that are shifted and turned about its middle; one of them stays as it is.

    Frames are moved by cubic interpolation, and mirrored at the border. Noise that follows falls on each frame anew, so
    `Burst` comes first. Speckle made before it moves with the tissue; made after it with `kept`, it also fades.

    Args:
        frames: how many, the one that stays included; they become the channels.
        shift_px: largest shift along X and along Y.
        turn_degrees: largest turn.
        jump_px: in `jumps` of the frames, the largest shift instead.
        jumps: share of frames that moved far, as by a breath or a loss of contact.
        seed: the same seed gives the same motion.
        still: which frame stays: 0, the first, or the middle one of neighbours in a clip.

    Raises:
        OptionError: there is no frame, none of that number, or a motion is negative.

    Source:
        Mildenhall et al., Burst denoising with kernel prediction networks, CVPR 2018: shifts of up to 2 pixels, and
        larger ones in some frames.

    >>> Burst(5, seed=1)(torch.rand(1, 16, 12)).shape
    torch.Size([5, 16, 12])
    """

    def __init__(
        self,
        frames: int,
        shift_px: float = 2.0,
        turn_degrees: float = 0.0,
        *,
        jump_px: float = 16.0,
        jumps: float = 0.0,
        seed: int = 0,
        still: int = 0,
    ) -> None:
        if not 0 <= still < max(frames, 1):
            raise OptionError(f"the frame that stays is one of {frames}, counted from 0; found {still}")
        if frames < 1 or min(shift_px, turn_degrees, jump_px) < 0 or not 0 <= jumps <= 1:
            raise OptionError(
                "a burst needs one frame or more, motion of 0 or more, and a share of jumps of 0 to 1; "
                f"found {frames}, {shift_px}, {turn_degrees}, {jump_px} and {jumps}"
            )
        self.frames, self.shift_px, self.turn_degrees, self.seed = frames, shift_px, turn_degrees, seed
        self.jump_px, self.jumps, self.still = jump_px, jumps, still

    def motion(self) -> Tensor:
        """Shift along X and Y in pixels and turn in radians of each frame, shape (frames, 3); zeros where it stays."""
        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.rand(self.frames, 3, generator=generator) * 2 - 1
        far = torch.rand(self.frames, 1, generator=generator) < self.jumps
        shift = draw[:, :2] * torch.where(far, self.jump_px, self.shift_px)
        motion = torch.cat((shift, draw[:, 2:] * math.radians(self.turn_degrees)), dim=1)
        motion[self.still] = 0
        return motion

    def __call__(self, image: Tensor) -> Tensor:
        """Frames (frames, X, Y), float32, of a picture (1, X, Y).

        Raises:
            OptionError: the image is not one picture of one channel.
        """
        if image.ndim != 3 or image.shape[0] != 1:
            raise OptionError(f"a burst is made from one picture of shape (1, X, Y); found {tuple(image.shape)}")
        image, (x, y) = image.float(), image.shape[1:]
        moved = []
        for number, (shift_x, shift_y, turn) in enumerate(self.motion().tolist()):
            if number == self.still:
                moved.append(image)
                continue
            cos, sin = math.cos(turn), math.sin(turn)
            # grid_sample wants where each pixel comes from: Y first, in half sides.
            rows = [[cos, sin * x / y, -2 * shift_y / y], [-sin * y / x, cos, -2 * shift_x / x]]
            places = F.affine_grid(torch.tensor([rows], device=image.device), [1, 1, x, y], align_corners=False)
            moved.append(
                F.grid_sample(image[None], places, mode="bicubic", padding_mode="reflection", align_corners=False)[0]
            )
        return torch.cat(moved)


class Burstd(DictionaryTwin):
    """Dictionary twin of `Burst`; every key moves alike."""

    of = Burst


class RandBurst(RandomTwin):
    """Draws a seed of the motion, then calls `Burst`.

    Args:
        frames: as in `Burst`.
        shift_px: as in `Burst`.
        turn_degrees: as in `Burst`.
        jump_px: as in `Burst`.
        jumps: as in `Burst`.
        still: as in `Burst`.
    """

    def __init__(
        self,
        frames: int,
        shift_px: float = 2.0,
        turn_degrees: float = 0.0,
        *,
        jump_px: float = 16.0,
        jumps: float = 0.0,
        still: int = 0,
    ) -> None:
        super().__init__()
        self.frames, self.shift_px, self.turn_degrees = frames, shift_px, turn_degrees
        self.jump_px, self.jumps, self.still = jump_px, jumps, still

    def draw(self) -> Burst:
        """The next motion."""
        return Burst(
            self.frames,
            self.shift_px,
            self.turn_degrees,
            jump_px=self.jump_px,
            jumps=self.jumps,
            seed=self.seed(),
            still=self.still,
        )
