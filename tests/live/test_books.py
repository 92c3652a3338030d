"""The kernel's books against real holders: every kind, target, address, type, length and reservation."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from backends.kernelview.books import Books, Holding, Target
from backends.kernelview.now import holders, holders_in
from backends.kernelview.scanner import Scanner
from backends.model import Owner
from tests.live.bpf_here import needs_bpf
from tests.live.holders import Puppet, bpftrace, debugger, needs_gcc, perf_open, puppet, symbol, until

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, needs_bpf, needs_gcc]

ME = os.getpid()
COMM = Path("/proc/self/comm").read_text().removesuffix("\n")


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    scanner = Scanner.of_host()
    yield scanner
    scanner.close()


@contextlib.contextmanager
def opened(*openings: Callable[[], int]) -> Iterator[list[int]]:
    """Events, closed again also where one of them cannot be had."""
    fds: list[int] = []
    try:
        for opening in openings:
            fds.append(opening())
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@contextlib.contextmanager
def apart(pid: int) -> Iterator[None]:
    """That process on one CPU, we on another: while we look it runs."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    os.sched_setaffinity(pid, cpus[-1:])
    os.sched_setaffinity(0, cpus[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def of(books: Books, pid: int) -> tuple[Holding, ...]:
    return books.of_process(pid).holdings


def test_a_perf_event_on_a_sleeping_task_is_reserved(scanner: Scanner, victim: Puppet, counter: int) -> None:
    with opened(partial(perf_open, counter, 8, pid=victim.pid)) as (fd,):
        (holding,) = of(scanner.scan(), victim.pid)
        assert (holding.slot, holding.address, holding.length, holding.type) == (None, counter, 8, "w")
        assert holding.owner == Owner("perf", ME, COMM, fd)
        assert holding.target == Target(victim.pid, victim.pid, "victim")
        assert (holding.enabled, holding.cpu, holding.hits, holding.orphan) == (True, None, 0, False)
    assert of(scanner.scan(), victim.pid) == ()


@pytest.mark.parametrize(
    ("kind", "length", "as_shown"),
    [(2, 1, (1, "w")), (3, 2, (2, "rw")), (2, 4, (4, "w")), (3, 8, (8, "rw")), (4, 8, (1, "x"))],
)
def test_types_and_lengths_are_those_of_the_hardware(
    scanner: Scanner, victim: Puppet, counter: int, kind: int, length: int, as_shown: tuple[int, str]
) -> None:
    with opened(partial(perf_open, counter, length, kind, pid=victim.pid)):
        (holding,) = of(scanner.scan(), victim.pid)
        assert (holding.length, holding.type) == as_shown


def test_hits_are_the_events_own_count(scanner: Scanner, victim: Puppet, counter: int) -> None:
    with opened(partial(perf_open, counter, pid=victim.pid)):
        for _ in range(3):
            victim.ask("h")
        assert [holding.hits for holding in of(scanner.scan(), victim.pid)] == [3]


def test_a_task_on_a_cpu_has_its_breakpoints_in_registers(
    scanner: Scanner, victim: Puppet, counter: int
) -> None:
    with (
        opened(
            partial(perf_open, counter, pid=victim.pid), partial(perf_open, counter + 8, 4, 3, pid=victim.pid)
        ),
        apart(victim.pid),
    ):
        victim.ask("s")
        books = until(scanner.scan, lambda books: sum(h.slot is not None for h in of(books, victim.pid)) == 2)
        in_registers = [
            (cpu, h) for cpu in books.cpus for h in cpu.slots if h.target and h.target.pid == victim.pid
        ]
        assert [(h.address, h.length, h.type) for _, h in in_registers] == [
            (counter, 8, "w"),
            (counter + 8, 4, "rw"),
        ]
        assert len({cpu.cpu for cpu, _ in in_registers}) == 1
        for cpu, holding in in_registers:
            assert holding.slot is not None
            assert cpu.dr7 >> 2 * holding.slot & 3 == 2  # Gn
        assert len(of(books, victim.pid)) == 2


def test_a_disabled_event_still_holds_its_slot(scanner: Scanner, victim: Puppet, counter: int) -> None:
    with opened(partial(perf_open, counter, pid=victim.pid, disabled=True)):
        (holding,) = of(scanner.scan(), victim.pid)
        assert (holding.slot, holding.enabled) == (None, False)


def test_every_thread_has_its_own(scanner: Scanner, programs: Path, counter: int) -> None:
    with (
        puppet(programs / "victim", 3) as child,
        opened(*(partial(perf_open, counter, pid=tid) for tid in child.tids)),
    ):
        found = of(scanner.scan(), child.pid)
        assert sorted(h.target.tid or 0 for h in found if h.target) == sorted(child.tids)
        assert {h.target.pid for h in found if h.target} == {child.pid}
        only = of(scanner.scan(), child.tids[2])
        assert [h.target.tid for h in only if h.target] == [child.tids[2]]


def test_an_event_of_a_task_that_has_ended_still_holds_its_slot(
    scanner: Scanner, programs: Path, counter: int
) -> None:
    with puppet(programs / "victim") as child, opened(partial(perf_open, counter, pid=child.pid)) as (fd,):
        child.kill()
        (holding,) = of(scanner.scan(), child.pid)
        assert holding.owner == Owner("perf", ME, COMM, fd)
        assert not holding.enabled


def test_an_inherited_event_is_its_childs_and_its_makers(scanner: Scanner, programs: Path) -> None:
    program = (
        "import os, sys; p = os.fork(); print('ready', flush=True) if not p else None; sys.stdin.read(1)"
    )
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("needs perf")
    command = [perf, "stat", "-e", "mem:0x10000/8:w", sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            found = [h for h in scanner.scan().holdings if h.owner.pid == process.pid]
            assert len(found) == 2
            assert {h.owner for h in found} == {Owner("perf", process.pid, "perf", found[0].owner.fd)}
            assert found[0].owner.fd is not None
            assert len({h.target.pid for h in found if h.target}) == 2
        finally:
            process.communicate(b"x")


def test_an_event_whose_maker_ended_belongs_to_whoever_has_its_descriptor(
    scanner: Scanner, victim: Puppet, counter: int
) -> None:
    read, write = os.pipe()
    if not (maker := os.fork()):
        fd = perf_open(counter, pid=victim.pid)
        if not os.fork():
            os.write(write, f"{os.getpid()} {fd}".encode())
            signal.pause()
        os._exit(0)
    os.waitpid(maker, 0)
    heir, fd = (int(word) for word in os.read(read, 64).split())
    try:
        (holding,) = (
            until(scanner.scan, lambda books: len(of(books, victim.pid)) == 1).of_process(heir).holdings
        )
        assert holding.owner == Owner("perf", heir, COMM, fd)
        assert not holding.orphan
    finally:
        os.kill(heir, signal.SIGKILL)
        os.close(read)
        os.close(write)


def test_a_small_debugger_holds_what_it_has_written(
    scanner: Scanner, programs: Path, victim: Puppet, counter: int
) -> None:
    with puppet(programs / "tracer", victim.pid, 1, counter, 7, 0xD0_0004, 3, counter + 8) as tracer:
        assert tracer.first == ["ready"]
        found = {h.index: h for h in of(scanner.scan(), victim.pid)}
        assert found.keys() == {1, 3}
        owner = Owner("ptrace", tracer.pid, "tracer")
        assert {h.owner for h in found.values()} == {owner}
        one, three = found[1], found[3]
        assert (one.address, one.length, one.type, one.enabled, one.orphan) == (counter, 4, "w", True, False)
        assert (three.address, three.length, three.type, three.enabled) == (counter + 8, 1, "w", False)
        assert one.target == Target(victim.pid, victim.pid, "victim")


@pytest.mark.parametrize("end", ["kill", "detach"])
def test_a_watch_that_a_tracer_leaves_behind_is_an_orphan(
    scanner: Scanner, programs: Path, victim: Puppet, counter: int, end: str
) -> None:
    with puppet(programs / "tracer", victim.pid, 0, counter, 7, 0xD_0001) as tracer:
        if end == "kill":
            tracer.kill()
        else:
            assert tracer.process.stdin
            tracer.process.stdin.write("d\n")
            tracer.process.stdin.flush()
            tracer.process.wait()
    (holding,) = (
        until(scanner.scan, lambda books: all(h.orphan for h in of(books, victim.pid)))
        .of_process(victim.pid)
        .holdings
    )
    assert holding.owner == Owner("ptrace")
    assert (holding.orphan, holding.enabled, holding.address, holding.index) == (True, True, counter, 0)


@pytest.mark.slow
def test_gdbs_watch_is_found(scanner: Scanner, programs: Path, victim: Puppet, counter: int) -> None:
    commands = [f"attach {victim.pid}", "watch *(long *)&counter", "hbreak main", "continue"]
    with debugger(programs / "victim", *commands) as pid:
        books = until(scanner.scan, lambda books: sum(h.enabled for h in of(books, victim.pid)) == 2)
        found = of(books, victim.pid)
        assert (counter, 8, "w") in {(h.address, h.length, h.type) for h in found}
        assert sorted(h.type for h in found) == ["w", "x"]
        assert {h.owner for h in found} == {Owner("ptrace", pid, "gdb")}
    books = until(scanner.scan, lambda books: all(h.orphan for h in of(books, victim.pid)))
    assert {h.orphan for h in of(books, victim.pid)} == {True}


@pytest.mark.slow
def test_gdbservers_watches_are_found(scanner: Scanner, programs: Path, victim: Puppet, counter: int) -> None:
    gdbserver = shutil.which("gdbserver")
    if gdbserver is None:
        pytest.skip("needs gdbserver")
    commands = [
        f"target remote | {gdbserver} --once --attach stdio {victim.pid}",
        *("watch *(long *)&counter", "awatch *(short *)&total", "hbreak main", "continue"),
    ]
    with debugger(programs / "victim", *commands):
        books = until(scanner.scan, lambda books: sum(h.enabled for h in of(books, victim.pid)) == 3)
        found = of(books, victim.pid)
        total = symbol(programs / "victim", "total")
        assert {(h.address, h.length, h.type) for h in found} >= {(counter, 8, "w"), (total, 2, "rw")}
        assert sorted(h.type for h in found) == ["rw", "w", "x"]
        (owner,) = {h.owner for h in found}
        assert (owner.kind, owner.comm) == ("ptrace", "gdbserver")
        assert Path(f"/proc/{owner.pid}/comm").read_text() == "gdbserver\n"


def test_bpftraces_watchpoint_on_a_process_is_found(scanner: Scanner, victim: Puppet, counter: int) -> None:
    with bpftrace(f"watchpoint:{counter:#x}:8:w {{ @n = count(); }}", "-p", str(victim.pid)) as process:
        books = until(scanner.scan, lambda books: bool(of(books, victim.pid)))
        (found,) = of(books, victim.pid)
        assert (found.address, found.length, found.type, found.enabled) == (counter, 8, "w", True)
        assert (found.owner.kind, found.owner.pid, found.owner.comm) == ("perf", process.pid, "bpftrace")
        assert os.readlink(f"/proc/{process.pid}/fd/{found.owner.fd}") == "anon_inode:[perf_event]"
        before = {cpu.cpu: cpu.free for cpu in books.cpus}
        assert max(before.values()) <= 3  # a CPU-wide request leaves room for it
        victim.ask("h")
        books = until(scanner.scan, lambda books: any(h.hits for h in of(books, victim.pid)))
        assert [h.hits for h in of(books, victim.pid)] == [1]


def test_bpftraces_watchpoint_on_everything_is_found_on_each_cpu(scanner: Scanner, counter: int) -> None:
    with bpftrace(f"watchpoint:{counter:#x}:8:w {{ @n = count(); }}") as process:

        def held(books: Books) -> list[Holding]:
            return [h for h in books.holdings if h.owner.pid == process.pid]

        books = until(scanner.scan, lambda books: len(held(books)) == len(books.cpus))
        assert {h.cpu for h in held(books)} == {cpu.cpu for cpu in books.cpus}
        assert {(h.address, h.length, h.type, h.target) for h in held(books)} == {(counter, 8, "w", None)}
        for cpu in books.cpus:
            (mine,) = [h for h in cpu.slots if h.owner.pid == process.pid]
            assert mine.slot is not None
            assert cpu.dr7 >> 2 * mine.slot & 3


def test_perf_stat_on_threads_is_found_with_each_of_its_descriptors(
    scanner: Scanner, programs: Path, counter: int
) -> None:
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("needs perf")
    with (
        puppet(programs / "victim", 2) as child,
        subprocess.Popen(
            [perf, "stat", "-e", f"mem:{counter:#x}/8:rw", "-p", str(child.pid), "sleep", "60"],
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            books = until(scanner.scan, lambda books: len(of(books, child.pid)) >= 3)
            found = of(books, child.pid)
            assert {(h.address, h.length, h.type) for h in found} == {(counter, 8, "rw")}
            assert {h.target.tid for h in found if h.target} == set(child.tids)
            assert {h.owner.pid for h in found} == {process.pid}
            links = {h.owner.fd: os.readlink(f"/proc/{process.pid}/fd/{h.owner.fd}") for h in found}
            assert len(links) == len(found)
            assert set(links.values()) == {"anon_inode:[perf_event]"}
        finally:
            for line in subprocess.run(
                ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
            ).stdout.split():
                os.kill(int(line), signal.SIGKILL)
            process.kill()


def test_a_full_task_names_its_holders(
    scanner: Scanner, programs: Path, victim: Puppet, counter: int
) -> None:
    with (
        puppet(programs / "tracer", victim.pid, 0, counter, 7, 0xD_0001) as tracer,
        opened(*(partial(perf_open, counter + 8 * n, pid=victim.pid) for n in range(3))) as fds,
    ):
        with pytest.raises(OSError, match="No space") as caught:
            perf_open(counter, pid=victim.pid)
        assert caught.value.errno == errno.ENOSPC
        lines = [line for line in holders(victim.pid) if "victim" in line]
        assert lines == [line for line in holders_in(scanner.scan(), victim.pid) if "victim" in line]
        assert f"ptrace {tracer.pid} (tracer): {counter:#x}/4:w in {victim.pid} (victim)" in lines
        assert f"perf {ME} ({COMM}) fd {fds[2]}: {counter + 16:#x}/8:w in {victim.pid} (victim)" in lines
        assert len(lines) == 4


@pytest.mark.slow
def test_an_event_of_a_cpu_is_in_its_register_and_leaves_less_for_others(
    scanner: Scanner, counter: int
) -> None:
    cpu = max(scanner.per_cpu.bases)
    before = {book.cpu: book.free for book in scanner.scan().cpus}
    with opened(
        partial(perf_open, counter, 8, 3, cpu=cpu), partial(perf_open, counter, cpu=cpu, disabled=True)
    ) as (fd, off):
        books = scanner.scan()
        mine = of(books, ME)
        armed = next(h for h in mine if h.owner.fd == fd)
        assert (armed.cpu, armed.target, armed.address, armed.length, armed.type) == (
            cpu,
            None,
            counter,
            8,
            "rw",
        )
        assert armed in next(book for book in books.cpus if book.cpu == cpu).slots
        disabled = next(h for h in mine if h.owner.fd == off)
        assert (disabled.slot, disabled.cpu, disabled.enabled) == (None, cpu, False)
        after = {book.cpu: book.free for book in books.cpus}
        assert before[cpu] - after[cpu] == 2
        assert all(before[other] == after[other] for other in before if other != cpu)


@pytest.mark.slow
@pytest.mark.parametrize("of_task", [0, 1, 3])
@pytest.mark.parametrize("of_cpu", [0, 1])
def test_what_is_said_to_be_free_is_what_the_kernel_gives(
    scanner: Scanner, victim: Puppet, counter: int, of_task: int, of_cpu: int
) -> None:
    cpu = max(scanner.per_cpu.bases)
    with contextlib.ExitStack() as stack:
        for number in range(of_task):
            stack.callback(os.close, perf_open(counter + 8 * number, pid=victim.pid, disabled=True))
        for _ in range(of_cpu):
            stack.callback(os.close, perf_open(counter, cpu=cpu, disabled=True))
        said = next(book.free for book in scanner.scan().cpus if book.cpu == cpu)
        given = 0
        with contextlib.suppress(OSError):
            while given <= 4:
                stack.callback(os.close, perf_open(counter, cpu=cpu, disabled=True))
                given += 1
        assert said == given
        assert said <= 4 - of_task - of_cpu


@pytest.mark.slow
def test_it_holds_while_tasks_and_events_come_and_go(scanner: Scanner, programs: Path, counter: int) -> None:
    """Whatever is seen is something that was really there; a scan never fails."""
    program = programs / "stormy"
    program.write_bytes((programs / "victim").read_bytes())
    program.chmod(0o755)
    command = [sys.executable, "-m", "tests.live.storm", str(program), str(counter)]
    storm = [subprocess.Popen(command) for _ in range(3)]
    try:
        deadline = time.monotonic() + float(os.environ.get("HWBP_TUI_TEST_SECONDS", "10"))
        scans = seen = 0
        slowest = 0.0
        while time.monotonic() < deadline:
            books = scanner.scan()
            scans += 1
            slowest = max(slowest, books.scan_ms)
            for holding in books.holdings:
                if holding.target is not None and holding.target.comm == "stormy":
                    seen += 1
                    assert holding.address - counter in (0, 8, 16)
                    assert (holding.length, holding.type) in (
                        (8, "w"),
                        (4, "rw"),
                        (1, "w"),
                        (1, "x"),
                        (4, "w"),
                    )
                    assert holding.owner.kind in ("perf", "ptrace")
            for book in books.cpus:
                assert 0 <= book.free <= 4
                slots = [holding.slot for holding in book.slots]
                assert len(slots) == len(set(slots))
        print(f"{scans} scans, {seen} holdings seen, slowest {slowest:.1f} ms")
        assert scans > 100
        assert seen > 100
    finally:
        for process in storm:
            process.kill()
            process.wait()
