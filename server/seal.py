# SPDX-License-Identifier: Apache-2.0
"""Words of clients that may name a patient: kept so that the database alone does not give them away.

Viewers choose the names of images, often a patient's; they must come back as they were, and must not stand in the
database. A name is found by a keyed digest, and read from a sealed text; the key is a file of the data folder.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clarivox.errors import ServiceError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEY_FILE = "names.key"
"""In the data folder; a backup holds it too."""


class Seal:
    """Seals texts with the key of a data folder, which is made on the first use.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     seal = Seal(Path(folder))
    ...     sealed = seal.close({"name": "Doe"})
    ...     seal.open(sealed), "Doe" in sealed, seal.mark("Doe") == Seal(Path(folder)).mark("Doe")
    ({'name': 'Doe'}, False, True)
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / KEY_FILE

    @cached_property
    def key(self) -> bytes:
        """32 random bytes; the first process to need them writes the file.

        Raises:
            ServiceError: the file does not hold a key (code bad_seal).
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = self.path.read_bytes()
        else:
            key = os.urandom(32)
            with os.fdopen(handle, "wb") as stream:
                stream.write(key)
                stream.flush()
                os.fsync(stream.fileno())
        if len(key) != 32:
            raise ServiceError(f"{KEY_FILE} in the data folder is damaged; put it back from a backup", code="bad_seal")
        return key

    @cached_property
    def _cipher(self) -> Fernet:
        from cryptography.fernet import Fernet  # some MB that a server without images does not need

        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"seal" + self.key).digest()))

    def mark(self, text: str) -> str:
        """A digest by which a text is found again; without the key it says nothing."""
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def close(self, content: Mapping[str, Any]) -> str:
        """The content as a text that only the key opens."""
        return self._cipher.encrypt(json.dumps(content).encode()).decode()

    def open(self, sealed: str) -> dict[str, Any]:
        """What `close` was given.

        Raises:
            ServiceError: it was sealed with another key (code bad_seal).
        """
        from cryptography.fernet import InvalidToken

        try:
            content: dict[str, Any] = json.loads(self._cipher.decrypt(sealed.encode()))
        except InvalidToken as cause:
            raise ServiceError(
                f"the names of the datastore were sealed with another key; put {KEY_FILE} back from a backup",
                code="bad_seal",
            ) from cause
        return content
