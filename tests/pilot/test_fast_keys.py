"""Keys that come faster than the screen follows: nothing is lost, nothing overtakes, nothing runs that was text."""

from __future__ import annotations

import pytest
from textual import events

from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp

NAMES = {":": "colon", " ": "space", "\n": "enter", "/": "slash"}


def key(text: str) -> events.Key:
    """One key, by its sign or by its name."""
    name = NAMES.get(text, text)
    return events.Key(name, None if name in ("enter", "escape", "ctrl+p") or len(text) > 1 else text)


def send(app: HwbpApp, *keys: str) -> None:
    """All at once, before the app sees the first one."""
    for each in keys:
        app.post_message(key(each))


async def test_keys_behind_the_colon_are_text() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        send(app, *":info slots\n")
        await settle(pilot)
        assert "DR0  w  8 0x404038" in screen_text(app)
    assert machine.calls == []


@pytest.mark.parametrize(("opener", "text"), [("w", "watch fsnT"), ("t", "dr7 toggle fsnT")])
async def test_keys_behind_a_key_that_asks_are_text(opener: str, text: str) -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        send(app, opener, *"fsnT")
        await settle(pilot)
        assert app.command_line.value == text
    assert machine.calls == []


async def test_what_is_typed_ahead_of_the_first_picture_is_done_in_order() -> None:
    machine = busy_machine()
    app = app_on(machine)
    send(app, *":dr7 toggle G0\n", "s")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
    assert [call.partition("(")[0] for call in machine.calls] == ["write_dr", "step"]


async def test_several_commands_in_one_burst_are_run_one_by_one() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        send(app, *":info slots\n:info dr\n:dr7 toggle G0\n:watch lock:rw\n")
        await settle(pilot)
        await settle(pilot)
    assert [call.partition("(")[0] for call in machine.calls] == ["write_dr", "arm"]
    assert app.command_line.past.lines == ["info slots", "info dr", "dr7 toggle G0", "watch lock:rw"]


async def test_an_answer_of_many_lines_waits_until_what_is_being_typed_is_done() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.run_line("info slots")
        send(app, *":ab")
        await settle(pilot)
        assert app.where == "command"
        send(app, *"c", "escape")
        await settle(pilot)
        assert "DR0  w  8 0x404038" in screen_text(app)


async def test_a_paste_is_text_and_is_not_run() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.post_message(events.Paste(":stepi 3\nq\n"))
        await settle(pilot)
        assert app.command_line.value == "stepi 3"
        assert machine.calls == []
        app.post_message(events.Paste("\x1b[201~"))
        send(app, "enter")
        await settle(pilot)


async def test_the_colon_leaves_a_page_for_the_command_line() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        send(app, "f1", *":info")
        await settle(pilot)
        assert (app.where, app.command_line.value) == ("command", "info")


async def test_keys_behind_the_one_that_leaves_a_page_close_nothing_else() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        send(app, "f1", "escape", "escape", "enter", "escape", "escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1


async def test_keys_behind_the_choice_in_the_palette_do_not_pop_what_lies_below() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+p", *"info slots")
        await pilot.pause(0.3)
        await pilot.press("down")
        send(app, "enter", "enter", "enter", "enter", "escape", "escape")
        await settle(pilot)
    assert app._exception is None
