# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from clarivox import io, phantoms
from clarivox.bundle import catalogue
from clarivox.cli import doctor, main
from clarivox.cli.bundles import complete_bundle
from clarivox.cli.info import fitting
from clarivox.cli.main import app
from clarivox.io import SeriesInfo


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    made = phantoms.mr(size=48, slices=2)
    for volume, name in zip(made, ("image", "truth"), strict=True):
        io.write(volume, folder / f"{name}.nii.gz")
    return folder


def test_help_and_version_are_printed():
    assert "Exit codes" in call("--help").stdout
    assert call("--version").stdout.startswith("clarivox ")


def test_info_lists_what_is_there_as_a_table_and_as_json(pair):
    assert "48x48x2" in call("info", pair).stdout
    found = json.loads(call("info", pair, "--json").stdout)
    assert [one["shape"] for one in found] == [[1, 48, 48, 2]] * 2 and "bundles" in found[0]


def test_info_says_once_that_files_without_a_modality_may_go_to_any_bundle(tmp_path):
    for name in ("a", "b"):
        io.write(phantoms.mr(size=32, slices=2).degraded, tmp_path / f"{name}.nii.gz")
    told = call("info", tmp_path).stdout
    assert told.count("us_svd_enhance") == 1 and "does not say its modality" in told


def test_info_names_no_command_where_no_bundle_fits(tmp_path):
    Image.effect_noise((32, 24), 50).quantize(8).save(tmp_path / "indices.png")
    told = call("info", tmp_path / "indices.png").stdout
    assert "none" in told and "clarivox enhance" not in told


def test_info_says_the_modality_once(tmp_path):
    call("sample", "ct", "-o", tmp_path, "--size", 32, "--slices", 2)
    told = call("info", tmp_path).stdout
    assert "CT image" in told and "CT CT" not in told


def test_threads_wait_without_spinning(monkeypatch):
    monkeypatch.setattr(main, "app", lambda: None)
    monkeypatch.setattr(os, "environ", {})
    main.run()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_info_of_nothing_is_an_error(tmp_path):
    result = call("info", tmp_path)
    assert result.exit_code == 3 and "[empty_folder]" in result.stderr


def test_only_bundles_that_take_a_series_are_offered():
    bundles = catalogue()
    names = {bundle.name for bundle in bundles}
    assert set(fitting(SeriesInfo("a", "nifti"), bundles)) <= names
    assert fitting(SeriesInfo("a", "dicom", usable=False), bundles) == []
    assert fitting(SeriesInfo("a", "dicom", channels="palette"), bundles) == ["identity"]


def test_bundles_are_listed_shown_and_completed():
    assert "identity" in call("bundles").stdout
    content = json.loads(call("bundles", "--json").stdout)
    assert "identity" in [one["name"] for one in content]
    assert json.loads(call("bundles", "identity", "--json").stdout)["task"] == "identity"
    assert "licence" in call("bundles", "identity").stdout
    assert [name for name, _ in complete_bundle("ident")] == ["identity"]
    assert call("bundles", "nobody").exit_code == 4


