# SPDX-License-Identifier: Apache-2.0
"""Which devices this machine works on, found without loading a library that computes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from clarivox.errors import OptionError
from clarivox.server.settings import Settings


@dataclass(frozen=True)
class Device:
    """What one worker works on."""

    name: str
    """As the settings and the ledger have it: cpu, cuda:1, mps."""
    label: str
    """Its model."""
    torch_name: str
    """As the worker's torch has it: a worker sees one GPU only, which is cuda:0 there."""
    environment: dict[str, str] = field(default_factory=dict)


def devices(settings: Settings) -> list[Device]:
    """The devices that the settings name, one for each worker; with auto the GPUs, or where there is none the CPU.

    Raises:
        OptionError: a device is named that is not here (code no_device).
    """
    gpus = nvidia()
    cpus = [Device("cpu", processor(), "cpu", {"CUDA_VISIBLE_DEVICES": ""})] * settings.workers_cpu
    if settings.devices == "auto":
        return list(gpus.values()) or cpus
    found: list[Device] = []
    for name in dict.fromkeys(word.strip() for word in settings.devices.split(",")):
        if name == "cpu":
            found += cpus
        elif name == "mps":
            found.append(Device("mps", processor(), "mps"))
        elif name in gpus:
            found.append(gpus[name])
        else:
            there = ", ".join(["cpu", *gpus])
            raise OptionError(f"there is no device {name}; there is {there}", code="no_device")
    return found


def nvidia() -> dict[str, Device]:
    """NVIDIA's GPUs by name."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    fields = ["--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        told = subprocess.run([program, *fields], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return listed(told)


def listed(told: str) -> dict[str, Device]:
    """The lines of nvidia-smi.

    >>> listed("0, GPU-1234, NVIDIA H100 80GB HBM3")["cuda:0"].label
    'NVIDIA H100 80GB HBM3'
    """
    found = {}
    for line in told.splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3 and parts[0].isdigit():
            index, uuid, label = parts
            found[f"cuda:{index}"] = Device(f"cuda:{index}", label, "cuda:0", {"CUDA_VISIBLE_DEVICES": uuid})
    return found


def processor() -> str:
    """The model of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def threads(settings: Settings, cpu_workers: int) -> int:
    """Threads of each worker on the CPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return settings.threads or max(1, cores // max(1, cpu_workers))
