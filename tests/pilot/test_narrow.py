"""What stays whole where there is little room: who owns a register, what is ignored, and the instruction of a hit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.model import BreakpointRequest, Owner
from tests.pilot.scripted import Machine, app_on, busy_machine, screen_text, settle
from tui.app.inspection import CodeLine, Inspection


def ignoring(machine: Machine, number: int, ignore: int) -> None:
    first, *rest = machine.state.breakpoints
    machine.set(breakpoints=(replace(first, ignore=ignore), *rest))


@pytest.mark.parametrize(("ignore", "said"), [(7, "-7 "), (1234, "-1234 "), (56_789, "-57k ")])
async def test_the_table_names_the_owner_of_a_watch_that_ignores_hits(ignore: int, said: str) -> None:
    machine = busy_machine()
    ignoring(machine, 1, ignore)
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        rows = [
            line for line in screen_text(app).split("\n") if "cfg.limits[3]" in line and "perf 1000" in line
        ]
        assert len(rows) == 1
        assert said in f"{rows[0]} "
        assert "ptrace gdb 812" in screen_text(app)


async def test_the_cards_name_the_owner_of_a_watch_that_ignores_hits() -> None:
    machine = busy_machine()
    ignoring(machine, 1, 1234)
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert "DR0 perf 1000 " in text
        assert "ignores 1,234 " in text


async def test_an_address_of_the_kernel_has_all_its_digits() -> None:
    machine = busy_machine()
    machine.add(BreakpointRequest(0xFFFFFFFF82205000, 8, "w", owner="kgdb", text="jiffies"))
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "ffffffff82205000" in screen_text(app)
        assert "0000000000404038" in screen_text(app), "addresses line up"


async def test_long_owners_have_second_lines_where_there_is_room_for_them() -> None:
    machine = busy_machine()
    machine.add(BreakpointRequest(0x404108, 4, "w", owner="ptrace", text="panic_timeout"))
    held = (
        replace(b, owner=Owner("ptrace", 1_234_567, "a-debugger-of-mine")) for b in machine.state.breakpoints
    )
    machine.set(breakpoints=tuple(held))
    for size, whole in (((140, 50), 4), ((120, 40), 0)):
        app = app_on(machine)
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            text = screen_text(app).partition("OWNERS")[2].partition("STACK")[0]
            assert text.count("1234567") == whole
            assert "books" in text
            assert "BY INSTRUCTION" in text


async def test_the_instruction_of_a_hit_is_whole_beside_its_stack_though_its_address_is_long() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("2")
        await settle(pilot)
        record = app.selected_hit()
        assert record is not None
        text = "add qword ptr [rip + 0x2efa], 0x1"
        code = (CodeLine(0x555555555146, text, "culprit"), CodeLine(0x55555555514E, "ret", "ip"))
        known = app.detail.inspection
        assert known is not None
        shown = Inspection(known.key, code, known.frames, "/home/someone/src/project/counter.c:36", "")
        app.detail.show(record, shown)
        await pilot.pause()
        drawn = screen_text(app)
        assert f"=> …55146  {text}" in drawn
        assert "counter.c:36" in drawn.partition("(exact)")[2].split("│")[0]
