"""Code, memory, registers, tasks and log, and what can be done from a place: on a scripted machine."""

from __future__ import annotations

from typing import Any

import pytest

from backends.base import HwbpError
from backends.model import Stop
from tests.pilot.scripted import ADD, LIMITS, FakeSpace, Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp

SIZES = [(80, 24), (120, 40), (200, 60)]


class Walk:
    """An app with keys pressed one by one, each until everything has come to rest."""

    def __init__(self, pilot: Any, machine: Machine) -> None:
        self.pilot = pilot
        self.machine = machine
        self.app: HwbpApp = pilot.app

    async def __call__(self, *keys: str) -> str:
        for key in keys:
            await self.pilot.press(*(key if len(key) == 1 else (key,)))
            await settle(self.pilot)
        self.app.sample()
        await settle(self.pilot)
        return screen_text(self.app)

    async def line(self, text: str) -> str:
        self.app.run_line(text, quiet=True)
        await settle(self.pilot)
        return await self()


async def walk(pilot: Any, machine: Machine) -> Walk:
    await settle(pilot)
    pilot.app.sample()
    await settle(pilot)
    return Walk(pilot, machine)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_every_view_has_its_panels_at_every_size(size: tuple[int, int]) -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=size) as pilot:
        go = await walk(pilot, machine)
        for key, titles in (
            ("6", ["CODE"]), ("7", ["MEMORY", "OBJECT"]), ("8", ["REGISTERS", "CALL STACK", " STACK "]),
            ("9", ["TASKS", "TASK 1000"]), ("0", ["LOG"]), ("1", ["DR7", "HITS"]),
        ):  # fmt: skip
            text = await go(key)
            assert all(title in text for title in titles), text
            assert all(len(line) <= size[0] for line in text.splitlines())


async def test_code_counts_what_hit_beside_the_instruction_that_did_it() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        await go("6")
        text = await go.line(f"view code {ADD[0]:#x}")
        row = next(line for line in text.splitlines() if "40120c  add" in line)
        total = sum(site.count for site in machine.sites() if site.insn_ip == ADD[0])
        assert f" {total} " in row
        assert "add qword ptr [rdi + 0x18], 1" in row
        assert "no function is known around here" in text
        assert "staying" in text


async def test_code_follows_where_the_program_stops_until_somebody_goes_elsewhere() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        await go("6")
        machine.set(tasks=(machine.state.tasks[0].__class__(1000, 1000, "counter", 0x401208, 0, 0, 0),))
        text = await go()
        assert any(line.lstrip("▸ ").startswith("=>") and "401208" in line for line in text.splitlines())
        await go.line("view code 0x401240")
        machine.set(tasks=(machine.state.tasks[0].__class__(1000, 1000, "counter", 0x401200, 0, 0, 0),))
        assert "401240" in await go()
        text = await go("f")
        assert any("=>" in line and "401200" in line for line in text.splitlines())


async def test_code_that_cannot_be_read_says_why() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("6")
        assert "no code at 0x10: nothing is mapped there" in await go.line("view code 0x10")


async def test_a_running_programs_registers_are_unknown_and_say_what_to_do() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        assert "rax     0000000000000007" in await go("8")
        machine.run_state("running")
        text = await go()
        assert "unknown" in text
        assert "Space stops it" in text
        assert "0000000000000007" not in text
        machine.run_state("stopped", Stop("user", "by hand"))
        assert "rax     0000000000000007" in await go()


async def test_a_lost_machine_leaves_what_was_read() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        for key in "678":
            await go(key)
        machine.dead = HwbpError("the machine's process was killed")
        go.app.machine.check()
        for key, kept in (("6", "nop"), ("7", "000000404038"), ("8", "rax")):
            text = await go(key)
            assert "the machine is gone" in text
            assert kept in text


async def test_memory_marks_armed_bytes_and_those_that_changed_since_the_last_stop() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("7")
        text = await go.line(f"view memory {LIMITS:#x}")
        assert "[00 00 00 00 00 00 00 00]" in text
        machine.run_state("running")
        await go()
        machine.ram[LIMITS + 2 - 0x401000] = 0x5A
        machine.run_state("stopped", Stop("user", "by hand"))
        row = next(line for line in (await go()).splitlines() if f"{LIMITS:012x}" in line)
        assert "00 00*5a 00" in row


async def test_memory_of_a_program_that_is_gone_stays_as_it_was_last_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("7")

        def gone(address: int, size: int) -> bytes:
            raise HwbpError(f"{address:#x}: nothing is mapped there", errno="EFAULT")

        monkeypatch.setattr(machine, "read", gone)
        machine.run_state("exited", Stop("exit", "exit status 0"))
        text = await go()
        assert "the program has ended: as it was last read" in text
        assert "[00 00 00 00 00 00 00 00]" in text


async def test_memory_that_is_not_mapped_is_not_made_up() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("7")
        text = await go.line("view memory 0x400ff8")
        row = next(line for line in text.splitlines() if "000000400ff0" in line)
        assert row.count("??") == 16
        row = next(line for line in text.splitlines() if "000000401000" in line)
        assert row.count("90") == 16


@pytest.mark.slow
async def test_units_can_be_larger_and_other_numbers() -> None:
    machine = busy_machine()
    machine.ram[LIMITS - 0x401000 : LIMITS - 0x401000 + 8] = (-5 % 2**64).to_bytes(8, "little")
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("7")
        await go.line(f"view memory {LIMITS:#x}")
        assert "fffffffffffffffb" in await go("plus", "plus", "plus")
        assert " -5" in await go("v")
        assert "nan" in await go("v")


