# SPDX-License-Identifier: Apache-2.0
"""`clarivox pacs check` says of each part what is wrong; `clarivox pacs try` which rule fires, and why not others."""

import zipfile
from pathlib import Path

import pytest

from clarivox import enhance, io, phantoms
from clarivox.bundle import catalogue
from clarivox.errors import BusyError, FormatError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.pacs.check import findings
from clarivox.server.pacs.rules import Rules
from clarivox.server.pacs.scu import Peer
from clarivox.server.pacs.settings import read
from clarivox.server.pacs.trial import of_files, said

PACS = """\
dicomweb: {url: http://127.0.0.1:9/dicom-web}
node: {port: 11112, allow: []}
orthanc: {url: http://127.0.0.1:9}
destinations:
  archive: {dicomweb: {url: http://127.0.0.1:9, user: me, password_from: NOWHERE_SET}}
  second: {dimse: {host: 127.0.0.1, port: 9, called: PACS}}
rules: rules.yaml
"""
RULES = Rules.model_validate(
    {
        "rules": [
            {"name": "no scouts", "when": {"image_type": "LOCALIZER"}, "ignore": True},
            {"name": "ct", "when": {"modality": "CT", "calling": "CT1"}, "bundle": "identity", "to": "archive"},
        ]
    }
)


def test_every_part_is_asked_and_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Peer) -> None:
        raise BusyError("the node does not answer", code="pacs_away")

    monkeypatch.setattr(Peer, "echo", away)  # pynetdicom leaves a socket open where nobody listens
    (tmp_path / "pacs.yaml").write_text(PACS)
    (tmp_path / "rules.yaml").write_text("rules:\n  - {name: a, bundle: identity, to: nowhere}\n")
    found = {one.part: one for one in findings(read(tmp_path / "pacs.yaml"), catalogue())}
    codes = {part: one.error.code for part, one in found.items() if one.error is not None}
    assert codes == {
        "dicomweb": "pacs_away",
        "node": "bad_pacs_file",
        "orthanc": "pacs_away",
        "destinations.archive": "no_secret",
        "destinations.second": "pacs_away",
        "rules": "bad_rules",
    }
    assert "line 2" in found["rules"].says and "archive" in found["rules"].says


def test_files_that_are_right_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pacs.yaml").write_text(
        "node: {allow: [{ae_title: CT1, address: 10.0.0.0/8}]}\n"
        "destinations: {second: {dimse: {host: 127.0.0.1, port: 9, called: PACS}}}\nrules: rules.yaml\n"
    )
    (tmp_path / "rules.yaml").write_text("rules:\n  - {name: a, bundle: identity, to: second}\n")
    monkeypatch.setattr(Peer, "echo", lambda _: None)
    found = {one.part: one.says for one in findings(read(tmp_path / "pacs.yaml"), catalogue()) if one.error is None}
    assert found == {
        "destinations.second": "answers C-ECHO",
        "node": "CLARIVOX listens on 127.0.0.1 port 11112 for 1 callers",
        "rules": "1 rules, of which the first that fits works",
    }


def test_a_folder_a_file_and_a_zip_are_tried(tmp_path: Path) -> None:
    save_series(new_series(phantoms.ct(size=32, slices=3).degraded, Kind.CT), tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")
    files = sorted((tmp_path / "ct").glob("*.dcm"))
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    [folder] = of_files(tmp_path / "ct", RULES, "CT1")
    [packed] = of_files(tmp_path / "ct.zip", RULES, "CT1")
    [single] = of_files(files[0], RULES)
    assert folder == packed and folder.instances == 3 and single.instances == 1
    words = "\n".join(said(folder))
    assert "rule no scouts: image_type" in words and "rule ct: fits" in words
    assert "enhanced by identity, to archive" in words
    assert "calling is not given, not CT1" in "\n".join(said(single)) and "no rule fits" in "\n".join(said(single))
    with pytest.raises(FormatError):
        of_files(tmp_path / "ct" / "notes.txt", RULES)


def test_a_result_of_ours_is_known_by_its_mark(tmp_path: Path) -> None:
    save_series(new_series(phantoms.ct(size=32, slices=2).degraded, Kind.CT), tmp_path / "ct")
    io.write(enhance(io.read(tmp_path / "ct"), "identity"), tmp_path / "made")
    [one] = of_files(tmp_path / "made", RULES, "CT1")
    assert one.facts.ours and not one.verdict.fired and "is a result of clarivox" in "\n".join(said(one))
