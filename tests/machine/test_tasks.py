"""Threads, processes and signals: the same output as natively, whatever the CPUs and the quantum, every time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.emulated.machine import Machine
from backends.emulated.turns import run_plain_turns
from backends.model import BreakpointRequest, Stop
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.machine.tasks_programs import (
    CREW,
    FORKS,
    RF,
    SHARED,
    SIGNALS,
    STEP_SYSCALLS,
    STEPS,
    THREAD_EXECUTES,
    THREADS,
    VM_CHILD,
    built,
)

Row = tuple[int, int, int, int, int]


class Done:
    """A machine that ran until it stood still."""

    def __init__(
        self,
        argv: list[str],
        slots: tuple[BreakpointRequest, ...] = (),
        *,
        cpus: int = 2,
        quantum: int = 1000,
        slices: int = 20_000,
    ) -> None:
        fd = create_memfd(1 << 14)
        self.backend = EmulatedBackend(fd)
        self.ring = ring = RingReader(fd)
        os.close(fd)
        self.backend.launch(
            Launch(argv[0], tuple(argv[1:]), allow=("exec",), stacks=False, cpus=cpus, quantum=quantum)
        )
        if slots:
            self.backend.arm(slots)
        self.backend.resume()
        for _ in range(slices):
            if not self.backend.running:
                break
            self.backend.run_slice()
        self.view = self.backend.view()
        self.rows: list[Row] = [
            (int(row["tid"]), int(row["cpu"]), int(row["insn_ip"]), int(row["value"]), int(row["time"]))
            for row in ring.read(0, 1 << 14)
        ]
        self.output = b"".join(data for _, data in self.backend.output(0)).decode()


def native(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20).stdout


def begin(backend: EmulatedBackend, tasks: int) -> None:
    """Run until so many tasks are there."""
    while len(backend._machine.linux.system.tasks) < tasks:
        assert backend.running
        backend._life.budget = 200
        backend.run_slice()


def symbol(path: str, name: str) -> int:
    return SymbolTable(ElfImage.open(path)).find(name)[0].value


@pytest.mark.parametrize(("cpus", "quantum"), [(1, 777), (2, 1000), (3, 10_000), (4, 100)])
@pytest.mark.parametrize("link", ["-static", "-no-pie"])
def test_threads_print_what_they_print_natively(tmp_path: Path, cpus: int, quantum: int, link: str) -> None:
    program = built(tmp_path, THREADS, "-O1", link)
    done = Done([program], cpus=cpus, quantum=quantum)
    assert done.view.stop.text == "the program has ended: exit status 0"
    assert done.output == native([program])


@pytest.mark.slow
def test_children_print_what_they_print_natively(tmp_path: Path) -> None:
    program = built(tmp_path, FORKS, "-O1")
    expected = native([program])
    for cpus in (1, 2):
        done = Done([program], cpus=cpus)
        assert (done.output, done.view.exit_status) == (expected, 7)


def test_signal_handlers_print_what_they_print_natively(tmp_path: Path) -> None:
    program = built(tmp_path, SIGNALS, "-O1", "-no-pie")
    expected = native([program])
    assert expected.startswith("10 110 12 on stack: 1\n11 1 1\n77 3.50 2.50\nback with 8\nblocked 0 then 1\n")
    assert Done([program]).output == expected


def test_the_trap_flag_and_int3_as_natively(tmp_path: Path) -> None:
    program = built(tmp_path, STEPS, "-O1", "-no-pie")
    expected = native([program])
    assert expected.count(":2") == 5
    assert Done([program]).output == expected


def test_the_trap_flag_over_system_calls_as_natively(tmp_path: Path) -> None:
    """No trap at SYSCALL itself: after the instruction behind it."""
    program = built(tmp_path, STEP_SYSCALLS, "-O1", "-no-pie")
    assert Done([program]).output == native([program])


@pytest.mark.parametrize("cpu", [0, 1])
def test_a_step_on_each_cpu_and_then_the_task_runs_to_its_end(tmp_path: Path, cpu: int) -> None:
    """tools/testing/selftests/breakpoints/step_after_suspend_test.c, without the suspend."""
    program = built(tmp_path, RF, "-O1", "-no-pie")
    backend = Done([program], slices=0).backend
    backend.stop()
    backend.pin(1000, (cpu,))
    for _ in range(20):
        before = backend.view().tasks[0].pc
        view = backend.step(1, over_calls=False)
        assert view.stop.reason == "step"
        assert view.tasks[0].pc != before
        assert view.cpus[cpu].tid == 1000
        assert view.cpus[cpu].last_db == "trap: single step"
        assert view.cpus[cpu].dr6 == 0xFFFF4FF0
    backend.resume()
    while backend.running:
        backend.run_slice()
    assert backend.view().exit_status == 0


def test_the_same_program_makes_the_same_schedule(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    address = symbol(program, "counter")
    slots = (BreakpointRequest(address, 8, "w", cpu=0), BreakpointRequest(address, 8, "w", cpu=1))
    first, second = (Done([program], slots, quantum=333) for _ in range(2))
    assert first.rows == second.rows
    assert len(first.rows) == 1600
    assert {row[1] for row in first.rows} == {0, 1}
    assert {row[0] for row in first.rows} == {1001, 1002, 1003, 1004}
    assert [row[3] for row in first.rows] == list(range(1, 1601))
    times = [row[4] for row in first.rows]
    assert times == sorted(times)
    assert first.view.instructions == second.view.instructions


def test_a_breakpoint_of_one_cpu_sees_what_runs_there_only(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    slot = BreakpointRequest(symbol(program, "counter"), 8, "w", cpu=1)
    rows = Done([program], (slot,), quantum=500).rows
    assert rows
    assert {row[1] for row in rows} == {1}
    assert len(rows) < 1600


def test_a_task_breakpoint_follows_its_task_over_cpus_and_nobody_else(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    slot = BreakpointRequest(symbol(program, "ready"), 4, "rw", tid=1000)
    rows = Done([program], (slot,)).rows
    assert {row[0] for row in rows} == {1000}  # the first task reads it once, at the end


@pytest.mark.slow
def test_the_schedule_does_not_depend_on_the_size_of_the_slices(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    slot = BreakpointRequest(symbol(program, "counter"), 8, "w", cpu=0)

    def rows(budget: int) -> list[Row]:
        fd = create_memfd(1 << 14)
        backend, ring = EmulatedBackend(fd), RingReader(fd)
        os.close(fd)
        backend.launch(Launch(program, stacks=False, quantum=1000))
        backend.arm((slot,))
        backend.resume()
        while backend.running:
            backend._life.budget = budget
            backend.run_slice()
        return [
            (int(r["tid"]), int(r["cpu"]), int(r["insn_ip"]), int(r["value"]), int(r["time"]))
            for r in ring.read(0, 1 << 14)
        ]

    assert rows(313) == rows(1 << 20)


def test_rf_travels_through_a_signal_frame(tmp_path: Path) -> None:
    """perf's own puzzle (tools/perf/tests/bp_signal.c) needs this: one hit of the instruction, one of the handler."""
    program = built(tmp_path, RF, "-O1", "-no-pie")
    stub, handler = symbol(program, "stub"), symbol(program, "handler")
    slots = (BreakpointRequest(stub, 1, "x"), BreakpointRequest(handler, 1, "x"))
    fd = create_memfd(1 << 10)
    backend, ring = EmulatedBackend(fd), RingReader(fd)
    os.close(fd)
    backend.launch(Launch(program, stacks=False))
    backend.arm((BreakpointRequest(stub, 1, "x", stop=True), slots[1]))
    backend.resume()
    while backend.running:
        backend.run_slice()
    assert backend.view().stop.reason == "hit"  # at the instruction, RF set, and now a signal comes
    system = backend._machine.linux.system
    from backends.emulated.linux.sending import send, siginfo

    send(system, backend._first.process, 10, siginfo(10, 0, "iI", 1, 0))
    backend.resume()
    while backend.running:
        backend.run_slice()
    assert backend.view().exit_status == 0
    assert [int(row["ip"]) for row in ring.read(0, 100)] == [stub, handler, handler]
    assert b"".join(data for _, data in backend.output(0)) == b"2 2\n"


