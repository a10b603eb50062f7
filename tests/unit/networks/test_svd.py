# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from clarivox.errors import OptionError
from clarivox.networks.svd import SvdFilter, low_rank, marchenko_pastur_median, shrink


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_median_of_noise_is_where_marchenko_and_pastur_say() -> None:
    values = torch.linalg.svdvals(noise(20, 400, 100) / 20).square()
    assert float(values.median(dim=1).values.mean()) == pytest.approx(marchenko_pastur_median(0.25), rel=0.03)


@pytest.mark.parametrize("rule", ["optimal", "soft", "hard"])
def test_shrinkage_never_grows_and_drops_what_lies_within_the_noise(rule: str) -> None:
    values = torch.linspace(0, 9, 91)
    kept = shrink(values, 0.5, rule)
    assert (kept <= values).all() and (kept >= 0).all()
    assert (kept[values < 1.7] == 0).all()
    assert kept[-1] > 7


def test_pure_noise_is_removed_down_to_its_mean() -> None:
    matrices = noise(8, 256, 24) + 5
    cleaned = low_rank(matrices, 1.0, "optimal")
    mean = matrices.mean(dim=2, keepdim=True)
    assert float((cleaned - mean).square().mean()) < 0.1 * float((matrices - mean).square().mean())
    assert torch.allclose(cleaned.mean(dim=2), matrices.mean(dim=2), atol=1e-5)


def test_a_signal_of_low_rank_survives_its_noise() -> None:
    signal = noise(4, 256, 2, seed=5) @ noise(4, 2, 24, seed=6)
    cleaned = low_rank(signal + 0.3 * noise(4, 256, 24), 1.0, "optimal")
    assert float((cleaned - signal).square().mean()) < 0.3 * 0.09


def test_what_is_free_of_noise_is_kept() -> None:
    constant = torch.full((2, 64, 8), 3.0)
    assert torch.allclose(low_rank(constant, 1.0, "hard"), constant)


def test_a_still_clip_with_noise_comes_close_to_the_still() -> None:
    still = torch.rand(1, 1, 40, 33, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, -1, -1, 12)
    noisy = still + 0.1 * noise(*still.shape)
    assert float((SvdFilter()(noisy) - still).square().mean()) < 0.2 * 0.01


def test_a_clip_with_more_frames_than_a_block_has_pixels_is_filtered_too() -> None:
    noisy = 1 + 0.1 * noise(1, 1, 60, 52, 300)
    cleaned = SvdFilter()(noisy)
    assert cleaned.shape == noisy.shape
    assert float((cleaned - 1).square().mean()) < 0.2 * 0.01


def test_level_zero_keeps_a_clip_and_a_frame() -> None:
    for frames in (1, 8):
        clip = torch.rand(1, 1, 24, 20, frames)
        assert torch.allclose(SvdFilter(level=0)(clip), clip, atol=1e-4)


def test_a_single_frame_loses_noise_and_keeps_its_edge() -> None:
    step = torch.zeros(1, 1, 64, 64)
    step[..., 32:] = 1
    cleaned = SvdFilter()(step + 0.1 * noise(1, 1, 64, 64))
    assert float((cleaned - step).square().mean()) < 0.25 * 0.01
    assert float(cleaned[..., 34:].mean() - cleaned[..., :30].mean()) > 0.97


@pytest.mark.parametrize(
    "wrong", [{"level": -1}, {"rule": "best"}, {"block": 7}, {"patch": 2, "alike": 9}, {"search": 0}]
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        SvdFilter(**wrong)  # type: ignore[arg-type]
