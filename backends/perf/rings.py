"""Capture through perf's own rings, where BPF is not allowed: one event for each thread and CPU, one ring for each CPU.

Records are taken apart with numpy: whole arrays where all have one size, else their offsets are walked and the fields
gathered. The order of a sample's fields is that of enum perf_event_sample_format's comment in
include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import mmap
import os
import resource
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.perf import events
from backends.perf.capture import Capture, Carrier
from backends.perf.events import SampleType
from backends.perf.opener import Opener
from backends.perf.process import comm_of
from backends.perf.program import FRAMES, TOP_WORDS, Layout
from backends.perf.records import gather
from backends.perf.sideband import Rings, online_cpus
from backends.ring import FLAG_KERNEL, NO_SLOT

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["RingCapture"]

_PAGES: Final = 1024
_OTHERS: Final = 32
"""Pages for each CPU that are left to other rings of the same user, our own for what is told beside the hits among them."""
_MOST_COMMS: Final = 1 << 16
_SAMPLE, _LOST = 9, 2
_MODE_MASK, _MODE_USER = 7, 2
_KIND_AND_SIZE: Final = np.uint64(0xFFFF_0000_FFFF_FFFF)
# enum perf_event_x86_regs (arch/x86/include/uapi/asm/perf_regs.h), by the bit in the mask.
_BITS: Final = {
    **{name: bit for bit, name in enumerate(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"))},
    "eflags": 9,
    **{f"r{number}": number + 8 for number in range(8, 16)},
}
_FEW: Final = ("rax", "rcx", "rdi")
_MORE: Final = ("rax", "rcx", "rdx", "rsi", "rdi", "rsp", "eflags")
"""The kernel copies registers into a perf record one by one. So these come that most often hold what was stored, and what a
`rep` has done (between one and three of them a program's time did not differ); more where a stack costs more than all of them."""
_ID, _IP, _TID, _TIME, _ADDR = range(1, 6)  # 64-bit words of a sample, its header being word 0
_FIXED: Final = 6  # the CPU is that of the ring
_WITH_STACK: Final = 32  # words of a sample with a call chain of a few frames
_LEADING: Final = 2  # words of a call chain before its first return address: the user marker and the ip
_FEW_ALIKE: Final = 16
"""So many samples of one shape are taken together; of fewer the offsets are walked."""
_TOGETHER: Final = 4096
_AT_A_WALK: Final = 256
_LARGEST: Final = 1 << 13  # words of a record: its size has 16 bits
_MARKERS: Final = (1 << 64) - 4095
"""PERF_CONTEXT_USER and its like lie from here on, in the last page."""
_EXCLUDE_CALLCHAIN_KERNEL: Final = 1 << 21
_WEIGHTS: Final = np.random.default_rng(0x9E3779B9).integers(1, 1 << 63, FRAMES, np.uint64) * np.uint64(
    2
) + np.uint64(1)
"""Odd numbers that spread a chain of addresses over 64 bits."""


class RingCapture(Capture):
    """What was stored is not in a record: the value is what a register still holds, or unknown."""

    sampled = True
    filled = 0.5  # they are small: fewer looks are worth more than room for a rate that trebles

    def __init__(self, opener: Opener, *, stacks: bool, why: str) -> None:
        names = _MORE if stacks else _FEW
        self.layout = Layout(stacks, names, below=False)
        self._order = sorted(names, key=lambda name: _BITS[name])
        self.events_per_thread = len(online_cpus())
        self._rings = Rings(opener, _affordable())
        self._why = why
        self._cpu = 0
        self._breakpoints: dict[int, int] = {}
        self._lengths: dict[int, int] = {0: 0}
        self._taken: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._final: dict[int, tuple[int, int]] = {}
        self._comms: dict[int, bytes] = {}
        self._fixed = 0 if stacks else _FIXED + 1 + len(self._order)
        self._rows, self._sorted = (np.zeros(0, self.layout.dtype) for _ in range(2))
        self._left: Array = self._rows
        self.name = "perf rings"

    def prepare(self, carrier: Carrier, tgid: int | None) -> None:
        if tgid is not None:
            raise OSError(24, os.strerror(24))  # EMFILE: whole CPUs need a program that tells processes apart
        attr = carrier.attr
        attr.flags |= events.Flag.SAMPLE_ID_ALL | events.Flag.WATERMARK | _EXCLUDE_CALLCHAIN_KERNEL
        attr.sample_type = (
            SampleType.IDENTIFIER | SampleType.IP | SampleType.TID | SampleType.TIME | SampleType.ADDR
        )
        registers = sum(1 << _BITS[name] for name in self._order)
        if self.layout.stacks or not attr.flags & events.Flag.EXCLUDE_KERNEL:
            attr.sample_type |= SampleType.REGS_USER
            attr.sample_regs_user = registers
        else:  # in user mode the interrupted registers are the same, and cost less
            attr.sample_type |= SampleType.REGS_INTR
            attr.sample_regs_intr = registers
        attr.wakeup = 1 << 30  # a timer reads the ring; nobody is to be woken
        if self.layout.stacks:
            attr.sample_type |= SampleType.CALLCHAIN | SampleType.STACK_USER
            attr.sample_stack_user = 8 * TOP_WORDS
            attr.sample_max_stack = FRAMES + 1
        self._taken[carrier.id] = 0
        self.hold(carrier)

    def hold(self, carrier: Carrier) -> None:
        self._lengths[carrier.id] = carrier.request.length

    def open(self, carrier: Carrier, tid: int, cpu: int = -1) -> None:
        for where in online_cpus():
            fd = events.open_event(carrier.attr, tid, where)
            carrier.fds.setdefault(tid, []).append(fd)
            self._rings.join(fd, where)
            self._breakpoints[events.event_id(fd)] = carrier.id
        kib = self._rings.pages * 4
        self.name = f"perf rings of {kib} KiB a CPU; values from registers, no slots: {self._why}"
        if self._rings.pages < _PAGES:
            self.notice = (
                f"memory was refused: hits have a ring of {kib} KiB a CPU instead of {_PAGES * 4} and may be lost sooner"
                " (ulimit -l, or sysctl kernel.perf_event_mlock_kb)"
            )

    def waiting(self) -> int:
        return len(self._left) + self._rings.waiting() // (8 * _FIXED)

    @property
    def crowded(self) -> bool:
        return True  # they are small, and what is decoded is kept here

    @property
    def room(self) -> int:  # type: ignore[override]
        """Of one CPU's ring."""
        return self._rings.pages * mmap.PAGESIZE // (8 * (self._fixed or _WITH_STACK))

    def peek(self, most: int) -> Array:
        if len(self._left) < most and (words := self._look()):
            count = sum(len(each) for _, each in words) // (self._fixed or _FIXED)
            rows, used = self._buffer(len(self._left) + count), len(self._left)
            rows[:used] = self._left
            for self._cpu, each in words:
                used += self._decode(each, rows[used:])
                self._rings.free(self._cpu)
            self._left = self._in_order(rows[:used])
        return self._left[:most]

    def _look(self) -> list[tuple[int, Array]]:
        """What each CPU's ring has, in 64-bit words, where it lies."""
        found = ((cpu, self._rings.look(cpu)) for cpu in self._rings.cpus)
        return [(cpu, np.frombuffer(data, np.uint64)) for cpu, data in found if len(data)]

    def _buffer(self, count: int) -> Array:
        """Room for raw hits that is used again and again: memory that was never touched costs more than the decoding.
        Fields that no record brings stay 0 in it."""
        if len(self._rows) < count:
            self._rows = np.zeros(max(count, 2 * len(self._rows)), self.layout.dtype)
        return self._rows

    def _in_order(self, rows: Array) -> Array:
        """By time; one CPU's are."""
        times = np.ascontiguousarray(rows["time"])
        if bool((times[1:] >= times[:-1]).all()):
            return rows
        if len(self._sorted) < len(self._rows):
            self._sorted = np.zeros(len(self._rows), self.layout.dtype)
        into = gather(rows, np.argsort(times, kind="stable"), self._sorted)
        self._rows, self._sorted = self._sorted, self._rows
        return into

    def free(self, count: int) -> None:
        self._left = self._left[count:]

    def _decode(self, words: Array, rows: Array) -> int:
        """One ring's data as raw hits, into the first of `rows`; how many they are."""
        at = done = 0
        while at < len(words):
            size = max(8, int(words[at]) >> 48) >> 3
            if count := min((len(words) - at) // size, _TOGETHER):
                table = words[at : at + count * size].reshape(count, size)
                run = self._alike(table) if int(words[at]) & 0xFFFFFFFF == _SAMPLE else 0
                if run > (_FEW_ALIKE if self.layout.stacks else 0):
                    (self._tall if self.layout.stacks else self._fill)(rows[done : done + run], table[:run])
                    at += run * size
                    done += run
                    continue
            if self.layout.stacks:
                words = words[at:]
                at, found = self._gather(words, rows[done:])
                done += found
            else:
                at += self._other(words, at)
        return done

    def _alike(self, table: Array) -> int:
        """How many of the first are samples of one shape: with registers, and call chains of one length."""
        if table.shape[1] < _FIXED + 1 or (self._fixed and table.shape[1] != self._fixed):
            return 0
        same = table[:, 0] & _KIND_AND_SIZE == table[0, 0] & _KIND_AND_SIZE
        if self.layout.stacks:
            chain = int(table[0, _FIXED])
            if _FIXED + 1 + chain + 1 + len(self._order) + 1 + TOP_WORDS > table.shape[1]:
                return 0
            same &= table[:, _FIXED] == table[0, _FIXED]
            same &= table[:, _FIXED + 1 + chain] != 0  # the registers' ABI: none have come with 0
        return len(table) if same.all() else int(np.argmin(same))

    def _other(self, words: Array, at: int) -> int:
        """A record that is no sample, or one without registers; the number of its words."""
        head = int(words[at])
        kind, size = head & 0xFFFFFFFF, max(8, head >> 48)
        if kind == _LOST and at + 2 < len(words):
            self._note_lost(int(words[at + 1]), int(words[at + 2]))
        return size // 8

    def _note_lost(self, event: int, count: int) -> None:
        if (carrier := self._breakpoints.get(event)) is not None:
            self._reported[carrier] = self._reported.get(carrier, 0) + count

    def _tall(self, rows: Array, table: Array) -> None:
        """Samples with call chains of one length."""
        lengths = int(table[0, _FIXED])
        registers_at = _FIXED + 1 + lengths + 1
        deep = max(0, min(lengths - _LEADING, FRAMES))
        frames = table[:, _FIXED + 1 + _LEADING : _FIXED + 1 + _LEADING + deep]
        alike = bool((frames == frames[0]).all())  # a flood mostly comes one way
        first = frames[:1] if alike else frames
        if (marked := first >= np.uint64(_MARKERS)).any():
            first = np.where(marked, np.uint64(0), first)
        if alike:
            self._chains(like := np.zeros(1, rows.dtype), first)
            self._fill(rows, table, registers_at, like)
        else:
            self._fill(rows, table, registers_at)
            self._chains(rows, first)
        top = registers_at + len(self._order) + 1
        rows["top"] = table[:, top : top + TOP_WORDS]

    @staticmethod
    def _chains(rows: Array, frames: Array) -> None:
        deep = frames.shape[1]
        rows["frames"][:, :deep], rows["frames"][:, deep:] = frames, 0
        with np.errstate(over="ignore"):
            rows["chain"] = frames @ _WEIGHTS[:deep]

    def _fill(
        self, rows: Array, table: Array, registers_at: int = _FIXED + 1, like: Array | None = None
    ) -> None:
        """All but call chains and stacks. `like`: a row whose other fields all of them have."""
        if all(bool((table[:, at] == table[0, at]).all()) for at in (_ID, _TID)) and _one_mode(table):
            first = np.zeros(1, rows.dtype) if like is None else like
            self._describe(first, table[:1])
            whole = np.dtype((np.void, rows.dtype.itemsize))
            rows.view(whole)[:] = first.view(
                whole
            )  # one thread, one event: one copy instead of a column for each
            self._taken[int(first["breakpoint"][0])] += len(rows) - 1
        else:
            if like is not None:
                for name in ("frames", "chain"):
                    rows[name] = like[name]
            self._describe(rows, table)
        rows["ip"] = table[:, _IP]
        rows["time"] = table[:, _TIME]
        rows["address"] = table[:, _ADDR]
        for column, name in enumerate(self._order):
            rows[name] = table[:, registers_at + column]

    def _describe(self, rows: Array, table: Array) -> None:
        """Whose hits they are, of which breakpoint, in which mode."""
        halves = table.view(np.uint32)
        rows["pid"], rows["tid"] = halves[:, 2 * _TID], halves[:, 2 * _TID + 1]
        rows["cpu"] = self._cpu
        rows["slot"] = NO_SLOT
        mode = table.view(np.uint16)[:, 2] & _MODE_MASK
        rows["flags"] = np.where(mode == _MODE_USER, 0, FLAG_KERNEL)
        rows["breakpoint"], rows["length"] = self._events(table[:, _ID])
        tids, pids = rows["tid"], rows["pid"]
        if bool((tids == tids[0]).all()):
            rows["name"] = np.frombuffer(self._comm(int(pids[0]), int(tids[0])), np.uint64)
            return
        unique, first, inverse = np.unique(tids, return_index=True, return_inverse=True)
        names = [
            self._comm(int(pids[at]), tid) for tid, at in zip(unique.tolist(), first.tolist(), strict=True)
        ]
        rows["name"] = np.frombuffer(b"".join(names), np.uint64).reshape(-1, 2)[inverse]

    def _events(self, events_: Array) -> tuple[Array | int, Array | int]:
        """Breakpoint and length of each event; each is counted as taken."""
        if bool((events_ == events_[0]).all()):
            carrier = self._breakpoints.get(int(events_[0]), 0)
            self._taken[carrier] = self._taken.get(carrier, 0) + len(events_)
            return carrier, self._lengths[carrier]
        ids, inverse, counts = np.unique(events_, return_inverse=True, return_counts=True)
        carriers = [self._breakpoints.get(event, 0) for event in ids.tolist()]
        for carrier, count in zip(carriers, counts.tolist(), strict=True):
            self._taken[carrier] = self._taken.get(carrier, 0) + count
        lengths = np.array([self._lengths[carrier] for carrier in carriers], np.uint8)
        return np.array(carriers, np.uint32)[inverse], lengths[inverse]

    def _comm(self, pid: int, tid: int) -> bytes:
        comm = self._comms.get(tid)
        if comm is None:
            comm = os.fsencode(comm_of(pid, tid))[:15].ljust(16, b"\0")
            if comm.strip(b"\0"):
                self._comms[tid] = comm
        return comm

    def born(self, tid: int, parent: int) -> None:
        if (comm := self._comms.get(parent)) is not None:
            self._comms[tid] = comm

    def named(self, tid: int, comm: str) -> None:
        if len(self._comms) >= _MOST_COMMS:
            self._comms.clear()
        self._comms[tid] = os.fsencode(comm)[:15].ljust(16, b"\0")

    def _gather(self, words: Array, into: Array) -> tuple[int, int]:
        """Samples of several sizes, a number of them: walk the sizes, gather the fields. (words that were read, hits)."""
        heads = words[: _AT_A_WALK * _LARGEST].view(np.uint16)[3::4].tolist()
        at, count, offsets = 0, len(words), list[int]()
        while at < min(count, len(heads)) and len(offsets) < _AT_A_WALK:
            offsets.append(at)
            at += max(8, heads[at]) >> 3
        starts = np.array(offsets, np.intp)
        kinds = words[starts] & np.uint64(0xFFFFFFFF)
        for other in starts[kinds == _LOST].tolist():
            self._other(words, other)
        starts = starts[kinds == _SAMPLE]
        if not len(starts):
            return at, 0
        lengths = words[starts + _FIXED].astype(np.intp)
        chain = starts + _FIXED + 1
        registers_at = chain + lengths + 1  # the word before them is their ABI
        top_at = registers_at + len(self._order) + 1
        last = len(words) - 1
        fixed = words[starts[:, None] + np.arange(_FIXED)]
        registers = words[np.minimum(registers_at[:, None] + np.arange(len(self._order)), last)]
        rows = into[: len(starts)]
        self._fill(rows, np.concatenate([fixed, registers], axis=1), _FIXED)
        rows["top"] = words[np.minimum(top_at[:, None] + np.arange(TOP_WORDS), last)]
        self._chains(rows, _frames(words, chain, lengths))
        return at, len(rows)

    def counted(self, carrier: Carrier) -> tuple[int, int]:
        if carrier.id in self._final:
            return self._final[carrier.id]
        hits = sum(events.read_counts(fd, sampled=True).hits for fd in carrier.each())
        if carrier.enabled:
            return hits, self._reported.get(carrier.id, 0)
        # Nothing comes any more: what was counted and is not here was lost, whatever LOST records say of it.
        return hits, max(0, hits - self._taken.get(carrier.id, 0))

    def missed(self, carrier: Carrier) -> int:
        return self._reported.get(carrier.id, 0)

    def forget(self, carrier: Carrier) -> None:
        for fd in carrier.each():
            events.disable(fd)
        carrier.enabled = False
        if carrier.id in self._taken:
            self.peek(1 << 62)
            self._final[carrier.id] = self.counted(carrier)
        for fd in carrier.each():
            os.close(fd)
        carrier.fds.clear()

    def close(self) -> None:
        self._rings.close()


def _affordable() -> int:
    """Pages of each CPU's ring, so that there is memory for every CPU's (kernel/events/core.c, perf_mmap: a user may lock
    perf_event_mlock_kb for each CPU, and beyond that RLIMIT_MEMLOCK)."""
    cpus = len(online_cpus())
    try:
        with open("/proc/sys/kernel/perf_event_mlock_kb", encoding="ascii") as file:
            free = int(file.read()) * 1024 * cpus
    except (OSError, ValueError):
        free = 0
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    pages = _PAGES
    while pages > 1 and locked != resource.RLIM_INFINITY:
        if (pages + 1 + _OTHERS) * cpus * mmap.PAGESIZE <= free + locked:
            break
        pages //= 2
    return pages


def _one_mode(table: Array) -> bool:
    misc = table.view(np.uint16)[:, 2]
    return bool((misc == misc[0]).all())


def _frames(words: Array, chain: Array, lengths: Array) -> Array:
    """Return addresses: the chain without context markers, without the ip itself, up to FRAMES."""
    last = len(words) - 1
    places = chain[:, None] + np.arange(FRAMES + _LEADING)
    addresses = words[np.minimum(places, last)]
    inside = np.arange(FRAMES + _LEADING) < lengths[:, None]
    addresses = np.where(inside & (addresses < np.uint64(_MARKERS)), addresses, np.uint64(0))
    return addresses[:, _LEADING:]
