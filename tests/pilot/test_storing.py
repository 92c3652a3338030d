"""Another value for what the cursor is on: from the views of memory and of registers, and only where that can be."""

from __future__ import annotations

import pytest

from tests.pilot.scripted import app_on, busy_machine, settle
from tui.app.places import Spot, choices


@pytest.mark.parametrize(
    ("spot", "left"),
    [
        (Spot("rax", register="rax"), "$rax"),
        (Spot("x", "cfg.limits[2]", 0x404030, 8), "var cfg.limits[2]"),
        (Spot("x", "0x404031", 0x404031, 1), "*(unsigned char *)0x404031"),
        (Spot("x", "", 0x404030, 4), "*(unsigned int *)0x404030"),
        (Spot("x", "a\\x1b", 0x404030, 2), "*(unsigned short *)0x404030"),
        (Spot("x", "", 0x404030, 3), ""),
        (Spot("main", "0x401100", code=0x401100), ""),
    ],
)
def test_what_a_set_of_it_begins_with(spot: Spot, left: str) -> None:
    assert spot.stored() == left


async def test_the_menu_offers_it_while_the_program_stands_still() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        spot = Spot("x", "lock", 0x404100, 4)
        assert ("=", "set var lock = ") in [(c.key, c.argument) for c in choices(app.scene, spot)]
        machine.run_state("running")
        await settle(pilot)
        assert "=" not in [c.key for c in choices(app.scene, spot)]


async def test_the_key_types_the_command() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        machine.run_state("stopped")
        for view, begins in (("8", "set $r"), ("7", "set ")):
            await pilot.press(view)
            await settle(pilot)
            app.sample()
            await settle(pilot)
            await pilot.press("E")
            await settle(pilot)
            assert app.command_line.value.startswith(begins)
            await pilot.press("escape")
        assert machine.calls == []
