# SPDX-License-Identifier: Apache-2.0
import errno
import hashlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from clarivox.errors import CapacityError, ConflictError, InputError, NotFoundError
from clarivox.server.blobs import Blobs
from clarivox.server.writing import write_all
from tests.ledgers import settings

CONTENT = os.urandom(3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path, settings(tmp_path))


def put(blobs, content=CONTENT):
    with blobs.writer() as writer:
        writer.write(content)
        return writer.commit()


def left_in(blobs):
    return [path.name for path in blobs.temporary.iterdir()]


def test_a_file_has_its_name_only_when_it_is_whole(blobs):
    with blobs.writer() as writer:
        writer.write(CONTENT[:1000])
        writer.write(memoryview(CONTENT)[1000:])
        assert not blobs.has(SHA256)
        assert writer.commit(SHA256) == (SHA256, len(CONTENT))
    assert blobs.path(SHA256).read_bytes() == CONTENT
    assert (blobs.has(SHA256), blobs.size(SHA256), left_in(blobs)) == (True, len(CONTENT), [])


@pytest.mark.parametrize("fault", [None, ValueError])
def test_nothing_stays_of_a_write_that_was_not_committed(blobs, fault):
    try:
        with blobs.writer() as writer:
            writer.write(CONTENT)
            if fault:
                raise fault
    except ValueError:
        pass
    assert left_in(blobs) == []
    assert list(blobs.all()) == []


def test_another_digest_than_named_is_refused(blobs):
    with pytest.raises(InputError) as caught, blobs.writer() as writer:
        writer.write(b"x")
        writer.commit(SHA256)
    assert caught.value.code == "wrong_digest"
    assert left_in(blobs) == []
    assert not blobs.has(SHA256)


