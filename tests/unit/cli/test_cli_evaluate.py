# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clarivox import io
from clarivox.classifier import Recipe
from clarivox.cli.main import app
from clarivox.phantoms import mr
from clarivox.volume import Volume


def asked(*words: object):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    for seed in (0, 1):
        io.write(mr(size=64, slices=1, seed=seed)[1], folder / f"{seed}.nii.gz", as_="nifti")
    return folder


def test_it_writes_the_tables_the_page_and_the_error_maps(brains: Path, tmp_path: Path) -> None:
    words = ("mr_unet_denoise", brains, "--degrade", "rician:0.05", "--against", "identity", "-o", tmp_path / "out")
    done = asked(*words, "--pictures", 1)
    assert done.exit_code == 0, done.output
    assert "PSNR" in done.output and "mr_unet_denoise against each" in done.output and "MTF50" in done.output
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    psnr = {one["method"]: one for one in content["summaries"] if one["figure"] == "PSNR"}
    assert psnr["mr_unet_denoise"]["mean"] > psnr["input"]["mean"] == psnr["identity"]["mean"]
    assert "range" in content["ways"]["PSNR"] and "Gaussian window" in content["ways"]["SSIM"]
    assert set(content["disc"]) == {"input", "mr_unet_denoise", "identity"}
    names = {path.name for path in (tmp_path / "out" / "pictures").iterdir()}
    assert names >= {"001-truth.png", "001-input.png", "001-error-of-mr_unet_denoise.png"}
    assert "| figure | input | mr_unet_denoise | identity |" in (tmp_path / "out" / "summary.md").read_text()
    assert len((tmp_path / "out" / "cases.csv").read_text().splitlines()) > 20
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in page and "rician:0.05" in page
    assert asked(*words).exit_code == 6


def test_what_cannot_be_read_is_named_and_the_exit_code_says_so(brains: Path, tmp_path: Path) -> None:
    for path in brains.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "torn.nii.gz").write_bytes((brains / "0.nii.gz").read_bytes()[:400])
    done = asked("identity", tmp_path, "--json")
    assert done.exit_code == 1
    content = json.loads(done.stdout)
    assert content["cases"] == 2 and [one["case"] for one in content["failures"]] == ["torn.nii.gz"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mr_unet_denoise", "--degrade", "shrink:2"], "keeps the grid"),
        (["cxr_srcnn_superres", "--degrade", "rician:0.05"], "refines the grid"),
        (["identity", "--degrade", "blur:1"], "no degradation"),
        (["identity", "--against", "identity"], "once"),
        (["identity", "--window", "wide"], "CENTRE/WIDTH"),
        (["identity", "--protocol", "sr-y"], "not for bundle identity"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(words: list[str], message: str, brains: Path) -> None:
    done = asked(words[0], brains, *words[1:])
    assert done.exit_code == 2 and message in done.output


def test_nothing_evaluated_is_an_error(brains: Path) -> None:
    done = asked("us_srad_despeckle", brains, "--degrade", "dose:0.5")
    assert done.exit_code == 3 and "none of 2 could be evaluated" in done.output


def test_a_protocol_of_papers_prints_their_figures_beside(tmp_path: Path) -> None:
    x, y = np.mgrid[:48, :48]
    picture = (120 + 80 * np.sin(x / 4) * np.cos(y / 6)).astype(np.uint8)[None, ..., None]
    io.write(Volume(np.asfortranarray(picture), np.eye(4), stored_range=(0, 255)), tmp_path / "a.png")
    done = asked("identity", tmp_path, "--protocol", "dncnn-gray", "--sigma", 25)
    assert done.exit_code == 0 and "DnCNN-S" in done.output and "29.23" in done.output and "20." in done.output
    content = json.loads(asked("cxr_srcnn_superres", tmp_path, "--protocol", "sr-y", "--scale", 2, "--json").stdout)
    assert content["means_db"]["cxr_srcnn_superres"] > 20 and "bicubic interpolation" in content["means_db"]


def test_a_task_and_a_page_for_readers_come_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clarivox.diagnosis.Recipe", lambda: Recipe(steps=2, batch=4))
    draw = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for n in range(12):
        picture = draw.normal(90 + 60 * (n % 2), 9, (32, 32)).clip(1, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "in" / f"{n}.png")
    rows = "".join(f"{n}.png,{'sick' if n % 2 else 'well'}\n" for n in range(11))
    (tmp_path / "labels.csv").write_text("file,label\n" + rows)
    words = ("any_median_denoise", tmp_path / "in", "--degrade", "gaussian:0.1", "--no-disc", "--pictures", 0)
    done = asked(*words, "--task", tmp_path / "labels.csv", "--reader", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "AUC" in done.output and "1 case without a label" in done.output and "reading-key.csv" in done.output
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [one["images"] for one in content["diagnosis"]["reads"]] == ["original", "degraded", "any_median_denoise"]
    assert "small classifier" in (tmp_path / "out" / "summary.md").read_text()
    assert "any_median" not in (tmp_path / "out" / "reading.html").read_text()
    key = (tmp_path / "out" / "reading-key.csv").read_text().splitlines()
    assert len(key) == 1 + 12 + 1 and "any_median_denoise" in key[1]
    again = asked(*words, "--task", tmp_path / "labels.csv", "--init-from", tmp_path / "out" / "classifier.pt")
    assert again.exit_code == 0, again.output


def test_answers_are_unblinded(tmp_path: Path) -> None:
    (tmp_path / "key.csv").write_text("study,item,case,left,right,again\ns,001,a,input,nlm,\ns,002,b,nlm,input,\n")
    (tmp_path / "ab.csv").write_text(
        "study,item,reader,left_Noise,right_Noise,preference,seconds\ns,001,ab,2,4,right,3\ns,002,ab,5,3,left,3\n"
    )
    words = ["unblind", str(tmp_path / "key.csv"), str(tmp_path / "ab.csv")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "nlm ahead" in done.output and "2 answers of 1 reader on 2 cases" in done.output
    content = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert content["lines"][1]["lead"] == 2.0


@pytest.mark.parametrize("words", [["--reader"], ["--init-from", "classifier.pt"]])
def test_what_lacks_its_other_half_is_refused(brains: Path, words: list[str]) -> None:
    assert asked("identity", brains, *words).exit_code == 2
