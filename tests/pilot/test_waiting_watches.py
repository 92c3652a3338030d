"""Watches for which there is no slot: the app keeps them in sight, and arms them when somebody gives one back."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from tests.pilot.scripted import FakeSpace, Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp
from tui.session.session import Session
from tui.session.watch import Watch

SIZES = [(80, 24), (120, 40)]


def app_with(machine: Machine, *watches: str) -> HwbpApp:
    """The app as a command line with these -w opens it."""
    opening: Future[Session] = Future()
    names: Any = FakeSpace()
    session = Session(machine, machine.reader, space=lambda _mappings, _program: names)
    session.open_watches(tuple(Watch.parse(text) for text in watches), fitting=True)
    opening.set_result(session)
    return HwbpApp(opening, clock=lambda: 100.0, fps=0)


@pytest.mark.parametrize("size", SIZES)
async def test_the_app_opens_with_the_watches_that_fit_and_shows_those_that_wait(
    size: tuple[int, int],
) -> None:
    machine = Machine()
    app = app_with(machine, "cfg.limits/16", "lock", "cfg.limits[4]/16", "panic_timeout", "cfg")
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await settle(pilot)
        text = screen_text(app)
        assert ("4 used, 0 free, 2 wait" in text) is (size[0] == 80)  # cards have no line for it
        said = " ".join(text.split())
        assert "3 of 5 watches are armed; watch 2 cfg.limits[4], watch 4 cfg wait" in said
        assert "waits" in text.replace("2 wait", "")
        assert "2 cfg.limits[4], 4 cfg" in text.partition("OWNERS")[2].partition("armed")[0]
        machine.disarm(tuple(b.id for b in machine.state.breakpoints if b.watch == 0))
        app.sample()
        await settle(pilot)
        assert "watch 2: cfg.limits[4] has its 2 slots now" in screen_text(app)
        assert "4 cfg" in screen_text(app).partition("OWNERS")[2]
        assert [b.watch for b in machine.state.breakpoints] == [1, 3, 2, 2]


@pytest.mark.parametrize("size", SIZES)
async def test_f2_lets_a_request_wait_for_which_nothing_is_free(size: tuple[int, int]) -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        app.run_line("watch panic_timeout")
        await settle(pilot)
        await pilot.press("w", *"cfg.limits[0]")
        await settle(pilot)
        assert "F2: wait for it" in screen_text(app)
        await pilot.press("f2")
        await settle(pilot)
        assert app.command_line.value == "watch cfg.limits[0] pending"
        assert "waits: needs 1 slot, none is free; armed by itself when it fits" in screen_text(app)
        assert "Enter: let it wait" in screen_text(app)
        await pilot.press("enter")
        await settle(pilot)
        assert "watch 1: cfg.limits[0] waits for 1 slot to come free" in screen_text(app)
        app.run_line("delete 0")
        await settle(pilot)
        assert "watch 1: cfg.limits[0]  w 8 bytes" in screen_text(app)
        await pilot.press("u")
        await settle(pilot)
        assert "1 cfg.limits[0]" in screen_text(app).partition("OWNERS")[2]
        assert [b.text for b in machine.state.breakpoints][-1] == "panic_timeout"


async def test_hostile_names_that_wait_are_shown_as_text() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.run_line("watch panic_timeout")
        app.run_line("watch  0x404020\x1b[31m[red] pending")
        await settle(pilot)
        assert "\x1b" not in screen_text(app)
