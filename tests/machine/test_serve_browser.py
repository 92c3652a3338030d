"""`hwbp-tui serve` as somebody uses it: the real command, a real browser, keys and the mouse."""

from __future__ import annotations

import asyncio
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

from tests.machine.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", "serve", "--fps", "8"],
        cwd=ROOT,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()


def apps(server: int) -> list[int]:
    """The processes that the server has started."""
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
async def test_keys_and_the_mouse_in_a_browser(
    served: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, address = served
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", address)
    async with Browser(tmp_path / "profile") as browser:
        await browser.open(address)
        await browser.until("OWNERS")
        await browser.until("worker_step")
        assert await browser.evaluate("document.fonts.check('15px \"Roboto Mono\"')")
        columns = await browser.evaluate("document.querySelector('.xterm-screen').clientWidth")
        lines = await browser.evaluate("document.querySelector('.xterm-screen').clientHeight")
        assert columns > 1100, "the terminal fills the page"
        assert lines > 500

        mark = await browser.mark()
        await browser.key("3")  # without a click before it
        await browser.until("HOW IT COMES THERE", mark)

        mark = await browser.mark()
        await browser.click(155, 30)  # the tab of the hits
        await browser.until("reported one later", mark)

        mark = await browser.mark()
        for key in ":print counter":
            await browser.key(key)
        await browser.key("Enter")
        await browser.until("counter = ", mark)

        mark = await browser.mark()
        await browser.call(
            "Emulation.setDeviceMetricsOverride", width=860, height=560, deviceScaleFactor=1, mobile=False
        )
        await browser.until("hwbp-tui", mark)

        assert len(await browser.picture()) > 20_000, "something is painted"
        assert {re.sub(r"^(http|ws)://127\.0\.0\.1:\d+/.*", "ours", url) for url in browser.asked} == {"ours"}
        assert browser.complaints == []

        (app,) = apps(process.pid)
        mark = await browser.mark()
        await browser.key("q")
        for _ in range(100):
            if (
                await browser.evaluate("getComputedStyle(document.querySelector('#closed')).display")
                == "block"
            ):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the page does not say that the app has ended")
        assert not os.path.exists(f"/proc/{app}")

        await browser.call("Page.reload")
        await browser.until("OWNERS")
        (again,) = apps(process.pid)
    for _ in range(200):  # the browser was killed: nobody closed the page
        if not os.path.exists(f"/proc/{again}"):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("the app outlives its page")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
