"""Whatever is pressed, clicked, typed and resized, in whatever order: the app stays, and says so in no traceback."""

from __future__ import annotations

import random
from typing import Any

import pytest
from textual import events
from textual.geometry import Size

from tests.pilot.scripted import Machine, app_on, busy_machine, settle
from tests.pilot.test_fast_keys import key
from tui.app.app import HwbpApp
from tui.session.commands import COMMANDS

KEYS = (
    *("space", "tab", "shift+tab", "up", "down", "left", "right", "enter", "escape", "backspace", "delete"),
    *("home", "end", "pageup", "pagedown", "f1", "ctrl+p", "ctrl+c", "ctrl+w", "ctrl+u", "ctrl+e", "ctrl+d"),
    *("ctrl+left", "ctrl+right", "f2", "f12", "ctrl+l", "ctrl+z", "ctrl+o", "ctrl+s", "insert"),
    *":/?GTghjklfwdsneturx0123456789.;,+-vobmzaCFc&!\\[]{}\"'äß中\u202e",
)
ENDS = ("q", "ctrl+q")
ARGUMENTS = (
    "",
    "lock",
    "cfg.limits[3]",
    "0",
    "G0",
    "[red]x[/red]",
    "\x1b[31m",
    "99999999999999999999",
    "x " * 300,
)
LINES = tuple(
    f"{command.word} {argument}" for command in COMMANDS if command.word != "quit" for argument in ARGUMENTS
)


def press(app: HwbpApp, chance: random.Random) -> None:
    app.post_message(key(chance.choice(KEYS)))


def resize(app: HwbpApp, chance: random.Random) -> None:
    edges = chance.choice([(1, 12, 1, 6), (1, 200, 1, 60), (60, 140, 20, 45)])
    size = Size(chance.randint(*edges[:2]), chance.randint(*edges[2:]))
    assert app._driver is not None
    app._driver._size = (size.width, size.height)
    app.post_message(events.Resize(size, size))


def click(app: HwbpApp, chance: random.Random) -> None:
    x, y = chance.randrange(0, 210), chance.randrange(0, 64)
    for kind in chance.choice(
        [
            (events.MouseDown, events.MouseUp),
            (events.MouseMove,),
            (events.MouseScrollUp,),
            (events.MouseScrollDown,),
        ]
    ):
        app.post_message(kind(None, x, y, 0, 0, chance.choice([0, 1, 3]), False, False, False, x, y))


def write(app: HwbpApp, chance: random.Random) -> None:
    line = chance.choice(LINES)
    if chance.random() < 0.5:
        app.run_line(line)
    else:
        app.post_message(events.Paste(line))


def hit(machine: Machine, chance: random.Random) -> None:
    if machine.state.breakpoints:
        event = chance.choice(machine.state.breakpoints).id
        for _ in range(chance.choice([1, 10, 500])):
            machine.hit(event, chance.getrandbits(64), chance.getrandbits(64))


async def ramble(seed: int, events_: int, **options: Any) -> HwbpApp:
    """Press, click, type and resize, at times without a pause; the app as it is at the end."""
    chance, machine = random.Random(seed), busy_machine()
    app = app_on(machine, **options)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        for number in range(events_):
            chance.choices((press, resize, click, write), (70, 10, 10, 10))[0](app, chance)
            if chance.random() < 0.05:
                hit(machine, chance)
            if chance.random() < 0.3:
                await pilot.pause()
            if chance.random() < 0.1:
                app.tick()
                app.sample()
            assert app._exception is None, (seed, number)
            assert app.is_running, (seed, number)
        for _ in range(200):
            if app.machine.idle:
                break
            await pilot.pause(0.01)
    return app


@pytest.mark.parametrize("ascii_", [False, True])
async def test_a_few_events_leave_no_traceback(ascii_: bool) -> None:
    app = await ramble(1, 60, ascii=ascii_)
    assert app._exception is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_thousands_of_random_events_leave_no_traceback(seed: int) -> None:
    app = await ramble(seed, 600, ascii=bool(seed % 2))
    assert app._exception is None
