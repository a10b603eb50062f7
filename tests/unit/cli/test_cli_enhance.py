# SPDX-License-Identifier: Apache-2.0
import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clarivox import io, phantoms
from clarivox.bundle import load
from clarivox.cli.dry_run import middle
from clarivox.cli.enhance import parsed
from clarivox.cli.jobs import plan
from clarivox.cli.main import app
from clarivox.errors import OptionError
from clarivox.io import SeriesInfo


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def enhance(source, output, *more):
    return call("enhance", source, "-b", "identity", "-o", output, "--device", "cpu", *more)


def results(folder):
    with (folder / "out" / "results.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def scan(tmp_path):
    return io.write(phantoms.mr(size=32, slices=2).degraded, tmp_path / "in" / "scan.nii.gz").files[0]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for kind, slices in (("ct", 2), ("mr", 1)):
        result = call("sample", kind, "-o", folder / kind, "--size", 32, "--slices", slices)
        assert result.exit_code == 0, result.output
    return folder


def test_a_file_becomes_a_file_with_every_voxel(scan, tmp_path):
    result = enhance(scan, tmp_path / "out.nii.gz")
    assert result.exit_code == 0, result.output
    assert np.array_equal(io.read(scan).array, io.read(tmp_path / "out.nii.gz").array)
    assert "out.nii.gz: 1 file" in result.stdout


def test_a_name_without_an_ending_gets_the_one_of_the_format_and_a_folder_the_own_name(scan, tmp_path):
    assert enhance(scan, tmp_path / "plain").exit_code == 0
    (tmp_path / "there").mkdir()
    assert enhance(scan, tmp_path / "there").exit_code == 0
    assert (tmp_path / "plain.nii.gz").is_file() and (tmp_path / "there" / "scan.nii.gz").is_file()


def test_a_series_becomes_a_series(study, tmp_path):
    result = enhance(study / "ct" / "image", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".dcm", ".dcm"]


def test_a_folder_of_studies_gives_a_row_each_and_files_that_are_no_images_are_skipped(study, tmp_path):
    (study / "readme.txt").write_text("hello")
    result = enhance(study, tmp_path / "out", "--report")
    assert result.exit_code == 0, result.output
    rows = results(tmp_path)
    assert [row["status"] for row in rows].count("done") == 4
    assert {row["error_code"] for row in rows if row["status"] == "skipped"} == {"unsupported_format"}
    assert len(list((tmp_path / "out").glob("*.html"))) == 4
    assert "PHANTOM" not in (tmp_path / "out" / "results.csv").read_text()


def test_one_bad_series_of_several_is_told_the_others_are_done_and_the_exit_code_is_1(scan, tmp_path):
    (scan.parent / "bad.nii").write_bytes(b"\x5c\x01\0\0" + bytes(340) + b"n+1\0")
    result = enhance(scan.parent, tmp_path / "out")
    assert result.exit_code == 1 and result.stderr.count("error [") == 1
    assert {row["status"] for row in results(tmp_path)} == {"done", "failed"}


def test_results_of_like_named_files_do_not_replace_each_other():
    infos = [SeriesInfo(key, "nifti") for key in ("a.nii", "a.nii.gz", "b/a.nii")]
    targets = [job.target.as_posix() for job in plan(infos, Path("out"), None)]
    assert targets == ["out/a.nii.gz", "out/002-a.nii.gz", "out/b/a.nii.gz"]


def test_a_zip_is_read_like_a_folder(scan, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(scan, "a/scan.nii.gz")
    assert enhance(tmp_path / "in.zip", tmp_path / "out.nii.gz").exit_code == 0


def test_what_is_there_is_not_replaced_and_nothing_is_computed_before_saying_so(scan, tmp_path):
    target = tmp_path / "out.nii.gz"
    target.write_text("precious")
    result = enhance(scan, target)
    assert result.exit_code == 6 and "[output_exists]" in result.stderr and target.read_text() == "precious"
    assert enhance(scan, target, "--overwrite").exit_code == 0


def test_pages_and_tables_of_an_earlier_run_are_not_replaced_either(study, scan, tmp_path):
    (tmp_path / "out.html").write_text("precious")
    assert enhance(scan, tmp_path / "out.nii.gz", "--report").exit_code == 6
    assert not (tmp_path / "out.nii.gz").exists()
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "results.csv").write_text("precious")
    assert enhance(study, tmp_path / "many").exit_code == 6
    assert (tmp_path / "many" / "results.csv").read_text() == "precious"


def test_a_dry_run_says_windows_device_and_output_and_writes_nothing(scan, tmp_path):
    result = enhance(scan, tmp_path / "out.nii.gz", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "cpu" in result.stdout and "out.nii.gz" in result.stdout
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_dry_run_counts_the_steps_of_a_diffusion_and_foretells_from_one_of_them(scan, tmp_path):
    words = ("-b", "mr_ddpm3d_denoise", "-o", tmp_path / "out.nii.gz", "--set", "steps=50", "--device", "cpu")
    result = call("enhance", scan, *words, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "x 50" in result.stdout and not (tmp_path / "out.nii.gz").exists()


def test_the_middle_slices_for_a_trial_keep_their_own_rescale_and_padding():
    volume = phantoms.ct(size=32, slices=5, padding=True).degraded.replace(slope=np.arange(1.0, 6))
    trial = middle(volume, 3)
    assert trial.slope.tolist() == [2, 3, 4] and trial.padding.shape == (3, 2)
    assert np.array_equal(trial.array, volume.array[..., 1:4]) and trial.source is None


def test_a_dry_run_of_a_folder_names_what_cannot_be_read(scan, tmp_path):
    (scan.parent / "readme.txt").write_text("hello")
    result = enhance(scan.parent, tmp_path / "out", "--dry-run")
    assert result.exit_code == 0 and "[unsupported_format]" in result.stdout and not (tmp_path / "out").exists()


def test_a_page_is_written_beside_the_result(scan, tmp_path):
    assert enhance(scan, tmp_path / "out.nii.gz", "--report").exit_code == 0
    assert "identity" in (tmp_path / "out.html").read_text()


def test_another_format_is_written_when_asked(scan, tmp_path):
    result = enhance(scan, tmp_path / "out", "--as", "nrrd")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.nrrd").is_file()


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("--strength", "2"), 2, "bad_option"),
        (("--set", "novalue"), 2, "bad_option"),
        (("--set", "unknown=1"), 2, "bad_option"),
        (("--device", "abacus"), 2, "bad_option"),
    ],
)
def test_wrong_options_exit_with_2(scan, tmp_path, words, code, name):
    result = enhance(scan, tmp_path / "out.nii.gz", *words)
    assert result.exit_code == code and f"[{name}]" in result.stderr


