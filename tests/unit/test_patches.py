# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clarivox.degradations import degraded
from clarivox.errors import BundleError, OptionError, SeriesError
from clarivox.patches import Patches, Pictures, Validation, cropped, pictures, spread
from clarivox.splits import examples
from clarivox.transforms.gaussian import GaussianNoise, RandGaussianNoise
from clarivox.volume import Volume

SPLITS = sorted((Path(__file__).parents[2] / "bundles").glob("*/configs/split.json"))


def groups() -> list[Pictures]:
    draw = torch.Generator().manual_seed(0)
    return [Pictures(tuple(torch.rand(1, 20, 24, generator=draw) + 0.5 for _ in range(3)))]


def patches(seed: int = 0) -> Patches:
    return Patches(groups(), RandGaussianNoise((0.1, 0.2), reference=1.0), size=16, batch_size=4, seed=seed)


def test_a_batch_depends_on_the_seed_and_on_its_number_alone() -> None:
    first, again = patches(), patches()
    first.batch(0)
    for one, other in zip(first.batch(5), again.batch(5), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first.batch(5)[1], first.batch(6)[1])
    assert not torch.equal(first.batch(5)[1], patches(seed=1).batch(5)[1])


def test_inputs_are_the_targets_made_worse() -> None:
    inputs, targets = patches().batch(0)
    assert inputs.shape == targets.shape == (4, 1, 16, 16)
    assert 0.05 < float((inputs - targets).std()) < 0.25


def test_the_noise_level_of_each_patch_can_come_along() -> None:
    noisy = Patches(groups(), RandGaussianNoise((0.1, 0.2), reference=1.0), size=16, batch_size=3, level=True)
    inputs, targets, level = noisy.batch(0)
    assert torch.allclose(level, (inputs - targets).flatten(1).std(dim=1)) and level.shape == (3,)


def test_pictures_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(OptionError, match="64 voxels"):
        Patches(groups(), RandGaussianNoise((0.1, 0.2)), size=64, batch_size=1)


def test_volumes_of_cubes_are_cut_across_three_axes_and_empty_slices_left_out() -> None:
    array = np.ones((1, 64, 66, 68), np.float32)
    array[..., :8] = 0
    volume = Volume(array, np.eye(4))
    assert len(pictures(volume)[0].images) == 64 + 66 + 60
    flat = volume.replace(affine=np.diag([1.0, 1.0, 4.0, 1.0]))
    assert len(pictures(flat)[0].images) == 60


def test_factors_may_be_written_as_text() -> None:
    volume = Volume(np.ones((1, 8, 8, 1), np.float32), np.eye(4))
    assert pictures(volume, shrink={"0.5": 1.0})[0].images[0].shape == (1, 4, 4)


def test_the_middle_of_a_picture_may_be_kept_alone() -> None:
    ramp = torch.arange(20.0).expand(1, 16, 20)
    (found,) = spread([Pictures((ramp,))], each=1, multiple=4, side=9)
    assert found.shape == (1, 8, 8) and found[0, 0].tolist() == list(range(6, 14))


def test_validation_is_the_mean_psnr_of_fixed_pairs() -> None:
    images = spread(groups(), each=2, multiple=4)
    score = Validation(images, [GaussianNoise(0.1, seed=1, reference=1.0)])
    assert score(torch.nn.Identity()) == pytest.approx(20, abs=0.3)
    degraded_picture, output, truth = score.shown[0]
    assert torch.equal(degraded_picture, output) and not torch.equal(output, truth)


def test_a_degraded_volume_is_in_the_volumes_unit() -> None:
    volume = Volume(np.full((1, 4, 4, 2), 100, np.uint8), np.eye(4), slope=np.array([2.0, 3.0]))
    worse = degraded(cropped(volume, 2), lambda x: x + 1, width=6)
    assert worse.values()[0, 0, 0].tolist() == [206.0, 306.0]
    assert worse.array.dtype == np.uint8


@pytest.mark.parametrize("split", SPLITS, ids=lambda path: path.parts[-3])
def test_no_subject_and_no_file_of_a_shipped_split_stands_in_two_parts(split: Path) -> None:
    parts = json.loads(split.read_text())
    assert set(parts) == {"train", "validation", "test"}
    files = [file for part in parts.values() for names in part.values() for file in names]
    subjects = [subject for part in parts.values() for subject in part]
    assert len(set(files)) == len(files) and len(set(subjects)) == len(subjects)


def test_a_split_with_a_subject_in_two_parts_is_refused(tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": {"a": ["x.nii"]}, "test": {"a": ["y.nii"]}}))
    with pytest.raises(BundleError, match="two parts"):
        examples(tmp_path, split, "train")


def test_files_that_are_not_there_are_counted(tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": {"a": ["x.nii", "y.nii"]}}))
    with pytest.raises(SeriesError, match="2 of 2 files"):
        examples(tmp_path, split, "train")
    with pytest.raises(BundleError, match="asked for test"):
        examples(tmp_path, split, "test")
