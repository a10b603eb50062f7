# SPDX-License-Identifier: Apache-2.0
"""Every route of the server against every kind of credential: `python -m tests.routes` prints the table."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from clarivox.server.auth import OPEN, Scope
from clarivox.server.main import create_app
from clarivox.server.settings import Settings
from tests.credentials import Credential, credentials
from tests.issuer import issuer

OPEN_ROUTES = frozenset(OPEN) | {"/metrics"}
"""Routes that need no scope. /metrics is open to this machine itself, and the gate asks everyone else for a key."""


@dataclass(frozen=True)
class Way:
    """A method on a path, and the scope that it asks for."""

    method: str
    path: str
    scope: str | None

    @property
    def address(self) -> str:
        """A path that the pattern fits."""
        return re.sub(r"\{[^}]*\}", "0" * 8, self.path)


def ways(app: FastAPI) -> list[Way]:
    """Every method on every path that the application answers."""
    found = []
    for context in iter_route_contexts(app.router.routes):
        scopes = _scopes(getattr(context, "dependant", None))
        assert len(scopes) <= 1, f"{context.path} asks for {scopes}"
        found += [Way(method, str(context.path), next(iter(scopes), None)) for method in context.methods or ()]
    return sorted(set(found), key=str)


def _scopes(dependant: Any) -> set[str]:
    if dependant is None:
        return set()
    own = getattr(dependant.call, "scope", None)
    return ({str(own)} if isinstance(own, Scope) else set()).union(*map(_scopes, dependant.dependencies))


def unscoped(app: FastAPI) -> list[Way]:
    """Routes that ask for no scope and are not listed as open."""
    return [way for way in ways(app) if way.scope is None and way.path not in OPEN_ROUTES]


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[TestClient, list[Way], dict[str, Credential]]]:
    """The application with keys and a provider of tokens, its routes emptied of what they do."""
    with issuer() as provider:
        app = create_app(Settings(data_dir=folder, auth="on", oidc_issuer=provider.url), workers=False)
        with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
            found = ways(app)
            for context in iter_route_contexts(app.router.routes):
                dependant = getattr(context, "dependant", None)
                if dependant is not None:
                    dependant.call = _nothing
            yield client, found, credentials(app.state.auth.keys, provider)


def _nothing(**_: Any) -> None:
    pass


def mistakes(client: TestClient, found: list[Way], shown: Credential) -> list[tuple[Way, int]]:
    """The routes that let a credential in though they must not, or keep it out though they must not."""
    wrong = []
    headers = {} if shown.header is None else {"Authorization": shown.header}
    for way in found:
        if way.path in OPEN_ROUTES and way.path != "/metrics":
            continue
        status = client.request(way.method, way.address, headers=headers).status_code
        if shown.scopes is None:
            right = status == 401
        elif way.scope is None or way.scope in shown.scopes:
            right = status not in (401, 403)
        else:
            right = status == 403
        if not right:
            wrong.append((way, status))
    return wrong


def main() -> None:
    """Print which scope each route asks for, and how many credentials got through where they must not."""
    with tempfile.TemporaryDirectory() as folder, guarded(Path(folder)) as (client, found, table):
        print("| route | scope |\n| --- | --- |")
        for way in found:
            asked = way.scope or ("none: " + OPEN.get(way.path, "only from this machine itself"))
            print(f"| {way.method} {way.path} | {asked} |")
        wrong = {name: len(mistakes(client, found, shown)) for name, shown in table.items()}
        print("\n| credential | gives | wrong answers |\n| --- | --- | --- |")
        for name, shown in table.items():
            gives = "401" if shown.scopes is None else ", ".join(sorted(shown.scopes)) or "no scope: 403"
            print(f"| {name} | {gives} | {wrong[name]} |")
        print(f"\n{len(found)} routes, {len(table)} credentials, {sum(wrong.values())} wrong answers, ", end="")
        print(f"{len(unscoped(client.app))} routes open by mistake")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
