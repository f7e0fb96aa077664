"""Headless Chromium, driven through its DevTools: what a person sees of a page, and what it asks the network for.

As a script it takes a picture of a running view: ``python test/node/browser.py URL PNG [--point X Y]``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from numpy.typing import NDArray

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
TIMEOUT_S = 60.0


class Browser:
    """One window on one page."""

    def __init__(self, url: str, profile: Path, width: int = 1280, height: int = 800) -> None:
        assert CHROMIUM is not None
        self.asked: list[str] = []
        """URLs that the page has asked for."""
        self.troubles: list[str] = []
        """What went wrong in its scripts, and what they logged as an error."""
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._loop.run_until_complete(self._connect(profile))
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
            self.call("Page.navigate", url=url)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Of the DevTools' protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), TIMEOUT_S))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The value of an expression once it is truthy."""
        end = time.monotonic() + timeout_s
        while not (found := self.evaluate(f"(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()")):
            assert time.monotonic() < end, f"waited for {expression}; troubles {self.troubles}; page says {self.text()}"
            time.sleep(0.05)
        return found

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.evaluate("document.body.innerText"))

    def screenshot(self) -> NDArray[np.uint8]:
        """What is seen, rgb [rows, cols, 3]."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.png(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1])

    def png(self) -> bytes:
        """What is seen, as a file's content."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a point of the view's map [m]."""
        left, top = self.evaluate(f"rdflux.toScreen({x}, {y})")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=left, y=top)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if hasattr(self, "_session"):
            self._loop.run_until_complete(self._session.close())
        self._loop.close()

    async def _connect(self, profile: Path) -> None:
        chosen, end = profile / "DevToolsActivePort", time.monotonic() + TIMEOUT_S
        while not chosen.exists() or not chosen.read_text().strip():
            assert self._process.poll() is None and time.monotonic() < end, "chromium does not start"
            await asyncio.sleep(0.05)
        port = chosen.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_S) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return dict(message["result"])
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, event: str | None, about: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"])
        elif event == "Network.webSocketCreated":
            self.asked.append(about["url"])
        elif event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.troubles.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.troubles.append(about["entry"]["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a picture of a running view.")
    parser.add_argument("url")
    parser.add_argument("png", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(1440, 900), help="of the page [pixels]")
    parser.add_argument("--point", type=float, nargs=2, help="where on the map the cursor is [m]")
    options = parser.parse_args()
    width, height = options.size
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(options.url, Path(profile))
        try:
            browser.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
            browser.wait('document.body.dataset.state === "live" && rdflux.layers.status')
            if options.point:
                browser.point(*options.point)
            time.sleep(2.0)
            options.png.write_bytes(browser.png())
        finally:
            browser.close()


if __name__ == "__main__":
    main()
