# SPDX-License-Identifier: Apache-2.0
"""Whom a live server trusts: bundles of its own folders that are as they were sealed, and connections over TLS."""

import contextlib
import datetime
import http.client
import ipaddress
import json
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clarivox import manifest
from tests import hostile
from tests.served import COMMAND, PATIENCE_S, Served, free_port, serving, until

ROOT = Path(__file__).parents[2]


class Touch:
    """What a forged file of weights would run when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canary") / "was-run"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, canary: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("trust")
    own, elsewhere = folder / "bundles", folder / "elsewhere"
    for name in ("honest", "tampered", "calls", "evaluates", "includes", "unsealed"):
        copied("identity", own / name)
    copied("us_cbdnet_despeckle", own / "pickled")
    copied("identity", elsewhere / "stranger")
    edit(own / "tampered", "torch.nn.Identity", "torch.nn.ReLU", seal=False)
    edit(own / "calls", "_target_: torch.nn.Identity", f"_target_: pathlib.Path.touch\n  self: {canary}")
    edit(own / "evaluates", "device: auto", f"device: \"$__import__('pathlib').Path('{canary}').touch()\"")
    edit(own / "includes", "device: auto", 'device: "%/etc/passwd"')
    (own / "unsealed" / manifest.MANIFEST).unlink()
    weights = next((own / "pickled" / "models").glob("*.pt"))
    weights.write_bytes(pickle.dumps(Touch(canary)))
    manifest.seal(own / "pickled")
    with serving(folder, BUNDLE_DIRS=json.dumps([str(own)])) as running:
        yield running


def copied(name: str, to: Path) -> None:
    """A bundle of ours under another name."""
    shutil.copytree(ROOT / "bundles" / name, to)
    metadata = to / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace(f'"name": "{name}"', f'"name": "{to.name}"'))
    manifest.seal(to)


def edit(bundle: Path, old: str, new: str, *, seal: bool = True) -> None:
    """Change its configuration, and seal it anew as a forger would."""
    path = bundle / "configs" / "inference.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if seal:
        manifest.seal(bundle)


def run(server: Served, bundle: str, body: bytes | None = None) -> tuple[str, str]:
    """State and code of a job with a bundle, or of its refusal."""
    line = server.line()
    headers = {"Content-Type": "application/octet-stream", "Prefer": "wait=60"}
    answer = line.ask("POST", f"/v1/jobs?bundle={bundle}&report=false&force=true", body or hostile.nifti(), headers)
    line.close()
    said = answer.json()
    if "state" in said:
        said = server.ended(said)
    return (said["state"], (said["error"] or {}).get("code", "")) if "state" in said else ("refused", answer.problem)


def test_a_bundle_of_a_configured_folder_runs(server: Served):
    assert run(server, "honest") == ("succeeded", "")


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        ("tampered", "digest_mismatch"),
        ("unsealed", "bad_bundle"),
        ("calls", "bad_bundle"),
        ("evaluates", "bad_bundle"),
        ("includes", "bad_bundle"),
        ("pickled", "bad_bundle"),
        ("stranger", "unknown_bundle"),
        ("../elsewhere/stranger", "unknown_bundle"),
    ],
)
def test_any_other_is_not_run(server: Served, canary: Path, bundle: str, code: str):
    state, found = run(server, bundle)
    assert (state, found) in (("failed", code), ("refused", code), ("refused", "bad_request"))
    assert not canary.exists()


def test_the_forged_weights_would_have_run_elsewhere(canary: Path, tmp_path: Path):
    """So that the test above means something."""
    pickle.loads(pickle.dumps(Touch(tmp_path / "was-run")))
    assert (tmp_path / "was-run").exists() and not canary.exists()


def test_none_brought_the_server_down(server: Served):
    assert run(server, "honest") == ("succeeded", "")
    line = server.line()
    names = {one["name"] for one in line.ask("GET", "/v1/bundles").json()["bundles"]}
    line.close()
    assert "honest" in names and "stranger" not in names


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = (
        made.serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    )
    signed = made.add_extension(address, critical=False).sign(key, hashes.SHA256())
    (folder / "c.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "k.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return folder / "c.pem", folder / "k.pem"


def test_with_a_certificate_the_server_speaks_tls_and_nothing_else(tmp_path: Path):
    cert, key = certificate(tmp_path)
    settings = {"TLS_CERTIFICATE": str(cert), "TLS_KEY": str(key), "AUTH": "on", "WORKERS_CPU": "0"}
    server = Served(tmp_path / "data", settings)
    server.start()
    try:
        context = ssl.create_default_context(cafile=str(cert))
        line = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=PATIENCE_S)

        def asked() -> bool:
            assert server.running, server.log()
            line.close()  # of the turn before
            with contextlib.suppress(ConnectionRefusedError):
                line.request("GET", "/livez")
                return True
            return False

        until(asked)
        assert line.getresponse().status == 200
        assert line.sock is None or line.sock.version() in ("TLSv1.2", "TLSv1.3")
        line.close()
        with pytest.raises((http.client.HTTPException, OSError)):
            plain = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
            plain.request("GET", "/livez")
            plain.getresponse()
        plain.close()
        stranger = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            http.client.HTTPSConnection("127.0.0.1", server.port, context=stranger, timeout=PATIENCE_S).request(
                "GET", "/livez"
            )
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert "ECDHE" in negotiated(server.port, old)
    finally:
        server.kill()


def negotiated(port: int, context: ssl.SSLContext) -> str:
    """The cipher that server and client agree on."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw, context.wrap_socket(raw) as line:
        cipher = line.cipher()
        return cipher[0] if cipher else ""


@pytest.mark.parametrize(
    ("flags", "settings", "says"),
    [
        (["--host", "0.0.0.0"], {"AUTH": "off"}, "anybody who can connect"),
        (["--host", "::"], {"AUTH": "off"}, "anybody who can connect"),
        ([], {"TLS_CERTIFICATE": "/nowhere/c.pem"}, "TLS needs both"),
        ([], {"OIDC_ISSUER": "http://login.example.org"}, "https"),
        ([], {"OIDC_SCOPES": '{"user": ["root"]}'}, "root"),
    ],
)
def test_a_set_up_that_lets_anybody_in_does_not_start(
    tmp_path: Path, flags: list[str], settings: dict[str, str], says: str
):
    environment = os.environ | {f"CLARIVOX_{name}": value for name, value in settings.items()}
    command = [*COMMAND, *flags, "--port", str(free_port()), "--data", str(tmp_path / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2, done.stderr
    assert says in " ".join((done.stderr + done.stdout).split())


def test_keys_are_made_and_revoked_on_the_command_line_and_both_are_recorded(tmp_path: Path):
    command = [sys.executable, "-c", "from clarivox.cli.main import run; run()", "keys"]

    def keys(*words: str) -> str:
        done = subprocess.run([*command, *words, "--data", str(tmp_path)], capture_output=True, text=True, check=True)
        return done.stdout

    made = json.loads(keys("create", "ward 3", "--json"))
    assert made["key"] not in keys("list") and made["id"] in keys("list")
    keys("revoke", made["id"])
    records = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(one["event"], one["actor"], one["object"]) for one in records] == [("admin", "cli", made["id"])] * 2
    assert all(
        made["key"].split("_")[2].encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
