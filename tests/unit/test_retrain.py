# SPDX-License-Identifier: Apache-2.0
"""Training a bundle on data of one's own: what goes wrong is said before the first step, by a stable code."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clarivox import io, manifest
from clarivox.bundle import find, load
from clarivox.errors import CancelledError, ClarivoxError
from clarivox.retrain import Wish, train
from clarivox.training_log import read_log
from clarivox.volume import Volume
from tests.dicom_objects import series_of

SMALL = {"patch_size": 16, "batch_size": 2, "steps": 8}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(4):
        x, y = np.mgrid[:40, :36]
        grey = 120 + 60 * np.sin(x / (3 + number)) + 40 * (y > 15)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"p{number}_front.png")
    return folder


def wish(tmp_path: Path, data: Path, **changes: Any) -> Wish:
    given = {"bundle": find("cxr_srcnn_superres"), "data": data, "output": tmp_path / "mine", "settings": SMALL}
    return Wish(**(given | changes))


def test_a_folder_of_pictures_becomes_a_bundle_that_loads(tmp_path: Path, data: Path) -> None:
    done = train(wish(tmp_path, data))
    assert done.split == {"train": 2, "validation": 1, "test": 1}
    bundle = load(tmp_path / "mine", scale=2)
    assert bundle.info.measured == () and "data of its user" in json.dumps(bundle.info.metadata)
    assert manifest.digests(tmp_path / "mine") == json.loads((tmp_path / "mine/models/manifest.json").read_text())
    shipped = find("cxr_srcnn_superres").folder
    names = ("model_x2.pt", "model_x3.pt")
    same = [(tmp_path / "mine/models" / n).read_bytes() == (shipped / "models" / n).read_bytes() for n in names]
    assert same == [False, True]
    assert "steps: 8\n" in (tmp_path / "mine/configs/train.yaml").read_text()
    assert [row.step for row in read_log(tmp_path / "mine/docs/training_x2.csv")] == [2, 4, 6, 8]
    assert list((tmp_path / "mine.training/pictures").glob("*.png"))
    everything = b"".join(path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file())
    assert b"front" not in everything and b"p0_" not in everything


def test_a_training_that_was_stopped_is_gone_on_with(tmp_path: Path, data: Path) -> None:
    whole = train(wish(tmp_path, data, output=tmp_path / "whole"))
    seen: list[str] = []

    def stop(step: Any) -> bool:
        seen.append(step.stage)
        return seen.count("train") < 3

    # The same patients in the same parts: the prepared images of the first run.
    prepared = whole.folder.with_name("whole.training") / "data"
    with pytest.raises(CancelledError):
        train(wish(tmp_path, prepared), stop)
    with pytest.raises(ClarivoxError, match="--resume") as caught:
        train(wish(tmp_path, prepared))
    assert caught.value.code == "output_exists"
    done = train(wish(tmp_path, prepared, resume=True))
    assert done.best == whole.best
    models = [torch.load(tmp_path / n / "models/model_x2.pt", weights_only=True) for n in ("whole", "mine")]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_beginning_anew_forgets_images_that_are_gone(tmp_path: Path, data: Path) -> None:
    train(wish(tmp_path, data))
    (data / "p3_front.png").unlink()
    assert sum(train(wish(tmp_path, data, overwrite=True)).split.values()) == 3
    prepared = tmp_path / "mine.training" / "data"
    assert sum(train(wish(tmp_path, prepared, overwrite=True)).split.values()) == 3


def test_the_steps_can_be_chosen_by_the_clock_and_stay_chosen(tmp_path: Path, data: Path) -> None:
    quick = {"patch_size": 16, "batch_size": 2}
    done = train(wish(tmp_path, data, settings=quick, minutes=0.02))
    plan = json.loads((tmp_path / "mine.training/plan.json").read_text())
    assert done.steps == plan["steps"] >= 1 and plan["step_s"] > 0
    assert f"steps: {plan['steps']}\n" in (tmp_path / "mine/configs/train.yaml").read_text()


def test_weights_to_begin_with_are_the_bundles_own_or_a_file(tmp_path: Path, data: Path) -> None:
    own = train(wish(tmp_path, data, init_from="own", output=tmp_path / "own")).best
    fresh = train(wish(tmp_path, data, output=tmp_path / "fresh"))
    assert own > fresh.best
    again = train(wish(tmp_path, data, init_from=str(tmp_path / "fresh/models/model_x2.pt")))
    assert again.steps == 8


def code_of(given: Wish) -> str:
    steps: list[str] = []

    def watch(step: Any) -> bool:
        steps.append(step.stage)
        return True

    with pytest.raises(ClarivoxError) as caught:
        train(given, watch)
    assert "train" not in steps
    return caught.value.code


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert code_of(wish(tmp_path, tmp_path / "empty")) == "empty_folder"
    assert code_of(wish(tmp_path, tmp_path / "nowhere")) == "not_found"


def test_unreadable_files_are_named_and_can_be_left_out(tmp_path: Path, data: Path) -> None:
    content = (data / "p0_front.png").read_bytes()
    (data / "p9_front.png").write_bytes(content[: len(content) // 2])
    assert code_of(wish(tmp_path, data)) == "unreadable_files"
    done = train(wish(tmp_path, data, skip_unreadable=True))
    assert sum(done.split.values()) == 4


def test_values_that_are_no_numbers_are_named(tmp_path: Path, data: Path) -> None:
    array = np.full((1, 40, 40, 1), np.nan, np.float32)
    io.write(Volume(array, np.eye(4)), data / "p8_front.nii")
    with pytest.raises(ClarivoxError, match=r"p8_front.nii \[not_finite\]"):
        train(wish(tmp_path, data))


def test_too_few_patients_for_a_split_are_named(tmp_path: Path, data: Path) -> None:
    for number in (2, 3):
        (data / f"p{number}_front.png").unlink()
    assert code_of(wish(tmp_path, data)) == "too_few_patients"


def test_a_wrong_modality_is_named(tmp_path: Path) -> None:
    series_of("mr", tmp_path / "mr")
    assert code_of(wish(tmp_path, tmp_path / "mr")) == "wrong_modality"


def test_a_torn_checkpoint_is_named(tmp_path: Path, data: Path) -> None:
    train(wish(tmp_path, data))
    for path in (tmp_path / "mine.training").glob("checkpoint*"):
        path.write_bytes(path.read_bytes()[:50])
    assert code_of(wish(tmp_path, data, resume=True)) == "torn_checkpoint"


def test_a_setting_that_the_recipe_does_not_have_is_named(tmp_path: Path, data: Path) -> None:
    assert code_of(wish(tmp_path, data, settings={"stepps": 3})) == "unknown_setting"


def test_a_bundle_without_weights_has_nothing_to_train(tmp_path: Path, data: Path) -> None:
    assert code_of(wish(tmp_path, data, bundle=find("identity"))) == "not_trainable"


def test_a_loss_that_is_no_number_is_named_and_the_bundle_stays_whole(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ClarivoxError) as caught:
        train(wish(tmp_path, data, settings=SMALL | {"learning_rate": 1e30}))
    assert caught.value.code == "nan_loss"
    load(tmp_path / "mine")


def test_the_bundle_itself_and_what_is_no_bundle_are_not_written_over(tmp_path: Path, data: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(find("cxr_srcnn_superres").folder, own)
    assert code_of(wish(tmp_path, data, bundle=find(own), output=own, resume=True)) == "output_exists"
    assert code_of(wish(tmp_path, data, output=data, overwrite=True)) == "bad_bundle"
    assert len(list(data.iterdir())) == 4
