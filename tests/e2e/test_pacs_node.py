# SPDX-License-Identifier: Apache-2.0
"""The DICOM node as a process, called by dcmtk's programs, by pynetdicom, and by those who mean no good."""

import contextlib
import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)

from clarivox.server.dicom_store import key_of
from tests.nodes import (
    Running,
    associated,
    body,
    echoes,
    flooded,
    gets_in,
    kept,
    listening,
    rows,
    series,
    stored,
    until,
)
from tests.ordeal import by_dicom

SYNTAXES = {
    ImplicitVRLittleEndian: ("dcmconv", "+ti"),
    ExplicitVRLittleEndian: ("dcmconv", "+te"),
    ExplicitVRBigEndian: ("dcmconv", "+tb"),
    DeflatedExplicitVRLittleEndian: ("dcmconv", "+td"),
    RLELossless: ("dcmcrle",),
}
"""What of dcmtk writes a file so."""
PATIENT = "SENTINEL^PATIENT"


@pytest.fixture(scope="module")
def dcmtk() -> None:
    missing = [name for name in ("echoscu", "storescu", "dcmconv", "dcmcrle") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} of dcmtk")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with listening(tmp_path_factory.mktemp("node") / "data", {"associations": 4}, log_level="debug") as found:
        yield found


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_echoes_and_stores_and_what_comes_again_makes_no_second_row(node: Running, tmp_path: Path) -> None:
    subprocess.run(["echoscu", "-aet", "TEST", "-aec", "CLARIVOX", *node.address], check=True)
    paths = series(tmp_path / "source", 12, seed="dcmtk")
    send = ["storescu", "-aet", "TEST", "-aec", "CLARIVOX", "+sd", *node.address, str(tmp_path / "source")]
    subprocess.run(send, check=True)
    first = rows(node)
    subprocess.run(send, check=True)
    assert rows(node) == first
    instances = [pydicom.dcmread(path) for path in paths]
    assert all(kept(node, one).is_file() for one in instances)
    files = {path.name for path in (node.data / "pacs" / "in").iterdir()}
    assert files == {file for file, _ in first.values()}
    for path, instance in zip(paths, instances, strict=True):
        assert body(kept(node, instance)) == body(path)
        found = pydicom.dcmread(kept(node, instance))
        assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == instance.SOPInstanceUID
        assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (found.pixel_array == instance.pixel_array).all()


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: one.name)
def test_a_data_set_is_kept_as_it_was_sent(node: Running, tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    [path] = series(tmp_path, 1, seed=f"syntax {syntax}")
    subprocess.run([*SYNTAXES[syntax], str(path), str(path)], check=True)
    instance = pydicom.dcmread(path)
    assert instance.file_meta.TransferSyntaxUID == syntax
    with associated(node, [syntax]) as association:
        status = association.send_c_store(path)
        assert status.Status == 0
    found = kept(node, instance)
    assert body(found).rstrip(b"\0") == body(path).rstrip(b"\0")  # pynetdicom makes what it sends even
    assert pydicom.dcmread(found).file_meta.TransferSyntaxUID == syntax
    assert (pydicom.dcmread(found).pixel_array == pydicom.dcmread(path).pixel_array).all()


def test_other_bytes_of_an_instance_replace_it_and_are_counted(node: Running, tmp_path: Path) -> None:
    [path] = series(tmp_path, 1, seed="changed")
    instance = pydicom.dcmread(path)
    with associated(node) as association:
        assert association.send_c_store(instance).Status == 0
        before = kept(node, instance)
        instance.SeriesDescription = "corrected"
        assert association.send_c_store(instance).Status == 0
    assert rows(node)[key_of(str(instance.SOPInstanceUID))][1] == 2
    assert pydicom.dcmread(kept(node, instance)).SeriesDescription == "corrected"
    assert not before.exists()


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("STRANGER", "CLARIVOX", (1, 1, 3)), ("TEST", "OTHER", (1, 1, 7))],
)
def test_a_title_that_is_not_known_is_rejected(
    node: Running, calling: str, called: str, reason: tuple[int, int, int]
) -> None:
    with associated(node, calling=calling, called=called) as association:
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == reason
    echoes(node)


def test_a_known_title_from_another_address_is_rejected(tmp_path: Path) -> None:
    allow = [{"ae_title": "TEST", "address": "10.0.0.0/8"}, {"ae_title": "NEAR", "address": "127.0.0.0/8"}]
    with listening(tmp_path / "data", {"allow": allow}) as node:
        for calling, accepted in (("TEST", False), ("NEAR", True)):
            with associated(node, calling=calling) as association:
                assert association.is_established == accepted
                if not accepted:
                    assert association.acceptor.primitive.diagnostic == 3


def test_a_command_that_names_another_instance_or_class_is_refused(node: Running, tmp_path: Path) -> None:
    [path] = series(tmp_path, 1, seed="mismatch")
    instance = pydicom.dcmread(path)
    before = rows(node)
    with associated(node) as association:
        assert stored(association, instance, sop="1.2.3.4") == 0xA900
        assert stored(association, instance, sop_class=MRImageStorage) == 0xA900
        assert stored(association, instance, data="no data set at all, but some text") == 0xC000
        cut = path.read_bytes()[400:700].decode("latin-1")
        assert stored(association, instance, data=cut) == 0xC000
        assert rows(node) == before
        assert stored(association, instance) == 0
    assert key_of(str(instance.SOPInstanceUID)) in rows(node)