def test_compare_prints_figures_json_and_a_page(pair, tmp_path):
    words = ("compare", pair / "image.nii.gz", pair / "truth.nii.gz", "--reference", pair / "truth.nii.gz")
    result = call(*words, "--report", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "PSNR" in result.stdout and "99th percentile" in result.stdout and (tmp_path / "page.html").is_file()
    figures = {figure["name"]: figure for figure in json.loads(call(*words, "--json").stdout)["figures"]}
    assert figures["SSIM"]["after"] == 1
    assert call(*words, "--report", tmp_path / "page.html").exit_code == 6


def test_compare_takes_both_regions_or_none(pair):
    words = ("compare", pair / "image.nii.gz", pair / "truth.nii.gz", "--signal", "10:20,10:20,0")
    assert call(*words).exit_code == 2
    result = call(*words, "--background", "30:40,10:20,0", "--json")
    assert json.loads(result.stdout)["signal"]["x"] == [10, 20]


@pytest.mark.parametrize(("kind", "files"), [("ct", 2), ("mr", 2), ("us", 1), ("cxr", 1)])
def test_samples_are_dicom_with_their_truth_beside_them(tmp_path, kind, files):
    result = call("sample", kind, "-o", tmp_path, "--size", 48, "--slices", 2)
    assert result.exit_code == 0, result.output
    image, truth = (list((tmp_path / name).iterdir()) for name in ("image", "truth"))
    assert len(image) == len(truth) == files
    again = call("sample", kind, "-o", tmp_path, "--size", 48)
    assert again.exit_code == 6 and "[output_exists]" in again.stderr


@pytest.mark.parametrize("kind", ["ct", "mr", "us"])
def test_a_sample_read_back_is_the_phantom(tmp_path, kind):
    call("sample", kind, "-o", tmp_path, "--size", 32, "--slices", 2, "--seed", 5)
    make = {"ct": phantoms.ct, "mr": phantoms.mr, "us": phantoms.us}[kind]
    made = make(size=32, slices=2, seed=5, **{"ct": {"padding": True}, "us": {"drift": 0.1}}.get(kind, {}))
    for volume, name in zip(made, ("image", "truth"), strict=True):
        read = io.read(tmp_path / name)
        assert (read.values() == volume.values()).all()
        assert read.modality == volume.modality and read.third_axis == volume.third_axis
        if kind == "ct":
            assert (read.padding_mask() == volume.padding_mask()).all()
        if kind != "us":
            assert abs(read.affine - volume.affine).max() < 1e-3


@pytest.mark.parametrize("form", ["nifti", "png"])
def test_samples_come_in_other_formats(tmp_path, form):
    assert call("sample", "cxr", "-o", tmp_path, "--size", 48, "--format", form).exit_code == 0
    assert io.read(tmp_path / "image").shape == (1, 24, 24, 1)


def test_an_impossible_sample_is_a_usage_error(tmp_path):
    assert call("sample", "ct", "-o", tmp_path, "--size", 4).exit_code == 2
    assert call("sample", "ct", "-o", tmp_path, "--slices", 0).exit_code == 2


def test_doctor_finds_this_installation_fine():
    result = call("doctor", "--json")
    assert result.exit_code == 0, result.output
    found = {one["what"]: one for one in json.loads(result.stdout)["findings"]}
    assert found["self-test"]["fine"] and found["torch"]["found"]
    assert "self-test" in call("doctor").stdout


def test_doctor_says_the_command_that_brings_what_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "CODECS", (("JPEG-LS", "no_such_module", "pyjpegls"),))
    result = call("doctor")
    assert result.exit_code == 1 and "pip install pyjpegls" in result.stdout


def test_doctor_says_what_a_server_would_show(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    result = call("doctor", "--json")
    found = {one["what"]: one for one in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 0 and found["server"]["fine"] and "companion page" in found
    assert not found["OHIF"]["fine"] and found["OHIF"]["mend"] == "clarivox viewer install"


@pytest.mark.slow
def test_the_demo_makes_checks_and_shows_everything(tmp_path):
    result = call("demo", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    for name in ("image", "truth", "enhanced", "page.html"):
        assert (tmp_path / name).exists() and str(tmp_path / name) in result.stdout
    assert "reads back with the same voxels" in result.stdout and "PSNR" in result.stdout
    assert "note: " in result.stdout and "were clipped" in result.stdout
    if shutil.which("dciodvfy"):
        assert "dciodvfy: 0 errors or warnings" in result.stdout
    assert call("demo", "-o", tmp_path).exit_code == 6
    assert call("demo", "-o", tmp_path, "--overwrite").exit_code == 0


LIGHT = """
import json, sys
from clarivox.cli.main import run
sys.argv = ["clarivox", *sys.argv[1:]]
try:
    run()
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["enhance", "--help"], ["bundles"], ["info"], ["bundles", "identity"]])
def test_nothing_heavy_is_imported_to_look_around(words, pair):
    words = [*words, str(pair)] if words == ["info"] else words
    done = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & {"torch", "monai", "matplotlib", "SimpleITK", "itk", "pandas", "skimage"}
    if words[-1] == "--help":
        assert not loaded & {"numpy", "pydicom", "nibabel", "PIL"}