@pytest.mark.slow
def test_exec_and_exit_free_what_ptrace_held(tmp_path: Path) -> None:
    program = built(tmp_path, FORKS, "-O1", "-no-pie")
    fd = create_memfd(1 << 10)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch("/usr/bin/env", (program, "x"), stacks=False, allow=("exec",)))
    backend.ptrace_poke(None, 0, 0x1000_0000)
    backend.ptrace_poke(None, 7, 0xD0001)
    assert backend.view().cpus[0].free == 3
    backend.resume()
    seen = set()
    while backend.running:
        backend._life.budget = 20_000
        backend.run_slice()
        view = backend.view()
        if view.tasks and view.program == program:
            seen.add((view.cpus[0].free, view.tasks[0].ptrace_dr7, view.tasks[0].comm))
    assert seen == {(4, 0, "p")}
    assert backend.view().exit_status == 5


def test_a_deadlock_is_said_to_be_one(tmp_path: Path) -> None:
    source = (
        "#include <pthread.h>\nint main(void) { pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;\n"
        " pthread_mutex_lock(&m); pthread_mutex_lock(&m); return 0; }\n"
    )
    done = Done([built(tmp_path, source, "-O0")])
    assert done.view.state == "failed"
    assert "deadlock: nobody will wake task 1000 for futex" in done.view.stop.text


