"""How a person steers programs: run, hold, step, finish; each state says what can be done in it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.emulated.breakpoints import Breakpoints
from backends.emulated.capture import Capture
from backends.emulated.kernel.config import CAPABILITIES
from backends.emulated.life import Life
from backends.emulated.machine import Machine
from backends.emulated.programs import PROGRAMS
from backends.emulated.requests import Requests
from backends.model import BreakpointRequest, RunState, Stop
from backends.ring import HEADER, RingMemory, create_memfd
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.machine.code import DATA, START, program

FIRST = 1000
"""The number of the first task."""
NOP = b"\x90"
FOREVER = b"\xeb\xfe"
EXIT_7 = b"\xbf\x07\0\0\0\xb8\x3c\0\0\0\x0f\x05"
CALLS = b"\xe8\x01\0\0\0\xf4" + NOP + b"\xc3"
"""call the nop; hlt, which no test reaches; nop; ret."""
STORES = b"\xff\x04\x25" + struct.pack("<I", DATA) + b"\xeb\xf7"
"""inc dword [DATA]; jmp to it."""
PAUSE = b"\xb8\x22\0\0\0\x0f\x05"
SLEEPS = b"\xbf" + struct.pack("<I", DATA) + b"\x31\xf6\xb8\x23\0\0\0\x0f\x05" + FOREVER
"""nanosleep((struct timespec *)DATA, 0): four instructions."""


class Steered:
    """A life with a real machine below it. `changes` are the states told, `spent` is what the next slice will take, in seconds."""

    def __init__(self, path: str) -> None:
        fd = create_memfd(1 << 10)
        self.capture = Capture(RingMemory(fd))
        os.close(fd)
        self.machine = Machine(self.capture, 2, 1000)
        breakpoints = Breakpoints(self.machine, self.capture)
        self.kernel = breakpoints.kernel
        opener = self.kernel.spawn("opener", tid=900, capabilities=CAPABILITIES)
        self.task = self.machine.load(Launch(path, stacks=False))
        breakpoints.begin(self.task)
        self.machine.place(self.task)
        self.machine.step(self.task)  # what each of these programs begins with
        self.requests = Requests(
            breakpoints, self.capture, opener, lambda tid: self.task, follow_children=False
        )
        self.changes: list[RunState] = []
        self.spent = 0.008
        self._now = 0.0
        self.life = Life(
            self.machine,
            breakpoints,
            self.requests,
            self.capture,
            current=lambda: self.task,
            changed=lambda: self.changes.append(self.life.state),
            clock=self._clock,
        )

    def _clock(self) -> float:
        self._now += self.spent
        return self._now

    def run(self) -> Stop:
        """Until it stands still."""
        for _ in range(100):
            if self.life.state != "running":
                return self.life.stop
            self.life.run_slice()
        raise AssertionError("it runs and runs")

    @property
    def pc(self) -> int:
        return self.machine.cpu_for(self.task).engine.pc


@pytest.fixture
def steered(tmp_path: Path) -> Callable[[bytes], Steered]:
    return lambda code: Steered(program(tmp_path / "program", code, ends=False))


def refused(errno: str) -> pytest.RaisesExc[HwbpError]:
    return pytest.RaisesExc(HwbpError, check=lambda error: error.errno == errno)


def test_it_is_loaded_runs_and_has_ended(steered: Callable[[bytes], Steered]) -> None:
    one = steered(EXIT_7)
    assert (one.life.state, one.life.stop.reason) == ("loaded", "entry")
    one.life.resume()
    assert one.run() == Stop("exit", "the program has ended: exit status 7")
    assert one.changes == ["running", "exited"]


def test_what_has_ended_is_not_steered(steered: Callable[[bytes], Steered]) -> None:
    one = steered(EXIT_7)
    one.life.resume()
    one.run()
    for act in (
        one.life.resume,
        lambda: one.life.step(1, False),
        one.life.finish,
        lambda: one.life.run_to(START),
    ):
        with refused("ESRCH"):
            act()
    assert one.life.state == "exited"


def test_a_signal_that_kills_is_told(steered: Callable[[bytes], Steered]) -> None:
    one = steered(b"\x0f\x0b")  # ud2
    one.life.resume()
    assert one.run().text == "the program has ended: killed by signal 4"


def test_a_task_that_nobody_wakes_cannot_go_on_and_is_the_one_looked_at(
    steered: Callable[[bytes], Steered],
) -> None:
    one = steered(PAUSE)
    one.life.resume()
    assert one.run().text.startswith("deadlock")
    assert (one.life.state, one.life.selected) == ("failed", FIRST)
    with refused("ENOSYS"):
        one.life.resume()


def test_a_machine_that_stands_in_kgdb_keeps_the_programs_from_running(
    steered: Callable[[bytes], Steered],
) -> None:
    one = steered(FOREVER)
    one.kernel.kgdb.connect()
    one.kernel.kgdb.enter(0)
    with refused("EBUSY"):
        one.life.resume()
    assert (one.life.state, one.changes) == ("loaded", [])


def test_holding_stops_what_runs_and_nothing_else(steered: Callable[[bytes], Steered]) -> None:
    one = steered(FOREVER)
    one.life.hold()
    assert (one.life.stop.reason, one.changes) == ("entry", [])
    one.life.resume()
    one.life.run_slice()
    one.life.hold()
    assert (one.life.state, one.life.stop.reason) == ("stopped", "user")


class TestStepping:
    @pytest.mark.parametrize("count", [1, 3])
    def test_so_many_instructions(self, steered: Callable[[bytes], Steered], count: int) -> None:
        one = steered(NOP * 4 + FOREVER)
        before = one.machine.instructions
        one.life.step(count, False)
        assert (one.pc, one.machine.instructions - before) == (START + count, count)
        assert one.life.stop == Stop("step", f"stepped {count}")

    @pytest.mark.parametrize("count", [-1, 0, 1_000_001])
    def test_a_count_that_is_none(self, steered: Callable[[bytes], Steered], count: int) -> None:
        one = steered(FOREVER)
        with refused("EINVAL"):
            one.life.step(count, False)
        assert one.life.state == "loaded"

    def test_into_a_call_or_over_it(self, steered: Callable[[bytes], Steered]) -> None:
        into = steered(CALLS)
        into.life.step(1, False)
        assert into.pc == START + 6
        over = steered(CALLS)
        over.life.step(1, True)
        assert over.life.state == "running"
        over.run()
        assert over.pc == START + 5

    def test_out_of_the_last_instruction_it_has_ended(self, steered: Callable[[bytes], Steered]) -> None:
        one = steered(EXIT_7)
        one.life.step(9, False)
        assert (one.life.state, one.life.stop.text) == ("exited", "the program has ended: exit status 7")

    def test_a_task_that_waits_is_waited_for(self, steered: Callable[[bytes], Steered]) -> None:
        one = steered(SLEEPS)
        one.machine.address_spaces()[0].space.poke(DATA, struct.pack("<QQ", 0, 1000))
        one.life.step(5, False)
        assert one.life.state == "running"
        assert one.run().reason == "step"
        assert one.pc == START + len(SLEEPS) - 2

    def test_a_place_that_was_run_to_stops_once(self, steered: Callable[[bytes], Steered]) -> None:
        one = steered(NOP * 2 + b"\xeb\xfc")
        one.life.run_to(START + 1)
        one.run()
        assert one.pc == START + 1
        one.life.resume()
        for _ in range(3):
            one.life.run_slice()
        assert one.life.state == "running"

    @pytest.mark.parametrize("address", [-1, 1 << 64])
    def test_no_address_to_run_to(self, steered: Callable[[bytes], Steered], address: int) -> None:
        one = steered(FOREVER)
        with refused("EINVAL"):
            one.life.run_to(address)
        assert one.life.state == "loaded"

    def test_the_entry_has_no_caller_to_finish_to(self, steered: Callable[[bytes], Steered]) -> None:
        with refused("EINVAL"):
            steered(FOREVER).life.finish()

    def test_to_the_caller_behind_its_call(self) -> None:
        path = str(PROGRAMS["counter"].path)
        symbols = SymbolTable(ElfImage.open(path))
        inner, outer = (symbols.find(name)[0] for name in ("worker_step", "worker"))
        one = Steered(path)
        one.life.run_to(inner.value)
        one.run()
        assert one.pc == inner.value
        before = one.machine.address_spaces()[0].engine.get("RSP")
        one.life.finish()
        assert one.run().reason == "step"
        assert outer.value < one.pc < outer.value + outer.size
        assert one.machine.address_spaces()[0].engine.get("RSP") == before + 8


class TestHits:
    def armed(self, one: Steered, **more: object) -> None:
        one.requests.arm((BreakpointRequest(DATA, 4, "w", **more),))  # type: ignore[arg-type]

    def test_a_hit_that_stops_is_told_and_its_task_looked_at(
        self, steered: Callable[[bytes], Steered]
    ) -> None:
        one = steered(STORES)
        self.armed(one, stop=True)
        one.life.resume()
        assert one.run().reason == "hit"
        assert (one.life.state, one.life.selected, one.capture.head) == ("stopped", FIRST, 1)

    def test_the_readers_limit_stops_and_is_over(self, steered: Callable[[bytes], Steered]) -> None:
        one = steered(STORES)
        self.armed(one)
        one.capture.header(limit=3)
        one.life.resume()
        assert one.run().reason == "limit"
        assert (one.capture.head, one.capture.words[HEADER["limit"]]) == (3, 0)

    def test_a_breakpoint_that_has_had_its_hits_is_disabled_and_all_runs_on(
        self, steered: Callable[[bytes], Steered]
    ) -> None:
        one = steered(STORES)
        self.armed(one, limit=3)
        one.life.resume()
        one.life.run_slice()
        assert one.changes == ["running", "running"]
        assert [event.enabled for event in one.kernel.layer.events] == [False]


class TestSlices:
    @pytest.mark.parametrize(
        ("spent", "before", "after"),
        [
            (0.001, 5000, 10_000),
            (0.008, 5000, 5000),
            (0.1, 5000, 2500),
            (0.1, 1500, 1000),
            (0.001, 15_000_000, 20_000_000),
        ],
    )
    def test_the_next_is_longer_after_a_quick_one_and_shorter_after_a_slow_one(
        self, steered: Callable[[bytes], Steered], spent: float, before: int, after: int
    ) -> None:
        one = steered(SLEEPS)
        one.machine.address_spaces()[0].space.poke(DATA, struct.pack("<QQ", 1, 0))
        one.life.resume()
        one.spent, one.life.budget = spent, before
        one.life.run_slice()
        assert one.life.budget == after


def test_closed_it_has_ended(steered: Callable[[bytes], Steered]) -> None:
    one = steered(FOREVER)
    one.life.close()
    with refused("ESRCH"):
        one.life.resume()
