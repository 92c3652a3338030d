"""Who may reach the app that `serve` shows, and what becomes of it: against the server itself, over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("aiohttp", reason="needs the extra 'serve'")
pytest.importorskip("textual_serve", reason="needs the extra 'serve'")

from aiohttp import ClientWebSocketResponse, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from tui.text.arguments import command_line
from tui.text.words import CommandLineError
from tui.web.asked import app_line, own_words
from tui.web.page import ASSETS, assets_folder
from tui.web.seat import Seat, app_command
from tui.web.server import Server

# Says who it is and how large its terminal is, then answers each line; SIGWINCH tells the new size.
APP = """
import os, signal, sys, tty
tty.setraw(0)
def size(*_): s = os.get_terminal_size(); os.write(1, f"<{s.columns}x{s.lines}>".encode())
signal.signal(signal.SIGWINCH, size)
os.write(1, f"pid={os.getpid()};".encode()); size()
while data := os.read(0, 1000):
    if data == b"q": sys.exit(0)
    os.write(1, data.upper())
"""
COMMAND = [sys.executable, "-c", APP]

Client = TestClient[Request, Application]


class Served:
    """A server of `APP`, and a browser's part."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server, self.client = server, client
        self.host = f"127.0.0.1:{client.port}"
        self.path = f"/{server.token}/"

    async def open(self, size: str = "?width=90&height=30", **headers: str) -> ClientWebSocketResponse:
        return await self.client.ws_connect(
            f"{self.path}terminal{size}", headers={"Origin": f"http://{self.host}", **headers}
        )


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    assets = assets_folder()
    assert assets is not None
    server = Server(COMMAND, "an <app>", assets, heartbeat=0.5)
    async with TestClient(TestServer(server.application, host="127.0.0.1")) as client:
        yield Served(server, client)


async def until(socket: ClientWebSocketResponse, text: str) -> str:
    out = ""
    while text not in out:
        message = await asyncio.wait_for(socket.receive(), 10)
        assert isinstance(message.data, bytes), (message, out)
        out += message.data.decode()
    return out


async def pid_of(socket: ClientWebSocketResponse) -> int:
    return int((await until(socket, ">")).partition("pid=")[2].partition(";")[0])


async def gone(pid: int) -> None:
    for _ in range(500):
        if not os.path.exists(f"/proc/{pid}"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pid} is still there")


async def test_the_page_is_for_those_who_have_the_token(served: Served) -> None:
    answer = await served.client.get(served.path)
    text = await answer.text()
    assert answer.status == 200
    assert "an &lt;app&gt;" in text
    assert f"ws://{served.host}{served.path}terminal" in text
    assert "https://" not in text
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    for name in (*ASSETS, "focus.js"):
        asset = await served.client.get(served.path + name)
        assert asset.status == 200
        assert len(await asset.read()) > 100


@pytest.mark.parametrize(
    "path",
    ["/", "/x/", "/x/terminal", "/terminal.js", "/%00/", "/\u00e9\u20ac/terminal.js", "//", "/static/"],
)
async def test_without_the_token_nothing_is_served(served: Served, path: str) -> None:
    assert (await served.client.get(path)).status == 403


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "A", str.swapcase, lambda t: "A" * len(t)]
)
async def test_another_token_is_refused(served: Served, change: object) -> None:
    assert callable(change)
    token = change(served.server.token)
    for path in (f"/{token}/", f"/{token}/terminal", f"/{token}/terminal.js"):
        answer = await served.client.get(path, headers={"Origin": f"http://{served.host}"})
        assert answer.status == 403
        assert served.server.token not in await answer.text()


@pytest.mark.parametrize(
    "line", ["OPTIONS *", "GET http://evil.example/", "GET //", "GET /..", "TRACE /", "CONNECT a:1"]
)
async def test_odd_requests_reach_nothing(served: Served, line: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.client.port)
    writer.write(f"{line} HTTP/1.1\r\nHost: {served.host}\r\nConnection: close\r\n\r\n".encode())
    status = (await asyncio.wait_for(reader.readline(), 10)).split()
    writer.close()
    assert status[1] in (b"400", b"403", b"405")


async def test_where_no_app_can_be_started_the_page_is_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.server, "_command", ("/no/such/program",))
    socket = await served.open()
    message = await asyncio.wait_for(socket.receive(), 10)
    assert (message.data, message.extra) == (1011, "No such file or directory")


