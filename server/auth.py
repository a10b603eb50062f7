# SPDX-License-Identifier: Apache-2.0
"""Who asks, and what they may do: API keys, bearer tokens of an OpenID provider, and the scope that each route wants.

`Gate` stands before the application and knows the caller before a byte of the body is read; `require` stands at each
route and compares scopes. A route with neither a scope nor a line in `OPEN` still wants a caller, and fails a test.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from clarivox.errors import AccessError, OptionError
from clarivox.server.settings import Settings

if TYPE_CHECKING:
    from clarivox.server.oidc import Provider


class Scope(StrEnum):
    """What a caller may do. None holds another: a key lists each that it has."""

    READ = "read"
    """See bundles, the queue, and one's own jobs, images and results."""
    INFER = "infer"
    """Send images, run, cancel and delete one's own jobs."""
    ADMIN = "admin"
    """See and change what is not one's own; train; look after the server."""


OPEN: dict[str, str] = {
    "/": "the page of the interface; Slicer and the Reviewer plugin ask for it to test the connection",
    "/docs": "the description of the interface; holds no data",
    "/openapi.json": "the description of the interface; holds no data",
    "/favicon.ico": "an icon; holds no data",
    "/livez": "for orchestrators, which have no key; says only that the process answers",
    "/readyz": "for orchestrators, which have no key; says only whether work can be done",
    "/auth/": "tells a client of MONAI Label whether it needs a key",
    "/auth/token": "where a client of MONAI Label shows its key for the first time",
    "/admin": "the page itself; it holds no data and asks for a key",
    "/app/": "the page itself; it holds no data and asks for a key",
    "/app/assets/{name}": "its script and style; they hold no data",
}
"""Paths that anyone may ask for, with the reason."""


OWN = (
    frozenset({"v1", "dicom-web", "app", "admin", "docs", "openapi.json", "livez", "readyz", "metrics"})
    | frozenset({"info", "infer", "datastore", "session", "activelearning", "train", "scoring", "batch"})
    | frozenset({"model", "logs", "auth", "proxy"})
)
"""First parts of the paths that routes of ours have; OHIF, where it is served, answers for the others alone."""


def is_viewer(path: str) -> bool:
    """Whether a path is OHIF's, where it is served; its files hold no data.

    >>> is_viewer("/viewer/dicomweb"), is_viewer("/v1/jobs"), is_viewer("/app-config.js")
    (True, False, True)
    """
    return path.split("/")[1] not in OWN


def is_open(path: str) -> bool:
    """Whether anyone may ask for a path.

    >>> is_open("/livez"), is_open("/app/assets/page.js"), is_open("/v1/jobs")
    (True, True, False)
    """
    folder, _, name = path.rpartition("/")
    return path in OPEN or (bool(name) and f"{folder}/{{name}}" in OPEN)


KEY_PREFIX = "cvx"
"""Begins every key, so that scanners for leaked secrets can find one."""
LOCAL = "local"
"""The owner of everything where no key is needed."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    owner: str
    """Owns what the caller makes. Never a person's name: the id of a key, or a digest of a token's subject."""
    scopes: frozenset[str]
    name_hash: str
    """What the audit says instead of a name."""

    def may(self, scope: str) -> bool:
        """Whether a scope is among the caller's."""
        return scope in self.scopes

    @property
    def sees(self) -> str | None:
        """Whose things the caller sees: its own, or with the scope admin everyone's (None).

        >>> Caller("k1", frozenset({"read"}), "").sees
        'k1'
        """
        return None if self.may(Scope.ADMIN) else self.owner


@dataclass(frozen=True)
class KeyRow:
    """One API key, as it is kept: without the key."""

    id: str
    hash: str
    """SHA-256 of the whole key. A key holds 256 random bits, so that a slow hash would add nothing."""
    scopes: frozenset[str]
    label: str
    created: float
    last_used: float | None
    revoked: float | None


class KeyStore(Protocol):
    """Where keys are kept."""

    def find(self, key_id: str) -> KeyRow | None:
        """The key of that id, revoked or not."""
        ...

    def used(self, key_id: str) -> None:
        """Note that a key was used now."""
        ...


