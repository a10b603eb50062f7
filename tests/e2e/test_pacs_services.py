# SPDX-License-Identifier: Apache-2.0
"""What the DICOM node does beside storing: TLS, queries, storage commitment; and a disk that is full for good."""

import os
import shlex
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset

from clarivox.server.blobs import Blobs
from clarivox.server.dicom_store import key_of
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.inbox import OWNER
from clarivox.server.pacs.scu import COMMITMENT, COMMITMENT_INSTANCE, Commitments
from clarivox.server.pacs.settings import Dimse
from clarivox.server.settings import Settings
from tests.certificates import certificate
from tests.dicom_jobs import published
from tests.nodes import Running, associated, listening, rows, series
from tests.served import free_port

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
NEVER_SENT = "1.2.3.4.5.6.7"


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name, by in (("authority", None), ("node", "authority"), ("caller", "authority"), ("stranger", None)):
        certificate(folder, name, by)
    return folder


def shown(folder: Path, name: str | None) -> ssl.SSLContext:
    """How a caller shakes hands, with this certificate or with none."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.load_verify_locations(folder / "authority.pem")
    if name is not None:
        found.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return found


def test_with_tls_only_who_shows_a_certificate_of_the_authority_gets_in(certificates: Path, tmp_path: Path) -> None:
    tls = {
        "certificate": str(certificates / "node.pem"),
        "key": str(certificates / "node.key"),
        "authority": str(certificates / "authority.pem"),
    }
    instance = pydicom.dcmread(series(tmp_path / "source", 1)[0])
    with listening(tmp_path / "data", {"tls": tls}) as node:
        for name in (None, "stranger"):
            with associated(node, tls_args=(shown(certificates, name), "127.0.0.1")) as association:
                assert not association.is_established
        with associated(node) as plain:
            assert not plain.is_established
        with associated(node, tls_args=(shown(certificates, "caller"), "127.0.0.1")) as association:
            assert association.send_c_echo().Status == 0
            assert association.send_c_store(instance).Status == 0
        assert len(rows(node)) == 1


# A full disk


def test_a_full_disk_refuses_what_comes_and_takes_it_when_there_is_room_again(tmp_path: Path) -> None:
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("no file system of its own can be made here (unshare -m)")
    data = tmp_path / "data"
    mount = f"mount -t tmpfs -o size=8m none {shlex.quote(str(data))}"
    fill = f"head -c 4000000 /dev/zero > {shlex.quote(str(data / 'ballast'))}"
    launcher = [*unshare, "sh", "-c", f'{mount} && {fill} && exec "$@"', "sh"]
    instances = [pydicom.dcmread(path) for path in series(tmp_path / "source", 14, size=512)]
    with (
        listening(data, launcher=launcher, disk_watermark_bytes=0) as node,
        associated(node) as association,
    ):
        answers = [association.send_c_store(one).Status for one in instances]
        assert set(answers) == {0, 0xA700}
        assert answers[0] == 0
        assert association.send_c_echo().Status == 0
        within = Path(f"/proc/{node.process.pid}/root{data}")
        (within / "ballast").unlink()
        refused = [one for one, answer in zip(instances, answers, strict=True) if answer]
        assert association.send_c_store(refused[0]).Status == 0
        files = list((within / "pacs" / "in").iterdir())
        assert len(files) == answers.count(0) + 1, "half a file was left"


# C-FIND


@pytest.fixture(scope="module")
def finding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    folder = tmp_path_factory.mktemp("finding")
    settings = Settings(data_dir=folder / "data", disk_watermark_bytes=0, disk_reserve_bytes=0)
    settings.data_dir.mkdir()
    ledger = Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    blobs = Blobs(settings.data_dir, settings)
    for owner, seed, name in ((OWNER, "found", "FOUND^ONE"), ("ward", "hidden", "HIDDEN^ONE")):
        published(ledger, blobs, series(folder / seed, 3, seed=seed, patient=name), owner=owner)
    ledger.close()
    with listening(folder / "data") as node:
        yield node, folder


def asked(level: str, **keys: str) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def found(node: Running, query: Dataset) -> tuple[list[Dataset], int]:
    """The answers to a query, and how they ended."""
    with associated(node, others=[FIND]) as association:
        answers = [(int(status.Status), one) for status, one in association.send_c_find(query, FIND)]
    return [one for status, one in answers if status == 0xFF00], answers[-1][0]


def test_studies_series_and_instances_of_our_own_jobs_are_found(finding: tuple[Running, Path]) -> None:
    node, folder = finding
    instance = pydicom.dcmread(sorted((folder / "found").iterdir())[0])
    [study], end = found(
        node, asked("STUDY", PatientName="FOUND*", StudyInstanceUID="", NumberOfStudyRelatedInstances="")
    )
    assert end == 0
    assert study.StudyInstanceUID == instance.StudyInstanceUID
    assert study.PatientName == "FOUND^ONE"
    assert study.NumberOfStudyRelatedInstances == 3
    assert study.QueryRetrieveLevel == "STUDY"
    keys = {"StudyInstanceUID": str(instance.StudyInstanceUID)}
    [series_], end = found(node, asked("SERIES", **keys, Modality="CT", SeriesInstanceUID=""))
    assert (end, series_.SeriesInstanceUID, series_.Modality) == (0, instance.SeriesInstanceUID, "CT")
    keys |= {"SeriesInstanceUID": str(instance.SeriesInstanceUID)}
    instances, end = found(node, asked("IMAGE", **keys, SOPInstanceUID="", InstanceNumber="", SOPClassUID=""))
    assert end == 0
    assert len({one.SOPInstanceUID for one in instances}) == 3
    assert {str(one.SOPClassUID) for one in instances} == {str(instance.SOPClassUID)}


def test_what_does_not_fit_or_is_of_another_owner_is_not_found(finding: tuple[Running, Path]) -> None:
    node, _ = finding
    for query in (
        asked("STUDY", PatientName="HIDDEN*"),
        asked("STUDY", StudyInstanceUID=NEVER_SENT),
        asked("SERIES", Modality="MR"),
    ):
        assert found(node, query) == ([], 0)
    everything, _ = found(node, asked("STUDY", PatientName=""))
    assert [str(one.PatientName) for one in everything] == ["FOUND^ONE"]


def test_a_query_that_cannot_be_understood_is_answered_so_and_not_written_down(finding: tuple[Running, Path]) -> None:
    node, _ = finding
    assert found(node, asked("PATIENT", PatientName="SENTINEL*")) == ([], 0xA900)
    assert found(node, asked("STUDY", PatientComments="SENTINEL*" + 5000 * "x")) == ([], 0xC000)
    assert "SENTINEL" not in node.log()


def test_findscu_finds_as_well(finding: tuple[Running, Path]) -> None:
    if shutil.which("findscu") is None:
        pytest.skip("no findscu of dcmtk")
    node, _ = finding
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=FOUND*", "-k", "StudyInstanceUID"]
    done = subprocess.run(
        ["findscu", "-S", "-aet", "TEST", "-aec", "CLARIVOX", *keys, *node.address], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "FOUND^ONE" in done.stdout + done.stderr


# Storage commitment


@pytest.mark.parametrize("own_association", [False, True], ids=["over the same association", "by one of its own"])
def test_what_is_held_is_committed_and_what_was_never_sent_is_not(tmp_path: Path, own_association: bool) -> None:
    paths = series(tmp_path / "source", 20, seed="committed")
    instances = [pydicom.dcmread(path) for path in paths]
    port = free_port() if own_association else None
    caller = {"ae_title": "TEST", "address": "127.0.0.1", "port": port}
    with listening(tmp_path / "data", {"allow": [caller]}) as node:
        with associated(node) as association:
            assert all(association.send_c_store(one).Status == 0 for one in instances)
        peer = Commitments(
            Dimse(host="127.0.0.1", port=node.port, called="CLARIVOX", calling="TEST", answers_port=port)
        )
        sent = [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in instances]
        with peer.listening():
            assert peer.failed(sent, threading.Event()) == []
            assert peer.failed([*sent, (sent[0][0], NEVER_SENT)], threading.Event()) == [NEVER_SENT]
            name, _ = rows(node)[key_of(str(instances[0].SOPInstanceUID))]
            (node.data / "pacs" / "in" / name).unlink()
            assert peer.failed(sent, threading.Event()) == [sent[0][1]]


def test_a_request_that_asks_for_nothing_is_refused(tmp_path: Path) -> None:
    with listening(tmp_path / "data") as node, associated(node, others=[COMMITMENT]) as association:
        empty = Dataset()
        empty.TransactionUID = NEVER_SENT
        status, _ = association.send_n_action(empty, 1, COMMITMENT, COMMITMENT_INSTANCE)
        assert status.Status == 0x0115
        status, _ = association.send_n_action(empty, 2, COMMITMENT, COMMITMENT_INSTANCE)
        assert status.Status == 0x0123
        assert association.send_c_echo().Status == 0
