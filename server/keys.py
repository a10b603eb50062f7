# SPDX-License-Identifier: Apache-2.0
"""API keys in the ledger's database: make, list and revoke them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from contextlib import suppress

from sqlalchemy import RowMapping, insert, select, update

from clarivox.errors import BusyError, CapacityError, NotFoundError, OptionError
from clarivox.server.audit import Audit, Entry
from clarivox.server.auth import KEY_PREFIX, KeyRow, Scope, digest
from clarivox.server.dialects import Database
from clarivox.server.tables import api_key

LABEL_CHARS = 255


class Keys:
    """The keys of a server.

    >>> from clarivox.server.ledger import Ledger
    >>> from clarivox.server.settings import Settings
    >>> ledger = Ledger("sqlite://", settings=Settings())
    >>> ledger.open()
    >>> keys = Keys(ledger.database)
    >>> key, row = keys.create("a workstation", ["read"])
    >>> key.startswith(f"cvx_{row.id}_"), [one.label for one in keys.list()]
    (True, ['a workstation'])
    """

    def __init__(self, database: Database, audit: Audit | None = None) -> None:
        self._database = database
        self._audit = audit

    def create(self, label: str, scopes: Iterable[str] = (Scope.READ, Scope.INFER)) -> tuple[str, KeyRow]:
        """Make a key.

        Args:
            label: what it is for, as "ward 3 workstation"; shown in lists, never logged.
            scopes: what it may do.

        Returns:
            The key itself, which is shown this once and kept nowhere, and its row.

        Raises:
            OptionError: a scope is unknown, none is given, or the label is too long.
        """
        given = frozenset(scopes)
        unknown = given - set(Scope)
        if unknown or not given:
            raise OptionError(
                f"a key has scopes of {', '.join(Scope)}; found {', '.join(sorted(unknown)) or 'none'}",
                code="bad_scope",
            )
        if len(label) > LABEL_CHARS:
            raise OptionError(f"a label has at most {LABEL_CHARS} characters; found {len(label)}")
        key_id = secrets.token_hex(6)
        self._record("POST", key_id)
        key = f"{KEY_PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
        row = KeyRow(key_id, digest(key), given, label, time.time(), None, None)
        with self._database.write() as connection:
            connection.execute(
                insert(api_key).values(id=row.id, hash=row.hash, scopes=sorted(given), label=label, created=row.created)
            )
        return key, row

    def list(self) -> list[KeyRow]:
        """Every key, revoked ones too, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(api_key).order_by(api_key.c.created.desc(), api_key.c.id))
            return [_row(one._mapping) for one in rows]

    def revoke(self, key_id: str) -> KeyRow:
        """Make a key useless, within a second in every process.

        Raises:
            NotFoundError: there is no such key.
        """
        self._record("DELETE", key_id)
        with self._database.write() as connection:
            connection.execute(
                update(api_key).where(api_key.c.id == key_id, api_key.c.revoked.is_(None)).values(revoked=time.time())
            )
        found = self.find(key_id)
        if found is None:
            raise NotFoundError("there is no key of that id; clarivox keys list shows them", code="no_such_key")
        return found

    def find(self, key_id: str) -> KeyRow | None:
        """The key of that id, revoked or not."""
        with self._database.read() as connection:
            found = connection.execute(select(api_key).where(api_key.c.id == key_id)).first()
        return _row(found._mapping) if found else None

    def _record(self, method: str, key_id: str) -> None:
        """Write into the audit what is about to be done, by whoever has the command line of this machine."""
        if self._audit is not None:
            known = key_id if key_id.isalnum() and len(key_id) <= 32 else "unknown"
            self._audit.record(Entry(time.time(), "admin", "cli", "", method, "keys", known))

    def used(self, key_id: str) -> None:
        """Note that a key was used now; where the database cannot take it, the key is still good."""
        with suppress(BusyError, CapacityError), self._database.write() as connection:
            connection.execute(update(api_key).where(api_key.c.id == key_id).values(last_used=time.time()))


def _row(found: RowMapping) -> KeyRow:
    return KeyRow(**{**found, "scopes": frozenset(found["scopes"])})
