"""The browser view's server: one page, and to every browser the latest of each layer. Knows nothing of ROS.

A layer is a named thing to draw. Every browser has a connection of its own on which at most one frame is under way;
of what comes meanwhile it gets the latest, so that a slow browser sees fewer updates and costs no memory.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
import struct
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

PAGE = Path(__file__).with_name("view.html")
HEARTBEAT_S = 10.0
"""How often a browser is asked whether it is still there [s]."""
STOP_S = 0.8
"""How long an orderly end may take [s]."""
SEND_BUFFER = 256 * 1024
"""What the kernel keeps for a slow connection [bytes]: no more than a map or two, or it would lag by seconds."""
HEADERS = {
    # Nothing from elsewhere, whatever the page says.
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Layer:
    """Something to draw.

    Parameters
    ----------
    name
        What it is; the latest of a name replaces the one before.
    values
        What JSON can hold.
    cells
        One byte a cell, row-major from the south-west corner; empty where there is no raster.
    at
        Steady time of receipt [s].
    """

    name: str
    values: dict[str, Any]
    cells: bytes = b""
    at: float = field(default_factory=time.monotonic, compare=False)

    def frame(self) -> bytes:
        """As it travels: age [s] float64, length of the JSON uint32 (little-endian), JSON, cells."""
        header = json.dumps({"layer": self.name, **self.values}, allow_nan=False, separators=(",", ":")).encode()
        return struct.pack("<dI", time.monotonic() - self.at, len(header)) + header + self.cells


class _Browser:
    """What a browser has not seen yet."""

    def __init__(self, unseen: set[str]) -> None:
        self.unseen = unseen
        self.news = asyncio.Event()
        self.news.set()

    def tell(self, name: str) -> None:
        self.unseen.add(name)
        self.news.set()


class ViewServer:
    """Serves the page in a thread of its own.

    Raises
    ------
    OSError
        The address cannot be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{listening.getsockname()[1]}/"
        self._only_loopback = _is_loopback(host)
        self._layers: dict[str, Layer] = {}
        self._browsers: set[_Browser] = set()
        self._stop = asyncio.Event()
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening, started)), name="view", daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    def show(self, layer: Layer) -> None:
        """Draw this from now on; from any thread, at once."""
        self._loop.call_soon_threadsafe(self._show, layer)

    def stop(self) -> None:
        """Close all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S)

    # In the server's thread

    async def _serve(self, listening: socket.socket, started: Future[asyncio.AbstractEventLoop]) -> None:
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._refuse_strangers])
        application.router.add_get("/", self._page)
        application.router.add_get("/live", self._live)
        return application

    def _show(self, layer: Layer) -> None:
        self._layers[layer.name] = layer
        for browser in self._browsers:
            browser.tell(layer.name)

    @web.middleware
    async def _refuse_strangers(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Pages of other sites, which a browser lets open connections to this machine, get nothing."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="asked by a page of another site\n")
        name = re.sub(r":\d*$", "", request.host).strip("[]")
        if self._only_loopback and not _is_loopback(name):
            raise web.HTTPForbidden(text=f"asked under the name {request.host}; this view is {self.url}\n")
        return await handler(request)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=PAGE.read_bytes(), content_type="text/html", charset="utf-8", headers=HEADERS)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        connection = web.WebSocketResponse(heartbeat=HEARTBEAT_S, compress=False, max_msg_size=1024)
        await connection.prepare(request)
        browser = _Browser(set(self._layers))
        self._browsers.add(browser)
        sending = asyncio.ensure_future(self._send(browser, connection))
        try:
            async for _ in connection:  # nothing is expected from it but its end
                pass
        finally:
            self._browsers.discard(browser)
            sending.cancel()
        return connection

    async def _send(self, browser: _Browser, connection: web.WebSocketResponse) -> None:
        try:
            while True:
                await browser.news.wait()
                browser.news.clear()
                while browser.unseen:
                    await connection.send_bytes(self._layers[browser.unseen.pop()].frame())
        except ConnectionError:
            return  # it went away


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
