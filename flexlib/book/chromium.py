"""Headless Chromium over its debugging pipe: what a page requests and complains about.

The Chrome DevTools Protocol, JSON messages ended by a NUL byte, is spoken on file descriptors 3
and 4 of the browser (``--remote-debugging-pipe``), so no driver and no web socket is needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

# Nothing but the page itself may ask for anything, and no name resolves.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]


@dataclass
class Visit:
    """What happened while one page loaded."""

    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Chromium:
    """A browser with one tab. Use as a context manager."""

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def place_pipes() -> None:
            # Copies first: either end may itself lie on descriptor 3 or 4.
            reader, writer = os.dup(to_browser), os.dup(from_browser)
            os.dup2(reader, 3)
            os.dup2(writer, 4)

        self._process = subprocess.Popen(
            [PROGRAM or "chromium", *FLAGS, f"--user-data-dir={self._profile.name}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place_pipes,  # noqa: PLW1509 - the tests start no threads
            close_fds=False,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._last_id = b"", 0
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, timeout: float = 60, **params: object) -> dict:
        """Send one command and return its result; events that arrive meanwhile are kept."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(timeout)
            if answer is None:
                raise TimeoutError(f"Chromium did not answer {method}")
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._events.append(answer)

    def visit(self, url: str, quiet: float = 0.5, timeout: float = 60) -> Visit:
        """Open a page and wait until it has loaded and has been silent for ``quiet`` seconds."""
        self._events.clear()
        self.call("Page.navigate", url=url)
        seen, loaded, deadline = Visit(), False, time.monotonic() + timeout
        while True:
            event = self._events.pop(0) if self._events else self._receive(timeout=quiet)
            if event is None:
                if loaded:
                    return seen
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{url} did not finish loading")
                continue
            method, params = event.get("method"), event.get("params", {})
            if method == "Page.loadEventFired":
                loaded = True
            elif method == "Network.requestWillBeSent":
                seen.requests.append(params["request"]["url"])
            elif method == "Network.loadingFailed":
                seen.failures.append(f"{params['type']}: {params['errorText']}")
            elif method == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                thrown = details.get("exception", {}).get("description", "")
                seen.errors.append(f"{details['text']} {thrown}")
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
                seen.errors.append(
                    str([a.get("value", a.get("description")) for a in params["args"]])
                )
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                entry = params["entry"]
                seen.errors.append(f"{entry['text']} {entry.get('url', '')}")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page, once it is there if it is a promise.

        Raises:
            RuntimeError: the expression throws.
        """
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in done:
            thrown = done["exceptionDetails"].get("exception", {})
            raise RuntimeError(thrown.get("description") or done["exceptionDetails"]["text"])
        return done["result"].get("value")

    def wait_for(self, script: str, timeout: float = 30) -> object:
        """The value of an expression as soon as it is true.

        Raises:
            TimeoutError: it stays false.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if value := self.evaluate(script):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true: {script}")

    def scripts(self, allowed: bool) -> None:
        """Let pages that are opened from now on run scripts, or not."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def press(self, key: str, code: int = 0, text: str = "") -> None:
        """Press and release a key: its DOM name, its virtual key code, the text that it types."""
        key_of: dict[str, Any] = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "text": text,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", **key_of)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key_of)

    def point_at(self, selector: str) -> None:
        """Move the mouse to the middle of the first element that matches, scrolled into sight. It waits, a
        while, until the element stands still: a page may be laid out anew after it is drawn."""
        middle = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        x, y = self.evaluate(middle)
        for _ in range(40):
            before = (x, y)
            time.sleep(0.1)
            x, y = self.evaluate(middle)
            if (x, y) == before:
                break
        for step in (1, 0):  # a mouse arrives before it stands still
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y)
        self._at = (x, y)

    def click(self, selector: str) -> None:
        """Click with the mouse on the first element that matches."""
        self.point_at(selector)
        x, y = self._at
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def pdf(self, path: str | os.PathLike, footer: str) -> None:
        """Print the page to a PDF with an outline; ``footer`` is HTML, in which the class ``pageNumber`` is
        filled in."""
        stream = self.call(
            "Page.printToPDF", displayHeaderFooter=True, headerTemplate="<span></span>",
            footerTemplate=footer, printBackground=True, paperWidth=8.27, paperHeight=11.69,
            marginTop=0.7, marginBottom=0.8, marginLeft=0.8, marginRight=0.8,
            generateDocumentOutline=True, generateTaggedPDF=True, transferMode="ReturnAsStream",
            timeout=600,
        )["stream"]  # fmt: skip
        with open(path, "wb") as file:
            ended = False
            while not ended:
                part = self.call("IO.read", handle=stream, size=1 << 20)
                content = part["data"]
                file.write(
                    base64.b64decode(content) if part.get("base64Encoded") else content.encode()
                )
                ended = part["eof"]

    def resize(self, width: int, height: int = 900) -> None:
        """Show pages as on a screen of this many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Make the reader's system ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: str | os.PathLike) -> None:
        """Write a PNG of the whole page."""
        width, height = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        self.resize(width, height)
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _receive(self, timeout: float) -> dict | None:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], timeout)[0]:
                return None
            chunk = os.read(self._in, 1 << 20)
            if not chunk:
                raise ConnectionError("Chromium has ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