def test_no_such_bundle_and_no_such_input_have_their_exit_codes(scan, tmp_path):
    missing = call("enhance", scan, "-b", "nobody", "-o", tmp_path / "out")
    assert missing.exit_code == 4 and "there are" in missing.stderr
    absent = enhance(tmp_path / "absent", tmp_path / "out")
    assert absent.exit_code == 3 and "Traceback" not in absent.output


def test_a_missing_argument_is_a_usage_error():
    assert call("enhance").exit_code == 2


def test_stopping_between_series_keeps_what_is_done_and_exits_with_130(study, tmp_path, monkeypatch):
    from clarivox.cli import enhance as command
    from clarivox.errors import CancelledError

    done = command.run_one
    calls = []

    def second_is_stopped(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise CancelledError("stopped on request")
        return done(*arguments)

    monkeypatch.setattr("clarivox.cli.enhance.run_one", second_is_stopped)
    result = enhance(study, tmp_path / "out")
    assert result.exit_code == 130
    statuses = [row["status"] for row in results(tmp_path)]
    assert statuses == ["done", "cancelled"]


def test_values_of_options_are_read_as_json_where_they_are():
    assert parsed(["scale=2", "fast=true", "kind=soft", "text=a=b"]) == {
        "scale": 2,
        "fast": True,
        "kind": "soft",
        "text": "a=b",
    }
    with pytest.raises(OptionError):
        parsed(["=2"])


def test_the_identity_bundle_has_no_options():
    assert load("identity").options == {}


def test_an_error_of_one_of_several_says_which(scan, tmp_path):
    (scan.parent / "bad.nii").write_bytes(b"\x5c\x01\0\0" + bytes(340) + b"n+1\0")
    result = enhance(scan.parent, tmp_path / "out")
    assert "] bad.nii: " in result.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--as", "dicom"), "needs_like"),
        (("--as", "nrrd"), "bad_name"),
        (("--like", "series"), "bad_option"),
        (("--strength", "2"), "bad_option"),
        (("--device", "cuda:99"), "no_device"),
    ],
)
def test_what_can_be_refused_is_refused_before_any_voxel_is_read(scan, tmp_path, monkeypatch, words, code):
    monkeypatch.setattr(io, "read_all", lambda *_, **__: pytest.fail("the volume was read"))
    result = call("enhance", scan, "-b", "identity", "-o", tmp_path / "out.nii.gz", *words)
    assert f"[{code}]" in result.stderr


def test_private_elements_are_kept_by_their_creator(study, tmp_path):
    import pydicom

    first = sorted((study / "mr" / "image").iterdir())[0]
    header = pydicom.dcmread(first)
    header.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "kept")
    header.save_as(tmp_path / "a.dcm")
    for words, there in (((), False), (("--keep-private", "ACME"), True)):
        assert enhance(tmp_path / "a.dcm", tmp_path / "out", "--overwrite", *words).exit_code == 0
        written = pydicom.dcmread(next((tmp_path / "out").iterdir()))
        assert ((0x0029, 0x1001) in written) is there


def test_a_dry_run_names_each_volume_and_promises_nothing_for_one_that_fails(scan, tmp_path):
    (scan.parent / "readme.txt").write_text("hello")
    lines = enhance(scan.parent, tmp_path / "out", "--dry-run").stdout.splitlines()
    assert any("scan.nii.gz" in line and "cpu" in line for line in lines)
    assert any("readme.txt" in line and line.rstrip().endswith("nothing") for line in lines)


def test_a_switch_for_dicom_alone_is_refused_before_any_work_where_something_else_is_written(scan, tmp_path):
    result = enhance(scan, tmp_path / "out.nii.gz", "--compress", "jpegls", "--keep-private", "SIEMENS")
    assert result.exit_code == 2 and "--compress, --keep-private are for DICOM" in result.output
    assert not list(tmp_path.glob("out*"))
