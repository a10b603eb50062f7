# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from clarivox import io
from clarivox.degradations import degraded
from clarivox.errors import BundleError, OptionError, RescaleError, SeriesError
from clarivox.patches import Patches, Pictures, Validation, cropped, pictures, pictures_of, spread, volumes_of
from clarivox.splits import examples
from clarivox.transforms.elastic import RandElastic
from clarivox.transforms.gaussian import GaussianNoise, RandGaussianNoise
from clarivox.transforms.zoom import RandZoom
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


def stored(folder: Path, count: int) -> Path:
    for number in range(count):
        array = np.random.default_rng(number).random((1, 20, 24, 3), np.float32) + number + 2
        io.write(Volume(array, np.diag([1.0, 1.0, 5.0, 1.0])), folder / f"v{number}.nii")
    split = folder / "split.json"
    split.write_text(json.dumps({"train": {f"p{n}": [f"v{n}.nii"] for n in range(count)}}))
    return split


def drawn(folder: Path, split: Path, cache_mb: float, **more: object) -> Patches:
    sources = pictures_of(folder, split, "train", scale=10, cache_mb=cache_mb)
    return Patches(sources, RandGaussianNoise((0.1, 0.2)), size=16, batch_size=4, **more)  # type: ignore[arg-type]


def test_pictures_that_are_no_longer_kept_are_read_again(tmp_path: Path) -> None:
    split = stored(tmp_path, 6)
    small = drawn(tmp_path, split, cache_mb=0.02)
    cache = small.groups[0].images.cache  # type: ignore[attr-defined]
    for number in (0, 99, 100, 250, 7):
        first, again = small.batch(number), drawn(tmp_path, split, cache_mb=0.02).batch(number)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert cache.held <= 20000
    assert cache.made > 6


def test_batches_of_a_block_draw_from_few_volumes_and_blocks_from_all(tmp_path: Path) -> None:
    small = drawn(tmp_path, stored(tmp_path, 6), cache_mb=0.02)
    pools = [set(small._pool(number)[0].tolist()) for number in range(0, 3000, 50)]
    assert all(len(pool) <= 3 for pool in pools) and pools[0] == pools[1]
    assert set.union(*pools) == set(range(6))


def test_a_set_that_fits_is_read_once_and_drawn_from_whole(tmp_path: Path) -> None:
    large = drawn(tmp_path, stored(tmp_path, 4), cache_mb=10)
    for number in range(5):
        large.batch(number)
    assert large.groups[0].images.cache.made == 4  # type: ignore[attr-defined]
    assert len(large._pool(0)[0]) == 4


def test_volumes_are_cut_in_three_dimensions(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((1, 18, 20, 17), np.float32)
    io.write(Volume(array, np.eye(4)), tmp_path / "v0.nii")
    (tmp_path / "split.json").write_text(json.dumps({"train": {"p": ["v0.nii"]}}))
    sources = volumes_of(tmp_path, tmp_path / "split.json", "train")
    inputs, targets = Patches(sources, RandGaussianNoise((0.1, 0.2)), size=16, batch_size=2).batch(3)
    assert inputs.shape == targets.shape == (2, 1, 16, 16, 16)


def test_patches_can_be_bent_and_zoomed_before_they_are_made_worse(tmp_path: Path) -> None:
    split = stored(tmp_path, 2)
    augment = Compose([RandZoom(), RandElastic((1.0, 2.0), 8)])
    plain, bent = drawn(tmp_path, split, 10), drawn(tmp_path, split, 10, augment=augment)
    assert bent.batch(3)[1].shape == plain.batch(3)[1].shape
    assert not torch.allclose(bent.batch(3)[1], plain.batch(3)[1], atol=0.01)
    assert torch.equal(bent.batch(3)[1], drawn(tmp_path, split, 10, augment=augment).batch(3)[1])


def test_many_groups_give_no_more_pictures_than_wanted() -> None:
    many = [Pictures((torch.full((1, 8, 8), float(n)),)) for n in range(100)]
    assert [float(image.mean()) for image in spread(many, each=1, most=4)] == [12.0, 37.0, 62.0, 87.0]


def test_values_beyond_what_a_recipe_is_for_are_refused_before_the_first_step() -> None:
    twelve_bits = Volume(np.full((1, 32, 32, 1), 3000, np.uint16), np.eye(4))
    with pytest.raises(RescaleError) as refused:
        pictures(twelve_bits, scale=255)
    assert refused.value.code == "beyond_scale"
    assert pictures(Volume(np.full((1, 32, 32, 1), 255, np.uint8), np.eye(4)), scale=255)
