"""What the arguments of owners' words mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from backends.base import HwbpError
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.tasks import Task
from backends.model import WatchType

__all__ = ["MASK64", "ROWS", "Lines", "Reading", "number"]

MASK64: Final = (1 << 64) - 1
ROWS: Final = 1000
"""The most lines that one answer has."""

Lines = Iterator[str]


def number(text: str, what: str, most: int = MASK64) -> int:
    """A decimal or 0x number (EINVAL)."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}", text):
        raise HwbpError(f"{what} expected, not '{text}'", errno="EINVAL")
    value = int(text, 16 if text[:2].lower() == "0x" else 10)
    if value > most:
        raise HwbpError(f"{what}: {text} is above {most:#x}", errno="EINVAL")
    return value


class Reading:
    """CPUs, tasks and addresses by what a person writes. `opener` owns the session's perf descriptors; `first` is the
    program's first task. A method `do_VERB` of a subclass answers one verb, in lines.
    """

    def __init__(self, kernel: Kernel, opener: Task, first: Callable[[], Task]) -> None:
        self._kernel = kernel
        self._opener = opener
        self._first = first

    def _cpu(self, text: str) -> int:
        cpu = number(text.lower().removeprefix("cpu"), "a CPU's number")
        if cpu >= len(self._kernel.cpus):
            raise HwbpError(f"no CPU {cpu}: there are {len(self._kernel.cpus)}", errno="ENXIO")
        return cpu

    def _task(self, text: str) -> Task:
        return self._kernel.task(number(text, "a task's number")) if text else self._first()

    def _address(self, text: str) -> int:
        """A number, or a kernel symbol with an offset (ENOENT)."""
        match = re.fullmatch(r"([A-Za-z_]\w*)([+-]?)(\w*)", text)
        if match is None:
            return number(text, "an address or a kernel symbol")
        symbol, sign, offset = match.groups()
        base = self._kernel.symbols.get(symbol)
        if base is None:
            known = ", ".join(sorted(self._kernel.symbols))
            raise HwbpError(f"no kernel symbol '{symbol}'", errno="ENOENT", remedy=f"there is {known}")
        shift = number(offset, "an offset") if sign else 0
        return base + (shift if sign != "-" else -shift) & MASK64

    def _window(self, text: str, kind: str = "w") -> tuple[int, int, WatchType]:
        """ADDRESS[/LENGTH][:TYPE]."""
        rest, colon, kind_ = text.rpartition(":")
        if not colon:
            rest, kind_ = text, kind
        if kind_ not in ("w", "rw", "x"):
            remedy = "x86 cannot watch reads alone: use rw" if kind_ == "r" else ""
            raise HwbpError(f"type '{kind_}': w, rw or x", errno="EINVAL", remedy=remedy)
        where, slash, size = rest.partition("/")
        length = number(size, "a length", 4096) if slash else (1 if kind_ == "x" else 8)
        return self._address(where), length, kind_  # type: ignore[return-value]

    def _fd(self, text: str) -> int:
        return number(text, "a perf event's number", 1 << 20)

    def _registers(self) -> Lines:
        """DR7 of every CPU beside the kernel's copy."""
        for registers in self._kernel.cpus:
            ghosts = registers.ghosts() if self._kernel.kgdb.stopped is None else ()
            note = f", ghosts: {', '.join(f'DR{slot}' for slot in ghosts)}" if ghosts else ""
            yield f"CPU {registers.cpu}: DR7 {registers.unit.dr7:#010x}, the kernel's copy {registers.cpu_dr7:#010x}{note}"