def digest(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def check_start(settings: Settings) -> list[str]:
    """Refuse a set-up that lets anybody in by mistake.

    >>> check_start(Settings(host="0.0.0.0", auth="off"))
    Traceback (most recent call last):
        ...
    clarivox.errors.OptionError: on 0.0.0.0 anybody who can connect could use the server; ...

    Returns:
        What the operator should know, a sentence each.

    Raises:
        OptionError: the server would be open on a public address, TLS is half set up, or tokens could be forged.
    """
    public = not settings.loopback
    if public and not settings.needs_key and not settings.allow_open:
        raise OptionError(
            f"on {settings.host} anybody who can connect could use the server; leave auth on, "
            "or say --allow-open where the network itself is closed",
            code="open_address",
        )
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise OptionError("TLS needs both tls_certificate and tls_key", code="tls_incomplete")
    for file in (settings.tls_certificate, settings.tls_key):
        if file is not None and not file.is_file():
            raise OptionError(f"there is no file {file.name} for TLS", code="tls_incomplete")
    if settings.oidc_issuer:
        from clarivox.server.oidc import check_address

        check_address(settings.oidc_issuer)
    unknown = {s for scopes in settings.oidc_scopes.values() for s in scopes} - set(Scope)
    if unknown:
        raise OptionError(
            f"oidc_scopes names {', '.join(sorted(unknown))}; there are {', '.join(Scope)}", code="bad_scope"
        )
    said = []
    if public and settings.tls_certificate is None:
        said.append("keys and images travel unencrypted; set tls_certificate and tls_key, or put a TLS proxy before")
    if public and not settings.needs_key:
        said.append("anybody who can connect may use the server (allow_open)")
    return said


def tls_options(settings: Settings) -> dict[str, str]:
    """What uvicorn is told about TLS.

    >>> tls_options(Settings())
    {}
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return {}
    return {"ssl_certfile": str(settings.tls_certificate), "ssl_keyfile": str(settings.tls_key)}


class Auth:
    """Tells who a request comes from."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        self.settings = settings
        self.keys = keys
        self._provider: Provider | None = None
        if settings.oidc_issuer:
            from clarivox.server.oidc import Provider

            self._provider = Provider(settings)
        self._known: dict[str, tuple[float, Caller]] = {}
        self._noted: dict[str, float] = {}

    @property
    def needed(self) -> bool:
        """Whether a request must say who it is."""
        return self.settings.needs_key

    def remembered(self, credential: str) -> Caller | None:
        """The caller of an API key that was good within the last second; asks no database."""
        found = self._known.get(digest(credential))
        return found[1] if found and time.monotonic() - found[0] < 1.0 else None

    def caller(self, credential: str | None) -> Caller:
        """The caller behind an API key or a token. May ask the database or the provider: call it in a thread.

        Raises:
            AccessError: there is no credential, or it is not good.
            BusyError: the provider cannot be asked for its keys.
        """
        if not self.needed:
            return Caller(LOCAL, frozenset(Scope), digest(LOCAL)[:16])
        if not credential:
            raise AccessError(
                "say who you are: Authorization: Bearer, then an API key or a token", code="no_credentials"
            )
        if credential.startswith(KEY_PREFIX + "_"):
            return self._of_key(credential)
        if self._provider is None:
            raise AccessError("the key is not known", code="bad_credentials")
        return self._provider.caller(credential)

    def _of_key(self, key: str) -> Caller:
        whole = digest(key)
        parts = key.split("_", 2)
        row = self.keys.find(parts[1]) if len(parts) == 3 and parts[1].isalnum() and len(parts[1]) <= 32 else None
        same = hmac.compare_digest(whole, row.hash if row else digest(""))
        if row is None or not same or row.revoked is not None:
            self._known.pop(whole, None)
            raise AccessError("the key is not known", code="bad_credentials")
        caller = Caller(f"key-{row.id}", row.scopes, digest(row.id)[:16])
        now = time.monotonic()
        if now - self._noted.get(row.id, -60.0) >= 60.0:
            self._noted[row.id] = now
            self.keys.used(row.id)
        if len(self._known) >= 1024:
            self._known.clear()
        self._known[whole] = (now, caller)
        return caller


def credential_of(header: str) -> str | None:
    """The credential in an Authorization header.

    >>> credential_of("Bearer abc"), credential_of("Basic abc"), credential_of("")
    ('abc', None, None)
    """
    kind, _, value = header.partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None


_bearer = HTTPBearer(auto_error=False, description="An API key, or an access token of the configured provider.")


@cache
def require(scope: Scope) -> Callable[..., Caller]:
    """A dependency that gives the caller where it has a scope.

    >>> require(Scope.READ) is require(Scope.READ)
    True
    """

    def allowed(request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is None:
            caller = request.app.state.auth.caller(shown.credentials if shown else None)
            request.state.caller = caller
        if not caller.may(scope):
            raise AccessError(f"this needs the scope {scope}", code="no_scope")
        return caller

    allowed.scope = scope  # type: ignore[attr-defined]
    return allowed


Reader = Annotated[Caller, Depends(require(Scope.READ))]
"""A caller who may read, as the type of a route's parameter."""
Inferer = Annotated[Caller, Depends(require(Scope.INFER))]
"""A caller who may run jobs."""
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
"""A caller who looks after the server."""
