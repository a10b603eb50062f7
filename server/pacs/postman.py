# SPDX-License-Identifier: Apache-2.0
"""From the ledger to one destination: results of jobs that ended are unpacked, sent, and looked for again."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from clarivox.errors import ClarivoxError, NotFoundError
from clarivox.io.archive import extracted
from clarivox.server.blobs import Blobs
from clarivox.server.dicom_store import key_of
from clarivox.server.job import Job, Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.deliver import Sender, results_of
from clarivox.server.pacs.outbox import MADE, Delivery, DeliveryState, Outbox
from clarivox.server.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Postman:
    """Brings results to one destination."""

    settings: Settings
    ledger: Ledger
    blobs: Blobs
    outbox: Outbox
    sender: Sender
    stopping: threading.Event

    def round(self) -> int:
        """See to every delivery whose time has come; how many there were.

        Raises:
            BusyError: the database does not answer.
        """
        found = self.outbox.due(self.sender.name)
        for one in found:
            if self.stopping.is_set():
                break
            self.deliver(one)
        return len(found)

    def deliver(self, delivery: Delivery) -> DeliveryState:
        """See to one delivery whose job has ended."""
        try:
            job = self.ledger.get(delivery.job_id)
        except NotFoundError as error:
            self.outbox.dead(delivery, error.code)
            return DeliveryState.DEAD
        if job.state is not State.SUCCEEDED:
            code = str((job.error or {}).get("code", "")) or job.state.value
            self.outbox.dead(delivery, code[:64])
            logger.error("a result cannot be delivered: its job ended as %s", job.state.value)
            return DeliveryState.DEAD
        try:
            code = self._sent(delivery, job)
        except ClarivoxError as error:
            code = error.code
        if not code:
            return DeliveryState.DONE
        state = self.outbox.failed(delivery, code[:64])
        logger.warning("try %d of a delivery to %s failed: %s", delivery.tries + 1, self.sender.name, code)
        return state

    def _sent(self, delivery: Delivery, job: Job) -> str:
        """Send what the destination has not; "" where it has all then, else why not.

        Raises:
            ClarivoxError: the destination does not answer, or the result cannot be read.
        """
        file = next((one for one in job.results if one.role == Role.RESULT), None)
        if file is None:
            return "no_result"
        with extracted(self.blobs.path(file.sha256), self.settings.limits) as folder:
            results = results_of(folder, self.settings.limits)
            keys = {one.sop: key_of(one.sop) for one in results}
            # Before the first is sent: what comes back at once is known already.
            self.outbox.note(MADE, keys.values())
            there = self.outbox.known(list(keys.values()), self.sender.name)
            rest = [one for one in results if keys[one.sop] not in there]
            if rest:
                sent = self.sender.send(
                    rest, lambda sops: self.outbox.note(self.sender.name, [keys[sop] for sop in sops])
                )
                if sent.refused:
                    return sent.code
            if lacking := self.sender.uncommitted(results, self.stopping):
                self.outbox.forget_sent(self.sender.name, [key_of(sop) for sop in lacking])
                return "not_committed"
        self.outbox.done(delivery, len(results))
        return ""