async def test_only_the_page_and_its_files_are_there(served: Served) -> None:
    for name in ("static/", "..%2f..%2fserver.py", "js/textual.js", "download/x"):
        assert (await served.client.get(served.path + name)).status == 404
    assert (await served.client.post(served.path)).status == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "localhost:80:80", "[::1]:80", ""]
)
async def test_a_name_that_only_points_here_is_refused(served: Served, host: str) -> None:
    answer = await served.client.get(served.path, headers={"Host": host})
    assert answer.status in (400, 403)
    with pytest.raises(WSServerHandshakeError):
        await served.open(Host=host, Origin=f"http://{host}")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://{host}", "http://localhost:1", ""]
)
async def test_another_pages_script_is_refused(served: Served, origin: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await served.open(Origin=origin.format(host=served.host))
    assert refused.value.status == 403


async def test_the_terminal_wants_an_origin(served: Served) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await served.client.ws_connect(f"{served.path}terminal")
    assert refused.value.status == 403


async def test_a_forwarded_port_is_still_this_machine(served: Served) -> None:
    assert (await served.client.get(served.path, headers={"Host": "localhost:9999"})).status == 200


async def test_keys_sizes_and_the_end(served: Served) -> None:
    socket = await served.open()
    assert "<90x30>" in await until(socket, ">")
    await socket.send_str(json.dumps(["stdin", "say \u20ac"]))
    await until(socket, "SAY \u20ac")
    await socket.send_str(json.dumps(["resize", {"width": 120, "height": 40}]))
    await until(socket, "<120x40>")
    await socket.send_str(json.dumps(["resize", {"width": 10**9, "height": -5}]))
    await until(socket, "<1000x1>")
    await socket.send_str(json.dumps(["stdin", "q"]))
    assert (await asyncio.wait_for(socket.receive(), 10)).data == 1000
    assert socket.closed


async def test_a_page_that_is_closed_ends_its_app(served: Served) -> None:
    socket = await served.open()
    pid = await pid_of(socket)
    await socket.close()
    await gone(pid)


async def test_a_page_that_vanishes_ends_its_app(served: Served) -> None:
    socket = await served.open()
    pid = await pid_of(socket)
    assert socket._response.connection is not None
    transport = socket._response.connection.transport
    assert transport is not None
    transport.abort()
    await gone(pid)


async def test_an_app_that_does_not_want_to_end_is_killed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.web.seat._PATIENCE", 0.1)
    deaf = "import os, signal, time\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    seat = Seat.start([sys.executable, "-c", f"{deaf}os.write(1, b'deaf')\ntime.sleep(1000)"], 80, 24)
    while b"deaf" not in (await seat.read()):
        pass
    await seat.end()
    assert not os.path.exists(f"/proc/{seat.pid}")


async def test_the_newest_page_has_the_app(served: Served) -> None:
    first = await served.open()
    pid = await pid_of(first)
    second = await served.open()
    other = await pid_of(second)
    assert other != pid
    assert not os.path.exists(f"/proc/{pid}")  # gone before the second began
    assert (await first.receive()).data == 1001
    await second.close()
    await gone(other)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[",
        "{}",
        "[]",
        '["stdin"]',
        '["stdin", 5]',
        '["resize", {"width": "1"}]',
        '["sh", "id"]',
        "[" * 5000,
    ],
)
async def test_what_is_no_message_does_nothing(served: Served, message: str) -> None:
    socket = await served.open()
    pid = await pid_of(socket)
    await socket.send_str(message)
    await socket.send_str('["stdin", "still"]')
    answer = await asyncio.wait_for(socket.receive(), 10)
    if isinstance(answer.data, bytes):
        assert answer.data == b"STILL"
        await socket.close()
    else:
        assert answer.data == 1003
    await gone(pid)


async def test_a_message_without_end_is_not_taken(served: Served) -> None:
    socket = await served.open()
    pid = await pid_of(socket)
    await socket.send_str(json.dumps(["stdin", "x" * (2 << 20)]))
    assert (await asyncio.wait_for(socket.receive(), 10)).data == 1009
    await gone(pid)


async def test_there_is_no_shell(served: Served, tmp_path: Path) -> None:
    """The command is a list that is started as it is: what a shell would take apart arrives whole."""
    told = "import sys, os; os.write(1, repr(sys.argv[1:]).encode())"
    seat = Seat.start([sys.executable, "-c", told, f"$(touch {tmp_path}/x); `id` | & ' \""], 80, 24)
    out = b""
    while data := await seat.read():
        out += data
    await seat.end()
    assert out.decode() == repr([f"$(touch {tmp_path}/x); `id` | & ' \""])
    assert list(tmp_path.iterdir()) == []


def line(*words: str, program: list[str] | None = None) -> list[str]:
    own, shown = own_words(words)
    assert own in ([], ["--port", "8000"], ["--port=8000"])
    return app_line(shown, program, command_line().parse_args(shown, SimpleNamespace()))


def test_what_stands_behind_serve_is_the_apps() -> None:
    assert line() == []
    assert line("--port", "8000", "attach", "12", "-w", "x") == ["attach", "12", "-w", "x"]
    assert line("--port=8000", "demo", "leak") == ["demo", "leak"]
    assert line("run", program=["a", "--port"]) == ["run", "--", "a", "--port"]
    assert line("--ascii", "-w", "seed") == ["--ascii", "-w", "seed"]


@pytest.mark.parametrize(
    "words",
    [
        ("trace",),
        ("demo", "--list"),
        ("--version",),
        ("serve",),
        ("attach", "1", "--sudo"),
        ("attach", "x"),
        ("-q",),
    ],
)
def test_what_is_no_app_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandLineError):
        line(*words, program=["x"] if words[0] == "trace" else None)


def test_the_served_command_is_this_very_program() -> None:
    command = app_command(["attach", "12"])
    assert command[0] == sys.executable
    assert command[-2:] == ["attach", "12"]
