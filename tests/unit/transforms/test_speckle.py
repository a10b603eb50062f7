# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from clarivox.errors import OptionError
from clarivox.transforms.log_compression import LogCompress, LogExpand
from clarivox.transforms.multiplicative_speckle import MultiplicativeSpeckle, RandMultiplicativeSpeckle
from clarivox.transforms.speckle import RandSpeckle, Speckle, point_spread

RAYLEIGH = math.sqrt(math.pi / (4 - math.pi))
FLAT = torch.full((1, 384, 384), 0.6)


def lag(picture: torch.Tensor, axis: int, distance: int = 1) -> float:
    n = picture.shape[axis] - distance
    pair = torch.stack((picture.narrow(axis, 0, n).flatten(), picture.narrow(axis, distance, n).flatten()))
    return float(torch.corrcoef(pair)[0, 1])


def test_the_envelope_on_flat_content_is_rayleigh_about_the_clean_envelope() -> None:
    envelope = Speckle(seed=2).envelope(FLAT)
    assert float(envelope.mean() / envelope.std()) == pytest.approx(RAYLEIGH, rel=0.02)
    assert float(envelope.mean()) == pytest.approx(float(LogExpand(55)(FLAT)[0, 0, 0]), rel=0.02)


def test_it_is_as_strong_at_the_border_as_in_the_middle() -> None:
    envelope = Speckle(seed=2).envelope(FLAT)
    assert float(envelope[:, :3].mean()) == pytest.approx(float(envelope.mean()), rel=0.1)


def test_it_is_correlated_over_the_pulse_and_wider_across_the_beam() -> None:
    envelope = Speckle(seed=2, axial_px=2, lateral_px=5).envelope(FLAT)
    assert lag(envelope, axis=1) > lag(envelope, axis=2) > 0.3
    assert abs(lag(envelope, axis=2, distance=12)) < 0.05


def test_black_stays_black_and_white_stays_within_one() -> None:
    image = torch.zeros(1, 64, 64)
    image[:, 40:] = 1.0
    speckled = Speckle(seed=2)(image)
    assert float(speckled[:, :20].max()) == 0
    assert float(speckled.max()) == 1


def test_frames_have_scatterers_of_their_own() -> None:
    clip = Speckle(seed=2)(torch.full((1, 32, 32, 2), 0.6))
    assert abs(float(torch.corrcoef(clip.reshape(-1, 2).T)[0, 1])) < 0.3


@pytest.mark.parametrize("shape", [(3, 128, 128), (1, 128, 128, 3)], ids=["burst", "clip"])
def test_what_scatterers_keep_ties_a_frame_to_the_next(shape: tuple[int, ...]) -> None:
    envelope = Speckle(seed=2, kept=0.9).envelope(torch.full(shape, 0.6))
    frames = envelope if len(shape) == 3 else envelope[0].movedim(-1, 0)
    correlation = torch.corrcoef(frames.flatten(1))
    # Envelopes correlate by about the square of what their fields do.
    assert float(correlation[0, 1]) == pytest.approx(0.81, abs=0.07)
    assert float(correlation[0, 2]) == pytest.approx(0.66, abs=0.1)
    assert float(frames[2].mean() / frames[2].std()) == pytest.approx(RAYLEIGH, rel=0.1)


def test_a_pulse_has_the_width_that_it_says() -> None:
    pulse = point_spread(4.0)
    assert float(pulse[len(pulse) // 2 + 2] / pulse.max()) == pytest.approx(0.5)


def test_compression_and_expansion_are_inverses_within_the_range() -> None:
    envelope = torch.logspace(-2.7, 0, 50)
    assert torch.allclose(LogExpand(55)(LogCompress(55)(envelope)), envelope, rtol=1e-4)
    assert float(LogExpand(40, reference=3.0)(LogCompress(40, reference=3.0)(torch.tensor(2.0)))) == pytest.approx(2.0)


@pytest.mark.parametrize("looks", [1, 4])
def test_the_easy_variant_has_mean_one_and_no_correlation(looks: int) -> None:
    speckled = MultiplicativeSpeckle(looks, seed=2)(torch.ones(1, 384, 384))
    assert float(speckled.mean()) == pytest.approx(1, rel=0.01)
    assert abs(lag(speckled, axis=1)) < 0.02
    if looks == 1:
        assert float(speckled.mean() / speckled.std()) == pytest.approx(RAYLEIGH, rel=0.02)


def test_random_twins_stay_between_their_ends() -> None:
    pulses, looks = RandSpeckle(range_db=(40, 60)), RandMultiplicativeSpeckle((1, 3))
    for transform in (pulses, looks):
        transform.set_random_state(seed=1)
    assert all(40 <= pulses.draw().range_db <= 60 for _ in range(20))
    assert {looks.draw().looks for _ in range(40)} == {1, 2, 3}


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="widths"):
        Speckle(axial_px=0)
    with pytest.raises(OptionError, match="share"):
        Speckle(kept=1.5)
    with pytest.raises(OptionError, match="decibels"):
        LogCompress(0)
    with pytest.raises(OptionError, match="one look"):
        MultiplicativeSpeckle(0)


def test_looks_keep_the_mean_and_lower_the_contrast_by_their_root() -> None:
    one, four = (Speckle(seed=2, looks=looks).envelope(FLAT) for looks in (1, 4))
    assert float(four.mean()) == pytest.approx(float(one.mean()), rel=0.02)
    assert float(four.mean() / four.std()) == pytest.approx(2 * RAYLEIGH, rel=0.05)
    with pytest.raises(OptionError, match="one look or more; found 0"):
        Speckle(looks=0)


def test_looks_are_drawn_from_the_fewest_to_the_most() -> None:
    random = RandSpeckle(looks=(1, 3))
    random.set_random_state(0)
    assert {random.draw().looks for _ in range(30)} == {1, 2, 3}


def test_beyond_the_outline_black_stays_black_where_asked() -> None:
    image = torch.full((1, 32, 32), 0.7)
    image[:, :10] = 0
    assert float(Speckle(seed=1, margin=True)(image)[:, :10].max()) == 0 < float(Speckle(seed=1)(image)[:, 9].max())
    random = RandSpeckle(margins=0.5)
    random.set_random_state(0)
    assert {random.draw().margin for _ in range(20)} == {False, True}
