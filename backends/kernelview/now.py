"""The books as they are now, and who holds the slots, for whoever has just been refused one."""

from __future__ import annotations

from backends.base import HwbpError
from backends.kernelview.books import Books, Holding
from backends.kernelview.btf import Btf
from backends.kernelview.layout import Layout
from backends.kernelview.memory import BpfMemory, UnreadableError
from backends.kernelview.procfs import books_from_proc, hints
from backends.kernelview.scanner import Scanner
from backends.kernelview.tasks import Tasks

__all__ = ["KernelMemory", "books_now", "describe", "holders", "holders_in"]

_MOST_LINES = 12


class KernelMemory:
    """The running kernel's memory for expressions about it. Raises HwbpError (EPERM) where that is closed to us."""

    def __init__(self) -> None:
        self._memory = BpfMemory()
        self._tasks: Tasks | None = None

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address. Raises HwbpError (EFAULT) where there is no memory."""
        try:
            return self._memory.read(address, size)
        except UnreadableError as error:
            raise HwbpError(f"no kernel memory at {address:#x}", errno="EFAULT") from error

    def task(self, pid: int) -> int | None:
        """The address of the task_struct of a process or thread, None where there is none."""
        if self._tasks is None:
            self._tasks = Tasks(Layout(Btf.load()), self._memory)
        return self._tasks.numbered(pid)

    def close(self) -> None:
        """Give the way to the kernel's memory back."""
        self._memory.close()


def books_now(pid: int | None = None) -> Books:
    """The running kernel's books, or what /proc says where they are closed to this process. With a PID, only what
    concerns that process."""
    try:
        scanner = Scanner.of_host()
    except HwbpError as error:
        return books_from_proc(error.message, pid)
    try:
        books = scanner.scan()
    finally:
        scanner.close()
    return books if pid is None else books.of_process(pid)


def holders(pid: int | None = None) -> tuple[str, ...]:
    """One line for each breakpoint that stands in the way of a request, for `HwbpError.holders`.

    With a PID: what watches that process or its threads, and what is bound to a CPU; without: all. Where the kernel's
    books are closed: whoever may be holding some, by what /proc shows. Never raises.
    """
    try:
        scanner = Scanner.of_host()
    except (HwbpError, OSError):
        return hints(pid)
    try:
        return holders_in(scanner.scan(), pid)
    except (HwbpError, OSError):
        return ()
    finally:
        scanner.close()


def holders_in(books: Books, pid: int | None = None) -> tuple[str, ...]:
    """The same, from a scan that has been made."""
    lines: list[str] = []
    for holding in books.holdings:
        in_the_way = holding.target is None or pid is None or pid in (holding.target.pid, holding.target.tid)
        if in_the_way and (line := describe(holding)) not in lines:
            lines.append(line)
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and {len(lines) - _MOST_LINES} more: hwbp-tui slots"]
    return tuple(lines)


def describe(holding: Holding) -> str:
    """A holding in one line: `perf 1234 (perf) fd 3: 0x404140/8:w on CPU 0`."""
    owner = holding.owner
    who: list[str] = [owner.kind]
    if owner.pid is not None:
        who.append(f"{owner.pid}")
    if owner.comm:
        who.append(f"({owner.comm})")
    if owner.fd is not None:
        who.append(f"fd {owner.fd}")
    if holding.orphan:
        who.append("(left behind)")
    what = f"{holding.address:#x}/{holding.length}:{holding.type}"
    where = [f"in {holding.target.tid} ({holding.target.comm})"] if holding.target else []
    if holding.cpu is not None:
        where.append(f"on CPU {holding.cpu}")
    state = "" if holding.enabled else ", disabled"
    return f"{' '.join(who)}: {what} {' '.join(where)}{state}".rstrip()
