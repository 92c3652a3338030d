"""The views of code, memory and registers on a live program: what is known while it runs, and when it stops."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from backends.base import HwbpError, Launch
from backends.spawn import spawn
from tests.compiled import compiled
from tests.pilot.scripted import screen_text
from tui.app.app import HwbpApp
from tui.session.open import open_session
from tui.session.session import Session

pytestmark = [pytest.mark.live, pytest.mark.slow]

SOURCE = """
struct box { int first; int second; } box;
__attribute__((noinline)) void put(int value) { box.second = value; }
int main(void) { for (volatile unsigned long i = 0;; i++) if (i % 100000 == 0) put(i / 100000 % 1000); }
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return compiled(tmp_path / "box", SOURCE, "-g", "-O1")


async def until(pilot: Any, *texts: str) -> str:
    """The screen, as soon as all of these are on it: what a view tells comes piece by piece."""
    app: HwbpApp = pilot.app
    for _ in range(400):
        await pilot.pause(0.02)
        app.tick()
        app.sample()
        shown = screen_text(app)
        if all(text in shown for text in texts):
            return shown
    raise AssertionError(f"{texts} never came:\n{screen_text(app)}")


async def test_a_live_programs_registers_are_known_only_while_it_stands(program: Path) -> None:
    try:
        session = open_session(spawn("perf"), Launch(str(program), scene=True))
    except HwbpError as error:
        pytest.skip(f"no live machine here: {error.message}")
    opening: Future[Session] = Future()
    opening.set_result(session)
    app = HwbpApp(opening, fps=0)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, "LOADED")
            app.run_line("watch box.second", quiet=True)
            await until(pilot, "watch 0 box")
            app.run_line("continue", quiet=True)
            await until(pilot, "RUNNING")
            await pilot.press("8")
            await until(pilot, "unknown: the program runs")
            await pilot.press("7")
            await until(pilot, "box.second", "read 4/s")
            app.run_line("hbreak put stop", quiet=True)
            await until(pilot, "STOPPED")
            await pilot.press("8")
            await until(pilot, "=put", "1 main")
            await pilot.press("6")
            text = await until(pilot, "box.second = value", "=>")
            assert any("=>" in line and "mov" in line for line in text.splitlines())
    finally:
        session.close()
