# SPDX-License-Identifier: Apache-2.0
"""Every kind of credential, good and bad, with the scopes that it should give; None where it should be refused."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clarivox.server.auth import KEY_PREFIX
from clarivox.server.keys import Keys
from tests.issuer import Issuer

ALL = frozenset({"read", "infer", "admin"})


@dataclass(frozen=True)
class Credential:
    """What a client sends, and what it may do with it."""

    header: str | None
    scopes: frozenset[str] | None


def credentials(keys: Keys, provider: Issuer) -> dict[str, Credential]:
    """The table's columns: keys made in `keys`, tokens of `provider` and forgeries of them."""
    made = {scope: keys.create(scope, [scope])[0] for scope in sorted(ALL)}
    every, _ = keys.create("all", ALL)
    revoked, row = keys.create("revoked", ALL)
    keys.revoke(row.id)
    now = int(time.time())
    stranger = ec.generate_private_key(ec.SECP256R1())
    admin = provider.token("admin")
    head, body, signature = admin.split(".")
    public = provider.keys["first"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(admin, options={"verify_signature": False})
    good = {f"{scope} key": Credential(f"Bearer {key}", frozenset({scope})) for scope, key in made.items()}
    good |= {
        "key of all scopes": Credential(f"Bearer {every}", ALL),
        "token of a user": Credential(f"Bearer {provider.token('user')}", frozenset({"read", "infer"})),
        "token of an admin": Credential(f"Bearer {admin}", ALL),
        "token without a role": Credential(f"Bearer {provider.token()}", frozenset()),
        "token of an unknown role": Credential(f"Bearer {provider.token('superuser')}", frozenset()),
    }
    bad = {
        "nothing": None,
        "an empty header": "",
        "no value": "Bearer",
        "Basic": "Basic " + base64.b64encode(f"admin:{every}".encode()).decode(),
        "a word": "Bearer sesame",
        "wrong key": f"Bearer {KEY_PREFIX}_{every.split('_')[1]}_{'A' * 43}",
        "key cut short": f"Bearer {every[:-1]}",
        "key without a secret": f"Bearer {every.rsplit('_', 1)[0]}",
        "unknown key": f"Bearer {KEY_PREFIX}_ffffffffffff_{'A' * 43}",
        "revoked key": f"Bearer {revoked}",
        "hash of a key": f"Bearer {keys.find(every.split('_')[1]).hash}",  # type: ignore[union-attr]
        "expired token": "Bearer " + provider.token("admin", exp=now - 60, iat=now - 400),
        "token of tomorrow": "Bearer " + provider.token("admin", nbf=now + 86_400),
        "token without an end": "Bearer " + provider.token("admin", exp=None),
        "token for another audience": "Bearer " + provider.token("admin", aud="another"),
        "token without an audience": "Bearer " + provider.token("admin", aud=None),
        "token of another issuer": "Bearer " + provider.token("admin", iss="https://login.example.org"),
        "token without a subject": "Bearer " + provider.token("admin", sub=None),
        "token signed by a stranger": "Bearer " + provider.token("admin", key=stranger),
        "token of an unknown key": "Bearer " + provider.token("admin", kid="second", key=stranger),
        "token with another body": f"Bearer {head}.{_part({**claims, 'sub': 'another'})}.{signature}",
        "token without a signature": f"Bearer {head}.{body}.",
        "alg none": f"Bearer {_part({'alg': 'none', 'kid': 'first'})}.{body}.",
        "alg HS256 with the public key": "Bearer " + _hmac_signed(body, public),
        "token with a key of its own": f"Bearer {_part({'alg': 'ES256', 'jwk': {}})}.{body}.{signature}",
        "a long word": "Bearer " + "A" * 30_000,
    }
    return good | {name: Credential(header, None) for name, header in bad.items()}


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _hmac_signed(body: str, secret: bytes) -> str:
    """PyJWT refuses to sign so, rightly; a forger does it by hand."""
    import hashlib
    import hmac

    signed = f"{_part({'alg': 'HS256', 'kid': 'first'})}.{body}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