async def test_from_a_byte_a_watch_is_typed_and_armed() -> None:
    machine = Machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("7")
        await go.line(f"view memory {LIMITS:#x}")
        text = await go("full_stop")
        assert "FROM HERE" in text
        assert "watch writes to it" in text
        assert f"watch {LIMITS:#x}/1" in await go("w")
        await go("enter")
        assert [(b.address, b.length, b.type) for b in machine.state.breakpoints] == [(LIMITS, 1, "w")]
        text = await go("full_stop")
        assert "remove watch 0" in text
        await go("d")
        assert machine.state.breakpoints == ()


@pytest.mark.slow
async def test_a_watch_moves_to_where_the_cursor_is() -> None:
    machine = Machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        await go.line("watch lock")
        await go("7")
        await go.line(f"view memory {LIMITS:#x}")
        await go("plus", "plus", "plus", "full_stop", "v", "enter")
        assert [(b.address, b.length) for b in machine.state.breakpoints] == [(LIMITS, 8)]


@pytest.mark.slow
async def test_a_hit_leads_to_its_code_and_its_memory_and_back_to_the_hit() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        go.app.hits.select(76)
        record = go.app.hits.selected_hit()
        assert record is not None
        await go("full_stop", "c")
        assert go.app.open_view.name == "code"
        spot = go.app.spot()
        assert spot is not None
        assert spot.code == record.place
        await go("1", "full_stop", "m")
        assert go.app.open_view.name == "memory"
        spot = go.app.spot()
        assert spot is not None
        assert spot.data == record.address
        text = await go("full_stop", "h")
        assert go.app.open_view.name == "hits"
        assert "7 of 79" in text  # the hits of lock, and no others
        found = go.app.selected_hit()
        assert found is not None
        assert found.address == record.address


async def test_an_ended_program_offers_no_watch() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        machine.run_state("exited", Stop("exit", "exit status 0"))
        text = await go("7", "full_stop")
        assert "watch writes" not in text
        assert "go to its memory" in text


@pytest.mark.slow
async def test_the_log_has_each_command_with_its_answer_and_is_searched() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        assert "nothing was run yet" in await go("0")
        await go.line("watch cfg.limits[4]")
        await go.line("watch panic_timeout")
        text = await go.line("print lock")
        assert "3 commands" in text
        assert "! watch panic_timeout" in text
        assert "ENOSPC: all 4 slots of CPU 0 are held" in text
        assert "held by DR0" in text
        text = await go("slash", *"PANIC", "enter")
        assert "1 of" in text
        assert "print lock" not in text
        assert "print lock" in await go("escape", "escape")


async def test_a_command_of_the_log_comes_back_into_the_command_line() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        await go("0")
        await go.line("print lock")
        await go("enter")
        assert go.app.command_line.value == "print lock"


@pytest.mark.slow
async def test_hostile_names_reach_neither_menu_nor_log_as_escapes() -> None:
    machine = busy_machine(machine=Machine(comm="\x1b]0;x\x07[red]"))
    space = FakeSpace({"add_limit": "\x1b[31m[bold]evil\x9b"})
    async with app_on(machine, space=space).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        for keys in (("6", "full_stop"), ("escape", "9"), ("8",), ("7",)):
            text = await go(*keys)
            assert "\x1b" not in text
            assert "\x9b" not in text
        await go.line(f"view code {ADD[0]:#x}")
        assert "[bold]evil" in await go("full_stop")
        await go("escape")
        await go.line("watch \x1b[31mx")
        assert "\x1b" not in await go("0")


async def test_the_views_of_no_machine_say_that_it_is_being_opened() -> None:
    from concurrent.futures import Future

    app = HwbpApp(Future(), fps=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for key in "67890":
            await app.run_action(f"view('{key}')")
            await pilot.pause()
            text = screen_text(app)
            assert "being opened" in text or key == "9"


async def test_the_mouse_selects_a_byte_and_a_second_click_opens_the_menu() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(80, 24)) as pilot:
        go = await walk(pilot, machine)
        await go("7")
        await go.line(f"view memory {LIMITS:#x}")
        panel = go.app.main_panel
        text = screen_text(go.app).splitlines()
        y = next(n for n, line in enumerate(text) if f"{LIMITS:012x}" in line) - panel.region.y
        await pilot.click(panel, offset=(15 + 3 * 4, y))
        await go()
        spot = go.app.spot()
        assert spot is not None
        assert spot.data == LIMITS + 4
        await pilot.click(panel, offset=(15 + 3 * 4, y), times=2)
        assert "FROM HERE" in await go()


@pytest.mark.slow
async def test_from_a_byte_one_comes_to_its_last_writer_and_on_to_the_one_before() -> None:
    machine = busy_machine()
    async with app_on(machine).run_test(size=(120, 40)) as pilot:
        go = await walk(pilot, machine)
        address = next(b.address for b in machine.state.breakpoints if b.type != "x")
        await go.line(f"view memory {address:#x}")
        text = await go("full_stop", "o")
        assert go.app.open_view.name == "hits"
        last = go.app.selected_hit()
        assert last is not None
        assert last.access_text != "x"
        assert last.address <= address < last.address + last.length
        assert f"hit {last.seq + 1}" in text
        await go("full_stop", "o")
        earlier = go.app.selected_hit()
        assert earlier is not None
        assert earlier.seq < last.seq
        assert earlier.address == last.address
