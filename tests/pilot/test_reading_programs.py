"""The views of code, memory and a stopped task on real programs with source, types and hostile text in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import Launch
from backends.spawn import spawn
from tests.compiled import compiled
from tests.pilot.scripted import screen_text, settle
from tui.app.app import HwbpApp
from tui.session.open import open_session
from tui.session.session import Session

pytestmark = pytest.mark.slow

SOURCE = """\
enum state { OFF, ON, BUSY };
struct dev { enum state state; short level; char name[2]; double gain; } dev;

/* a comment of somebody who wishes us ill: \x1b]0;pwned\x07 [red]not red[/red] \xc2\x9b2J */
__attribute__((noinline)) void turn(enum state state)
{
    int local[2] = {7, 8};
    __asm__ volatile("" : : "r"(local) : "memory");
    dev.state = state;
}

int main(void)
{
    for (int i = 0; i < 6; i++) {
        turn(i % 3);
        dev.level++;
    }
    return 0;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    source = tmp_path / "dev.c"
    source.write_bytes(SOURCE.encode("latin-1"))
    return compiled(tmp_path / "dev", source, "-g", "-O1")


@asynccontextmanager
async def app_with(program: Path, *lines: str, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Any]:
    """The app on an emulated machine, patient: every command has come to rest when it answers."""
    opening: Future[Session] = Future()
    session = open_session(spawn("emulated"), Launch(str(program)), patient=True)
    opening.set_result(session)
    try:
        app = HwbpApp(opening, fps=0, clock=lambda: 1.0)
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            for line in lines:
                app.run_line(line, quiet=True)
                await settle(pilot)
            yield pilot
    finally:
        session.close()


async def look(pilot: Any, *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
    pilot.app.sample()
    await settle(pilot)
    pilot.app.sample()
    await settle(pilot)
    return screen_text(pilot.app)


async def test_a_hit_is_told_by_the_members_that_it_changed(program: Path) -> None:
    async with app_with(program, "watch dev/8", "continue") as pilot:
        pilot.app.hits.select(2)
        text = await look(pilot)
        assert "state OFF → ON (exact)" in text
        pilot.app.hits.select(3)
        assert "level 1 → 2 (exact)" in await look(pilot)
        assert "by its type: level 1 -> 2" in await look(pilot, "enter")


async def test_source_stands_above_its_instructions_and_its_escapes_are_text(program: Path) -> None:
    async with app_with(program, "hbreak turn stop", "continue") as pilot:
        text = await look(pilot, "6")
        assert "9 │     dev.state = state;" in text
        assert "\\x1b]0;pwned\\x07 [red]not red[/red] \\u009b2J" in text
        assert "\x1b" not in text
        source = await look(pilot, "v")
        assert "dev.state = state;" not in source
        assert "mov" in source


async def test_source_that_is_gone_is_said_to_be_and_found_where_it_went(
    program: Path, tmp_path: Path
) -> None:
    (tmp_path / "dev.c").rename(tmp_path / "other")
    async with app_with(program, "hbreak turn stop", "continue") as pilot:
        text = await look(pilot, "6")
        assert "no source:" in text
        assert (
            f"{tmp_path.name}/dev.c: No such file or directory" in text.replace("\n", "") or "dev.c" in text
        )
        moved = tmp_path / "src"
        moved.mkdir()
        (tmp_path / "other").rename(moved / "dev.c")
        pilot.app.run_line(f"directory {moved}", quiet=True)
        await settle(pilot)
        assert "dev.state = state;" in await look(pilot)


async def test_the_object_under_the_cursor_is_shown_by_its_type(program: Path) -> None:
    async with app_with(program, "hbreak turn stop", "watch dev.level", "continue", "continue 2") as pilot:
        pilot.app.run_line("view memory &dev", quiet=True)
        await settle(pilot)
        text = await look(pilot)
        assert "struct dev dev" in text
        row = next(line for line in text.splitlines() if "dev.level" in line)
        assert "[1]" in row or "[0]" in row


async def test_a_stopped_functions_locals_and_callers_are_shown(program: Path) -> None:
    async with app_with(program, "hbreak turn stop", "continue", "nexti 4") as pilot:
        text = await look(pilot, "8")
        assert "{7" in text or "local" in text
        frames = [line for line in text.splitlines() if " main+" in line]
        assert frames
        assert "dev.c:15" in frames[0]


async def test_a_frame_leads_to_the_call_in_its_caller(program: Path) -> None:
    async with app_with(program, "hbreak turn stop", "continue") as pilot:
        await look(pilot, "8")
        await look(pilot, "semicolon", "c")
        await look(pilot, "down", "enter")
        assert pilot.app.open_view.name == "code"
        spot = pilot.app.spot()
        assert spot is not None
        assert spot.insn.startswith("call")


async def test_a_local_is_watched_from_its_line(program: Path) -> None:
    async with app_with(program, "hbreak turn stop", "continue") as pilot:
        await look(pilot, "8")
        await look(pilot, "semicolon", "v")
        panel = pilot.app.panel("locals")
        names = [local.name for local in panel.now.locals]
        panel.select(names.index("local"))
        await look(pilot, "w")
        assert pilot.app.command_line.value == "watch local"
        await look(pilot, "enter")
        assert any(b.type == "w" for b in pilot.app.scene.view.breakpoints)