@pytest.mark.slow
def test_memory_shared_over_fork_is_one_memory(tmp_path: Path) -> None:
    """Locks and conditions in it too, whatever the schedule."""
    program = built(tmp_path, SHARED, "-O1")
    expected = native([program])
    assert expected.startswith("1200 1800, 0\nchild 0 read 'from the parent'\n")
    for cpus, quantum in ((1, 1000), (2, 150), (3, 10_000)):
        assert Done([program], cpus=cpus, quantum=quantum).output == expected


def test_a_watch_of_shared_memory_hits_in_each_process_with_what_the_others_wrote(tmp_path: Path) -> None:
    source = (
        "#include <sys/mman.h>\n#include <sys/wait.h>\n#include <unistd.h>\nvolatile long *word;\n"
        "int main(void) { word = mmap((void *)0x70000000, 4096, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);\n"
        " for (int n = 0; n < 3; n++) { if (!fork()) { *word += 1; _exit(0); } wait(0); *word *= 10; }\n"
        " return *word != 1110; }\n"
    )
    program = built(tmp_path, source, "-O1", "-static")
    done = Done([program], (BreakpointRequest(0x7000_0000, 8, "w", cpu=0),), cpus=1)
    assert done.view.exit_status == 0
    assert [row[3] for row in done.rows] == [1, 10, 11, 110, 111, 1110]
    assert [row[0] for row in done.rows] == [1001, 1000, 1002, 1000, 1003, 1000]


def test_shared_executable_memory_over_fork_is_refused_by_name(tmp_path: Path) -> None:
    source = (
        "#include <sys/mman.h>\n#include <unistd.h>\n"
        "int main(void) { mmap(0, 4096, 7, MAP_SHARED | MAP_ANONYMOUS, -1, 0); return fork() ? 0 : 1; }\n"
    )
    done = Done([built(tmp_path, source, "-O0")])
    assert done.view.state == "failed"
    assert "shared executable memory" in done.view.stop.text


def test_a_process_beside_its_parent_in_one_memory(tmp_path: Path) -> None:
    program = built(tmp_path, VM_CHILD, "-O1")
    assert native([program]) == "1500 23\n"
    for cpus in (1, 2):
        assert Done([program], cpus=cpus, quantum=300).output == "1500 23\n"


