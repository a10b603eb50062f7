# SPDX-License-Identifier: Apache-2.0
"""The lines of docker/Dockerfile without an engine: each stage in a root that debootstrap makes, then the server in it.

    python -m tests.image FOLDER [--bind /a/package/index] [--file ~/.config/pip/pip.conf:/etc/pip.conf] [--json FILE]

Needs root, debootstrap and a gigabyte or six. Debian 12 with its Python 3.11 stands for python:3.11-slim, and with this
machine's node for node:22-slim; COPY takes what git has committed. torch is the build that is installed here. The last
stage's server is started as compose.yml does, as its user, in its own root, and asked whether it is ready.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.benchmarks.measure import gate, report
from tests.container import DOCKER, START_S, Service, Stage, command, composed, stages

PACKAGES = "ca-certificates,python3,python3-venv,libstdc++6"
PASSED = ("PIP_", "SSL_", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""Beginnings of variables by which this machine reaches its package registries; an image's build has its own."""


@dataclass(frozen=True)
class Line:
    """One line that was run."""

    stage: str
    text: str
    status: int
    seconds: float
    said: str


class Build:
    """Roots of stages below a folder.

    Args:
        folder: of the roots.
        binds: folders of this machine that the roots show at the same path.
        files: pairs of a file here and where it is copied to.
    """

    def __init__(self, folder: Path, binds: list[Path], files: list[tuple[Path, str]]) -> None:
        self.folder, self.binds, self.files = folder, binds, files
        self.lines: list[Line] = []
        self.context = folder / "context"

    def base(self) -> Path:
        """Debian, once; with node of this machine."""
        root = self.folder / "base"
        if not (root / "ready").exists():
            shutil.rmtree(root, ignore_errors=True)
            words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            (root / "usr/bin/python").symlink_to("python3")
            shutil.copy(os.path.realpath(shutil.which("node") or "node"), root / "usr/local/bin/node")
            npm = Path(os.path.realpath(shutil.which("npm") or "npm")).parents[1]
            shutil.copytree(npm, root / "usr/local/lib/node_modules/npm", symlinks=True)
            (root / "usr/local/bin/npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
            for here, there in self.files:
                (root / there.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, root / there.lstrip("/"))
            (root / "ready").touch()
        return root

    def stage(self, stage: Stage, roots: dict[str, Path]) -> Path:
        """Do what a stage says; its root."""
        root = self.folder / f"root-{stage.name or 'last'}"
        subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)
        subprocess.run(["cp", "-a", str(self.base()), str(root)], check=True)
        at, given = "/", {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        given |= {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
        for word, text in stage.lines:
            if word in ("ENV", "ARG"):
                given |= Stage("", "", [(word, text)]).environment
                given |= {"TORCH": f"torch=={metadata.version('torch')}"} if "TORCH" in given else {}
            elif word == "WORKDIR":
                at = text
                (root / at.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self.copy(text, root, at, roots)
            elif word == "RUN":
                self.run(stage, text, root, at, given)
        return root

    def copy(self, text: str, root: Path, at: str, roots: dict[str, Path]) -> None:
        """COPY, from the context or from another stage."""
        words = shlex.split(text)
        origin = roots[words.pop(0).removeprefix("--from=")] if words[0].startswith("--from=") else self.context
        *sources, target = words
        place = root / (target if target.startswith("/") else f"{at}/{target}").lstrip("/")
        for one in sources:
            source = origin / one.lstrip("/")
            if source.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", f"{source}/.", str(place)], check=True)
            else:
                into = place / source.name if target.endswith(("/", ".")) else place
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, into)

    def run(self, stage: Stage, text: str, root: Path, at: str, given: dict[str, str]) -> None:
        """RUN, in the root.

        Raises:
            SystemExit: it failed.
        """
        mounts = ["mount --make-rprivate /", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        for one in self.binds:
            (root / str(one).lstrip("/")).mkdir(parents=True, exist_ok=True)
            mounts.append(f"mount --rbind {shlex.quote(str(one))} {shlex.quote(str(root / str(one).lstrip('/')))}")
        (root / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())
        inner = shlex.join(["sh", "-c", f"cd {at} && {text}"])
        set_ = shlex.join(f"{name}={value}" for name, value in given.items())
        script = " && ".join([*mounts, f"exec chroot {shlex.quote(str(root))} env -i {set_} {inner}"])
        began = time.monotonic()
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        self.lines.append(Line(stage.name or "last", text, done.returncode, round(took, 1), done.stderr[-2000:]))
        print(f"{stage.name or 'last'}: {done.returncode} in {took:.1f} s: {text[:100]}", flush=True)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])


def megabytes(root: Path) -> float:
    """What a root holds."""
    said = subprocess.run(["du", "-sxm", str(root)], capture_output=True, text=True, check=True).stdout
    return float(said.split()[0])


def served(root: Path, folder: Path) -> tuple[float, list[str]]:
    """Start the last stage's server as compose.yml does: seconds until it is ready, and what was wrong."""
    for one in ("pacs.yaml", "rules.yaml"):
        (root / "etc/clarivox").mkdir(exist_ok=True)
        shutil.copy(DOCKER / one, root / "etc/clarivox")
    environment = composed()
    environment["PATH"] = f"/opt/clarivox/bin:{environment['PATH'].partition(':')[2]}"
    began, wrong = time.monotonic(), []
    with Service(root, command(), environment, user=10001).closed(folder) as running:
        while not running.healthy():
            if running.process.poll() is not None or time.monotonic() - began > START_S:
                return time.monotonic() - began, [(folder / "log").read_text()[-3000:]]
            time.sleep(0.2)
        took = time.monotonic() - began
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        wrong += [] if "Uid:\t10001" in status else ["it runs as another user"]
        wrong += [] if "Read-only" in running.run("touch", "/written").stderr else ["its root can be written to"]
        running.process.terminate()
        wrong += [] if running.process.wait(120) == 0 else ["it does not end well"]
    return took, wrong


def main() -> None:
    """Build, start, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bind", type=Path, action="append", default=[])
    parser.add_argument("--file", action="append", default=[], help="HERE:THERE")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    files = [(Path(here).expanduser(), there) for here, _, there in (one.partition(":") for one in given.file)]
    build = Build(given.folder.resolve(), given.bind, files)
    build.context.mkdir(exist_ok=True)
    subprocess.run(f"git archive HEAD | tar -x -C {shlex.quote(str(build.context))}", shell=True, check=True)
    roots: dict[str, Path] = {}
    for stage in stages((DOCKER / "Dockerfile").read_text()):
        roots[stage.name or "last"] = build.stage(stage, roots)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        ready_s, wrong = served(roots["last"], Path(folder))
    added = megabytes(roots["last"]) - megabytes(build.base())
    print(*wrong, f"{added:.0f} MB above Debian and node", sep="\n")
    gates = [
        gate("lines that failed", sum(one.status != 0 for one in build.lines), at_most=0, unit=""),
        gate("what was not as it should be", len(wrong), at_most=0, unit=""),
    ]
    rows = [{"stage": one.stage, "line": one.text[:80], "seconds": one.seconds} for one in build.lines]
    rows.append({"stage": "last", "line": "serve --viewer, until it is ready", "seconds": round(ready_s, 1)})
    raise SystemExit(report("image", rows, gates, given.json, more={"added_mb": added}))


if __name__ == "__main__":
    main()
