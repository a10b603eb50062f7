# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from clarivox.classical import Srad
from clarivox.classical.srad import closed, speckle_variation
from clarivox.errors import OptionError
from clarivox.transforms.log_compression import LogExpand
from clarivox.transforms.speckle import Speckle


def speckled(level: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return Speckle(seed)(level[None])[None]


def disc() -> torch.Tensor:
    x, y = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    return torch.where((x - 48) ** 2 + (y - 48) ** 2 < 24**2, 0.4, 0.75)


def test_speckle_goes_and_the_step_between_two_tissues_stays() -> None:
    truth = disc()
    before = speckled(truth)
    after = Srad()(before)[0, 0]
    assert float((after - truth).square().mean()) < 0.35 * float((before[0, 0] - truth).square().mean())
    assert float(after[:8].mean() - after[44:52, 44:52].mean()) > 0.3
    assert float(after[40:56, 40:56].std()) < 0.5 * float(before[0, 0, 40:56, 40:56].std())


def test_the_sum_of_the_envelope_is_kept() -> None:
    before = speckled(disc()).clamp(0.05, 0.95)
    expand = LogExpand(55.0)
    assert torch.allclose(expand(Srad()(before)).sum(), expand(before).sum(), rtol=1e-4)


def test_a_mirrored_picture_gives_the_mirrored_result() -> None:
    before = speckled(disc()[:, :70])
    assert torch.allclose(Srad()(before.flip(2)), Srad()(before).flip(2), atol=1e-4)
    assert torch.allclose(Srad()(before.mT), Srad()(before).mT, atol=1e-4)


def test_what_is_outside_the_sector_stays_black_and_black_specks_are_filled() -> None:
    before = speckled(torch.full((60, 50), 0.6)).clamp_min(0.1)
    before[..., :10] = 0
    before[0, 0, 30, 30] = 0
    after = Srad()(before)
    assert (after[..., :10] == 0).all() and (after[..., 10:] > 0).all()


def test_it_never_leaves_the_range_of_what_came_in() -> None:
    before = 0.2 + 0.6 * speckled(disc())
    after = Srad(iterations=200, level=3)(before)
    assert float(after.min()) >= float(before.min()) - 1e-5 and float(after.max()) <= float(before.max()) + 1e-5


def test_no_iteration_and_no_speckle_keep_the_picture() -> None:
    before = speckled(disc())
    assert torch.allclose(Srad(iterations=0)(before), before, atol=1e-4)
    assert (Srad()(torch.zeros(1, 1, 5, 4)) == 0).all()
    assert torch.allclose(Srad(range_db=0)(torch.full((2, 1, 1, 5), 0.3)), torch.full((2, 1, 1, 5), 0.3))


def test_each_picture_of_a_batch_is_treated_by_itself() -> None:
    pair = torch.cat([speckled(disc(), 1), 0.5 * speckled(disc(), 2)])
    assert torch.allclose(Srad()(pair)[1:], Srad()(pair[1:]), atol=1e-6)


def test_the_strength_of_independent_noise_is_found_beside_an_edge() -> None:
    noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(2))
    picture = (1 + 0.1 * noise) * torch.where(torch.arange(200) < 100, 1.0, 3.0)
    found = float(speckle_variation(picture, torch.ones_like(picture, dtype=torch.bool)))
    assert found == pytest.approx(0.1, rel=0.05)


def test_closing_a_mask_keeps_its_outline() -> None:
    mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., 4:12, 5:15] = True
    assert (closed(mask) == mask).all()


@pytest.mark.parametrize("wrong", [{"iterations": -1}, {"step": 0.3}, {"step": 0}, {"level": -1}, {"range_db": -1}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Srad(**wrong)  # type: ignore[arg-type]
