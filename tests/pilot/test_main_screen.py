"""What the main screen shows of a machine, and that it stays true and still."""

from __future__ import annotations

import pytest

from backends.base import HwbpError
from backends.model import BreakpointRequest, DebugException, Owner, Stop
from tests.pilot.resting import resize
from tests.pilot.scripted import RESET, FakeSpace, Machine, app_on, busy_machine, screen_text, settle


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (140, 45), (200, 60)])
async def test_slots_registers_owners_and_hits_are_on_the_screen_at_every_size(size: tuple[int, int]) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = screen_text(app)
    for what in ("cfg.limits[3]", "404038", "lock", "add_limit", "DR7", "DR6", "OWNERS", "HITS"):
        assert what in text, what
    assert "ptrace" in text
    assert "kgdb" in text
    assert "1 pinned + 2 of task 1000 = 3/4" in text
    assert "STOPPED" in text
    assert "lost 0" in text


async def test_a_hit_shows_its_values_its_culprit_and_its_source() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        text = screen_text(app)
    assert "59 → 60" in text
    assert "=> 40120c  add qword ptr [rdi + 0x18], 1" in text
    assert "ip 401211  ret" in text
    assert "counter.c:36" in text
    assert "worker_step+0x32" in text  # the return address belongs to the call before it
    assert "~ worker+0x9" in text, "a guessed frame is marked"


async def test_an_enabled_register_that_no_books_name_is_marked() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        machine.write_dr(0, 3, 0x404108)
        machine.write_dr(0, 7, machine.state.cpus[0].dr7 | 1 << 6)
        await settle(pilot)
        text = screen_text(app)
    row = next(line for line in text.splitlines() if "!NOBODY" in line)
    assert "404108    panic_timeout " in row
    assert "! differs" in text, "the kernel's copy does not have the bit"
    assert "*1" in text
    assert "changed by hand" in text


async def test_a_disabled_breakpoint_in_no_register_is_still_named() -> None:
    machine = busy_machine()
    from dataclasses import replace

    held = machine.state.breakpoints
    machine.set(breakpoints=(*held[:2], replace(held[2], slot=None, enabled=False)))
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        text = screen_text(app)
    assert "1 in no register" in text
    assert "in no register: add_limit" in text


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_a_bare_machine_shows_its_sequence_of_db_in_the_place_of_owners(size: tuple[int, int]) -> None:
    machine = busy_machine()
    fault = DebugException(6, 40, 0x40120C, 0x40120C, "fault", "general detect", 0xFFFF2FF0, 0x2400, True, 0)
    trap = DebugException(7, 50, 0x401211, 0x40120C, "trap", "DR0", 0xFFFF0FF1, 0xD0402, False, 0)
    machine.set(debug_exceptions=(fault, trap))
    app = app_on(machine)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = screen_text(app)
        machine.set(debug_exceptions=())
        await settle(pilot)
        nothing = screen_text(app)
    assert "OWNERS" not in text
    assert "#DB" in text
    assert "8 " in text
    assert "DR0" in text
    assert "B0" in text
    assert ("general detect" in text) == (size[1] > 24)
    assert "kernel's copy" not in text, "there is no kernel"
    assert "none yet" in nothing


async def test_staying_nothing_moves_while_hits_come_in() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("k", "k")
        await settle(pilot)
        before = [strip.text for strip in app.hits._strips[1:]]
        selected = app.hits.cursor
        for number in range(500):
            machine.hit(1, number, number + 1)
        await settle(pilot)
        assert [strip.text for strip in app.hits._strips[1:]] == before
        assert app.hits.cursor == selected
        assert "502 newer" in app.hits._strips[0].text
        await pilot.press("f")
        await settle(pilot)
        assert app.hits.cursor == machine.reader.head - 1


async def test_a_hit_that_was_overwritten_says_so_instead_of_another_one() -> None:
    machine = Machine(capacity=128)
    machine.add(BreakpointRequest(0x404038, 8, "w", text="cfg.limits[3]"))
    for number in range(90):
        machine.hit(1, number, number + 1)
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("g")
        await settle(pilot)
        for number in range(300):
            machine.hit(1, number, number + 1)
        await settle(pilot)
        assert "overwritten" in screen_text(app)
        assert app.hits.selected_hit() is None


async def test_the_state_line_follows_the_machine() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        machine.run_state("running")
        await settle(pilot)
        assert "RUNNING" in screen_text(app)
        machine.set(state="exited", exit_status=3, stop=Stop("exit", "exit_group(3)"))
        await settle(pilot)
        assert "EXITED with status 3" in screen_text(app)


