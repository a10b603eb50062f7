# SPDX-License-Identifier: Apache-2.0
"""Results by C-STORE over TLS: to a node of the authority, to nodes that are none, and again once those are mended."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import Event

from clarivox.server.dicom_store import key_of
from clarivox.server.job import Job
from clarivox.server.pacs.outbox import MADE, Delivery, DeliveryState
from clarivox.server.pacs.postman import Postman
from clarivox.server.pacs.standing import pacs_standing, requeue
from tests.certificates import certificate
from tests.couriers import PACS, SLICES, Desk
from tests.nodes import VERIFICATION, body, series
from tests.served import free_port, until

NAME = "second"
"""The destination by C-STORE of the courier."""
TRIES = 3


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return series(tmp_path_factory.mktemp("ct"), SLICES)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name, by in (("authority", None), ("clarivox", "authority"), ("pacs", "authority")):
        certificate(folder, name, by)
    for name, by in (("elsewhere", None), ("stranger", "elsewhere")):
        certificate(folder, name, by)
    return folder


class Archive:
    """A node that keeps what it takes, and knows how it came; each time it is opened it may speak otherwise.

    Args:
        certificates: the folder of them.
    """

    def __init__(self, certificates: Path) -> None:
        self.certificates, self.port = certificates, free_port()
        self.has: dict[str, bytes] = {}
        """The data sets as they came, by SOPInstanceUID."""
        self.callers: set[str | None] = set()
        """Whose certificates were shown; None where it was none."""

    @contextmanager
    def open(self, shows: str | None = "pacs", takes: str = "authority") -> Iterator[None]:
        """Listen: with the certificate `shows`, to callers of the authority `takes`; without TLS where it is None."""
        secure = None
        if shows is not None:
            secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.certificates / f"{takes}.pem")
            secure.load_cert_chain(self.certificates / f"{shows}.pem", self.certificates / f"{shows}.key")
            secure.verify_mode = ssl.CERT_REQUIRED
        node = AE("PACS")
        node.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        node.add_supported_context(VERIFICATION)
        handlers: Any = [(evt.EVT_C_STORE, self._keep)]
        place = ("127.0.0.1", self.port)
        server = node.start_server(place, block=False, ssl_context=secure, evt_handlers=handlers)
        try:
            yield
        finally:
            assert server is not None
            server.shutdown()

    def _keep(self, event: Event) -> int:
        line: Any = event.assoc.dul.socket
        shown = line.socket.getpeercert() if isinstance(line.socket, ssl.SSLSocket) else None
        self.callers.add(dict(pair for (pair,) in shown["subject"])["commonName"] if shown else None)
        self.has[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0


@pytest.fixture
def archive(certificates: Path) -> Archive:
    return Archive(certificates)


@pytest.fixture
def desk(tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A courier that has an archive by TLS, tries few times, and waits for nothing in between."""
    monkeypatch.setattr("clarivox.server.pacs.outbox.TRIES", TRIES)
    monkeypatch.setattr("clarivox.server.pacs.outbox.FIRST_S", 0.0)
    pacs = yaml.safe_load(PACS)
    tls = {"certificate": "clarivox.pem", "key": "clarivox.key", "authority": "authority.pem"}
    tls = {what: str(archive.certificates / name) for what, name in tls.items()}
    pacs["destinations"][NAME]["dimse"] |= {"port": archive.port, "tls": tls}
    return Desk(tmp_path, yaml.safe_dump(pacs))


def routed(desk: Desk, slices: list[Path]) -> Job:
    """A job that made the very files that came."""
    desk.arrive(slices)
    desk.route()
    return desk.work()


def postman_of(desk: Desk) -> Postman:
    """As the courier makes it of pacs.yaml."""
    [sender] = [one for one in desk.courier.senders if one.name == NAME]
    return desk.postman(sender)


def delivery(desk: Desk, job: Job) -> Delivery:
    [found] = [one for one in desk.outbox.of_job(job.id) if one.destination == NAME]
    return found


def arrived_whole(archive: Archive, slices: list[Path]) -> None:
    """All instances came, over TLS, with our certificate, byte by byte as they were made."""
    assert archive.has == {str(dcmread(path).SOPInstanceUID): body(path) for path in slices}
    assert archive.callers == {"clarivox"}


def test_a_result_goes_over_tls_to_a_node_of_the_authority(desk: Desk, archive: Archive, slices: list[Path]) -> None:
    job = routed(desk, slices)
    with archive.open():
        postman = postman_of(desk)
        postman.sender.check()
        assert postman.round() == 1
    found = delivery(desk, job)
    assert (found.state, found.instances, found.tries) == (DeliveryState.DONE, SLICES, 0)
    arrived_whole(archive, slices)


@pytest.mark.parametrize(
    "wrong",
    [{"shows": "stranger"}, {"shows": None}, {"takes": "elsewhere"}],
    ids=["a certificate of another authority", "no TLS", "it takes no certificate of ours"],
)
def test_to_a_node_that_tls_does_not_fit_nothing_goes_and_nothing_is_lost(
    desk: Desk, archive: Archive, slices: list[Path], wrong: dict[str, Any]
) -> None:
    job = routed(desk, slices)
    postman, keys = postman_of(desk), [key_of(str(dcmread(path).SOPInstanceUID)) for path in slices]
    with archive.open(**wrong):
        for tried in range(1, TRIES + 1):
            until(postman.round)
            found = delivery(desk, job)
            expected = DeliveryState.WAITING if tried < TRIES else DeliveryState.DEAD
            assert (found.state, found.tries, found.code) == (expected, tried, "pacs_away")
        assert postman.round() == 0
    assert archive.has == {} and desk.outbox.known(keys, NAME) == set() and len(desk.outbox.known(keys, MADE)) == SLICES
    [letter] = pacs_standing(desk.ledger.database, desk.courier.settings.data_dir).dead
    assert (letter.destination, letter.code, letter.reason) == (NAME, "pacs_away", "the PACS does not answer")
    with archive.open():
        assert postman.round() == 0, "a dead letter goes only when somebody asks"
        requeue(desk.ledger, desk.blobs, desk.outbox, letter.id)
        assert postman.round() == 1
    found = delivery(desk, job)
    assert (found.state, found.instances, found.code) == (DeliveryState.DONE, SLICES, None)
    arrived_whole(archive, slices)
