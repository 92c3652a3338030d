"""Capture through perf's own rings, where BPF is not allowed: one event for each thread and CPU, one ring for each CPU.

Records are taken apart with numpy: whole arrays where all have one size, else their offsets are walked and the fields
gathered. The order of a sample's fields is that of enum perf_event_sample_format's comment in
include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.perf import events
from backends.perf.capture import Capture, Carrier
from backends.perf.events import SampleType
from backends.perf.opener import Opener
from backends.perf.process import comm_of
from backends.perf.program import FRAMES, REGISTERS, TOP_WORDS, Layout
from backends.perf.sideband import Rings, online_cpus
from backends.ring import FLAG_KERNEL

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["RingCapture"]

_PAGES: Final = 512
_MOST_COMMS: Final = 1 << 16
_SAMPLE, _LOST = 9, 2
_MODE_MASK, _MODE_USER = 7, 2
# enum perf_event_x86_regs (arch/x86/include/uapi/asm/perf_regs.h), by the bit in the mask.
_BITS: Final = {
    **{name: bit for bit, name in enumerate(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"))},
    "eflags": 9,
    **{f"r{number}": number + 8 for number in range(8, 16)},
}
_FEW: Final = ("rax", "rcx", "rdi")
_MORE: Final = ("rax", "rcx", "rdx", "rsi", "rdi", "rsp", "eflags")
"""The kernel copies registers into a perf record one by one, each at the cost of a good half per cent of a hit. So these come
that most often hold what was stored, and what a `rep` has done; more where a stack costs more than all of them."""
_ID, _IP, _TID, _TIME, _ADDR = range(1, 6)  # 64-bit words of a sample, its header being word 0
_FIXED: Final = 6  # the CPU is that of the ring
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
    flood_pause = 0.02

    def __init__(self, opener: Opener, *, stacks: bool, why: str) -> None:
        names = _MORE if stacks else _FEW
        self.flood_pause = 0.02 if stacks else 0.06
        self.layout = Layout(stacks, names, below=False)
        self._order = sorted(names, key=lambda name: _BITS[name])
        self._columns = [REGISTERS.index(name) for name in self._order]
        self.events_per_thread = len(online_cpus())
        self._rings = Rings(opener, _PAGES)
        self._why = why
        self._cpu = 0
        self._breakpoints: dict[int, int] = {}
        self._lengths: dict[int, int] = {0: 0}
        self._taken: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._final: dict[int, tuple[int, int]] = {}
        self._comms: dict[int, bytes] = {}
        self._left: Array = np.zeros(0, self.layout.dtype)
        self.name = "perf rings"

    def prepare(self, carrier: Carrier, tgid: int | None) -> None:
        if tgid is not None:
            raise OSError(24, os.strerror(24))  # EMFILE: whole CPUs need a program that tells processes apart
        attr = carrier.attr
        attr.flags |= events.Flag.SAMPLE_ID_ALL | events.Flag.WATERMARK | _EXCLUDE_CALLCHAIN_KERNEL
        attr.sample_type = (
            SampleType.IDENTIFIER
            | SampleType.IP
            | SampleType.TID
            | SampleType.TIME
            | SampleType.ADDR
            | SampleType.REGS_USER
        )
        attr.sample_regs_user = sum(1 << _BITS[name] for name in self._order)
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

    def peek(self, most: int) -> Array:
        if len(self._left) < most:
            parts = [self._left] if len(self._left) else []
            for cpu in self._rings.cpus:
                self._cpu = cpu
                if data := self._rings.take(cpu):
                    parts += self._decode(np.frombuffer(data, np.uint64))
            rows = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else self._left
            times = rows["time"]
            if bool((times[1:] < times[:-1]).any()):
                rows = rows[np.argsort(times, kind="stable")]
            self._left = rows
        return self._left[:most]

    def free(self, count: int) -> None:
        self._left = self._left[count:]

    def _decode(self, words: Array) -> list[Array]:
        """One ring's data as raw hits."""
        fixed = 0 if self.layout.stacks else _FIXED + 1 + len(self._order)
        parts: list[Array] = []
        at = 0
        while at < len(words):
            if fixed and (count := (len(words) - at) // fixed):
                table = words[at : at + count * fixed].reshape(count, fixed)
                heads = table[:, 0]
                same = ((heads & np.uint64(0xFFFFFFFF)) == _SAMPLE) & (heads >> np.uint64(48) == 8 * fixed)
                run = count if same.all() else int(np.argmin(same))
                if run:
                    parts.append(self._rows(table[:run], table[:run, _FIXED + 1 :]))
                    at += run * fixed
                    continue
            elif not fixed:
                parts.append(self._gather(words))
                return parts
            at += self._other(words, at)
        return parts

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

    def _rows(self, table: Array, registers: Array | None) -> Array:
        rows = np.zeros(len(table), self.layout.dtype)
        rows["ip"] = table[:, _IP]
        rows["pid"] = table[:, _TID] & np.uint64(0xFFFFFFFF)
        rows["tid"] = table[:, _TID] >> np.uint64(32)
        rows["time"] = table[:, _TIME]
        rows["address"] = table[:, _ADDR]
        rows["cpu"] = self._cpu
        rows["slot"] = 0xFF
        misc = table[:, 0] >> np.uint64(32) & np.uint64(0xFFFF)
        rows["flags"] = np.where(misc & np.uint64(_MODE_MASK) == _MODE_USER, 0, FLAG_KERNEL)
        rows["breakpoint"], rows["length"] = self._events(table[:, _ID])
        if registers is not None:
            rows["regs"][:, self._columns] = registers
        tids, pids = rows["tid"], rows["pid"]
        if bool((tids == tids[0]).all()):
            rows["comm"] = np.frombuffer(self._comm(int(pids[0]), int(tids[0])), np.uint64)
            return rows
        unique, first, inverse = np.unique(tids, return_index=True, return_inverse=True)
        names = [
            self._comm(int(pids[at]), tid) for tid, at in zip(unique.tolist(), first.tolist(), strict=True)
        ]
        rows["comm"] = np.frombuffer(b"".join(names), np.uint64).reshape(-1, 2)[inverse]
        return rows

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

    def _gather(self, words: Array) -> Array:
        """Samples with call chains differ in size: walk the sizes, gather the fields."""
        heads = words.view(np.uint16)[3::4].tolist()
        at, count, offsets = 0, len(words), []
        while at < count:
            offsets.append(at)
            at += max(8, heads[at]) >> 3
        starts = np.array(offsets, np.intp)
        kinds = words[starts] & np.uint64(0xFFFFFFFF)
        for other in starts[kinds == _LOST].tolist():
            self._other(words, other)
        starts = starts[kinds == _SAMPLE]
        if not len(starts):
            return np.zeros(0, self.layout.dtype)
        table = words[starts[:, None] + np.arange(_FIXED)]
        lengths = words[starts + _FIXED].astype(np.intp)
        chain = starts + _FIXED + 1
        registers_at = chain + lengths + 1  # the word before them is their ABI
        top_at = registers_at + len(self._order) + 1
        last = len(words) - 1
        registers = words[np.minimum(registers_at[:, None] + np.arange(len(self._order)), last)]
        rows = self._rows(table, registers)
        rows["top"] = words[np.minimum(top_at[:, None] + np.arange(TOP_WORDS), last)]
        rows["frames"] = frames = _frames(words, chain, lengths)
        with np.errstate(over="ignore"):
            rows["chain"] = (frames * _WEIGHTS).sum(axis=1, dtype=np.uint64)
        return rows

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


def _frames(words: Array, chain: Array, lengths: Array) -> Array:
    """Return addresses: the chain without context markers, without the ip itself, up to FRAMES."""
    last = len(words) - 1
    places = chain[:, None] + np.arange(FRAMES + 2)
    addresses = words[np.minimum(places, last)]
    inside = np.arange(FRAMES + 2) < lengths[:, None]
    addresses = np.where(inside & (addresses < np.uint64(_MARKERS)), addresses, np.uint64(0))
    # [user marker, ip, caller, ...]: what is left of it begins at the third word.
    return addresses[:, 2:]