def test_the_associations_that_may_be_open_are_counted_and_one_too_many_is_told_so(node: Running) -> None:
    with contextlib.ExitStack() as stack:
        there = [stack.enter_context(associated(node)) for _ in range(4)]
        assert all(one.is_established for one in there)
        more = stack.enter_context(associated(node))
        assert more.is_rejected
        answer = more.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        assert all(one.send_c_echo().Status == 0 for one in there)
    until(lambda: gets_in(node), "an association after others ended")


def test_a_flood_of_connections_keeps_nobody_out(node: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            held = stack.enter_context(flooded(node, 100))
            assert len(held) > 60
            until(lambda: gets_in(node), "an association in the flood")
        assert node.process.poll() is None
    echoes(node)


def test_who_means_no_good_is_answered_so_and_the_next_good_instance_is_taken(tmp_path: Path) -> None:
    assert by_dicom(tmp_path) == {
        "unknown caller": "rejected 1.1.3",
        "another's title": "rejected 1.1.7",
        "200 connections that say nothing, or nonsense": "others get in",
        "SOP instance is not the command's": "A900",
        "SOP class is not the command's": "A900",
        "no data set": "C000",
        "a good instance then": "0000",
    }


def test_what_was_answered_with_success_is_there_after_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    instances = [pydicom.dcmread(path) for path in series(tmp_path / "source", 60, size=32, seed="kill")]
    answered: list[str] = []
    with listening(data) as node:

        def stream(mine: Sequence[pydicom.Dataset]) -> None:
            with associated(node) as association:
                for one in itertools.cycle(mine):
                    if association.send_c_store(one).get("Status") != 0:
                        return
                    answered.append(str(one.SOPInstanceUID))

        senders = [threading.Thread(target=stream, args=(instances[number::4],)) for number in range(4)]
        for one in senders:
            one.start()
        until(lambda: len(answered) >= 12, "instances before the kill")
        node.kill()
        for one in senders:
            one.join(60)
        assert not any(one.is_alive() for one in senders)
    with listening(data) as node:
        found = rows(node)
        assert {key_of(sop) for sop in answered} <= set(found)
        by_digest = {key_of(str(one.SOPInstanceUID)): one for one in instances}
        for sop, (file, _) in found.items():
            whole = pydicom.dcmread(data / "pacs" / "in" / file)
            assert (whole.pixel_array == by_digest[sop].pixel_array).all()
        with associated(node) as association:
            assert all(association.send_c_store(one).Status == 0 for one in instances)
        assert set(rows(node)) == set(by_digest)
        assert all(versions == 1 for _, versions in rows(node).values())


def test_below_the_watermark_nothing_is_taken(tmp_path: Path) -> None:
    instance = pydicom.dcmread(series(tmp_path / "source", 1)[0])
    with (
        listening(tmp_path / "data", disk_watermark_bytes=1 << 60) as node,
        associated(node) as association,
    ):
        assert association.send_c_store(instance).Status == 0xA700
        assert association.send_c_echo().Status == 0
        assert rows(node) == {}
        assert list((node.data / "pacs" / "in").iterdir()) == []


def test_a_data_set_beyond_the_limit_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    large, small = series(tmp_path / "large", 1, size=512)[0], series(tmp_path / "small", 1, seed="small")[0]
    with (
        listening(tmp_path / "data", file_bytes=100_000) as node,
        associated(node) as association,
    ):
        assert association.send_c_store(large).Status == 0xA700
        assert association.send_c_store(small).Status == 0
        assert len(rows(node)) == 1


def test_a_data_set_that_memory_does_not_hold_is_kept_as_well(node: Running, tmp_path: Path) -> None:
    [path] = series(tmp_path, 1, size=2300, seed="large")
    assert path.stat().st_size > 10 << 20
    with associated(node) as association:
        assert association.send_c_store(path).Status == 0
    assert body(kept(node, pydicom.dcmread(path))) == body(path)


def test_nothing_of_a_patient_is_written_down_but_in_the_files(node: Running, tmp_path: Path) -> None:
    [path] = series(tmp_path, 1, seed="patient", patient=PATIENT, patient_id="SENTINEL-ID", description="SENTINEL-TEXT")
    instance = pydicom.dcmread(path)
    with associated(node) as association:
        assert association.send_c_store(instance).Status == 0
        assert stored(association, instance, sop="1.2.3.4.5.6") == 0xA900
    words = [b"SENTINEL", *(str(uid).encode() for uid in (instance.SOPInstanceUID, instance.StudyInstanceUID))]
    found = kept(node, instance)
    assert words[0] in found.read_bytes()
    others = [path for path in node.data.rglob("*") if path.is_file() and path.parent != found.parent]
    assert any(path.name == "ledger.sqlite" for path in others)
    for path in others:
        assert not any(word in path.read_bytes() for word in words), path.name
    names = [str(path.relative_to(node.data)).encode() for path in node.data.rglob("*")]
    assert not any(word in name for word in words for name in names)
    assert "an instance was refused" in node.log()