def test_a_thread_that_executes_a_program_takes_its_processs_number(tmp_path: Path) -> None:
    program = built(tmp_path, THREAD_EXECUTES, "-O1", "-no-pie")
    done = Done([program], (BreakpointRequest(symbol(program, "self"), 8, "w"),))
    assert done.output == native([program]) == "first\nagain: the only thread has the process's number: 1\n"
    assert done.view.exit_status == 9
    assert [row[0] for row in done.rows] == [1000]


def test_a_switch_between_tasks_without_breakpoints_writes_no_register(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    view = Done([program], quantum=200).view
    assert sum(cpu.switches for cpu in view.cpus) > 100
    assert [cpu.dr_writes for cpu in view.cpus] == [0, 0]


def test_a_switch_to_a_task_with_breakpoints_writes_address_and_dr7_and_away_dr7(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    backend = Done([program], quantum=100, slices=0, cpus=1).backend
    begin(backend, 5)
    tid = backend.view().tasks[2].tid
    backend.arm((BreakpointRequest(symbol(program, "watched"), 8, "w", tid=tid),))
    while backend.running:
        backend._life.budget = 1 << 20
        backend.run_slice()
    journal = backend.journal(0, 1 << 60)
    turns = [row for row in journal.occupancies if row.cpu == 0]
    assert len(turns) > 3
    assert all(row.end_ns is not None for row in turns)
    switches = [row for row in journal.writes if row.cause == "switch"]
    ins = sum(1 for row in switches if row.register == 0)
    outs = sum(1 for row in switches if row.register == 7) - ins
    assert abs(ins - outs) <= 1  # it is first installed, and last taken out, outside of a switch
    assert dict(backend.view().cpus[0].writes)["switch"] == len(switches)


def test_hits_are_those_of_their_own_thread(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    backend = Done([program], quantum=100, slices=0).backend
    begin(backend, 5)
    address = symbol(program, "watched")
    backend.arm(
        tuple(
            BreakpointRequest(address + 8 * n, 8, "w", tid=task.tid)
            for n, task in enumerate(backend.view().tasks[1:])
        )
    )
    while backend.running:
        backend._life.budget = 1 << 20
        backend.run_slice()
    assert [bp.hits for bp in backend.view().breakpoints] == [400] * 4


@pytest.mark.slow
def test_eight_processes_with_a_breakpoint_each(tmp_path: Path) -> None:
    """Every one on registers of its own, whichever CPU it has; an address is another byte in each process."""
    source = (
        "#include <stdlib.h>\n#include <sys/wait.h>\n#include <unistd.h>\nvolatile long word;\n"
        "int main(void) { for (int n = 0; n < 7; n++) if (!fork()) { sleep(1); for (int i = 0; i <= n; i++) word = i;"
        " _exit(0); }\n sleep(1); word = 1; while (wait(0) > 0); return 0; }\n"
    )
    program = built(tmp_path, source, "-O0", "-static")
    backend = Done([program], quantum=500, slices=0).backend
    begin(backend, 8)
    address = symbol(program, "word")
    backend.arm(tuple(BreakpointRequest(address, 8, "w", tid=task.tid) for task in backend.view().tasks))
    while backend.running:
        backend.run_slice()
    assert [bp.hits for bp in backend.view().breakpoints] == [1, 1, 2, 3, 4, 5, 6, 7]
    assert {bp.enabled for bp in backend.view().breakpoints} <= {True, False}
    assert len(backend.view().breakpoints) == 8  # the descriptors are open, so dead targets keep their slots


@pytest.mark.parametrize("late", [False, True], ids=["before the threads", "after them"])
def test_a_watch_of_a_program_follows_all_its_threads(tmp_path: Path, late: bool) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    done = Done([program], quantum=300, slices=0)
    backend = done.backend
    if late:
        begin(backend, 5)
    backend.arm((BreakpointRequest(symbol(program, "total"), 8, "w"),))
    while backend.running:
        backend._life.budget = 1 << 20
        backend.run_slice()
    (watch,) = backend.view().breakpoints
    rows = done.ring.read(0, 1 << 14)
    assert watch.hits == len(rows) == 1600
    assert {tid: [int(row["tid"]) for row in rows].count(tid) for tid in range(1000, 1006)} == {
        1000: 0, 1001: 400, 1002: 400, 1003: 400, 1004: 400, 1005: 0,
    }  # fmt: skip
    assert {int(row["breakpoint"]) for row in rows} == {watch.id}
    assert backend.view().cpus[0].free == 3  # its threads are gone, and their copies with them
    backend.disarm((watch.id,))
    assert [cpu.free for cpu in backend.view().cpus] == [4, 4]


def test_a_program_that_forks_without_end_is_told_to_try_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.emulated.linux.clone.MOST_PROCESSES", 3)
    source = (
        "#include <errno.h>\n#include <stdio.h>\n#include <sys/wait.h>\n#include <unistd.h>\n"
        "int main(void) { int n = 0; pid_t p; while ((p = fork()) > 0) n++; if (!p) pause();\n"
        ' printf("%d %d\\n", n, errno == EAGAIN); fflush(stdout); return 0; }\n'
    )
    done = Done([built(tmp_path, source, "-O0", "-static")])
    assert done.output == "2 1\n"
    assert "nobody will wake task 1001" in done.view.stop.text


@pytest.mark.slow
def test_turns_in_which_nothing_happens_are_like_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the short way through a turn leaves behind, for threads and processes, with a breakpoint of one of them."""
    program = built(tmp_path, CREW, "-O1", "-no-pie", "-pthread")
    counter = symbol(program, "counter")
    quick = 0

    def counting(machine: Machine, end: int) -> Stop | None:
        nonlocal quick
        before = machine.instructions
        stop = run_plain_turns(machine, end)
        quick += machine.instructions - before
        return stop

    def history(way: Callable[[Machine, int], Stop | None]) -> tuple[object, ...]:
        monkeypatch.setattr("backends.emulated.machine.run_plain_turns", way)
        fd = create_memfd(1 << 14)
        backend, ring = EmulatedBackend(fd), RingReader(fd)
        os.close(fd)
        backend.launch(Launch(program, stacks=False, cpus=2, quantum=700))
        backend.resume()
        begin(backend, 5)
        backend.arm((BreakpointRequest(counter, 8, "w", tid=1003),))
        backend.translate()
        machine = backend._machine
        while backend.running:
            backend._life.budget = 50_000
            backend.run_slice()
        journal = machine.linux.system.kernel.journal  # type: ignore[union-attr]
        hits = [
            tuple(int(row[name]) for name in ("tid", "cpu", "insn_ip", "time"))
            for row in ring.read(0, 1 << 14)
        ]
        return (
            [tuple(mark) for mark in journal.marks],
            [tuple(write) for write in journal.writes],
            hits,
            [cpu.switches for cpu in machine.cpus],
            machine.instructions,
            b"".join(data for _, data in backend.output(0)),
        )

    expected = history(lambda machine, end: None)
    assert history(counting) == expected
    assert quick > expected[4] // 10  # type: ignore[operator]
    assert len(expected[2]) > 3  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_slice_ends_soon_however_many_processes_begin(tmp_path: Path) -> None:
    """A process takes far longer to make than its instructions to run: who asks the machine to stop is heard in between."""
    program = built(tmp_path, "#include <unistd.h>\nint main(void) { for (;;) fork(); }", "-O1")
    fd = create_memfd(1 << 12)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch(program, stacks=False))
    backend.resume()
    there = 1
    for _ in range(8):
        backend._life.budget = 1 << 30
        backend.run_slice()
        now = len(backend.view().tasks)
        assert now <= there + 5
        there = now
    assert there > 10
    assert backend.stop().state == "stopped"
    backend.close()
