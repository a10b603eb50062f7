# SPDX-License-Identifier: Apache-2.0
"""The limited process that untrusted bytes are read in, and what its other end believes."""

import json
import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest

from clarivox.errors import CancelledError, FormatError, InputError, LimitError
from clarivox.io import read, write
from clarivox.server import child_volume
from clarivox.server.child_link import ChildDiedError, Nursery, limits_of, rebuilt, result_path
from clarivox.server.parse_child import WARM
from clarivox.server.settings import Settings
from clarivox.volume import Fault, Irregularity, Provenance, Unit, Volume, blank_like


def volume(shape=(1, 12, 10, 6), dtype=np.int16) -> Volume:
    array = blank_like(shape, np.dtype(dtype))
    array[...] = np.random.default_rng(3).integers(0, 90, shape)
    return Volume(array, np.diag([0.7, 0.8, 2.5, 1.0]), unit=Unit.RELATIVE)


@pytest.fixture(scope="module")
def nursery():
    one = Nursery(Settings(parse_cpu_s=20))
    one.start()
    yield one
    one.close()


def order_of(path: Path, **more) -> dict:
    return {
        "do": "read",
        "source": str(path),
        "series": None,
        "allow_uneven": False,
        "limits": limits_of(Settings()),
        **more,
    }


def go_on(_step) -> bool:
    return True


def test_a_volume_comes_back_as_it_went(tmp_path):
    went = volume().replace(
        slope=np.linspace(1, 2, 6),
        intercept=np.full(6, 0.1),
        padding=np.array([[0, 1]] * 6),
        stored_range=(0, 4095),
        irregular=Irregularity(Fault.TILTED, "tilted", (1, 2)),
        notes=("a",),
        provenance=Provenance("identity", "1", "d", "identity", scale=(1.0, 1.0, 1.0), steps_back=("less",)),
    )
    facts = json.loads(json.dumps(child_volume.pack(went, tmp_path, "out-000.raw")))
    came = child_volume.unpack(facts, tmp_path)
    for name in ("array", "affine", "slope", "intercept", "padding"):
        np.testing.assert_array_equal(getattr(came, name), getattr(went, name))
    for name in ("unit", "stored_range", "irregular", "notes", "provenance", "inverted", "channels"):
        assert getattr(came, name) == getattr(went, name)
    assert came.frames.flags.c_contiguous


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../../etc/passwd"},
        {"file": "in-000.raw/x"},
        {"shape": [1, 6, 10, 13]},
        {"shape": [1, 6, 10, -12]},
        {"shape": [True, 6, 10, 12]},
        {"dtype": "O"},
        {"dtype": ">c16"},
        {"affine": [[0, 0]]},
        {"unit": "rm"},
        {"slope": "x"},
        {"padding": [1]},
        {"stored_range": [1, 2, 3]},
    ],
)
def test_facts_that_no_volume_has_are_refused(tmp_path, changes):
    facts = child_volume.pack(volume(), tmp_path, "in-000.raw")
    with pytest.raises(InputError):
        child_volume.unpack({**facts, **changes}, tmp_path)


def test_a_link_is_not_followed(tmp_path):
    facts = child_volume.pack(volume(), tmp_path, "in-000.raw")
    (tmp_path / "in-000.raw").rename(tmp_path / "elsewhere")
    (tmp_path / "in-000.raw").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="another size"):
        child_volume.unpack(facts, tmp_path)
    (tmp_path / "result").symlink_to("/etc/passwd")
    for path in ("result", "../x", "/etc/passwd", ""):
        with pytest.raises(FormatError):
            result_path(tmp_path, path)


def test_a_child_reads_and_writes_with_the_headers_that_it_kept(nursery, tmp_path):
    write(volume(), tmp_path / "a.nii.gz")
    with nursery.child(tmp_path) as child:
        (found,) = child.call(order_of(tmp_path / "a.nii.gz"), go_on)
        facts = found["volume"]
        np.testing.assert_array_equal(child_volume.unpack(facts, tmp_path).array, volume().array)
        wish = {"do": "write", "volumes": [(0, 0, facts)], "as": None, "like": "", "report": True}
        answer = child.call(wish, go_on)
    assert [(one["role"], one["name"]) for one in answer["files"]] == [
        ("result", "result.nii.gz"),
        ("evidence", "evidence.html"),
    ]
    result = read(result_path(tmp_path, answer["files"][0]["path"]))
    np.testing.assert_array_equal(result.array, volume().array)


