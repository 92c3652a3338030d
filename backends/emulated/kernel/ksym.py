"""The ftrace owner of 2.6.33 to 2.6.35: ksym_tracer (kernel/trace/trace_ksym.c), modelled from source.

A symbol is watched on every CPU, four bytes long. Lines go into ksym_trace_filter; hits are recorded only while ksym_tracer
is the current tracer, and leaving it clears every filter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.events import PerfEvent, Regs
from backends.emulated.kernel.tasks import Task
from backends.emulated.kernel.wide import register_wide, unregister_wide
from backends.model import Owner

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["KsymTracer"]

_LENGTH: Final = 4
_TYPES: Final = {"r--": 1, "-w-": 2, "rw-": 3}
_NAMES: Final = {1: "R", 2: "W", 3: "RW"}
_KEPT: Final = 4096
_PINNED: Final = 1 << FLAGS["pinned"]


@dataclass(slots=True)
class _Entry:
    """struct trace_ksym."""

    symbol: str
    address: int
    type: int
    events: list[PerfEvent] = field(default_factory=list)
    hits: int = 0


class KsymTracer:
    """tracing/ksym_trace_filter, current_tracer and ksym_profile. `symbols` looks a kernel symbol up (None: unknown)."""

    def __init__(self, kernel: Kernel, symbols: Callable[[str], int | None]) -> None:
        self._kernel = kernel
        self._symbols = symbols
        self._entries: list[_Entry] = []
        self.current = False
        self._trace: deque[str] = deque(maxlen=_KEPT)

    def _need(self) -> None:
        if not self._kernel.config.has_ksym_tracer:
            version = ".".join(map(str, self._kernel.config.version))
            raise HwbpError(f"no ksym_tracer in Linux {version}: it was in 2.6.33 to 2.6.35", errno="ENOENT")

    def select(self, on: bool) -> None:
        """`echo ksym_tracer > current_tracer`, or another tracer's name: leaving it clears all filters."""
        self._need()
        self.current = on
        if not on:
            self._clear()

    def write(self, line: str, caller: Task | None = None) -> None:
        """ksym_trace_filter_write: `SYMBOL:rw-`; empty, `0` or `*:---` clears all (EINVAL, ENOSPC).

        `SYMBOL:---` was meant to remove one symbol and is EINVAL since the tracer is based on perf events: a quirk of
        the original, which is kept.
        """
        self._need()
        text = line.strip()
        if text in ("", "0", "*:---"):
            self._clear()
            return
        symbol, colon, operation = text.partition(":")
        if not colon or not symbol or len(operation) != 3:
            raise HwbpError(
                f"'{text}': SYMBOL:rw- is expected, three characters after the colon", errno="EINVAL"
            )
        if operation not in _TYPES:
            raise HwbpError(f"'{operation}': r--, -w- and rw- are known", errno="EINVAL")
        address = self._symbols(symbol)
        if address is None:
            raise HwbpError(f"no kernel symbol '{symbol}'", errno="EINVAL")
        self._set(symbol, address, _TYPES[operation], caller)

    def _set(self, symbol: str, address: int, kind: int, caller: Task | None) -> None:
        """A known symbol with another operation is registered anew; if that fails, the entry is dropped."""
        entry = next((each for each in self._entries if each.symbol == symbol), None)
        if entry is not None:
            if entry.type == kind:
                raise HwbpError(f"{symbol} is watched so already", errno="EINVAL")
            unregister_wide(self._kernel, entry.events)
            self._entries.remove(entry)
            entry.type = kind
        else:
            entry = _Entry(symbol, address, kind)
        attr = Attr(sample_period=1, flags=_PINNED, bp_type=kind, bp_addr=address, bp_len=_LENGTH)
        owner = Owner("ftrace", comm="ksym_tracer")
        entry.events = register_wide(self._kernel, attr, owner, caller, self._hit(entry), symbol)
        self._entries.insert(0, entry)

    def _hit(self, entry: _Entry) -> Callable[[PerfEvent, Regs, int], None]:
        def handler(_event: PerfEvent, regs: Regs, cpu: int) -> None:
            if self.current:
                entry.hits += 1
                task = self._kernel.current(cpu)
                who = f"{task.comm}-{task.tid}" if task is not None else "<idle>-0"
                self._trace.append(
                    f"{who:>20} {cpu}     {entry.symbol:<20} {_NAMES[entry.type]:<6} {regs.ip:#x}"
                )

        return handler

    def _clear(self) -> None:
        for entry in self._entries:
            unregister_wide(self._kernel, entry.events)
        self._entries.clear()

    def filter(self) -> tuple[str, ...]:
        """What ksym_trace_filter reads back, newest first."""
        self._need()
        modes = {kind: text for text, kind in _TYPES.items()}
        return tuple(f"{each.symbol}+0x0/{_LENGTH:#x}:{modes[each.type]}" for each in self._entries)

    def trace(self) -> tuple[str, ...]:
        """The trace, with its head."""
        self._need()
        head = (
            "#       TASK-PID   CPU#      Symbol                    Type    Function",
            "#          |        |          |                       |         |",
        )
        return (*head, *self._trace)

    def profile(self) -> tuple[str, ...]:
        """ksym_profile."""
        self._need()
        head = (
            "  Access Type     Symbol                                  Counter",
            "  -----------     ------                                  -------",
        )
        return (*head, *(f"  {_NAMES[each.type]:<15} {each.symbol:<40}{each.hits}" for each in self._entries))
