"""A launched program while its dynamic loader works: stopped at each system call that maps something.

Not by a breakpoint trap, which would kill the program if we died in it: a stop at a system call ends without a signal
(kernel/ptrace.c: with PTRACE_O_TRACESYSGOOD its signal number is no signal that could be sent).
"""

from __future__ import annotations

from typing import Final

from backends.perf import ptrace
from backends.perf.process import mappings_of
from backends.perf.target import Target

__all__ = ["Loading"]

_MMAPS: Final = {64: (9,), 32: (90, 192)}
"""mmap by the program's bits (arch/x86/entry/syscalls); of 32 bits the old one, and mmap2."""


class Loading:
    """Runs the target, which stands at its exec or at a system call, to the next mapping."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def go_on(self) -> bool:
        """Until more code is mapped (True), or the first system call that the loader did not make (False): that one
        comes from the program or a library's constructor, so everything that the program needs is mapped then."""
        target = self._target
        pid = target.pid
        before = _code(pid)
        loader = _module_of(pid, ptrace.registers(pid).ip)
        number = 0
        while True:
            ptrace.run_to_syscall(pid, number)
            news = ptrace.wait(pid, block=True)
            assert news is not None
            if news.exit is not None:
                target.end(news.exit)
                return False
            number = 0
            if not news.at_syscall:
                number = 0 if news.event else news.signal
                continue
            registers = ptrace.registers(pid)
            if not any(start <= registers.ip < end for start, end in loader):
                return False
            if registers.values["orig_rax"] in _MMAPS[target.bits] and _code(pid) != before:
                return True


def _code(pid: int) -> set[str]:
    return {row.path for row in mappings_of(pid) if "x" in row.perms}


def _module_of(pid: int, ip: int) -> list[tuple[int, int]]:
    """Every mapping of the file that holds an address."""
    rows = mappings_of(pid)
    path = next((row.path for row in rows if row.start <= ip < row.end), "")
    return [(row.start, row.end) for row in rows if row.path == path]
