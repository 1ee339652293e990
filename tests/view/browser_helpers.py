"""A real browser without a window, driven by its own protocol."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 120
"""Seconds after which a page that does not come is a fault."""


def browser() -> str:
    """A browser of the machine; the test is skipped where there is none."""
    named = os.environ.get("PAPER_UNET_BROWSER")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium found: install one, or set PAPER_UNET_BROWSER to it")
    return found


class Tab:
    """A page in the browser."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: Any) -> None:
        self._loop, self._socket, self._number = loop, socket, 0

    def ask(self, method: str, **given: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(method, given), PATIENCE))

    async def _ask(self, method: str, given: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        await self._socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await self._socket.read_message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        last = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < last, f"never came true: {expression}"
            time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))


COLOURS = 128
"""Of a picture that is kept: the docs say how many."""


def keep(screenshot: Path, picture: Path) -> None:
    """Save a screenshot for the docs, with fewer colours."""
    colours = Image.open(screenshot).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    colours.save(picture, "png", optimize=True)


@contextmanager
def tab(folder: Path, address: str, size: tuple[int, int] = (1000, 700)) -> Iterator[Tab]:
    """Open an address in a browser of its own, whose profile is in a folder."""
    from tornado.httpclient import AsyncHTTPClient
    from tornado.websocket import websocket_connect

    command = [
        browser(), "--headless=new", "--no-sandbox", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
        "--ignore-gpu-blocklist", "--disable-dev-shm-usage", "--no-first-run",
        f"--window-size={size[0]},{size[1]}", "about:blank",
    ]  # fmt: skip
    loop = asyncio.new_event_loop()
    with (folder.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            port = _port(folder / "DevToolsActivePort", process)

            async def connected() -> Any:
                answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
                pages = [one for one in json.loads(answer.body) if one["type"] == "page"]
                where = pages[0]["webSocketDebuggerUrl"]
                return await websocket_connect(where, max_message_size=2**28)

            opened = Tab(loop, loop.run_until_complete(connected()))
            opened.ask("Page.enable")
            opened.ask("Page.navigate", url=address)
            yield opened
        finally:
            process.terminate()
            process.wait(30)
            loop.close()


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    last = time.monotonic() + PATIENCE
    while not (file.exists() and "\n" in file.read_text()):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < last, "the browser did not start"
        time.sleep(0.1)
    return int(file.read_text().split("\n")[0])
