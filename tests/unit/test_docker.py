# SPDX-License-Identifier: Apache-2.0
"""The container's files against what they name: settings, versions, paths. No container is built here."""

import re
from pathlib import Path

import yaml

from clarivox.server.settings import Settings
from clarivox.server.viewer_files import PACKAGE, VERSION

DOCKER = Path(__file__).parents[2] / "docker"
IMAGE = (DOCKER / "Dockerfile").read_text()


def test_every_setting_that_the_image_and_the_unit_name_is_one() -> None:
    named = set(re.findall(r"CLARIVOX_([A-Z_]+)=", IMAGE + (DOCKER / "clarivox.service").read_text()))
    assert named and {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_image_has_the_viewer_that_is_verified() -> None:
    assert f"npm pack {PACKAGE}@{VERSION} " in IMAGE
    assert f"ohif-app-{VERSION}.tgz" in IMAGE


def test_the_image_serves_as_a_user_without_rights_and_says_whether_it_is_ready() -> None:
    last = IMAGE.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001$", last, re.MULTILINE) and "/readyz" in last
    assert last.index("\nUSER ") < last.index("\nENTRYPOINT")


def test_the_composition_is_closed_but_for_its_data() -> None:
    composed = yaml.safe_load((DOCKER / "compose.yml").read_text())
    assert set(composed) <= {"name", "services", "volumes"}
    server = composed["services"]["clarivox"]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"]), "open to this machine alone"
    assert {volume.split(":")[0] for volume in server["volumes"]} <= set(composed["volumes"])
    drain_s = Settings.model_fields["drain_s"].default
    assert int(server["stop_grace_period"].removesuffix("s")) > drain_s, "running jobs may end"
