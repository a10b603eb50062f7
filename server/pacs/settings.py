# SPDX-License-Identifier: Apache-2.0
"""pacs.yaml: where the PACS is, who may send to us, and where results go."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, model_validator
from pydantic_core.core_schema import ValidationInfo

from clarivox.errors import OptionError
from clarivox.server.pacs.web import DicomWeb


def beside(path: Path, info: ValidationInfo) -> Path:
    """A path of the file, which is meant from the folder of the file."""
    return Path((info.context or {}).get("folder", "")) / path


Place = Annotated[Path, AfterValidator(beside)]
Title = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")]
"""An application entity's: up to 16 characters of ASCII, no backslash."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """A part of the file: no name that is not known, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Web(Part):
    """A PACS by DICOMweb. Secrets stand in the environment; the file names the variable."""

    url: Annotated[str, Field(pattern="^https?://")]
    user: str = ""
    password_from: str = Field("", description="Variable of the environment that holds the password.")
    token_from: str = Field("", description="Variable of the environment that holds a bearer token.")
    timeout_s: float = Field(60, gt=0)

    def client(self) -> DicomWeb:
        """The PACS.

        Raises:
            OptionError: a variable that the file names is not set.
        """
        secrets = {"password": secret(self.password_from), "token": secret(self.token_from)}
        return DicomWeb(self.url, user=self.user, timeout_s=self.timeout_s, **secrets)


class Tls(Part):
    """TLS both ways: who calls, and who is called, shows a certificate of the authority."""

    certificate: Place = Field(description="PEM file of our certificate.")
    key: Place = Field(description="PEM file of its key.")
    authority: Place = Field(description="PEM file of the authority whose certificates are accepted.")


class Caller(Part):
    """Who may send to us; times that are not given are the node's."""

    ae_title: Title
    address: IPvAnyNetwork = Field(description="Its address, or its network as 10.1.0.0/16.")
    port: Port | None = Field(None, description="Where it listens itself, for reports of storage commitment.")
    quiet_s: Seconds | None = None
    longest_s: Seconds | None = None


class Wait(Part):
    """How long a series is waited for."""

    quiet_s: float
    """Without a new instance."""
    longest_s: float
    """In all."""


class Node(Part):
    """The DICOM node."""

    ae_title: Title = "CLARIVOX"
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(11112, description="Port to listen on; 0 takes a free one and prints it.")
    allow: tuple[Caller, ...] = Field((), description="Who may call; nobody without.")
    tls: Tls | None = None
    quiet_s: Seconds = Field(10, description="A series is whole when nothing more came for so long.")
    longest_s: Seconds = Field(120, description="It is not waited for longer than that.")
    associations: int = Field(16, ge=1, le=256, description="At a time.")
    keep_h: float = Field(24, ge=0, description="How long a file is kept after its series was routed.")

    def knows(self, address: str, calling: str | None = None) -> bool:
        """Whether anybody may call from an address; or a caller, by its title.

        >>> node = Node(allow=(Caller(ae_title="CT1", address="10.0.0.0/8"),))
        >>> node.knows("10.1.2.3"), node.knows("10.1.2.3", "MR1"), node.knows("127.0.0.1", "CT1")
        (True, False, False)
        """
        try:
            where = ip_address(address)
        except ValueError:
            return False
        return any(where in one.address for one in self.allow if calling in (None, one.ae_title))

    def port_of(self, calling: str) -> int | None:
        """Where a caller listens itself, where the file says so."""
        return next((one.port for one in self.allow if one.ae_title == calling), None)

    def wait_for(self, calling: str) -> Wait:
        """The times of a caller, by its title.

        >>> caller = Caller(ae_title="CT1", address="10.0.0.7", quiet_s=3)
        >>> Node(allow=(caller,)).wait_for("CT1")
        Wait(quiet_s=3.0, longest_s=120.0)
        """
        own = next((one for one in self.allow if one.ae_title == calling), None)
        quiet_s = own.quiet_s if own is not None and own.quiet_s is not None else self.quiet_s
        longest_s = own.longest_s if own is not None and own.longest_s is not None else self.longest_s
        return Wait(quiet_s=quiet_s, longest_s=longest_s)


class Orthanc(Part):
    """An Orthanc whose list of changes is looked at."""

    url: Annotated[str, Field(pattern="^https?://")]
    user: str = ""
    password_from: str = Field("", description="Variable of the environment that holds the password.")
    every_s: Seconds = 5
    timeout_s: Seconds = 60


class Dimse(Part):
    """A node that takes C-STORE."""

    host: str
    port: Port
    called: Title
    calling: Title = "CLARIVOX"
    tls: Tls | None = None
    commitment: bool = Field(False, description="Ask for storage commitment, and deliver again what failed.")
    answers_host: str = Field("127.0.0.1", description="Address on which answers on storage commitment are taken.")
    answers_port: Port | None = Field(
        None, description="Port of it, where the node opens an association of its own; else it answers over ours."
    )
    timeout_s: Seconds = 60


class Destination(Part):
    """Where results go: by DICOMweb or by DIMSE."""

    dicomweb: Web | None = None
    dimse: Dimse | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Destination:
        if (self.dicomweb is None) == (self.dimse is None):
            raise ValueError("a destination has either dicomweb or dimse")
        return self


OWN = "pacs"
"""The destination that is the PACS of `dicomweb` itself; the file may name another so."""


class Pacs(Part):
    """The whole file."""

    dicomweb: Web | None = None
    node: Node | None = None
    orthanc: Orthanc | None = None
    destinations: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")], Destination] = {}
    rules: Place | None = Field(None, description="File of rules; beside this one unless its path is whole.")

    @model_validator(mode="before")
    @classmethod
    def _own(cls, found: Any) -> Any:
        if not isinstance(found, dict) or found.get("dicomweb") is None:
            return found
        given = found.get("destinations") or {}
        return {**found, "destinations": {OWN: {"dicomweb": found["dicomweb"]}, **given}}

    def web(self) -> DicomWeb:
        """The PACS by DICOMweb.

        Raises:
            OptionError: the file names none, or a variable that it names is not set.
        """
        if self.dicomweb is None:
            raise OptionError("pacs.yaml has no dicomweb: {url: …}, the PACS that is asked", code="bad_pacs_file")
        return self.dicomweb.client()


def secret(variable: str) -> str:
    """What a variable of the environment holds; nothing where none is named.

    Raises:
        OptionError: it is not set.
    """
    if variable and variable not in os.environ:
        raise OptionError(f"the environment has no {variable}, which pacs.yaml names", code="no_secret")
    return os.environ.get(variable, "") if variable else ""


def read(path: Path) -> Pacs:
    """The settings of a file.

    Raises:
        OptionError: it is not there, or not as it should be; the message names the line's name.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Pacs.model_validate(found, context={"folder": path.parent})
    except (OSError, yaml.YAMLError) as cause:
        raise OptionError(f"{path.name} cannot be read as YAML", code="bad_pacs_file") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(str(one) for one in first["loc"]) or "the file"
        raise OptionError(f"{path.name}: {where}: {first['msg']}", code="bad_pacs_file") from cause
