"""`hwbp-tui serve`: the app in a browser, for whoever has the address that was printed.

It listens on 127.0.0.1 alone. Every path begins with a token of 256 random bits; a request without it, with a Host that
is not this machine's loopback (a name that an attacker lets point here) or with an Origin that is not our own page
(another page in the same browser) is answered 403 and reaches nothing. The WebSocket needs the Origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from tui.web.page import ASSETS, SCRIPT, headers, page
from tui.web.seat import Seat

__all__ = ["Server", "serve"]

_HOST: Final = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?")
_LARGEST_MESSAGE: Final = 1 << 20
_HEARTBEAT: Final = 10.0
"""Seconds between questions whether the page is still there; one that does not answer half of that later is gone."""
_PATIENCE: Final = 10.0
"""Seconds that an app may leave what was typed unread; after that its page is closed."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves one command. One page at a time has it: a newer page ends the app of the one before."""

    def __init__(
        self, command: Sequence[str], title: str, assets: str, heartbeat: float = _HEARTBEAT
    ) -> None:
        self.token = secrets.token_urlsafe(32)
        self._command = tuple(command)
        self._title = title
        self._assets = Path(assets)
        self._heartbeat = heartbeat
        self._shown: web.WebSocketResponse | None = None
        self._turn = asyncio.Lock()
        self.application = web.Application(middlewares=[self._guard])
        self.application.add_routes(
            [
                web.get("/{token}/", self._page),
                web.get("/{token}/terminal", self._terminal),
                web.get("/{token}/{name}", self._asset),
            ]
        )
        self.application.on_shutdown.append(self._end_shown)

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Who may come in."""
        host, origin = request.host, request.headers.get("Origin")
        token = request.path.removeprefix("/").partition("/")[0]
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())
        if not known:
            raise web.HTTPForbidden(
                text="403: only the address that `hwbp-tui serve` printed opens the app\n"
            )
        if not _HOST.fullmatch(host):
            raise web.HTTPForbidden(text="403: the app is served on 127.0.0.1 and localhost only\n")
        if origin is not None and origin != f"http://{host}":
            raise web.HTTPForbidden(text="403: another page asked for it\n")
        answer = await handler(request)
        if not answer.prepared:
            answer.headers.update(headers(host))
        return answer

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=page(self._title, request.host, self.token), content_type="text/html")

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name == "focus.js":
            return web.Response(text=SCRIPT, content_type="text/javascript")
        if name not in ASSETS:
            raise web.HTTPNotFound
        path, kind = ASSETS[name]
        return web.Response(body=(self._assets / path).read_bytes(), content_type=kind)

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        """The page's connection: an app as long as it is open."""
        if request.headers.get("Origin") is None:
            raise web.HTTPForbidden(text="403: only the page itself may open the terminal\n")
        socket = web.WebSocketResponse(heartbeat=self._heartbeat, max_msg_size=_LARGEST_MESSAGE)
        await socket.prepare(request)
        before, self._shown = self._shown, socket
        if before is not None:
            await before.close(code=WSCloseCode.GOING_AWAY, message=b"shown in another page")
        async with self._turn:  # the app before has ended, and given its slots back
            if self._shown is socket:
                await self._show(socket, request)
        return socket

    async def _show(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        width, height = (
            _cells(request.query.get(name), most) for name, most in (("width", 80), ("height", 24))
        )
        try:
            seat = Seat.start(self._command, width, height)
        except OSError as error:  # no more terminals, no more processes
            await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=str(error.strerror).encode())
            return
        output = asyncio.create_task(_send_output(seat, socket))
        try:
            await _take_input(seat, socket)
        finally:
            output.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await output
            await seat.end()

    async def _end_shown(self, _application: web.Application) -> None:
        if self._shown is not None:
            await self._shown.close(code=WSCloseCode.GOING_AWAY)
        async with self._turn:
            pass


async def _send_output(seat: Seat, socket: web.WebSocketResponse) -> None:
    """What the app writes goes to the page, no faster than that takes it; the page closes when the app has ended."""
    with contextlib.suppress(ConnectionError):
        while data := await seat.read():
            await socket.send_bytes(data)
        await socket.close()


async def _take_input(seat: Seat, socket: web.WebSocketResponse) -> None:
    """Messages of xterm.js's page: ["stdin", TEXT], ["resize", {width, height}], ["ping", TEXT]; nothing else is one."""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        try:
            match json.loads(message.data):
                case ["stdin", str(text)]:
                    await asyncio.wait_for(seat.write(text.encode("utf-8", "replace")), _PATIENCE)
                case ["resize", {"width": int(width), "height": int(height)}]:
                    seat.resize(width, height)
                case ["ping", str(text)]:
                    await socket.send_str(json.dumps(["pong", text[:40]]))
        except TimeoutError:
            return
        except (ValueError, RecursionError):
            await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)


def _cells(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else default


def serve(command: Sequence[str], title: str, assets: str, port: int, tell: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. `tell` is given the address. Raises OSError where the port is taken."""
    asyncio.run(_serve(command, title, assets, port, tell))


async def _serve(
    command: Sequence[str], title: str, assets: str, port: int, tell: Callable[[str], object]
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    server = Server(command, title, assets)
    runner = web.AppRunner(server.application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        number = runner.addresses[0][1]
        tell(f"http://127.0.0.1:{number}/{server.token}/")
        await ended.wait()
    finally:
        await runner.cleanup()
