"""Capture of hits: the interface of both ways, and the one by BPF.

A way of capture opens the events of a breakpoint on a thread, gives raw hits (`backends.perf.program.Layout`) and knows
what was lost. Events are opened disabled, with everything attached, before they are enabled.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from backends.bpf.ringbuf import RingBuffer
from backends.bpf.syscall import map_array
from backends.model import BreakpointRequest
from backends.perf import events
from backends.perf.lines import Lines
from backends.perf.opener import WANTED_RING, Opener
from backends.perf.program import HitProgram, Layout

if TYPE_CHECKING:
    import numpy.typing as npt

    Records = npt.NDArray[Any]

__all__ = ["BpfCapture", "Capture", "Carrier"]

_KERNEL_HALF: Final = 1 << 63


@dataclass(slots=True)
class Carrier:
    """A breakpoint and the events that carry it: one for each thread that ran when it was armed, or one for each CPU.

    Threads (and, if asked, processes) that begin later inherit theirs. `seen` is what the kernel had counted on events
    that are closed. `sifted`: some of its hits may have been left out.
    """

    id: int
    request: BreakpointRequest
    attr: events.Attributes
    fds: dict[int, list[int]] = field(default_factory=dict)
    enabled: bool = False
    seen: int = 0
    wide: bool = False
    sifted: bool = False

    def each(self) -> list[int]:
        """Every descriptor."""
        return [fd for fds in self.fds.values() for fd in fds]

    def enable(self, on: bool) -> None:
        """Enable or disable all of them; the slot stays reserved."""
        for fd in self.each():
            (events.enable if on else events.disable)(fd)
        self.enabled = on


class Capture(ABC):
    """A way of capture. `name` says which in words, `notice` what is less than was wanted, `layout` is the shape of its raw hits.

    `sampled`: events write perf records; `can_stop`: a hit can stop its thread; `holds`: conditions and limits are held at
    the hit, so that what comes here meets them;
    `bits`: of the program that is watched from now on;
    `room`: how many hits the smallest buffer holds, `filled`: the part of it that may be full before hits are looked for; `events_per_thread`: descriptors that a breakpoint takes on a thread.
    """

    name: str
    notice = ""
    layout: Layout
    sampled = False
    can_stop = False
    holds = False
    bits: Literal[32, 64] = 64
    room = 1 << 16
    filled = 0.3
    events_per_thread = 1

    @abstractmethod
    def prepare(self, carrier: Carrier, tgid: int | None) -> None:
        """Make what the breakpoint's events need, before they are opened (OSError)."""

    @abstractmethod
    def open(self, carrier: Carrier, tid: int, cpu: int = -1) -> None:
        """Open the events of a breakpoint on a thread, disabled (OSError: ENOSPC, ESRCH, EACCES, EMFILE)."""

    @abstractmethod
    def peek(self, most: int) -> Records:
        """The oldest raw hits, at most `most`, nearly in the order of time. They may lie in the ring itself: `free` gives
        their room back."""

    @abstractmethod
    def free(self, count: int) -> None:
        """So many of those that were peeked at are done with."""

    def named(self, tid: int, comm: str) -> None:  # noqa: B027 - nothing to do where each hit brings its comm
        """A task has this name from now on."""

    def born(self, tid: int, parent: int) -> None:  # noqa: B027
        """A task begins with its parent's name."""

    @abstractmethod
    def waiting(self) -> int:
        """About how many raw hits there are to take."""

    @property
    def crowded(self) -> bool:
        """Whether what holds the raw hits is half full."""
        return False

    def signals(self, carrier: Carrier) -> int:
        """How many hits of a breakpoint have told their thread to stop."""
        return 0

    def hold(self, carrier: Carrier) -> None:  # noqa: B027 - the collector looks at the request itself
        """The condition or the window of a breakpoint is another from the next hit on: that of its request."""

    def held(self, carrier: Carrier) -> tuple[int, bool]:
        """(hits that did not meet the condition, whether the limit is reached), where `holds`."""
        return 0, False

    def allow(self, carrier: Carrier) -> None:  # noqa: B027
        """The hits of its limit are counted from 0 again."""

    def ignore(self, carriers: list[Carrier]) -> None:  # noqa: B027 - the collector looks at the request itself
        """From now on as many hits of these breakpoints, together, are ignored as their requests say."""

    def ignoring(self, carrier: Carrier) -> int:
        """How many of the next hits will be ignored, where `holds`."""
        return 0

    def begin_anew(self, carrier: Carrier) -> None:  # noqa: B027
        """What `dropped` tells of a breakpoint begins at 0 again."""

    def dropped(self) -> dict[tuple[int, int], int]:
        """How many hits there were that no record tells of, by (the low 16 bits of the breakpoint's number, ip)."""
        return {}

    @abstractmethod
    def counted(self, carrier: Carrier) -> tuple[int, int]:
        """(hits the kernel has counted, hits that were lost on the way)."""

    @abstractmethod
    def missed(self, carrier: Carrier) -> int:
        """Hits that were lost as far as that is known here; `counted` also asks the kernel."""

    @abstractmethod
    def forget(self, carrier: Carrier) -> None:
        """Close what a breakpoint had: its slots are free."""

    @abstractmethod
    def close(self) -> None:
        """Close everything."""


