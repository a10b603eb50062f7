# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from clarivox.errors import OptionError
from clarivox.transforms.burst import Burst, Burstd, RandBurst
from clarivox.transforms.gaussian import GaussianNoise
from clarivox.transforms.hu_window import HUWindow, RandHUWindow, window
from clarivox.transforms.respace import Respace, Respaced


def blob(x: float, y: float, sides: tuple[int, int] = (48, 40)) -> torch.Tensor:
    across, along = (torch.arange(n) - (n - 1) / 2 for n in sides)
    return torch.exp(-((across[:, None] - x) ** 2 + (along[None] - y) ** 2) / 18)[None]


def test_a_frame_is_moved_by_what_the_burst_says() -> None:
    burst = Burst(4, shift_px=3.0, seed=2)
    frames = burst(blob(0, 0))
    assert torch.equal(frames[:1], blob(0, 0))
    for frame, (x, y, turn) in zip(frames, burst.motion().tolist(), strict=True):
        assert turn == 0 and abs(x) <= 3 and abs(y) <= 3
        assert float((frame - blob(x, y)[0]).abs().max()) < 0.02  # cubic interpolation is not exact


def test_a_frame_turns_about_the_middle_also_where_the_picture_is_not_square() -> None:
    burst = Burst(2, shift_px=0.0, turn_degrees=40.0, seed=2)
    turn = burst.motion()[1, 2]
    x, y = float(10 * turn.cos()), float(10 * turn.sin())
    frame = burst(blob(10, 0))[1:]
    assert (
        min(float((frame - blob(x, side * y)).abs().max()) for side in (1, -1)) < 0.02
    )  # cubic interpolation is not exact


def test_some_frames_jump() -> None:
    shifts = Burst(200, shift_px=1.0, jump_px=20.0, jumps=0.25, seed=2).motion()[:, :2].abs().amax(1)
    assert 0.15 < float((shifts > 1).float().mean()) < 0.3


def test_noise_after_a_burst_is_new_in_each_frame() -> None:
    noise = GaussianNoise(0.1, seed=1, reference=1.0)(Burst(2, shift_px=0.0)(torch.zeros(1, 64, 64)))
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.1


def test_a_random_burst_moves_otherwise_each_time_and_can_be_run_again() -> None:
    burst = RandBurst(3)
    burst.set_random_state(seed=1)
    first, image = burst(blob(0, 0)), blob(0, 0)
    assert burst.drawn is not None and torch.equal(burst.drawn(image), first)
    assert not torch.equal(burst(image), first)


@pytest.mark.parametrize("new", [(2.0, 2.0, 2.0), (0.7, 1.3, 5.0)])
def test_respacing_there_and_back_changes_no_bit(new: tuple[float, ...]) -> None:
    image = torch.rand(1, 11, 9, 5, generator=torch.Generator().manual_seed(1))
    respace = Respace((1.0, 1.2, 3.0), new)
    assert torch.equal(respace.back(respace(image), image), image)


def test_a_change_on_the_new_grid_arrives_on_the_old_one() -> None:
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1))
    respace = Respace((1.0, 1.0), (2.0, 2.0))
    assert torch.allclose(respace.back(respace(image) + 0.25, image), image + 0.25, atol=1e-5)


def test_dictionary_twins_do_what_their_transforms_do() -> None:
    image = blob(0, 0)
    items = Burstd(["image"], 2, seed=3)(Respaced(["image"], (1, 1), (2, 2))({"image": image, "other": image}))
    assert torch.equal(items["image"], Burst(2, seed=3)(Respace((1, 1), (2, 2))(image)))
    assert items["other"] is image


def test_the_field_of_view_stays() -> None:
    ramp = ((torch.arange(40) + 0.5) * 0.5)[None, :, None].expand(-1, -1, 4)
    respaced = Respace((0.5, 1.0), (2.0, 1.0))(ramp)
    assert torch.allclose(respaced[0, 2:-2, 0], ((torch.arange(10) + 0.5) * 2)[2:-2], atol=1e-4)


def test_windows_map_level_to_half_and_come_back_within() -> None:
    image = torch.tensor([-1024.0, -150.0, 0.0, 50.0, 250.0, 3000.0])
    soft = HUWindow("soft")
    assert soft(image).tolist() == [0.0, 0.0, 0.375, 0.5, 1.0, 1.0]
    assert torch.equal(soft.back(soft(image))[1:5], image[1:5])
    assert torch.equal(HUWindow(50, 400, clip=False).back(HUWindow(50, 400, clip=False)(image)), image)


def test_a_random_window_stays_between_its_ends() -> None:
    transform = RandHUWindow((0, 100), (300, 500))
    transform.set_random_state(seed=1)
    assert all(300 <= transform.draw().width <= 500 for _ in range(20))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="one frame"):
        Burst(0)
    with pytest.raises(OptionError, match="one picture"):
        Burst(2)(torch.zeros(1, 4, 4, 4))
    with pytest.raises(OptionError, match="above 0 mm"):
        Respace((1.0,), (0.0,))
    with pytest.raises(OptionError, match="2 in the image"):
        Respace((1.0,), (2.0,))(torch.zeros(1, 4, 4))
    with pytest.raises(OptionError, match="width above 0"):
        HUWindow(50)
    with pytest.raises(OptionError, match="of its own"):
        HUWindow("lung", 100)
    with pytest.raises(OptionError, match="window is one of"):
        window("skin")  # type: ignore[arg-type]


def test_the_middle_frame_of_a_burst_may_be_the_one_that_stays() -> None:
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(3))
    burst = Burst(5, seed=1, still=2)
    assert torch.equal(burst(image)[2:3], image) and not torch.equal(burst(image)[:1], image)
    assert (burst.motion()[2] == 0).all()
    with pytest.raises(OptionError, match="one of 5, counted from 0; found 5"):
        Burst(5, still=5)
