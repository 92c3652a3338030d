"""`serve attach`: a page that is closed leaves a live program running, and nothing armed in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="needs the extra 'serve'")
pytest.importorskip("textual_serve", reason="needs the extra 'serve'")

from aiohttp import ClientSession, ClientWebSocketResponse

from tests.compiled import compiled
from tests.live.tracing import needs_breakpoints

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = """
#include <unistd.h>
volatile long ticks;
int main(void) { for (;;) { ticks++; usleep(1000); } }
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([compiled(tmp_path / "ticks", SOURCE, "-g")])
    yield process
    process.kill()
    process.wait()


def held(pid: int) -> int | None:
    """Debug registers that the kernel's books have for the process, None where they cannot be read."""
    done = subprocess.run(
        [sys.executable, "-m", "tui", "slots", str(pid), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or (books := json.loads(done.stdout))["source"] != "kernel books":
        return None
    return len(books["reserved"]) + sum(len(cpu["slots"]) for cpu in books["cpus"])


def descendants(pid: int) -> set[int]:
    children = {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return children.union(*(descendants(child) for child in children))


async def watched(socket: ClientWebSocketResponse) -> None:
    """Until hits have been shown."""
    out = ""
    while not re.search(r"\d+ *hits/s", re.sub(r"\x1b\[[0-9;]*m", "", out)):
        message = await asyncio.wait_for(socket.receive(), 30)
        assert isinstance(message.data, bytes), out
        out += message.data.decode("utf-8", "replace")


@pytest.mark.parametrize("end", ["close", "kill"])
async def test_a_page_that_is_gone_leaves_no_armed_slot(
    program: subprocess.Popen[bytes], tmp_path: Path, end: str
) -> None:
    """Closed as a page is, or with the server killed under it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tui", "serve", "attach", str(program.pid), "-w", "ticks"],
        cwd=ROOT,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        origin = "/".join(address.split("/")[:3])
        async with ClientSession() as http:
            socket = await http.ws_connect(
                f"{address}terminal?width=120&height=40", headers={"Origin": origin}
            )
            await watched(socket)
            ours = descendants(server.pid)
            assert len(ours) >= 2, "the app and its machine"
            assert held(program.pid) != 0
            if end == "close":
                await socket.close()
            else:
                server.kill()
            for _ in range(200):
                if not any(os.path.exists(f"/proc/{pid}") for pid in ours):
                    break
                await asyncio.sleep(0.05)
            else:
                raise AssertionError(f"still there: {ours}")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(10)
    assert program.poll() is None
    assert not held(program.pid)
