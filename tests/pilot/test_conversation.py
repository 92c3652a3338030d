"""Arming as a conversation: what a request would take stands on the screen before it is made."""

from __future__ import annotations

import dataclasses

import pytest

from backends.model import Abilities, BreakpointRequest
from tests.pilot.scripted import Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp


async def typed(pilot: object, app: HwbpApp, *keys: str) -> str:
    for key in keys:
        await pilot.press(key)  # type: ignore[attr-defined]
    await settle(pilot)
    if app._pausing is not None:  # as if nothing had been typed for a moment
        app.machine.propose(app.command_line.value, True, app._proposed)
    await settle(pilot)
    return screen_text(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_what_a_watch_would_take_stands_above_the_command_line(size: tuple[int, int]) -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = await typed(pilot, app, "w", *"lock:rw")
        assert "lock  rw 4 bytes at 0x404100" in text
        small = size[1] < 34  # one window is what the line before says; who holds the rest matters more
        assert ("1 slot: 4 at 0x404100" in text) is not small
        assert "kgdb" in text
        assert "3 used, 1 free" in text
        assert "fits: takes 1 of 1 free" in text
        assert "Enter: arm it" in text
        assert machine.calls == [], "nothing has been asked for"
        rows = text.split("\n")
        assert len(rows) == size[1]
        await pilot.press("enter")
        await settle(pilot)
        assert machine.calls == ["arm(lock:rw)"]
        assert "fits" not in screen_text(app)


async def test_what_does_not_fit_says_why_who_is_in_the_way_and_f2_takes_what_would_fit() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = await typed(pilot, app, "w", *"cfg.limits/16")
        assert "ENOSPC: needs 2 slots, and 1 is free" in text
        assert "`watch cfg.limits/8` would fit" in text
        assert "ptrace" in text
        assert "kgdb" in text
        assert "F2: take what fits" in text
        text = await typed(pilot, app, "f2")
        assert app.command_line.value == "watch cfg.limits/8"
        assert "fits: takes 1 of 1 free" in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("watch nosuch", "no symbol 'nosuch'"),
        ("watch lock:r", "x86 cannot watch reads alone"),
        ("edit 9 x", "N, then"),
    ],
)
async def test_what_is_wrong_is_said_while_it_is_typed(line: str, said: str) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert said in await typed(pilot, app, "colon", *line)


async def test_the_last_text_is_the_one_that_is_answered_however_fast_it_is_typed() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.open_command_line("watch ")
        for letter in "lock:rw":
            app.command_line.take(letter)
        await settle(pilot)
        assert "lock  rw 4 bytes" in screen_text(app)
        for _ in range(3):
            app.command_line.action_delete_left()
        await settle(pilot)
        assert "lock  w 4 bytes" in screen_text(app)


async def test_nothing_jumps_while_a_request_is_typed() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await typed(pilot, app, "w")
        places = dict(app.places)
        for letter in "cfg.limits/64":
            await typed(pilot, app, letter)
            assert app.places == places, letter


async def test_what_the_request_covered_is_as_new_when_it_is_done() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await typed(pilot, app, "w", *"lock")
        assert "OWNERS" not in screen_text(app)
        machine.add(BreakpointRequest(0x404108, 4, "w", text="panic_timeout"))
        await settle(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert "OWNERS 1 pinned + 3 of task 1000 = 4/4" in screen_text(app)


async def test_a_line_that_asks_for_no_slots_has_no_panel_and_escape_takes_it_away() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        before = dict(app.places)
        await typed(pilot, app, "colon", *"info slots")
        assert "proposal" not in app.places
        await pilot.press("escape")
        await typed(pilot, app, "w", *"lock")
        assert "proposal" in app.places
        await pilot.press("escape")
        await settle(pilot)
        assert app.places == before


async def test_a_slot_is_edited_by_a_line_that_says_what_it_is_now() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.run_line("watch lock")
        await settle(pilot)
        app.slots.focus()
        app.slots.move(3)
        await pilot.press("E")
        await settle(pilot)
        assert app.command_line.value == "edit 0 lock"
        text = await typed(pilot, app, *":rw")
        assert "lock  rw 4 bytes" in text
        assert "after the 1 that this watch gives back" in text
        await pilot.press("enter")
        await settle(pilot)
        assert [(b.type, b.text) for b in machine.state.breakpoints][-1] == ("rw", "lock:rw")
        await pilot.press("u")
        await settle(pilot)
        assert [(b.type, b.text) for b in machine.state.breakpoints][-1] == ("w", "lock")


async def test_a_slot_of_somebody_else_is_not_edited_and_says_whose_it_is() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.slots.focus()
        app.slots.move(1)
        await pilot.press("E")
        await settle(pilot)
        assert "no watch of this session" in screen_text(app)


def _live(machine: Machine) -> Machine:
    machine.set(can=Abilities(writes_dr=False))
    return machine


async def test_enter_on_a_bit_asks_for_it_and_space_makes_the_request_where_registers_cannot_be_written() -> (
    None
):
    machine = _live(busy_machine())
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.run_line("watch lock")
        await settle(pilot)
        mine = machine.state.breakpoints[-1]
        app.dr7.focus()
        app.dr7.bit = 7
        await pilot.press("space")
        await settle(pilot)
        assert machine.calls[-1] == f"enable({mine.id}, False)"
        app.dr7.bit = 28
        await pilot.press("enter")
        await settle(pilot)
        assert app.command_line.value.startswith("edit 0 :")
        await pilot.press("escape")
        app.dr7.focus()
        app.dr7.bit = 3
        await pilot.press("space")
        await settle(pilot)
        assert "DR1 belongs to ptrace" in screen_text(app)


async def test_hostile_text_in_a_proposal_is_text() -> None:
    machine = busy_machine()
    evil = "\x1b[31m[red]lock"
    held = machine.state.breakpoints
    machine.set(breakpoints=(dataclasses.replace(held[0], text=evil), *held[1:]))
    app = app_on(machine)
    async with app.run_test(size=(200, 60)) as pilot:
        await settle(pilot)
        text = await typed(pilot, app, "w", *"lock")
        assert "\x1b" not in text
        assert "\\x1b[31m[red]lock" in text


@pytest.mark.parametrize(
    ("typed_over", "line"),
    [
        ("lock", "watch lock"),
        ("/4", "watch cfg.limits[3]/4"),
        (":rw", "watch cfg.limits[3]:rw"),
        (" if value > 3", "watch cfg.limits[3] if value > 3"),
    ],
)
async def test_a_place_that_is_offered_gives_way_to_another_and_takes_what_belongs_to_it(
    typed_over: str, line: str
) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app._offer("watch cfg.limits[3]")
        await settle(pilot)
        assert "WOULD TAKE" in screen_text(app)
        names = {"/": "slash", ":": "colon", " ": "space", ">": "greater_than_sign"}
        for sign in typed_over:
            await pilot.press(names.get(sign, sign))
        assert app.command_line.value == line


async def test_w_in_the_code_offers_its_instruction_and_a_name_takes_its_place() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("6")
        await settle(pilot)
        await pilot.press("w")
        await settle(pilot)
        assert app.command_line.value.startswith("hbreak 0x")
        assert app.command_line.selected_text == app.command_line.value.removeprefix("hbreak ")
        await pilot.press(*"reset_one")
        assert app.command_line.value == "hbreak reset_one"
        await pilot.press("enter")
        await settle(pilot)
    assert machine.calls == ["arm(reset_one:x)"]
