# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens of an OpenID provider, checked with its published keys."""

from __future__ import annotations

import ipaddress
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from clarivox.errors import AccessError, BusyError, OptionError
from clarivox.server.auth import Caller, Scope, digest
from clarivox.server.settings import Settings

if TYPE_CHECKING:
    import jwt

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a private key. None of a shared secret: the published key would be the secret."""
LEEWAY_S = 30
"""How far the clocks of the provider and of this machine may differ."""
TOKEN_CHARS = 16_384
"""Longest token that is looked at."""
TIMEOUT_S = 5.0
"""How long the provider may take to answer."""


def check_address(address: str) -> None:
    """Refuse an issuer whose keys anybody on the way could replace.

    >>> check_address("https://login.example.org/realms/hospital")
    >>> check_address("http://login.example.org")
    Traceback (most recent call last):
        ...
    clarivox.errors.OptionError: the issuer must be an https address; ...

    Raises:
        OptionError: the address is not https, and not on this machine.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
        raise OptionError("the issuer must be an https address; http only on this machine itself", code="bad_issuer")


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: it could lead to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Provider:
    """An issuer of tokens.

    Its keys are fetched when the first token comes, kept for five minutes, and fetched anew for an unknown key id at
    most every 30 seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.oidc_issuer
        self._audience = settings.oidc_audience
        self._claim = settings.oidc_roles_claim.split(".")
        self._scopes = settings.oidc_scopes
        self._keys: jwt.PyJWKClient | None = None
        self._lock = threading.Lock()
        self._failed = float("-inf")

    def caller(self, token: str) -> Caller:
        """The caller behind a token.

        Raises:
            AccessError: code bad_credentials: the token is not of this issuer, not for this audience, not signed by
                its key, or not valid now.
            BusyError: the provider cannot be asked for its keys.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token) if len(token) <= TOKEN_CHARS else {}
            if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
                raise jwt.InvalidTokenError
            key = self._key(header["kid"])
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as cause:
            raise AccessError("the token is not good here", code="bad_credentials") from cause
        subject = digest(f"{claims['iss']}\0{claims['sub']}")
        return Caller(f"user-{subject[:32]}", self._scopes_of(claims), subject[:16])

    def _key(self, kid: str) -> jwt.PyJWK:
        """The published key of an id; one that is known already is found without the network and without waiting."""
        import jwt

        kept = self._keys.jwk_set_cache.get() if self._keys and self._keys.jwk_set_cache else None
        for key in kept.keys if kept else ():
            if key.key_id == kid:
                return key
        with self._lock:
            if time.monotonic() - self._failed < TIMEOUT_S:
                raise self._unreachable()
            try:
                if self._keys is None:
                    self._keys = jwt.PyJWKClient(self._discover(), timeout=TIMEOUT_S, cooldown_duration=30)
                return self._keys.get_signing_key(kid)
            except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError, OSError, ValueError, OptionError) as cause:
                self._failed = time.monotonic()
                raise self._unreachable() from cause

    def _discover(self) -> str:
        """Where the provider publishes its keys."""
        place = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            with build_opener(_Stay).open(place, timeout=TIMEOUT_S) as answer:
                found = json.loads(answer.read(1 << 20))
        except HTTPError as error:
            error.close()
            raise
        if not isinstance(found, dict) or found.get("issuer") != self._issuer:
            raise ValueError("another issuer")
        address = str(found.get("jwks_uri"))
        check_address(address)
        return address

    def _scopes_of(self, claims: dict[str, Any]) -> frozenset[str]:
        """The scopes of the roles that a token lists, at a path of claims as realm_access.roles."""
        found: Any = claims
        for name in self._claim:
            found = found.get(name) if isinstance(found, dict) else None
        roles = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        return frozenset(Scope(scope) for role in roles for scope in self._scopes.get(str(role), ()))

    @staticmethod
    def _unreachable() -> BusyError:
        return BusyError("the provider of tokens cannot be reached", code="issuer_unreachable", retry_after_s=10)
