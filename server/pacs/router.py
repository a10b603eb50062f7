# SPDX-License-Identifier: Apache-2.0
"""From the inbox to the ledger: each series that is whole is looked at, and becomes the jobs that the rules ask for."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from clarivox.errors import BusyError, CapacityError, ClarivoxError, NotFoundError
from clarivox.server.blobs import Blobs
from clarivox.server.job import Job, NewJob
from clarivox.server.ledger import Ledger
from clarivox.server.pacs import grouping
from clarivox.server.pacs.facts import instance_of
from clarivox.server.pacs.grouping import Group, group_of, packed
from clarivox.server.pacs.inbox import Inbox, Series, SeriesState
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.pacs.rules import Loaded, Rule, digest_of
from clarivox.server.settings import Settings

logger = logging.getLogger(__name__)

OWNER = "pacs"
"""Whose the jobs of the PACS are."""


@dataclass(frozen=True)
class Router:
    """Takes series from the inbox to the ledger."""

    settings: Settings
    ledger: Ledger
    blobs: Blobs
    inbox: Inbox
    outbox: Outbox

    def route(self, series: Series, loaded: Loaded) -> SeriesState:
        """See to one series: it is routed, ignored or failed afterwards, or still open where it has to wait.

        Raises:
            BusyError: the queue is full, or the database does not answer; it stays open.
            CapacityError: the disk is full; it stays open.
        """
        group = group_of(self.inbox, series)
        if not group.instances:
            return self._closed(series, SeriesState.IGNORED, code="nothing_left")
        try:
            return self._routed(group, loaded)
        except (BusyError, CapacityError):
            raise
        except NotFoundError as error:
            if group_of(self.inbox, series) != group:
                return SeriesState.OPEN
            return self._closed(series, SeriesState.FAILED, code=error.code)
        except ClarivoxError as error:
            return self._closed(series, SeriesState.FAILED, code=error.code)

    def _routed(self, group: Group, loaded: Loaded) -> SeriesState:
        series = group.series
        found = instance_of(self.inbox.path(group.instances[0]), series.calling, self.settings.limits)
        if found.facts.ours or self.outbox.known([one.sop for one in group.instances]):
            return self._closed(series, SeriesState.IGNORED, code="own_result")
        verdict = loaded.rules.verdict(found.facts)
        named = verdict.why[-1][0] if verdict.why and verdict.ignored else None
        if not verdict.fired:
            return self._closed(series, SeriesState.IGNORED, rule=named, code="ignored" if named else "no_rule")
        content = grouping.digest_of(group, self.inbox)
        jobs = []
        for rule in verdict.fired:
            job = self._submitted(group, content, loaded, rule)
            # Before the series is closed: a kill between the two has both done again, and neither changes anything.
            self.outbox.add(job.id, rule.to or ())
            jobs.append(job.id)
        rules = ", ".join(rule.name for rule in verdict.fired)[:255]
        return self._closed(series, SeriesState.ROUTED, rule=rules, jobs=[*series.jobs, *jobs])

    def _submitted(self, group: Group, content: str, loaded: Loaded, rule: Rule) -> Job:
        info = loaded.bundles[rule.bundle]
        params = loaded.params[rule.name]
        self.blobs.admit(sum(one.bytes for one in group.instances))
        file = packed(group, self.inbox, self.blobs, self.settings.entries)
        key = f"{content}-{digest_of(rule, params, info.version)}"
        tags = {"rule": rule.name, "from": group.series.source} | ({"late": "instances"} if group.late else {})
        new = NewJob(
            owner=OWNER,
            inputs=(file,),
            bundle=info.name,
            bundle_version=info.version,
            params=params,
            priority=rule.priority,
            max_attempts=self.settings.max_attempts,
            tags=tags,
            idem_key=key,
            request_hash=content,
            study=group.instances[0].study,
        )
        job, _ = self.ledger.submit(new, has=self.blobs.has)
        logger.info("a series of %d instances is routed%s", len(group.instances), " anew" if group.late else "")
        return job

    def _closed(
        self,
        series: Series,
        state: SeriesState,
        *,
        rule: str | None = None,
        code: str | None = None,
        jobs: list[str] | None = None,
    ) -> SeriesState:
        kept = list(series.jobs) if jobs is None else list(dict.fromkeys(jobs))
        if not self.inbox.close(series, state, rule=rule, code=code, jobs=kept):
            return SeriesState.OPEN
        return state
