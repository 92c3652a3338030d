"""gdb, gdbserver, perf, bpftrace, a small debugger and ourselves hold registers at the same time: the books have each of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kernelview.books import Books, Holding
from backends.kernelview.scanner import Scanner
from tests.live.bpf_here import needs_bpf
from tests.live.holders import bpftrace, debugger, needs_gcc, perf_open, puppet, symbol, until

pytestmark = [
    pytest.mark.root, pytest.mark.live, pytest.mark.slow, pytest.mark.undisturbed, needs_bpf, needs_gcc,
]  # fmt: skip

Row = tuple[str, str, int, int, str, bool]


def rows(books: Books, pid: int) -> set[Row]:
    """(kind, owner's comm, address, length, type, enabled) of what watches a process."""
    found = (h for h in books.of_process(pid).holdings if h.target is not None)
    return {(h.owner.kind, h.owner.comm or "", h.address, h.length, h.type, h.enabled) for h in found}


def wide(books: Books, pid: int) -> list[Holding]:
    return [h for h in books.holdings if h.owner.pid == pid and h.target is None]


@contextlib.contextmanager
def perf_stat(event: str, pid: int) -> Iterator[int]:
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("needs perf")
    command = [perf, "stat", "-e", event, "-p", str(pid), "sleep", "60"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def test_everybody_at_once_is_found_with_everything_right(programs: Path) -> None:
    gdbserver = shutil.which("gdbserver")
    if gdbserver is None:
        pytest.skip("needs gdbserver")
    victim = programs / "victim"
    counter, total, main = (symbol(victim, name) for name in ("counter", "total", "main"))
    scanner = Scanner.of_host()
    with contextlib.ExitStack() as stack:
        stack.callback(scanner.close)
        first, second, third = (stack.enter_context(puppet(victim)) for _ in range(3))
        gdb = stack.enter_context(
            debugger(victim, f"attach {first.pid}", "watch *(long *)&counter", "hbreak main", "continue")
        )
        remote = f"target remote | {gdbserver} --once --attach stdio {second.pid}"
        stack.enter_context(debugger(victim, remote, "awatch *(short *)&total", "continue"))
        tracer = stack.enter_context(
            puppet(programs / "tracer", third.pid, 2, counter, 7, 0xD << 24 | 1 << 4)
        )
        # Not on the first: gdb may have one of its own there, and then nothing would be left for every CPU.
        stat = stack.enter_context(perf_stat(f"mem:{counter:#x}/4:rw", third.pid))
        trace = stack.enter_context(
            bpftrace(f"watchpoint:{total:#x}:8:w {{ @n = count(); }}", "-p", str(second.pid))
        )
        everywhere = stack.enter_context(bpftrace(f"watchpoint:{counter + 64:#x}:8:w {{ @n = count(); }}"))
        fd = perf_open(main, 8, 4, pid=third.pid, disabled=True)
        stack.callback(os.close, fd)

        me = Path("/proc/self/comm").read_text().removesuffix("\n")
        expected: dict[int, set[Row]] = {
            first.pid: {
                ("ptrace", "gdb", counter, 8, "w", True),
                ("ptrace", "gdb", main, 1, "x", True),
            },
            second.pid: {
                ("ptrace", "gdbserver", total, 2, "rw", True),
                ("perf", "bpftrace", total, 8, "w", True),
            },
            third.pid: {
                ("ptrace", "tracer", counter, 4, "w", True),
                ("perf", me, main, 1, "x", False),
                ("perf", "perf", counter, 4, "rw", True),
            },
        }

        def good(books: Books) -> bool:
            each = all(rows(books, pid) >= wanted for pid, wanted in expected.items())
            return each and len(wide(books, everywhere.pid)) == len(books.cpus)

        books = until(scanner.scan, good)
        for pid, wanted in expected.items():
            # gdb may have one of its own inside the program's loader
            assert rows(books, pid) >= wanted, pid
            assert {row for row in rows(books, pid) - wanted if row[1] != "gdb"} == set(), pid
        owners = {h.owner.pid for pid in expected for h in books.of_process(pid).holdings if h.target}
        assert owners >= {gdb, tracer.pid, stat, trace.pid, os.getpid()}
        assert {h.cpu for h in wide(books, everywhere.pid)} == {cpu.cpu for cpu in books.cpus}
        for cpu in books.cpus:
            (mine,) = [h for h in cpu.slots if h.owner.pid == everywhere.pid]
            assert mine.slot is not None
            assert cpu.dr7 >> 2 * mine.slot & 3
            # a CPU-wide request leaves room for the task that has most, besides what is bound to the CPU
            most = max(len(rows(books, pid)) for pid in expected)
            assert cpu.free == max(0, 4 - 1 - most)
