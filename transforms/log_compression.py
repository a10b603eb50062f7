# SPDX-License-Identifier: Apache-2.0
"""Log compression of an ultrasound envelope, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin


def _check(range_db: float, reference: float) -> None:
    if range_db <= 0 or reference <= 0:
        raise OptionError(
            f"log compression needs a range in decibels and a reference above 0; found {range_db}, {reference}"
        )


class LogCompress:
    """Grey values 0 to 1 from an envelope: 1 is the reference, 0 is `range_db` below it or less.

    Args:
        range_db: decibels between black and white.
        reference: the envelope that becomes white.

    Raises:
        OptionError: the range or the reference is not above 0.

    >>> LogCompress(40)(torch.tensor([0.0, 0.1, 1.0, 10.0]))
    tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """

    def __init__(self, range_db: float = 55.0, reference: float = 1.0) -> None:
        _check(range_db, reference)
        self.range_db, self.reference = range_db, reference

    def __call__(self, envelope: Tensor) -> Tensor:
        """Grey values, float32; an envelope of 0 or less is black."""
        level = 20 * torch.log10((envelope.float() / self.reference).clamp(min=1e-12))
        return (level / self.range_db + 1).clamp(0, 1)


class LogExpand:
    """The envelope that `LogCompress` made these grey values from; black is 0, since what it held is lost.

    Args:
        range_db: decibels between black and white.
        reference: the envelope of white.

    Raises:
        OptionError: the range or the reference is not above 0.

    >>> LogExpand(40)(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.1000, 1.0000])
    """

    def __init__(self, range_db: float = 55.0, reference: float = 1.0) -> None:
        _check(range_db, reference)
        self.range_db, self.reference = range_db, reference

    def __call__(self, grey: Tensor) -> Tensor:
        """The envelope, float32."""
        grey = grey.float()
        envelope = self.reference * 10 ** ((grey - 1) * (self.range_db / 20))
        return torch.where(grey > 0, envelope, torch.zeros_like(envelope))


class LogCompressd(DictionaryTwin):
    """Dictionary twin of `LogCompress`."""

    of = LogCompress


class LogExpandd(DictionaryTwin):
    """Dictionary twin of `LogExpand`."""

    of = LogExpand
