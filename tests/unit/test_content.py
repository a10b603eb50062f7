# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import clarivox.io
from clarivox.content import content, drawn, levels, outlined
from clarivox.volume import Volume


def test_ct_is_seen_through_its_window_and_other_pictures_up_to_their_brightest() -> None:
    hounsfield = np.array([-1000, -160, 40, 240, 3000], np.int16).reshape(1, 5, 1, 1)
    ct = levels(Volume(hounsfield, np.eye(4), modality="CT"), most=1).images[0]
    assert ct.flatten().tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    ramp = np.arange(100, dtype=np.uint8).reshape(1, 10, 10, 1)
    xray = levels(Volume(ramp, np.eye(4), modality="DX"), most=1).images[0]
    assert float(xray.max()) == 1 and float(xray[0, 5, 0]) == pytest.approx(50 / 98.5, abs=0.01)


def test_large_slices_are_shrunk_and_few_of_many_are_taken() -> None:
    volume = Volume(np.random.default_rng(0).integers(0, 255, (1, 80, 40, 9), np.uint8), np.eye(4), modality="MR")
    images = levels(volume, side=40, most=3).images
    assert [tuple(image.shape) for image in images] == [(1, 40, 20)] * 3
    assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image in images)


def test_the_same_seed_draws_the_same_picture() -> None:
    assert torch.equal(drawn(3, 48), drawn(3, 48)) and not torch.equal(drawn(3, 48), drawn(4, 48))


@pytest.fixture
def split(tmp_path: Path) -> Path:
    for name, value in (("a", 100), ("b", 200)):
        array = np.full((1, 12, 12, 1), value, np.uint8)
        array[0, 0] = 0
        clarivox.io.write(Volume(array, np.eye(4), modality="OT", stored_range=(0, 255)), tmp_path / f"{name}.png")
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": {"one": ["a.png"], "two": ["b.png"]}, "test": {}}))
    return path


def test_a_subject_is_one_group_for_each_tone_and_shares_its_weight(split: Path) -> None:
    groups = content(
        split.parent, split, "train", tones=[[1, 0], [0.5, 0.25]], shapes=[1, 2], weights={"one": 3, "drawn": 0}
    )
    assert [group.weight for group in groups] == [1.5, 0.5, 1.5, 0.5]
    assert float(groups[2].images[0].max()) == 0.75


def test_black_stays_black_in_every_tone(split: Path) -> None:
    groups = content(split.parent, split, "train", tones=[[0.6, 0.3]])
    assert all(float(group.images[0].min()) == 0 for group in groups)


def test_a_sector_is_black_beyond_its_outline_and_unchanged_within() -> None:
    image = drawn(1, 96).clamp_min(0.1)
    for seed in range(8):
        shown = outlined(image, seed)
        assert torch.equal(shown[shown > 0], image[shown > 0]) and 0.2 < float((shown > 0).float().mean()) < 0.95


def test_every_other_picture_is_cut_to_a_sector_where_asked(split: Path) -> None:
    groups = content(split.parent, split, "train", tones=[[1, 0], [0.9, 0]], shapes=[1, 2], outlines=True)
    assert [float((image == 0).float().mean()) > 0.2 for image in groups[2].images] == [False, True]
    assert [float((image == 0).float().mean()) > 0.2 for image in groups[5].images] == [True, False]
