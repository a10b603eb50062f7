# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium for tests, driven through its own debugging pipe: no driver and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.served import PATIENCE_S

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One open page.

    Attributes:
        complaints: what the console, the log and the content security policy said so far.
        requests: addresses that the page asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.to_browser, self.from_browser = to_browser, from_browser
        self.buffer, self.number, self.session = b"", 0, ""
        self._loaded = ""  # the last document whose load event was heard; the empty first page has one, too
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def first(self, script: str) -> None:
        """Run a script in each page that is opened from now on, before those of the page."""
        self._attach()
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str, width: int, height: int) -> Self:
        """Open an address in the tab, in a window of a size, and wait until it is loaded."""
        self._attach()
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        loader = self.ask("Page.navigate", url=url)["loaderId"]
        while self._loaded != loader:
            self._next()
        return self

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, (script, result)
        return result["result"].get("value")

    def wait(self, script: str, within_s: float = PATIENCE_S) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            AssertionError: it did not become so in time.
        """
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if found := self.run(script):
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {within_s:.0f} s: {script}; {self.complaints[-3:]}")

    def complained(self, words: str, within_s: float = PATIENCE_S) -> None:
        """Wait until the page has complained in these words.

        Raises:
            AssertionError: it did not in time.
        """
        until = time.monotonic() + within_s
        while not any(words in line for line in self.complaints):
            assert time.monotonic() < until, f"not within {within_s:.0f} s: {words}; {self.complaints[-3:]}"
            self.run("0")  # brings what was said meanwhile
            time.sleep(0.05)

    def choose(self, selector: str, *files: Path) -> None:
        """Give files to an input of the page, as a user who chooses them."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def picture(self, selector: str = "body") -> bytes:
        """What the window shows of an element, as a PNG."""
        box = self.run(
            f"(box => ({{x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height}}))"
            f"(document.querySelector('{selector}').getBoundingClientRect())"
        )
        return self.clipped(box)

    def clipped(self, box: dict[str, float]) -> bytes:
        """What the window shows of a place of the page, as a PNG."""
        clip = {**box, "scale": 1}
        return base64.b64decode(self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"])

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Press, move or release the left button at a place of the window: mousePressed, mouseMoved, mouseReleased."""
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def key(self, name: str, code: int) -> None:
        """Press and release one key."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def _attach(self) -> None:
        if self.session:
            return
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)
        if slower := os.environ.get("CLARIVOX_BROWSER_SLOWER"):  # to try tests as on a machine so many times slower
            self.ask("Emulation.setCPUThrottlingRate", rate=float(slower))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            chunk = os.read(self.from_browser, 1 << 16)
            assert chunk, "the browser has ended"
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if message.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(message["params"])[:500])
        if message.get("method") == "Page.lifecycleEvent" and message["params"]["name"] == "load":
            self._loaded = message["params"]["loaderId"]
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message


WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""Words for a browser that draws WebGL without a graphics card."""


@contextmanager
def browser(*more: str) -> Iterator[Page]:
    """A page of a fresh browser with a profile of its own; skips where there is none.

    Args:
        *more: words of its command, as those of `WEBGL`.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()

    def connect() -> None:
        # Chromium listens on 3 and speaks on 4.
        os.dup2(in_read, 3)
        os.dup2(out_write, 4)

    # The numbers 3 and 4 may be the pipes' own, so they are moved out of the way first.
    in_read, out_write = (_high(number) for number in (in_read, out_write))
    profile = tempfile.TemporaryDirectory(prefix="clarivox-browser-", ignore_cleanup_errors=True)
    words = ("--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", *(more or ("--disable-gpu",)))
    process = subprocess.Popen(
        [program, *words, f"--user-data-dir={profile.name}"],
        preexec_fn=connect,
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Page(in_write, out_read)
    finally:
        process.kill()
        process.wait()
        for number in (in_read, in_write, out_read, out_write):
            os.close(number)
        profile.cleanup()


def _high(number: int) -> int:
    import fcntl

    moved = fcntl.fcntl(number, fcntl.F_DUPFD, 50)
    os.close(number)
    return moved
