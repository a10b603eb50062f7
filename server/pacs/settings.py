# SPDX-License-Identifier: Apache-2.0
"""pacs.yaml: where the PACS is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clarivox.errors import OptionError
from clarivox.server.pacs.web import DicomWeb


class Web(BaseModel):
    """A PACS by DICOMweb. Secrets stand in the environment; the file names the variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        secrets = {}
        for name, variable in (("password", self.password_from), ("token", self.token_from)):
            if variable and variable not in os.environ:
                raise OptionError(f"the environment has no {variable}, which pacs.yaml names", code="no_secret")
            secrets[name] = os.environ.get(variable, "") if variable else ""
        return DicomWeb(self.url, user=self.user, timeout_s=self.timeout_s, **secrets)


class Pacs(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dicomweb: Web


def read(path: Path) -> Pacs:
    """The settings of a file.

    Raises:
        OptionError: it is not there, or not as it should be; the message names the line's name.
    """
    try:
        return Pacs.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as cause:
        raise OptionError(f"{path.name} cannot be read as YAML", code="bad_pacs_file") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(str(one) for one in first["loc"]) or "the file"
        raise OptionError(f"{path.name}: {where}: {first['msg']}", code="bad_pacs_file") from cause
