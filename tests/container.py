# SPDX-License-Identifier: Apache-2.0
"""docker/'s files without an engine: what the Dockerfile says, and a service of compose.yml as processes of ours.

`Service.closed()` starts the command with the environment that image and composition give, in namespaces of its own: a
network with nothing but loopback, a root that is mounted read-only but for /data and /tmp, no capabilities.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

DOCKER = Path(__file__).parents[1] / "docker"
START_S = 120
CLOSE = """
set -e
ip link set lo up
mount --make-rprivate /
test "$ROOT" = / || mount --bind "$ROOT" "$ROOT"
mount --bind "$DATA" "$ROOT/$DATA_AT"
mount --bind "$TMP" "$ROOT/$TMP_AT"
mount -o remount,bind,ro "$ROOT"
cd "$ROOT/$DATA_AT"
exec {enter}
"""


@dataclass(frozen=True)
class Stage:
    """One FROM of a Dockerfile, with what stands below it."""

    base: str
    name: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    """Instruction and what it says, in their order."""

    def said(self, word: str) -> list[str]:
        """All that is said with one instruction."""
        return [text for instruction, text in self.lines if instruction == word]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV and the defaults of ARG set."""
        found: dict[str, str] = {}
        for instruction, text in self.lines:
            if instruction in ("ENV", "ARG"):
                for name, value in re.findall(r'([A-Z_]+)=("[^"]*"|\S*)', text):
                    found[name] = value.strip('"').replace("$PATH", os.defpath)
        return found


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile."""
    found: list[Stage] = []
    whole = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    for line in filter(str.strip, whole.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].lines.append((word, rest.strip()))
    return found


@dataclass
class Running:
    """A service at work."""

    process: subprocess.Popen[bytes]
    enter: Sequence[str]
    """Before a command that is to run within it."""
    probe: Sequence[str]
    """The command of HEALTHCHECK."""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command within the service's namespaces."""
        return subprocess.run([*self.enter, *words], capture_output=True, text=True, check=False, timeout=60)

    def healthy(self) -> bool:
        """What HEALTHCHECK finds."""
        return self.run(*self.probe).returncode == 0


@dataclass(frozen=True)
class Service:
    """The server of compose.yml."""

    root: Path
    """Of its file system: "/" for this machine's own."""
    command: Sequence[str]
    environment: Mapping[str, str]
    user: int | None = None

    @contextmanager
    def closed(self, folder: Path) -> Iterator[Running]:
        """The service, closed as the composition says; its data and its log lie in a folder."""
        for name in ("data", "tmp"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name).chmod(0o1777)
        inside = self.root != Path("/")
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        who = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] if self.user is not None else []
        words = [*drop, *who, *self.command]
        within = (
            ["/usr/sbin/chroot", str(self.root), *words] if inside else words
        )  # first: it is a right that is dropped
        places = ("/data", "/tmp") if inside else (str(folder / "data"), str(folder / "tmp"))
        ours = {"ROOT": str(self.root), "DATA": str(folder / "data"), "TMP": str(folder / "tmp")}
        ours |= {"DATA_AT": places[0], "TMP_AT": places[1], "PATH": os.environ["PATH"]}
        script = CLOSE.replace(
            "{enter}", shlex.join(["env", "-i", *(f"{k}={v}" for k, v in self.environment.items()), *within])
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script],
                stdout=log,
                stderr=log,
                env=ours,
                cwd=folder,
            )
        enter = ["nsenter", "--mount", "--net", "-t", str(process.pid)]
        enter += ["chroot", str(self.root)] if inside else []
        try:
            yield Running(process, enter, self._probe())
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _probe(self) -> list[str]:
        [said] = stages((DOCKER / "Dockerfile").read_text())[-1].said("HEALTHCHECK")
        words: list[str] = json.loads(said.partition("CMD ")[2])
        python = shutil.which(words[0], path=self.environment["PATH"])
        return [
            *(["env", f"PATH={self.environment['PATH']}"] if self.root != Path("/") else []),
            python or words[0],
            *words[1:],
        ]


def composed(**more: str) -> dict[str, str]:
    """The environment that image and composition give the server, with values of ours for what is to be chosen."""
    service = yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]["clarivox"]
    image = stages((DOCKER / "Dockerfile").read_text())[-1].environment
    given = {name: re.sub(r"\$\{\w+:\?[^}]*\}", "sesame", str(value)) for name, value in service["environment"].items()}
    return {**image, **given, **more}


def command() -> list[str]:
    """What the composition runs: the image's entry, and the service's words."""
    [entry] = stages((DOCKER / "Dockerfile").read_text())[-1].said("ENTRYPOINT")
    service = yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]["clarivox"]
    return [*json.loads(entry), *service["command"]]