def test_a_file_is_copied_in_and_may_be_stored_twice(blobs, tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    assert blobs.put_file(tmp_path / "source") == (SHA256, len(CONTENT))
    os.utime(blobs.path(SHA256), (0, 0))
    with blobs.path(SHA256).open("rb") as reader:
        blobs.put_file(tmp_path / "source")
        assert reader.read() == CONTENT
    assert blobs.age_s(SHA256) < 60  # stored again, it counts as new
    assert [path.name for path in blobs.all()] == [SHA256]
    blobs.delete(SHA256)
    blobs.delete(SHA256)
    assert not blobs.has(SHA256)
    assert blobs.age_s(SHA256) == float("inf")


@pytest.mark.parametrize(
    "name", ["", "x", "../../etc/passwd", SHA256.upper(), SHA256 + "\n", SHA256[:-1] + "é", "\x00"]
)
def test_no_other_name_leads_to_a_file(blobs, name):
    assert not blobs.has(name)
    for call in (blobs.path, blobs.size, blobs.delete, blobs.received):
        with pytest.raises(NotFoundError) as caught:
            call(name)
        assert caught.value.code == "no_such_blob"


def test_an_upload_goes_on_where_it_broke_off(blobs):
    with blobs.resume(SHA256, 0) as upload:
        upload.write(CONTENT[:1000])
    assert blobs.received(SHA256) == 1000
    with pytest.raises(ConflictError) as caught, blobs.resume(SHA256, 999):
        pass
    assert caught.value.code == "wrong_offset"
    with blobs.resume(SHA256, 1000) as upload:
        upload.write(CONTENT[1000:])
        assert upload.commit() == len(CONTENT)
    assert blobs.path(SHA256).read_bytes() == CONTENT
    assert blobs.received(SHA256) == 0
    assert left_in(blobs) == []


def test_an_upload_may_begin_anew_and_a_wrong_one_is_forgotten(blobs):
    with blobs.resume(SHA256, 0) as upload:
        upload.write(b"wrong")
    with blobs.resume(SHA256, 5) as upload:
        upload.write(CONTENT)
        with pytest.raises(InputError):
            upload.commit()
    assert blobs.received(SHA256) == 0
    with blobs.resume(SHA256, 0) as upload:
        upload.write(CONTENT)
        upload.commit()
    assert blobs.has(SHA256)


def test_one_file_is_uploaded_once_at_a_time(blobs):
    with blobs.resume(SHA256, 0) as first:
        with pytest.raises(ConflictError) as caught, blobs.resume(SHA256, 0):
            pass
        assert caught.value.code == "upload_busy"
        first.write(CONTENT)
        first.commit()
    assert blobs.has(SHA256)


def test_everything_is_on_disk_before_it_has_its_name(blobs, monkeypatch):
    order = []
    sync, replace = os.fsync, Path.replace

    def noted(handle):
        order.append(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    def named(path, to):
        order.append("named")
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", named)
    put(blobs)
    assert [order[0].parent, *order[1:]] == [blobs.temporary, "named", blobs.path(SHA256).parent]


def test_a_full_disk_is_told_and_leaves_nothing(blobs, monkeypatch):
    class Full:
        def write(self, _piece):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CapacityError) as caught:
        write_all(Full(), b"x")
    assert caught.value.code == "disk_full"

    def no_room(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(CapacityError):
        put(blobs)
    monkeypatch.undo()
    assert left_in(blobs) == []
    assert not blobs.has(SHA256)


def test_little_by_little_is_still_all_of_it(tmp_path):
    class Slow:
        def __init__(self):
            self.got = b""

        def write(self, piece):
            self.got += bytes(piece[:7])
            return min(len(piece), 7)

    slow = Slow()
    write_all(slow, b"0123456789" * 3)
    assert slow.got == b"0123456789" * 3


def test_new_work_is_refused_below_the_watermark_and_above_the_quota(blobs, tmp_path):
    blobs.admit(10)
    low = Blobs(tmp_path, settings(tmp_path, disk_watermark_bytes=blobs.free() * 2))
    with pytest.raises(CapacityError) as caught:
        low.admit()
    assert caught.value.code == "disk_low"
    small = Blobs(tmp_path, settings(tmp_path, blob_quota_bytes=len(CONTENT) + 100))
    small.admit(200)
    put(small)
    with pytest.raises(CapacityError) as caught:
        small.admit(200)
    assert caught.value.code == "quota_full"
    small.admit(50)
    assert small.used() == Blobs(tmp_path, settings(tmp_path)).used() == len(CONTENT)


def test_the_reserve_takes_room_is_given_up_and_set_aside_again(tmp_path):
    size = 8 << 20
    blobs = Blobs(tmp_path, settings(tmp_path, disk_reserve_bytes=size))
    assert blobs.restore_reserve()
    assert blobs.reserve.stat().st_blocks * 512 >= size
    assert blobs.restore_reserve()
    assert blobs.give_up_reserve()
    assert not blobs.give_up_reserve()
    assert not blobs.reserve.exists()
    assert blobs.restore_reserve()
    poor = Blobs(tmp_path / "poor", settings(tmp_path, disk_reserve_bytes=1 << 60))
    assert not poor.restore_reserve()
    assert not poor.reserve.exists()


def writes_for_ever(folder, started):
    with Blobs(folder, settings(folder)).writer() as writer:
        writer.write(b"half")
        started.set()
        time.sleep(60)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(blobs, tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=writes_for_ever, args=(tmp_path, started))
    process.start()
    assert started.wait(60)
    (half,) = blobs.temporary.iterdir()
    os.utime(half, (0, 0))
    assert blobs.sweep(3600) == 0
    process.kill()
    process.join()
    assert blobs.sweep(3600) == 1
    assert left_in(blobs) == []


def test_a_broken_upload_is_kept_for_its_time(blobs):
    with blobs.resume(SHA256, 0) as upload:
        upload.write(b"half")
    (blobs.temporary / "spool").mkdir()
    (blobs.temporary / "spool" / "x").touch()
    assert blobs.sweep(3600) == 0
    for path in blobs.temporary.iterdir():
        os.utime(path, (0, 0))
    assert blobs.sweep(3600) == 2
    assert blobs.received(SHA256) == 0
    assert left_in(blobs) == []
