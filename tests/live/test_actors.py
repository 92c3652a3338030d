"""Other owners in a live scene: real processes, real ptrace, real events, and nothing of them left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.base import Attach, HwbpError, Launch
from backends.emulated.programs import find
from backends.kernelview.books import Holding
from backends.kernelview.scanner import Scanner
from backends.model import BreakpointRequest
from backends.perf import events
from backends.perf.backend import PerfBackend
from backends.ring import create_memfd
from tests.live.bpf_here import needs_bpf
from tests.live.holders import symbol

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, needs_bpf]

COUNTER = find("counter")
assert COUNTER is not None
PROGRAM = Path(COUNTER.path)


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    scanner = Scanner.of_host()
    yield scanner
    scanner.close()


@pytest.fixture
def machine() -> Iterator[PerfBackend]:
    machine = PerfBackend(create_memfd(1 << 12), (1, 2))
    machine.launch(Launch(str(PROGRAM), scene=True))
    yield machine
    machine.close()


def pid_of(machine: PerfBackend) -> int:
    return machine.view().tasks[0].pid


def until(machine: PerfBackend, good: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not good() and time.monotonic() < deadline:
        time.sleep(machine.run_slice() if machine.running else 0.01)
    return good()


def held(scanner: Scanner, pid: int) -> tuple[Holding, ...]:
    return scanner.scan().of_process(pid).holdings


def watch(machine: PerfBackend, name: str) -> int:
    """A debugger's write watch on one of the program's variables, as gdb sets it; its address."""
    address = symbol(PROGRAM, name)
    machine.ptrace_poke(None, 0, address)
    machine.ptrace_poke(None, 7, 0b1001 << 16 | 1)
    return address


def test_a_debugger_holds_its_watch_and_the_program_runs_on(machine: PerfBackend, scanner: Scanner) -> None:
    machine.resume()
    address = watch(machine, "counter")
    assert machine.ptrace_peek(None, 0) == address
    (holding,) = held(scanner, pid_of(machine))
    assert (holding.owner.kind, holding.owner.comm, holding.address) == ("ptrace", "debugger", address)
    assert (holding.length, holding.type, holding.enabled) == (8, "w", True)
    assert until(machine, lambda: held(scanner, pid_of(machine))[0].hits not in (0, None))
    assert machine.view().state == "running"


def test_a_program_that_has_not_begun_has_its_tracer_already(machine: PerfBackend) -> None:
    with pytest.raises(HwbpError, match="cannot attach") as caught:
        machine.owner("ptrace", "attach", ())
    assert caught.value.errno == "EPERM"
    assert "continue" in caught.value.remedy


@pytest.mark.slow
def test_what_a_killed_debugger_leaves_kills_the_program(machine: PerfBackend) -> None:
    machine.resume()
    watch(machine, "counter")
    machine.owner("ptrace", "kill", ())
    assert until(machine, lambda: machine.view().state == "exited")
    assert machine.view().exit_status == -signal.SIGTRAP


def test_a_debugger_that_ends_cleans_up(machine: PerfBackend, scanner: Scanner) -> None:
    machine.resume()
    watch(machine, "counter")
    pid = pid_of(machine)
    machine._stage._actors.close()
    for _ in range(40):  # its debugger has been told to go, and goes in its own time
        if (holdings := held(scanner, pid)) and holdings[0].orphan:
            break
        time.sleep(0.05)
    (holding,) = holdings
    assert (holding.enabled, holding.orphan) == (False, True)
    for _ in range(20):  # 0.3 s: it writes the counter all the time
        time.sleep(machine.run_slice())
    assert machine.view().state == "running"


@pytest.mark.slow
def test_the_fifth_is_refused_whoever_asks(machine: PerfBackend) -> None:
    machine.resume()
    counter = symbol(PROGRAM, "counter")
    machine.arm((BreakpointRequest(counter, 8, "w"), BreakpointRequest(symbol(PROGRAM, "total"), 8, "w")))
    watch(machine, "seed")
    machine.owner("perf", "event", (f"{counter:#x}/4:rw", "disabled"))
    with pytest.raises(HwbpError) as caught:
        machine.arm((BreakpointRequest(counter, 8, "w"),))
    assert caught.value.errno == "ENOSPC"
    assert len(caught.value.holders) == 4
    assert sum("ptrace" in line and "debugger" in line for line in caught.value.holders) == 1
    with pytest.raises(HwbpError) as caught:
        machine.ptrace_poke(None, 1, counter)
    assert caught.value.errno == "ENOSPC"
    assert len(caught.value.holders) == 4


@pytest.mark.slow
def test_a_greedy_task_starves_a_cpu_even_when_it_is_dead(machine: PerfBackend) -> None:
    machine.owner("task", "new", ("greedy",))
    fds = [
        int(machine.owner("perf", "event", ("0x10000", "-t", "greedy", "disabled"))[0].split()[2].rstrip(":"))
        for _ in range(4)
    ]
    for _ in range(2):
        with pytest.raises(HwbpError) as caught:
            machine.owner("perf", "event", ("0x10000", "-C", "0"))
        assert caught.value.errno == "ENOSPC"
        assert any("greedy" in line for line in caught.value.holders)
        if "greedy" in machine._stage._actors._tasks:
            machine.owner("task", "exit", ("greedy",))
    assert machine._stage._actors.close_event(fds[0])
    assert "perf event" in machine.owner("perf", "event", ("0x10000", "-C", "0"))[0]


@pytest.mark.parametrize(
    ("words", "errno"),
    [
        (("perf", "event"), "EINVAL"),
        (("perf", "event", "nonsense"), "EINVAL"),
        (("perf", "event", "0x1001/8"), "EINVAL"),
        (("perf", "event", "0x1000", "-t", "nobody"), "ESRCH"),
        (("perf", "event", "0x1000", "-t", "1"), "EPERM"),
        (("perf", "event", "0x1000", "-C", "4000"), "EINVAL"),
        (("task", "new", "../x"), "EINVAL"),
        (("task", "exit", "nobody"), "ESRCH"),
        (("ptrace", "kill"), "ESRCH"),
        (("kgdb", "enter"), "EOPNOTSUPP"),
    ],
)
def test_bad_words_are_refused_and_leave_nothing(
    machine: PerfBackend, scanner: Scanner, words: tuple[str, ...], errno: str
) -> None:
    with pytest.raises(HwbpError) as caught:
        machine.owner(words[0], words[1], words[2:])
    assert caught.value.errno == errno
    assert held(scanner, os.getpid()) == ()


def test_a_process_that_was_there_before_us_gets_no_debugger() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        machine = PerfBackend(create_memfd(1 << 12), (1, 2))
        machine.attach(Attach(process.pid))
        try:
            assert not machine.view().can.ptrace
            for act in (lambda: machine.owner("task", "new", ("x",)), lambda: machine.ptrace_peek(None, 7)):
                with pytest.raises(HwbpError) as caught:
                    act()
                assert caught.value.errno == "EOPNOTSUPP"
        finally:
            machine.close()
            process.kill()


@pytest.mark.slow
def test_a_scene_ends_with_everybody_in_it(scanner: Scanner) -> None:
    machine = PerfBackend(create_memfd(1 << 12), (1, 2))
    machine.launch(Launch(str(PROGRAM), scene=True))
    machine.resume()
    machine.owner("task", "new", ("extra",))
    watch(machine, "counter")
    machine.owner("perf", "event", ("0x10000", "disabled"))
    pids = [
        pid_of(machine),
        *(h.owner.pid for h in held(scanner, pid_of(machine)) if h.owner.kind == "ptrace"),
        machine._stage._actors._tasks["extra"].pid,
    ]
    machine.close()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert held(scanner, os.getpid()) == ()


def test_a_request_that_the_books_do_not_have_is_marked(machine: PerfBackend) -> None:
    machine.resume()
    (mine, other) = machine.arm(
        (
            BreakpointRequest(symbol(PROGRAM, "counter"), 8, "w", text="counter"),
            BreakpointRequest(symbol(PROGRAM, "counter"), 4, "rw", text="counter/4:rw"),
        )
    )
    assert machine.view().disagreements == ()
    assert mine.owner.fd is not None
    assert other.owner.fd is not None
    nothing = events.open_event(events.idle_attributes(), 0, 0)
    os.dup2(nothing, mine.owner.fd)  # the breakpoint is gone, behind our back
    os.close(nothing)
    assert until(machine, lambda: bool(machine.view().disagreements))
    assert machine.view().disagreements == ("counter: the kernel's books do not have 1 of its 1 events",)
