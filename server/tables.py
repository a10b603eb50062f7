# SPDX-License-Identifier: Apache-2.0
"""The tables of the ledger, the same on SQLite and PostgreSQL. Times are seconds since 1970."""

from __future__ import annotations

import json
import math
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

metadata = MetaData()


class Document(TypeDecorator[Any]):
    """JSON kept as text, so that both databases give back what went in; no query looks inside."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """As text; a number that is none becomes null, for JSON has no word for it."""
        return None if value is None else json.dumps(finite(value), separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """As it went in, tuples as lists."""
        return None if value is None else json.loads(value)


def finite(value: Any) -> Any:
    """The value with null for every number that is not finite.

    >>> finite({"snr": float("inf"), "rows": (1, 2.5)})
    {'snr': None, 'rows': [1, 2.5]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value


IDENTIFIER = String(36).with_variant(String(36, collation="C"), "postgresql")
"""Compared byte by byte, so that the order of identifiers is the order of time."""
COUNTER = BigInteger().with_variant(Integer(), "sqlite")
QUEUED, RUNNING = text("state = 'queued'"), text("state = 'running'")

job = Table(
    "job",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("bundle", String(255), nullable=False),
    Column("bundle_version", String(64), nullable=False),
    Column("params", Document, nullable=False),
    Column("inputs", Document, nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("tags", Document, nullable=False),
    Column("created", Double, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("deadline", Double),
    Column("started", Double),
    Column("finished", Double),
    Column("attempt", Integer, nullable=False),
    Column("uncounted", Integer, nullable=False, server_default="0"),  # attempts that a drain took back
    Column("max_attempts", Integer, nullable=False),
    Column("crash_count", Integer, nullable=False),
    Column("worker_id", String(255)),
    Column("lease_until", Double),
    Column("lease_s", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("done", Double, nullable=False),
    Column("eta_s", Double),
    Column("progress_at", Double),
    Column("error", Document),
    Column("results", Document, nullable=False),
    Column("notes", Document, nullable=False),
    Column("degradations", Document, nullable=False),
    Column("metrics", Document, nullable=False),
    Column("parent_id", IDENTIFIER),
    Column("idem_key", String(255)),
    Column("request_hash", String(64)),
    Column("trace", String(255)),
    Column("expires_at", Double),
    Column("seq", COUNTER, nullable=False),
    Index("job_ready", text("priority DESC"), "created", "id", sqlite_where=QUEUED, postgresql_where=QUEUED),
    Index("job_lease", "lease_until", sqlite_where=RUNNING, postgresql_where=RUNNING),
    Index("job_idempotency", "owner", "idem_key", unique=True),
    Index("job_owner", "owner", "id"),
    Index("job_state", "state"),
    Index("job_kind", "kind", "id"),
    Index("job_parent", "parent_id"),
    Index("job_expires", "expires_at"),
)

job_event = Table(
    "job_event",
    metadata,
    Column("seq", COUNTER, primary_key=True, autoincrement=True),
    Column("job_id", IDENTIFIER, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("type", String(32), nullable=False),
    Column("data", Document, nullable=False),
    Index("job_event_job", "job_id", "seq"),
    Index("job_event_at", "at"),
    sqlite_autoincrement=True,  # a number that was seen is never given again, though its row be deleted
)

worker = Table(
    "worker",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(64), nullable=False),
    Column("device_name", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("started", Double, nullable=False),
    Column("heartbeat", Double, nullable=False),
    Column("loaded", Document, nullable=False),
    Column("job_id", IDENTIFIER),
    Column("memory", Document, nullable=False),
)

profile = Table(
    "profile",
    metadata,
    Column("bundle", String(255), nullable=False),
    Column("device", String(255), nullable=False),
    Column("s_per_megavoxel", Double, nullable=False),
    Column("load_s", Double, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    Column("runs", Integer, nullable=False),
    PrimaryKeyConstraint("bundle", "device"),
)

blob_use = Table(
    "blob_use",
    metadata,
    Column("sha256", String(64), nullable=False),
    Column("user", String(255), nullable=False),  # job:ID, image:ID, label:ID/TAG, session:ID
    Column("role", String(32), nullable=False),
    PrimaryKeyConstraint("sha256", "user", "role"),
    Index("blob_use_user", "user"),
)

blob_loose = Table(  # files that lost their last user and are to be deleted
    "blob_loose",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("since", Double, nullable=False),
)

clock = Table(  # what to add to the machine's uptime; a row for each of its starts
    "clock",
    metadata,
    Column("boot", String(64), primary_key=True),
    Column("offset", Double, nullable=False),
)

# safety: keys of the API
api_key = Table(
    "api_key",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", Document, nullable=False),
    Column("label", String(255), nullable=False),
    Column("created", Double, nullable=False),
    Column("last_used", Double),
    Column("revoked", Double),
)

# monailabel: the datastore and sessions; names and words of clients are sealed
image = Table(
    "image",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("mark", String(64), nullable=False, unique=True),  # keyed digest of the name
    Column("sealed", Text, nullable=False),
    Column("file", Document),  # none until its job has ended
    Column("shown", Document),  # what viewers are given for it, where that is not the file itself
    Column("created", Double, nullable=False),
    Column("parent_id", IDENTIFIER),
    Column("job_id", IDENTIFIER, unique=True),
    Column("bundle", String(255), nullable=False),
)

label = Table(
    "label",
    metadata,
    Column("image_id", IDENTIFIER, nullable=False),
    Column("tag", String(64), nullable=False),
    Column("file", Document, nullable=False),
    Column("sealed", Text, nullable=False),
    PrimaryKeyConstraint("image_id", "tag"),
)

session = Table(
    "session",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("files", Document, nullable=False),
    Column("created", Double, nullable=False),
    Column("accessed", Double, nullable=False),
    Column("expiry_s", Integer, nullable=False),
)

# dicomweb: in which index of which job a series is described; of its identifiers digests only. A job that was asked for
# by its study has a row from its beginning, without an index: "" for both that are not known yet
dicom_series = Table(
    "dicom_series",
    metadata,
    Column("job_id", IDENTIFIER, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("study", String(32), nullable=False),
    Column("series", String(32), nullable=False),
    PrimaryKeyConstraint("job_id", "sha256", "study", "series"),
    Index("dicom_series_study", "study", "series"),
)

# pacs: what came in, what becomes of it, where results go; of identifiers digests only, as above
pacs_instance = Table(
    "pacs_instance",
    metadata,
    Column("series", String(32), nullable=False),
    Column("sop", String(32), nullable=False),
    Column("study", String(32), nullable=False),
    Column("calling", String(16), nullable=False),
    Column("called", String(16), nullable=False),
    Column("file", String(64), nullable=False),  # its name in the folder of what came in
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("received", Double, nullable=False),
    Column("versions", Integer, nullable=False),  # how often it came with other bytes; the newest are kept
    PrimaryKeyConstraint("series", "sop"),
    Index("pacs_instance_sop", "sop"),
    Index("pacs_instance_file", "file", unique=True),
)

pacs_series = Table(
    "pacs_series",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("series", String(32), nullable=False, unique=True),
    Column("source", String(16), nullable=False),  # dimse, orthanc, web
    Column("calling", String(16), nullable=False),
    Column("state", String(16), nullable=False),  # open, routed, ignored, failed
    Column("first", Double, nullable=False),  # since it is open, by the even clock of the leases, as `last`
    Column("last", Double, nullable=False),
    Column("seq", COUNTER, nullable=False),  # goes up with all that comes, so that nothing is closed unseen
    Column("rule", String(255)),
    Column("code", String(64)),
    Column("jobs", Document, nullable=False),
    Index("pacs_series_state", "state", "last"),
)

pacs_delivery = Table(
    "pacs_delivery",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("job_id", IDENTIFIER, nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # waiting, done, dead
    Column("tries", Integer, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("code", String(64)),
    Column("at", Double, nullable=False),
    Index("pacs_delivery_once", "job_id", "destination", unique=True),
    Index("pacs_delivery_state", "state", "not_before"),
)

pacs_sent = Table(  # what was delivered where: known again when it comes back
    "pacs_sent",
    metadata,
    Column("sop", String(32), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("sop", "destination"),
)

pacs_cursor = Table(
    "pacs_cursor",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False),
)

# worklist: items that clients made, who wants to hear of them, and what happened; data sets are sealed
workitem = Table(
    "workitem",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("mark", String(64), nullable=False, unique=True),  # keyed digest of its UID
    Column("owner", String(255), nullable=False),
    Column("state", String(16), nullable=False),  # of one that no job of ours does
    Column("claim", String(64)),  # keyed digest of the Transaction UID
    Column("sealed", Text, nullable=False),
    Column("job_id", IDENTIFIER, unique=True),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Index("workitem_owner", "owner", "id"),
)

workitem_event = Table(
    "workitem_event",
    metadata,
    Column("seq", COUNTER, primary_key=True, autoincrement=True),
    Column("item", IDENTIFIER, nullable=False),  # of a workitem, or of a job that is shown as one
    Column("only", String(16)),  # the one subscriber that it is for
    Column("at", Double, nullable=False),
    Column("type", String(32), nullable=False),
    Column("data", Document, nullable=False),
    Index("workitem_event_at", "at"),
    sqlite_autoincrement=True,
)

workitem_subscription = Table(
    "workitem_subscription",
    metadata,
    Column("owner", String(255), nullable=False),
    Column("aetitle", String(16), nullable=False),
    Column("target", String(36), nullable=False),  # id of an item; "all" or "some" of the worklist
    Column("wanted", Boolean, nullable=False),  # not: taken out of a subscription to all
    Column("until", Double),  # suspended: only items that were made before
    Column("sealed", Text),  # the search that items of "some" fit
    Column("job_seq", COUNTER, nullable=False),  # later events only
    Column("item_seq", COUNTER, nullable=False),
    PrimaryKeyConstraint("owner", "aetitle", "target"),
)