def test_several_volumes_come_as_one_zip_and_one_error_does_not_stop_them(nursery, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.nii.gz", "b.nii.gz"):
        write(volume(), tmp_path / "in" / name)
    write(volume(), tmp_path / "in" / "c.nii")
    os.truncate(tmp_path / "in" / "c.nii", 900)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    with nursery.child(tmp_path) as child:
        found = child.call(order_of(tmp_path / "in"), go_on)
        assert [sorted(one) for one in found] == [["volume"], ["volume"], ["error", "foreign"], ["error", "foreign"]]
        assert [one["foreign"] for one in found[2:]] == [False, True]
        done = [(0, 0, found[0]["volume"]), (1, 1, found[1]["volume"])]
        wish = {"do": "write", "volumes": done, "as": "nrrd", "like": "", "report": False}
        (packed,) = child.call(wish, go_on)["files"]
    assert packed["media"] == "application/zip"
    with zipfile.ZipFile(tmp_path / packed["path"]) as archive:
        assert archive.namelist() == ["001.nrrd", "002.nrrd"]
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}


def test_what_is_no_image_is_an_error_of_the_library(nursery, tmp_path):
    (tmp_path / "a").write_text("hello")
    with nursery.child(tmp_path) as child:
        (found,) = child.call(order_of(tmp_path / "a"), go_on)
    assert rebuilt(found["error"]).code == "unsupported_format"


def test_a_child_dies_when_it_is_cancelled(nursery, tmp_path):
    write(volume(), tmp_path / "a.nii.gz")
    with nursery.child(tmp_path) as child:
        with pytest.raises(CancelledError):
            child.call(order_of(tmp_path / "a.nii.gz"), lambda step: False)
        pid = child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_that_is_killed_is_no_fault_of_the_input(nursery, tmp_path):
    child = nursery.child(tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildDiedError):
        child.call(order_of(tmp_path / "a"), go_on)


def test_a_child_that_crashes_is_the_fault_of_the_input(nursery, tmp_path):
    child = nursery.child(tmp_path)
    os.kill(child.pid, signal.SIGSEGV)
    with pytest.raises(InputError) as caught:
        child.call(order_of(tmp_path / "a"), go_on)
    assert caught.value.code == "reader_failed"


def test_a_nursery_that_was_killed_is_replaced(tmp_path):
    one = Nursery(Settings())
    try:
        one.child(tmp_path).close()
        os.kill(one._process.pid, signal.SIGKILL)
        one._process.wait()
        (tmp_path / "a").write_text("hello")
        with one.child(tmp_path) as child:
            assert "error" in child.call(order_of(tmp_path / "a"), go_on)[0]
    finally:
        one.close()


def test_memory_and_time_are_limited(tmp_path):
    one = Nursery(Settings(parse_memory_bytes=600 << 20, parse_cpu_s=0.5))
    try:
        write(volume((1, 700, 700, 300)), tmp_path / "a.nii")
        with one.child(tmp_path) as child, pytest.raises(LimitError) as caught:
            child.call(order_of(tmp_path / "a.nii"), go_on, size_bytes=1 << 30)
        assert caught.value.code == "too_much_memory"
    finally:
        one.close()


def test_a_child_has_one_thread_and_its_own_folder_and_says_nothing(nursery, tmp_path):
    (tmp_path / "a").write_text("hello")
    with nursery.child(tmp_path) as child:
        child.call(order_of(tmp_path / "a"), go_on)
        facts = Path(f"/proc/{child.pid}")
        assert (facts / "cwd").readlink() == tmp_path
        assert {str((facts / "fd" / one).readlink()) for one in "012"} == {"/dev/null"}
        assert len(list((facts / "task").iterdir())) == 1
        limits = (facts / "limits").read_text()
    assert "Max core file size        0" in limits
    assert "clarivox.evidence" in WARM
