# SPDX-License-Identifier: Apache-2.0
"""A provider of tokens on this machine, with real keys and real signatures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issuer:
    """Publishes its keys as OpenID Connect has it, and signs tokens; `down` makes it answer 500."""

    def __init__(self) -> None:
        self.keys: dict[str, PrivateKey] = {}
        self.asked = 0
        self.down = False
        self.add("first")
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += self.path == "/keys"
                known = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": issuer.url + "/keys"},
                    "/keys": {"keys": [issuer._public(kid) for kid in issuer.keys]},
                }
                body = json.dumps(known.get(self.path, {})).encode()
                self.send_response(500 if issuer.down else 200 if self.path in known else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def add(self, kid: str, *, strong: bool = False) -> None:
        """A new key; of RSA where `strong`, which takes longer to make."""
        self.keys[kid] = rsa.generate_private_key(65537, 2048) if strong else ec.generate_private_key(ec.SECP256R1())

    def token(self, *roles: str, kid: str = "first", key: PrivateKey | None = None, **claims: Any) -> str:
        """A token for some roles; a claim that is None is left out."""
        now = int(time.time())
        content = {"iss": self.url, "aud": "clarivox", "sub": "Doe^Jane", "iat": now, "exp": now + 300}
        content |= {"realm_access": {"roles": list(roles)}} | claims
        signer = key or self.keys[kid]
        algorithm = "RS256" if isinstance(signer, rsa.RSAPrivateKey) else "ES256"
        kept = {name: value for name, value in content.items() if value is not None}
        return jwt.encode(kept, signer, algorithm, headers={"kid": kid})

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _public(self, kid: str) -> dict[str, Any]:
        key = self.keys[kid]
        kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


@contextmanager
def issuer() -> Iterator[Issuer]:
    """A provider for the time of a block."""
    running = Issuer()
    try:
        yield running
    finally:
        running.close()
