# SPDX-License-Identifier: Apache-2.0
"""The container's files against what they name: settings, versions, paths. No container is built here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from clarivox.bundle import catalogue
from clarivox.server.pacs.rules import load
from clarivox.server.pacs.settings import read as pacs_of
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


COMPOSED = (DOCKER / "compose.yml").read_text()


def test_the_composition_is_as_the_specification_has_it() -> None:
    assert sorted(PyCompose.from_yaml(COMPOSED).service_names()) == ["clarivox", "orthanc"]
    for right, wrong in (
        ("read_only:", "read_onyl:"),
        ("read_only: true", "read_only: perhaps"),
        ("127.0.0.1:8000:8000", "127.0.0.1:http:8000"),
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("stop_grace_period: 330s", "stop_grace_period: soon"),
    ):
        assert right in COMPOSED
        with pytest.raises(ValueError, match="services"):
            PyCompose.from_yaml(COMPOSED.replace(right, wrong))


def test_the_server_of_the_composition_is_closed_but_for_its_data() -> None:
    composed = yaml.safe_load(COMPOSED)
    server = composed["services"]["clarivox"]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]
    every = [port for service in composed["services"].values() for port in service["ports"]]
    assert every and all(port.startswith("127.0.0.1:") for port in every), "open to this machine alone"
    kept = [volume.split(":") for service in composed["services"].values() for volume in service["volumes"]]
    for source, _, *mode in kept:
        assert source in composed["volumes"] or ((DOCKER / source).is_file() and mode == ["ro"])
    drain_s = Settings.model_fields["drain_s"].default
    assert int(server["stop_grace_period"].removesuffix("s")) > drain_s, "running jobs may end"


def test_the_servers_of_the_composition_know_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = yaml.safe_load(COMPOSED)
    server, orthanc = (composed["services"][name]["environment"] for name in ("clarivox", "orthanc"))
    assert "/etc/clarivox/pacs.yaml" in server["CLARIVOX_PACS"]
    monkeypatch.setenv("ORTHANC_PASSWORD", "sesame")
    pacs = pacs_of(DOCKER / "pacs.yaml")
    assert pacs.dicomweb is not None and pacs.node is not None and pacs.orthanc is not None
    assert pacs.dicomweb.password_from == pacs.orthanc.password_from == "ORTHANC_PASSWORD"
    assert pacs.dicomweb.url == "http://orthanc:8042/dicom-web"
    assert yaml.safe_load(orthanc["ORTHANC__REGISTERED_USERS"]).keys() == {pacs.dicomweb.user}
    [known] = yaml.safe_load(orthanc["ORTHANC__DICOM_MODALITIES"]).values()
    assert known == [pacs.node.ae_title, "clarivox", pacs.node.port]
    [caller] = pacs.node.allow
    assert caller.ae_title == orthanc["ORTHANC__DICOM_AET"]
    [network] = composed["networks"]["default"]["ipam"]["config"]
    assert str(caller.address) == network["subnet"]
    assert f"127.0.0.1:{pacs.node.port}:{pacs.node.port}" in composed["services"]["clarivox"]["ports"]


def test_the_rules_of_the_composition_name_bundles_and_destinations_that_there_are() -> None:
    pacs = pacs_of(DOCKER / "pacs.yaml")
    assert pacs.rules == DOCKER / "rules.yaml"
    assert load(pacs.rules, catalogue(), list(pacs.destinations)).rules


def test_the_image_passes_hadolint() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not here; it has no wheel for this machine")
    done = subprocess.run([program, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
