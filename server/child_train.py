# SPDX-License-Identifier: Apache-2.0
"""Training in processes of their own: a limited child makes the images ready, another trains and reads no image file.

`python -m clarivox.server.child_train` takes a line of JSON on its standard input and tells lines of JSON on its
standard output; when the input ends, it saves where it is and ends.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clarivox.errors import ClarivoxError
from clarivox.progress import Step
from clarivox.server.parse_child import TOLD_S, die_with_parent
from clarivox.volume import Volume

NICENESS = 5
"""Beyond that of the worker: who waits for an image comes first."""


def gather(_kept: list[Volume], order: dict[str, Any], tell: Callable[[Step], None]) -> dict[str, int]:
    """In the limited child: read the images of a training and write them as a prepared set.

    Args:
        order: sources, paths of files or zips; out, the set's folder; modalities; limits.
        tell: called after each image.

    Returns:
        images, how many can be used, and unreadable, how many cannot.

    Raises:
        InputError: none can be used.
    """
    from clarivox import prepared
    from clarivox.io.archive import extracted
    from clarivox.io.limits import Limits
    from clarivox.io.sniff import Kind, kind_of

    limits, folder = Limits(**order["limits"]), Path.cwd() / "images"
    folder.mkdir()
    for number, name in enumerate(order["sources"]):
        source = Path(name)
        if kind_of(source) is not Kind.ZIP:
            (folder / source.name).symlink_to(source)
            continue
        with extracted(source, limits) as inside:
            inside.rename(folder / f"{number:06d}")
            inside.mkdir()
    found = prepared.preprocess(folder, Path(order["out"]), order["modalities"], progress=tell)
    return {"images": len(found.entries), "unreadable": len(found.unreadable)}


def trained(order: dict[str, Any], tell: Callable[[Step], bool]) -> dict[str, Any]:
    """Train a bundle on a prepared set into a new bundle, or go on with it.

    Args:
        order: bundle, folders, data, output, settings, minutes, device.
        tell: called after each step; returning False saves and stops.

    Raises:
        ClarivoxError: as `clarivox.retrain.train`.
    """
    from clarivox.bundle import find
    from clarivox.retrain import Wish, train

    output = Path(order["output"])
    wish = Wish(
        find(order["bundle"], order["folders"]),
        Path(order["data"]),
        output,
        settings=order["settings"],
        minutes=order["minutes"],
        device=order["device"],
        init_from="own",
        resume=True,
        skip_unreadable=True,
    )
    found = asdict(train(wish, tell))
    return {name: found[name] for name in ("steps", "best", "seconds", "split", "step_s")}


def main() -> None:
    """Train as the first line of the standard input says."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.dup(1)
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # what a library prints may quote what it reads
        os.dup2(silent, stream)
    order = json.loads(sys.stdin.readline())
    if order["device"] == "cpu":
        os.nice(NICENESS)
        most = order["memory_bytes"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    stop = threading.Event()

    def listen() -> None:
        select.select([sys.stdin], [], [])
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    last = [0.0]

    def tell(step: Step) -> bool:
        if time.monotonic() - last[0] >= TOLD_S:
            last[0] = time.monotonic()
            say(out, {"step": [step.stage, step.fraction, step.eta_s]})
        return not stop.is_set()

    try:
        say(out, {"done": trained(order, tell)})
    except ClarivoxError as error:
        say(out, {"error": {"class": type(error).__name__, "code": error.code, "message": str(error)[:4000]}})
    except MemoryError:
        text = "the training takes more memory than it may; choose a smaller batch"
        say(out, {"error": {"class": "CapacityError", "code": "no_memory", "message": text}})


def say(out: int, message: dict[str, Any]) -> None:
    """One line of JSON."""
    os.write(out, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
