# SPDX-License-Identifier: Apache-2.0
"""What every transform, its dictionary twin and its random twin must do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from clarivox.transforms.bicubic import BicubicResize, BicubicResized
from clarivox.transforms.clipped_gaussian import (
    ClippedGaussianNoise,
    ClippedGaussianNoised,
    RandClippedGaussianNoise,
)
from clarivox.transforms.elastic import Elastic, Elasticd, RandElastic
from clarivox.transforms.flip import Flip, Flipd, RandFlip
from clarivox.transforms.gaussian import GaussianNoise, GaussianNoised, RandGaussianNoise
from clarivox.transforms.hu_window import HUWindow, HUWindowd, RandHUWindow
from clarivox.transforms.kspace_crop import KSpaceCrop, KSpaceCropd, RandKSpaceCrop
from clarivox.transforms.log_compression import LogCompress, LogCompressd, LogExpand, LogExpandd
from clarivox.transforms.low_dose_ct import LowDoseCT, LowDoseCTd, RandLowDoseCT
from clarivox.transforms.multiplicative_speckle import (
    MultiplicativeSpeckle,
    MultiplicativeSpeckled,
    RandMultiplicativeSpeckle,
)
from clarivox.transforms.noncentral_chi import NoncentralChiNoise, NoncentralChiNoised, RandNoncentralChiNoise
from clarivox.transforms.projection import Beam
from clarivox.transforms.rician import RandRicianNoise, RicianNoise, RicianNoised
from clarivox.transforms.speckle import RandSpeckle, Speckle, Speckled
from clarivox.transforms.turn import RandTurn, Turn, Turnd
from clarivox.transforms.zoom import RandZoom, Zoom, Zoomd

BEAM = Beam(pixel_mm=20.0, views=8)


class Case(NamedTuple):
    """A transform and its twins."""

    plain: Callable[[Tensor], Tensor]
    twin: Callable[[dict[str, Any]], dict[Any, Any]]
    random: Callable[[], Any] | None = None
    scale: float = 1.0


CASES = {
    "rician": Case(
        RicianNoise(0.1, seed=3),
        RicianNoised(["image"], 0.1, seed=3),
        lambda: RandRicianNoise((0.05, 0.2)),
    ),
    "gaussian": Case(
        GaussianNoise(0.1, seed=3),
        GaussianNoised(["image"], 0.1, seed=3),
        lambda: RandGaussianNoise((0.05, 0.2)),
    ),
    "clipped-gaussian": Case(
        ClippedGaussianNoise(0.1, seed=3),
        ClippedGaussianNoised(["image"], 0.1, seed=3),
        lambda: RandClippedGaussianNoise((0.05, 0.2)),
    ),
    "noncentral-chi": Case(
        NoncentralChiNoise(0.1, seed=3, peak=2.0),
        NoncentralChiNoised(["image"], 0.1, seed=3, peak=2.0),
        lambda: RandNoncentralChiNoise((0.05, 0.2)),
    ),
    "kspace-crop": Case(KSpaceCrop(0.6), KSpaceCropd(["image"], 0.6), RandKSpaceCrop),
    "low-dose-ct": Case(
        LowDoseCT(0.1, seed=3, beam=BEAM),
        LowDoseCTd(["image"], 0.1, seed=3, beam=BEAM),
        lambda: RandLowDoseCT((0.05, 0.2), beam=BEAM),
    ),
    "speckle": Case(Speckle(seed=3), Speckled(["image"], seed=3), RandSpeckle),
    "multiplicative-speckle": Case(
        MultiplicativeSpeckle(2, seed=3), MultiplicativeSpeckled(["image"], 2, seed=3), RandMultiplicativeSpeckle
    ),
    "hu-window": Case(
        HUWindow(50, 400), HUWindowd(["image"], 50, 400), lambda: RandHUWindow((0, 100), (300, 500), clip=False)
    ),
    "flip": Case(Flip([0, 1]), Flipd(["image"], [0, 1]), lambda: RandFlip(0.5, (0, 1))),
    "turn": Case(Turn(20), Turnd(["image"], 20), RandTurn),
    "zoom": Case(Zoom(1.2), Zoomd(["image"], 1.2), RandZoom),
    "shrink-content": Case(Zoom(0.7), Zoomd(["image"], 0.7), RandZoom),
    "elastic": Case(Elastic(1.0, 4, seed=3), Elasticd(["image"], 1.0, 4, seed=3), lambda: RandElastic((1.0, 2.0), 4)),
    "log-compress": Case(LogCompress(40), LogCompressd(["image"], 40)),
    "log-expand": Case(LogExpand(40), LogExpandd(["image"], 40)),
    "bicubic-up": Case(BicubicResize(2), BicubicResized(["image"], 2), scale=2),
    "bicubic-down": Case(BicubicResize(1 / 3, 256), BicubicResized(["image"], 1 / 3, 256), scale=1 / 3),
}
SIDES = [(12, 9), (15, 6, 3)]
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
DRAWN = {name: case for name, case in CASES.items() if case.random}
random = pytest.mark.parametrize("case", DRAWN.values(), ids=DRAWN.keys())


def picture(*sides: int) -> Tensor:
    return torch.rand(1, *sides, generator=torch.Generator().manual_seed(1))


@each
def test_pictures_and_volumes_give_float32_of_the_promised_size(case: Case) -> None:
    for sides in SIDES:
        result = case.plain(picture(*sides))
        assert result.dtype == torch.float32
        assert result.shape == (1, *[round(n * case.scale) for n in sides])
        assert torch.isfinite(result).all()


@each
def test_the_input_is_left_as_it_was_and_the_result_repeats(case: Case) -> None:
    image = picture(*SIDES[0])
    kept = image.clone()
    assert torch.equal(case.plain(image), case.plain(image))
    assert torch.equal(image, kept)


@each
def test_the_twin_does_the_same_to_its_keys_and_nothing_to_others(case: Case) -> None:
    image = picture(*SIDES[0])
    items = {"image": image, "other": image}
    result = case.twin(items)
    assert torch.equal(result["image"], case.plain(image))
    assert result["other"] is image
    assert items["image"] is image


@each
def test_the_twin_asks_for_its_keys(case: Case) -> None:
    with pytest.raises(KeyError):
        case.twin({"other": picture(*SIDES[0])})


@random
def test_a_random_twin_repeats_with_its_seed_and_differs_between_calls(case: Case) -> None:
    assert case.random is not None
    image, first, second = picture(*SIDES[0]), case.random(), case.random()
    for transform in (first, second):
        transform.set_random_state(seed=5)
    a, b = first(image), second(image)
    assert torch.equal(a, b)
    assert not torch.equal(first(image), a)


@random
def test_what_a_random_twin_drew_can_be_run_again(case: Case) -> None:
    assert case.random is not None
    image, transform = picture(*SIDES[0]), case.random()
    transform.set_random_state(seed=5)
    result = transform(image)
    assert torch.equal(transform.drawn(image), result)