async def test_rates_are_measured_from_counters_over_the_clock() -> None:
    machine = busy_machine()
    now = [100.0]
    app = app_on(machine, clock=lambda: now[0])
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.sample()
        for _ in range(4):
            now[0] += 0.25
            for number in range(250):
                machine.hit(1, number, number + 1)
            machine.set()
            await settle(pilot)
            app.sample()
        await settle(pilot)
        text = screen_text(app)
    assert "1.0k/s" in text
    assert "1.0k hits/s" in text
    assert "● HIT" in text


@pytest.mark.parametrize(("width", "height"), [(79, 24), (80, 23), (60, 20), (40, 5)])
async def test_a_terminal_that_is_too_small_gets_one_clear_line(width: int, height: int) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(width, height)) as pilot:
        await settle(pilot)
        lines = [line.strip() for line in screen_text(app).split("\n") if line.strip()]
        assert len(lines) == 1
        assert lines[0].startswith(f"needs 80x24, this is {width}x{height}"[:width])
        await resize(pilot, 80, 24)
        await settle(pilot)
        assert "SLOTS" in screen_text(app)


async def test_hostile_names_are_spelled_out_and_never_interpreted() -> None:
    evil = "x\x1b[31m\x07[bold]\u202e\x7f"
    machine = Machine(comm=evil)
    machine.add(BreakpointRequest(0x404038, 8, "w", text=evil), Owner("perf", 5, evil))
    machine.hit(1, 1, 2, by=RESET)
    machine.run_state("stopped", Stop("hit", evil))
    machine.set(program=f"/tmp/{evil}")
    app = app_on(machine, space=FakeSpace(rename={"reset_one": evil}))
    async with app.run_test(size=(160, 45)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert not any(ord(c) < 32 or ord(c) == 127 or c == "\u202e" for c in text if c != "\n")
        assert text.count("x\\x1b[31m\\x07[bold]\\u202e\\x7f") >= 5
        await pilot.press("enter")
        await settle(pilot)
        assert "\x1b" not in screen_text(app)


async def test_a_machine_that_dies_leaves_its_cause_and_an_open_app() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        machine.dead = HwbpError("the machine's process was killed by signal 9", remedy="start it anew")
        machine.memory.words[5] += 1
        await settle(pilot)
        text = screen_text(app)
        assert "killed by signal 9" in text
        assert "the machine is gone" in text
        await pilot.press("k", "k")
        await settle(pilot)
        assert not app.hits.following, "what was recorded can still be read"
        assert app.is_running


async def test_a_machine_that_dies_while_it_stands_still_is_noticed() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        machine.dead = HwbpError("the machine's process was killed by signal 9")
        for _ in range(8):
            app.sample()
        await settle(pilot)
        assert "killed by signal 9" in screen_text(app)


async def test_a_window_that_grows_shows_older_hits_and_no_empty_rows() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("k")
        selected = app.hits.cursor
        await resize(pilot, 140, 45)
        await settle(pilot)
        assert app.hits.cursor == selected
        assert f"{selected + 2}" in app.hits._strips[-1].text


async def test_names_are_shown_as_addresses_until_they_are_known() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.scene.names.forget()
        assert app.scene.names.of(0x40120C).symbol == "0x40120c"
        await settle(pilot)
        assert app.scene.names.of(0x40120C).symbol == "add_limit+0xc"


async def test_a_watch_goes_by_its_number_on_the_cards_the_table_and_the_owners() -> None:
    machine = Machine()
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        for line in ("watch lock", "watch panic_timeout", "delete 0", "watch cfg.limits[1]"):
            app.run_line(line)
            await settle(pilot)
        wide = screen_text(app)
        await resize(pilot, 80, 24)
        await settle(pilot)
        narrow = screen_text(app)
    assert "watch 2 cfg.limits[1]" in wide
    assert "DR1 watch 1 panic_timeout" in wide
    assert "1  panic_timeout" in narrow
    assert "#1" not in wide


async def test_enable_bits_are_written_with_the_names_of_their_slot() -> None:
    machine = busy_machine()
    machine.write_dr(0, 7, machine.state.cpus[0].dr7 & ~0b11 | 0b100)
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        text = screen_text(app)
    assert "off" in text
    assert "L1 G1 on" in text
    assert "G2 on" in text
    assert "-RTM" not in text


@pytest.mark.parametrize(("width", "largest"), [(80, 9_999_999), (140, 999_999_999)])
async def test_the_old_value_of_a_large_one_is_shown(width: int, largest: int) -> None:
    machine = busy_machine()
    machine.hit(1, largest - 1, largest)
    app = app_on(machine)
    async with app.run_test(size=(width, 45)) as pilot:
        await settle(pilot)
        assert f"{largest - 1} → {largest}" in screen_text(app)


@pytest.mark.parametrize("text", ["hit 51 of cfg.limits[2]", "nothing has run yet"])
async def test_the_state_is_read_whole_at_80_columns(text: str) -> None:
    machine = busy_machine()
    machine.run_state("stopped", Stop("hit", text))
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert f"STOPPED  {text} " in screen_text(app)
