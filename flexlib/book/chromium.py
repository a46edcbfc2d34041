"""Headless Chromium, driven by Playwright: what a page requests and complains about, pictures and print.

The system's Chromium is used, none is downloaded.
"""

from __future__ import annotations

import atexit
import os
import shutil
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from playwright.sync_api import ConsoleMessage, Playwright, Request, sync_playwright

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

# Nothing but the page itself may ask for anything, and no name resolves.
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]


@dataclass
class Visit:
    """What happened while one page loaded."""

    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@cache
def _driver() -> Playwright:
    """One for the process: Playwright refuses a second one in the same thread."""
    driver = sync_playwright().start()
    atexit.register(driver.stop)
    return driver


class Chromium:
    """A browser with one tab, ``page``. Use as a context manager."""

    def __enter__(self) -> Self:
        self._browser = _driver().chromium.launch(executable_path=PROGRAM, args=FLAGS)
        self.page = self._browser.new_page()
        self.page.set_default_timeout(60_000)
        self._seen = Visit()
        self.page.on("request", lambda request: self._seen.requests.append(request.url))
        self.page.on("requestfailed", self._failed)
        self.page.on("pageerror", lambda error: self._seen.errors.append(str(error)))
        self.page.on("console", self._said)
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()

    def visit(self, url: str, timeout: float = 60) -> Visit:
        """Open a page and wait until it has loaded and asks for nothing any more.

        Raises:
            playwright.sync_api.TimeoutError: it does not within ``timeout`` seconds.
        """
        self._seen = Visit()
        self.page.goto("about:blank")  # else another fragment of the open page loads nothing
        self._seen = Visit()
        self.page.goto(url, wait_until="load", timeout=1000 * timeout)
        # Not this alone: a long page that is still being parsed asks for nothing either.
        self.page.wait_for_load_state("networkidle", timeout=1000 * timeout)
        return self._seen

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page, once it is there if it is a promise.

        Raises:
            playwright.sync_api.Error: the expression throws.
        """
        return self.page.evaluate(script)

    def wait_for(self, script: str, timeout: float = 30) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            TimeoutError: it stays false.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if value := self.evaluate(script):
                return value
            self.page.wait_for_timeout(50)
        raise TimeoutError(f"never true: {script}")

    def scripts(self, allowed: bool) -> None:
        """Let pages that are opened from now on run scripts, or not."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def point_at(self, selector: str) -> None:
        """Move the mouse to the first element that matches, once it is in sight and stands still."""
        self.page.locator(selector).first.hover()

    def click(self, selector: str) -> None:
        """Click with the mouse on the first element that matches."""
        self.page.locator(selector).first.click()

    def press(self, key: str) -> None:
        """Press and release a key, by its DOM name."""
        self.page.keyboard.press(key)

    def pdf(self, path: str | os.PathLike, footer: str) -> None:
        """Print the page to a PDF with an outline; ``footer`` is HTML, in which the class ``pageNumber`` is
        filled in."""
        self.page.pdf(
            path=Path(path),
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=footer,
            print_background=True,
            format="A4",
            margin={"top": "0.7in", "bottom": "0.8in", "left": "0.8in", "right": "0.8in"},
            outline=True,
            tagged=True,
        )

    def resize(self, width: int, height: int = 900) -> None:
        """Show pages as on a screen of this many CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})

    def prefer(self, scheme: Literal["light", "dark"]) -> None:
        """Make the reader's system light or dark."""
        self.page.emulate_media(color_scheme=scheme)

    def screenshot(self, path: str | os.PathLike) -> None:
        """Write a PNG of the whole page."""
        self.page.screenshot(path=Path(path), full_page=True)

    def _failed(self, request: Request) -> None:
        self._seen.failures.append(f"{request.resource_type}: {request.failure} {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self._seen.errors.append(f"{message.text} {message.location.get('url', '')}")