class BpfCapture(Capture):
    """A BPF program at each hit writes into one BPF ring (`backends.perf.program`).

    Where a hit is to stop its thread it sends SIGURG, which is ignored by default: harmless when nobody waits for it.
    """

    can_stop = True
    holds = True

    def __init__(self, opener: Opener, *, stacks: bool) -> None:
        self.layout = Layout(stacks)
        self._opener = opener
        buffers = opener.buffers()
        self._ring = RingBuffer(buffers.ring, buffers.size, self.layout.dtype)
        self.room = buffers.size // self.layout.dtype.itemsize
        size = f"{buffers.size >> 20} MiB" if buffers.size >> 20 else f"{buffers.size >> 10} KiB"
        self.name = f"BPF at the hit, ring of {size}"
        if buffers.size < WANTED_RING:
            self.notice = f"memory was refused: hits have a ring of {size} instead of {WANTED_RING >> 20} MiB"
        self._control = buffers.control
        self._memory: mmap.mmap = map_array(self._control, Lines.SIZE)
        self._shared = Lines(self._memory)
        self._lines: dict[int, int] = {}
        self._limits: dict[int, int] = {}
        self._limit_lines: dict[int, int] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        self._held: dict[int, tuple[int, bool]] = {}

    def prepare(self, carrier: Carrier, tgid: int | None) -> None:
        request = carrier.request
        line = self._lines[carrier.id] = self._shared.take()
        self._shared.set_word(line, "limit", request.limit or 0)
        self._shared.set_word(line, "ignore", request.ignore)
        self.hold(carrier)
        program = HitProgram(
            line=line,
            limit_line=self._limit_line(carrier, line),
            breakpoint=carrier.id,
            length=request.length,
            type=request.type,
            layout=self.layout,
            kernel_address=request.address >= _KERNEL_HALF,
            tgid=tgid,
            signal=signal.SIGURG if request.stop else None,
            bits=self.bits,
        )
        self._opener.load(carrier.id, program, carrier.attr)

    def _limit_line(self, carrier: Carrier, own: int) -> int:
        """The line in which hits towards the limit are counted: the windows of one watch have one."""
        watch = carrier.request.watch
        line = own if watch < 0 else self._limits.setdefault(watch, own)
        self._limit_lines[carrier.id] = line
        return line

    def hold(self, carrier: Carrier) -> None:
        request = carrier.request
        length = 0 if request.type == "x" else request.length
        self._shared.hold_against(self._lines[carrier.id], length, request.condition)

    def open(self, carrier: Carrier, tid: int, cpu: int = -1) -> None:
        fd = self._opener.open(carrier.id, tid, cpu)
        carrier.fds.setdefault(tid if cpu < 0 else cpu, []).append(fd)

    def peek(self, most: int) -> Records:
        return self._ring.peek(most)

    def free(self, count: int) -> None:
        self._ring.free(count)

    def waiting(self) -> int:
        return self._ring.waiting

    @property
    def crowded(self) -> bool:
        return 2 * self._ring.waiting * self.layout.dtype.itemsize > self._ring.size

    def signals(self, carrier: Carrier) -> int:
        return self.word(carrier, "signals")

    def word(self, carrier: Carrier, name: str) -> int:
        """A counter of a breakpoint (`backends.perf.lines.WORDS`)."""
        return self._shared.word(self._lines[carrier.id], name)

    def held(self, carrier: Carrier) -> tuple[int, bool]:
        if carrier.id in self._held:
            return self._held[carrier.id]
        limit = carrier.request.limit
        line = self._limit_lines[carrier.id]
        reached = bool(limit) and self._shared.word(line, "passed") >= (limit or 0)
        return self.word(carrier, "filtered"), reached

    def allow(self, carrier: Carrier) -> None:
        self._shared.set_word(self._lines[carrier.id], "limit", carrier.request.limit or 0)
        self._shared.set_word(self._limit_lines[carrier.id], "passed", 0)

    def ignore(self, carriers: list[Carrier]) -> None:
        for carrier in carriers:
            self._shared.set_word(self._lines[carrier.id], "ignore", 0)
        for carrier in carriers:
            self._shared.set_word(self._lines[carrier.id], "last_process", 0)
            self._shared.set_word(self._limit_lines[carrier.id], "ignored", 0)
        for carrier in carriers:
            self._shared.set_word(self._lines[carrier.id], "ignore", carrier.request.ignore)

    def ignoring(self, carrier: Carrier) -> int:
        asked = self.word(carrier, "ignore")
        return max(0, asked - self._shared.word(self._limit_lines[carrier.id], "ignored"))

    def begin_anew(self, carrier: Carrier) -> None:
        self._shared.forget_dropped(carrier.id)

    def dropped(self) -> dict[tuple[int, int], int]:
        return self._shared.dropped()

    def counted(self, carrier: Carrier) -> tuple[int, int]:
        if carrier.id in self._seen:
            return self._seen[carrier.id]
        kernel = carrier.seen
        for fd in carrier.each():
            with contextlib.suppress(OSError):
                kernel += events.read_counts(fd, sampled=False).hits
        met = self.word(carrier, "hits")
        if carrier.wide:  # the events of whole CPUs count other processes too
            kernel = met
        # What the kernel counted and the program never saw: another BPF program was running on that CPU.
        return max(kernel, met), self.word(carrier, "drops") + max(0, kernel - met)

    def missed(self, carrier: Carrier) -> int:
        return self.word(carrier, "drops")

    def forget(self, carrier: Carrier) -> None:
        for fd in carrier.each():
            events.disable(fd)
        if carrier.id in self._lines:
            self._seen[carrier.id] = self.counted(carrier)
            self._held[carrier.id] = self.held(carrier)
        for fd in carrier.each():
            os.close(fd)
        carrier.fds.clear()
        self._opener.unload(carrier.id)
        if (line := self._lines.pop(carrier.id, None)) is not None:
            self._shared.give_back(line)
            self._limits = {watch: first for watch, first in self._limits.items() if first != line}

    def close(self) -> None:
        self._ring.close()
        self._memory.close()
        os.close(self._control)
