"""A program that names everything by markup and escape sequences: in every view its words are text, and only text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.base import HwbpError
from backends.model import BreakpointRequest as Request
from backends.model import Owner, Refusal, Stop, TaskView
from tests.pilot.scripted import ADD, RESET, FakeSpace, Machine, app_on, screen_text, settle
from tui.app.views import VIEWS

EVIL = "x\x1b[31m\x07[bold]\u202e\x9b2J\x7f"
SPELLED = "x\\x1b[31m\\x07[bold]\\u202e\\u009b2J\\x7f"


def hostile(folder: Path) -> tuple[Machine, FakeSpace]:
    """Program, thread, owner, watch, symbols, reason of the stop, a refusal: all of them."""
    machine = Machine(comm=EVIL)
    machine.add(Request(0x404038, 8, "w", text=EVIL), Owner("perf", 5, EVIL))
    machine.add(Request(0x404100, 4, "rw", owner="ptrace", text=EVIL), Owner("ptrace", 812, EVIL))
    for number in range(20):
        machine.hit(1, number, number + 1, by=RESET if number % 3 else ADD)
    machine.run_state("stopped", Stop("hit", EVIL))
    program = str(folder / EVIL)
    machine.set(
        program=program,
        argv=(program, EVIL),
        refusals=(Refusal(EVIL, "ENOSPC", EVIL, (EVIL,)),),
        refused=1,
        tasks=(*machine.state.tasks, TaskView(1001, 1000, EVIL, 0x401100, 0x7FFFF0001000, 0xFFFF0FF0, 0)),
    )
    return machine, FakeSpace(rename={"reset_one": EVIL, "add_limit": EVIL})


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_words_of_a_hostile_program_are_text_in_every_view(
    view: Any, size: tuple[int, int], tmp_path: Path
) -> None:
    machine, space = hostile(tmp_path)
    app = app_on(machine, space=space)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        app.run_line(f"watch {EVIL}")  # refused, and told
        await settle(pilot)
        await pilot.press(view.key)
        for _ in range(3):
            app.sample()
            await settle(pilot)
        _check(app, str(view.name))
        await pilot.press("enter")
        await settle(pilot)
        _check(app, f"{view.name}, Enter")
        await pilot.press("escape", "escape", "full_stop")
        await settle(pilot)
        _check(app, f"{view.name}, from here")
        await pilot.press("escape", "y")
        await settle(pilot)
        _check(app, f"{view.name}, copy")
        machine.dead = HwbpError(EVIL)
        app.machine.check()
        for _ in range(100):
            await pilot.pause(0.01)
            if app.machine.broken:
                break
        assert app.machine.broken
        _check(app, f"{view.name}, gone")


def _check(app: Any, where: str) -> None:
    text = screen_text(app)
    strange = [c for c in text if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e")]
    lines = [line for line in text.split("\n") if any(c in line for c in strange)]
    assert not strange, f"{where}: {strange!r} in {lines!r}"
    styles = {s.style for strip in app.screen._compositor.render_strips(app.size) for s in strip}
    assert not any(style is not None and style.link for style in styles), where
    assert SPELLED[:8] in text, f"{where}: its words are shown, spelled out"
