# SPDX-License-Identifier: Apache-2.0
"""`clarivox doctor`: what this installation can do, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Annotated

import typer

from clarivox.cli.screen import say, say_json, table
from clarivox.errors import ClarivoxError

CODECS = (
    ("RLE lossless", "rle", "pylibjpeg-rle"),
    ("JPEG baseline and extended", "PIL", "pillow"),
    ("JPEG lossless", "gdcm", "python-gdcm"),
    ("JPEG-LS", "jpeg_ls", "pyjpegls"),
    ("JPEG 2000 and HTJ2K", "openjpeg", "pylibjpeg-openjpeg"),
)
"""Pixel codings of DICOM, the module that decodes each, and the package that brings it."""
NEEDED = ("numpy", "torch", "monai", "pydicom", "nibabel", "pillow", "SimpleITK", "typer", "rich", "jsonschema", "fire")
SCRATCH_GB = 2.0
"""Room in the temporary folder below which unpacking a study is likely to fail."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    fine: bool = True
    needed: bool = True
    mend: str = ""
    """The command that puts it right."""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at devices, codecs and versions, and run the identity bundle as a test of the whole path."""
    findings = [*_packages(), *_codecs(), *_devices(), _scratch(), *_validators(), *_server(), _self_test()]
    amiss = [one for one in findings if one.needed and not one.fine]
    if as_json:
        say_json({"fine": not amiss, "findings": [asdict(one) for one in findings]})
    else:
        rows = [[one.what, "ok" if one.fine else "missing", one.found, one.mend] for one in findings]
        table("", ["what", "", "found", "to mend it"], rows)
        say("all that is needed is there" if not amiss else f"{len(amiss)} amiss: {', '.join(o.what for o in amiss)}")
    if amiss:
        raise typer.Exit(1)


def _packages() -> list[Finding]:
    findings = [Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for name in ("clarivox", *NEEDED):
        try:
            findings.append(Finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "absent", fine=False, mend=f"pip install {name}"))
    return findings


def _codecs() -> list[Finding]:
    return [
        Finding(name, package) if importlib.util.find_spec(module) else
        Finding(name, "absent", fine=False, mend=f"pip install {package}")
        for name, module, package in CODECS
    ]  # fmt: skip


def _devices() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    findings = [Finding("CPU", f"{torch.get_num_threads()} threads")]
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        findings.append(Finding(f"cuda:{number}", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"))
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no GPU is seen; look at nvidia-smi" if built else "this torch is built for the CPU"
        mend = "" if built else "run the line that pytorch.org, Get started, shows for your CUDA"
        findings.append(Finding("CUDA", why, fine=False, needed=False, mend=mend))
    if torch.backends.mps.is_available():
        findings.append(Finding("mps", "Apple GPU"))
    findings.append(
        Finding("OpenVINO", importlib.metadata.version("openvino"), needed=False)
        if importlib.util.find_spec("openvino") else
        Finding("OpenVINO", "absent; only for --engine openvino on a CPU", fine=False, needed=False,
                mend="pip install 'clarivox[openvino]'")
    )  # fmt: skip
    return findings


def _scratch() -> Finding:
    free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    mend = "" if free_gb >= SCRATCH_GB else "set TMPDIR to a folder on a larger disk"
    return Finding("temporary folder", f"{free_gb:.1f} GB free", fine=not mend, mend=mend)


def _validators() -> list[Finding]:
    there = shutil.which("dciodvfy")
    return [
        Finding("dciodvfy", "for checking derived series" if there else "absent; only for checking derived series",
                fine=bool(there), needed=False, mend="" if there else "apt-get install dicom3tools")
    ]  # fmt: skip


def _server() -> list[Finding]:
    """What `clarivox serve` needs, and what it shows."""
    if importlib.util.find_spec("fastapi") is None:
        why = "absent; only for clarivox serve"
        return [Finding("server", why, fine=False, needed=False, mend="pip install 'clarivox[server]'")]
    from clarivox.server.viewer_files import VERSION, place

    page = (resources.files("clarivox.web") / "dist/index.html").is_file()
    viewer = (place() / "index.html").is_file()
    return [
        Finding("server", f"fastapi {importlib.metadata.version('fastapi')}"),
        Finding("companion page", "built" if page else "absent; the server works without", fine=page, needed=False,
                mend="" if page else "make web in a checkout, then install again"),
        Finding("OHIF", VERSION if viewer else "absent; only for clarivox serve --viewer", fine=viewer, needed=False,
                mend="" if viewer else "clarivox viewer install"),
    ]  # fmt: skip


def _self_test() -> Finding:
    """The identity bundle over a phantom: every voxel must come back."""
    try:
        from clarivox.enhance import enhance
        from clarivox.phantoms import ct

        volume = ct(size=64, slices=2).degraded
        same = bool((enhance(volume, "identity", device="cpu").array == volume.array).all())
    except ImportError as cause:
        return Finding(
            "self-test", f"cannot start: {cause.name} is absent", fine=False, mend=f"pip install {cause.name}"
        )
    except ClarivoxError as error:
        return Finding(
            "self-test", f"[{error.code}] {error}", fine=False, mend="pip install --force-reinstall clarivox"
        )
    found = "identity gives every voxel back" if same else "identity changed voxels"
    return Finding("self-test", found, fine=same, mend="" if same else "pip install --force-reinstall clarivox")
