# SPDX-License-Identifier: Apache-2.0
import pytest

from clarivox.errors import CancelledError
from clarivox.progress import Meter, Step


def test_the_fraction_reaches_one_and_the_last_eta_is_zero() -> None:
    seen: list[Step] = []
    meter = Meter("enhance", 4, seen.append)
    for _ in range(4):
        meter.advance()
    assert [step.fraction for step in seen] == [0.25, 0.5, 0.75, 1.0]
    assert seen[-1].eta_s == 0 and seen[0].eta_s is not None


def test_returning_false_cancels() -> None:
    with pytest.raises(CancelledError, match="enhance"):
        Meter("enhance", 2, lambda step: False).advance()


def test_nobody_has_to_watch() -> None:
    Meter("read", 1, None).advance()
