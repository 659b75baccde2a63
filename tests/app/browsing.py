"""Helpers for the tests that drive a real browser."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_MARKS = "![x](http://a.example/x.png) $x^2$ :red[y] https://a.example www.a.example ada@a.example :smile: -> <b>b</b>"
HOSTILE = f"<script>alert(1)</script><img src=x onerror=alert(2)> \"'\x00\u202e{_MARKS}"
SHOWN = f"<script>alert(1)</script><img src=x onerror=alert(2)> \"'␀‹U+202E›{_MARKS}"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def require_browser() -> str:
    if BROWSER is None:
        if os.environ.get("CI") == "true":
            pytest.fail("No Chromium is installed, and CI must run the browser tests.")
        pytest.skip("no Chromium is installed: the browser tests are left out")
    return BROWSER


@dataclass
class Seen:
    """What the page did beside showing itself."""

    base: str
    outside: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("dialog", self._dialog)

    def _request(self, request: Any) -> None:
        url = urlparse(request.url)
        if url.scheme not in {"data", "blob", "about", "file"} and url.hostname not in {"localhost", "127.0.0.1"}:
            self.outside.append(request.url)

    def _console(self, message: Any) -> None:
        # On a deep link Streamlit's client looks for its server below the page's own path first, which is not there.
        probe = "/_stcore/" in str(message.location.get("url", ""))
        if message.type == "error" and not probe:
            self.console.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def nothing_else(self) -> None:
        assert not self.outside, self.outside
        assert not self.console, self.console
        assert not self.dialogs, self.dialogs


def drawn(page: Any, text: str = "") -> None:
    """Wait until the title is there and the script is done."""
    title = page.locator("h1.cw-title")
    (title.filter(has_text=text) if text else title).first.wait_for()
    # The widget in the corner comes half a second after the script has begun, so its absence alone says little.
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stStatusWidget]')"
        " && document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
    )


def tall(page: Any, path: Path) -> None:
    """A picture of the whole page: a page of Streamlit scrolls inside, so the window is made as tall."""
    size = page.viewport_size
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(6000, height + 60)})
    page.wait_for_timeout(800)
    page.screenshot(path=str(path))
    page.set_viewport_size(size)
