# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics.rocauc import compute_roc_auc

from clarivox.classifier import Recipe, classifier, picture_of, trained, write
from clarivox.diagnosis import Labels, TaskReader, area, compared, folds_of, labels_of
from clarivox.errors import BundleError, CancelledError, FormatError, OptionError
from clarivox.volume import Volume

SHORT = Recipe(steps=12, batch=8)


def scan(sick: bool, seed: int, blurred: bool = False) -> Volume:
    """A dark picture; a sick one has a bright square somewhere, which blur takes away."""
    draw = np.random.default_rng(seed)
    array = draw.normal(60, 6, (32, 32))
    if sick and not blurred:
        i, j = draw.integers(4, 20, 2)
        array[i : i + 8, j : j + 8] += 120
    return Volume(array.clip(0, 255).astype(np.uint8)[None, ..., None], np.eye(4), stored_range=(0, 255))


def filled(blurred: bool = True, pairs: int = 10) -> TaskReader:
    labels = Labels({f"{n}.png": "mass" if n % 2 else "clear" for n in range(2 * pairs)})
    reader = TaskReader(labels, side=32)
    for n in range(2 * pairs):
        versions = {"original": scan(n % 2 == 1, n)}
        if blurred:
            versions["blurring"] = scan(n % 2 == 1, n, blurred=True)
        reader.add(f"folder/{n}.png", versions)
    return reader


def test_the_area_is_that_of_monai() -> None:
    draw = np.random.default_rng(0)
    positive = draw.random(60) < 0.4
    scores = (draw.normal(size=60) + positive).round(1)
    theirs = compute_roc_auc(torch.tensor(scores), torch.tensor(positive.astype(int)))
    assert area(scores, positive, np.ones((1, 60)))[0] == pytest.approx(theirs)


def test_a_filter_that_takes_the_sign_away_is_found_to_read_worse() -> None:
    found = filled().read(folds=2, recipe=SHORT)
    original, blurred = found.reads
    assert original.auc > 0.9 and blurred.auc < 0.8
    change = found.changes[0]
    assert (change.images, change.than, change.verdict) == ("blurring", "original", "read worse")
    assert "read worse" in found.markdown() and found.as_dict()["changes"][0]["verdict"] == "read worse"
    assert found.counts == (10, 10) and found.patients == 20


def test_equal_images_show_no_difference() -> None:
    scores = np.random.default_rng(1).normal(size=40)
    reads, changes = compared(
        {"original": scores, "same": scores.copy()}, np.arange(40) < 20, [str(n) for n in range(40)]
    )
    assert changes[0].difference == 0 and changes[0].verdict == "no difference shown"
    assert reads[0].interval[0] < reads[0].auc < reads[0].interval[1]


def test_the_interval_of_chance_holds_a_half_and_few_patients_widen_it() -> None:
    scores, positive = np.random.default_rng(3).normal(size=80), np.arange(80) % 2 == 0
    alone, _ = compared({"original": scores}, positive, [str(n) for n in range(80)])
    grouped, _ = compared({"original": scores}, positive, [str(n // 8) for n in range(80)])
    assert alone[0].interval[0] < 0.5 < alone[0].interval[1]
    assert grouped[0].interval != alone[0].interval


def test_no_patient_is_trained_on_and_read() -> None:
    patients = [str(n // 3) for n in range(60)]
    folds = folds_of(patients, np.arange(60) % 6 < 3, 5, seed=1)
    assert all(len({fold for fold, who in zip(folds, patients, strict=True) if who == one}) == 1 for one in patients)
    assert set(folds) == set(range(5))


def test_a_classifier_never_sees_the_images_that_it_reads() -> None:
    once, again = filled().read(folds=2, recipe=SHORT), filled(blurred=False).read(folds=2, recipe=SHORT)
    assert once.reads[0] == again.reads[0]


def test_reading_can_be_cancelled_and_tells_its_folds() -> None:
    told: list[str] = []
    with pytest.raises(CancelledError):
        filled().read(folds=2, recipe=SHORT, progress=lambda step: told.append(step.stage) or False)
    assert len(told) == 1


def test_too_few_patients_are_named() -> None:
    with pytest.raises(OptionError, match="found 2 and 2") as caught:
        filled(pairs=2).read(folds=3)
    assert caught.value.code == "too_few_patients"


def test_weights_to_begin_with_count_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    pictures, positive = [picture_of(scan(n % 2 == 1, n), 32) for n in range(8)], np.arange(8) % 2 == 1
    network = trained(pictures, positive, SHORT)
    write(network, tmp_path / "classifier.pt")
    begun = trained(pictures, positive, Recipe(steps=1, learning_rate=0.0), init_from=tmp_path / "classifier.pt")
    for name, value in begun.named_parameters():
        assert torch.equal(value, dict(network.named_parameters())[name])
    torch.save({"other": torch.ones(1)}, tmp_path / "wrong.pt")
    with pytest.raises(BundleError, match="classifier"):
        trained(pictures, positive, SHORT, init_from=tmp_path / "wrong.pt")


def test_the_same_seed_gives_the_same_classifier_and_leaves_the_callers_draws_alone() -> None:
    pictures, positive = [picture_of(scan(n % 2 == 1, n), 32) for n in range(8)], np.arange(8) % 2 == 1
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = trained(pictures, positive, SHORT)
    assert torch.equal(torch.rand(1), expected)
    second = trained(pictures, positive, SHORT)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_picture_is_square_and_on_one_scale() -> None:
    volume = Volume((np.arange(60 * 40) % 251).astype(np.int16).reshape(1, 60, 40, 1).repeat(3, 3), np.eye(4))
    found = picture_of(volume, 16)
    assert found.shape == (1, 16, 16)
    assert float(found.mean()) == pytest.approx(0, abs=1e-5) and float(found.std()) == pytest.approx(1, abs=1e-4)
    assert classifier().eval()(found[None]).shape == (1, 1)


def test_labels_are_read_with_and_without_patients(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("File,Label,Patient_ID\na/1.png,sick,p1\na/2.png,well,p1\n")
    found = labels_of(tmp_path / "labels.csv")
    assert found.classes == ("sick", "well") and found.patients == {"1.png": "p1", "2.png": "p1"}
    assert found.key("elsewhere/1.png") == "1.png" and found.key("3.png") is None
    (tmp_path / "plain.csv").write_text("file,label\n1,sick\n2,well\n")
    assert labels_of(tmp_path / "plain.csv").key("1.dcm") == "1"


@pytest.mark.parametrize("text", ["", "file,age\n1,2\n", "file,label\n1,a\n", "file,label\n1,a\n2,b\n3,c\n"])
def test_a_table_without_two_labels_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(FormatError) as caught:
        labels_of(tmp_path / "labels.csv")
    assert caught.value.code == "bad_table"


def test_images_without_a_label_are_listed_and_left_out() -> None:
    reader = filled()
    reader.add("other.png", {"original": scan(False, 99)})
    assert reader.unlabelled == ["other.png"] and len(reader.kept) == 20
