"""The ptrace owner: u_debugreg of one traced task (arch/x86/kernel/ptrace.c)."""

from __future__ import annotations

from collections.abc import Callable

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.slots import SLOTS, HwBreakpointLayer, PerfEvent
from backends.model import Owner, WatchType

__all__ = ["PtraceOwner"]

_IGNORED = 0xFFFF_FFFF_0000_FC00
"""Bits 10-15 (GD among them) and the upper half: ignored without an error (ptrace_write_dr7)."""


class PtraceOwner:
    """What a tracer reads and writes with PTRACE_PEEKUSER and PTRACE_POKEUSER at offsetof(struct user, u_debugreg).

    An event that was made once keeps its slot until the task executes another program or ends: ptrace has no way to
    give it back. `new_id` numbers new events.
    """

    def __init__(
        self, layer: HwBreakpointLayer, tid: int, new_id: Callable[[], int], comm: str = "tracer"
    ) -> None:
        self._layer = layer
        self._tid = tid
        self._new_id = new_id
        self._owner = Owner("ptrace", comm=comm)
        self.events: list[PerfEvent | None] = [None] * SLOTS
        self.dr7 = 0
        self.virtual_dr6 = 0

    def peek(self, register: int) -> int:
        """PTRACE_PEEKUSER. DR4 and DR5 read 0; DR7 is what was written, not a re-encoding."""
        if register not in range(8):
            raise HwbpError(f"u_debugreg has no register {register}", errno="EIO")
        if register < SLOTS:
            event = self.events[register]
            return event.address if event else 0
        if register == 6:
            return self.virtual_dr6 ^ dr.DR6_BASE
        return self.dr7 if register == 7 else 0

    def poke(self, register: int, value: int) -> None:
        """PTRACE_POKEUSER (EIO, EINVAL, ENOSPC)."""
        if register not in range(8) or register in (4, 5):
            raise HwbpError(f"u_debugreg[{register}] cannot be written", errno="EIO")
        if register == 6:
            self.virtual_dr6 = value ^ dr.DR6_BASE
        elif register == 7:
            self._write_dr7(value)
        else:
            self._write_address(register, value)

    def _write_address(self, index: int, address: int) -> None:
        event = self.events[index]
        if event is None:
            self._create(index, address, 1, "w", enabled=False)
        else:
            self._layer.modify(event, address, event.length, event.type, event.enabled)

    def _create(self, index: int, address: int, length: int, kind: WatchType, *, enabled: bool) -> None:
        """A fresh event takes a slot even while it is disabled."""
        event = PerfEvent(
            self._new_id(), address, length, kind, self._owner, self._tid, None, enabled, index, stop=True
        )
        self._layer.register(event)
        self.events[index] = event

    def _write_dr7(self, value: int) -> None:
        """ptrace_write_dr7: two passes; the second puts the old settings back when the first fails."""
        old = self._encoded()
        try:
            self._pass(value & ~_IGNORED)
        except HwbpError:
            self._pass(old)
            raise
        self.dr7 = value

    def _encoded(self) -> int:
        return sum(
            dr.dr7_encode(index, event.length, event.type) & ~dr.DR7_GE
            for index, event in enumerate(self.events)
            if event is not None and event.enabled
        )

    def _pass(self, value: int) -> None:
        for index in range(SLOTS):
            enabled = dr.enabled(value, index)
            event = self.events[index]
            if event is None and not enabled:
                continue
            length, kind = self._decode(value, index)
            if event is None:
                self._create(index, 0, length, kind, enabled=enabled)
            else:
                self._layer.modify(event, event.address, length, kind, enabled)

    @staticmethod
    def _decode(value: int, index: int) -> tuple[int, WatchType]:
        """arch_bp_generic_fields: I/O, and execute with a length, are refused."""
        kind, length = dr.slot_type(value, index), dr.slot_length(value, index)
        if kind == "io":
            raise HwbpError(f"R/W{index} is 10: I/O breakpoints cannot be had through Linux", errno="EINVAL")
        if kind == "x" and length != 1:
            raise HwbpError(f"LEN{index} must be 00 for an execute breakpoint", errno="EINVAL")
        return length, kind

    def watch(self, address: int, length: int, kind: WatchType, text: str) -> PerfEvent:
        """What gdb does: the first index not enabled, its address, then DR7. Nothing new stays behind on failure."""
        index = next((n for n, event in enumerate(self.events) if event is None or not event.enabled), None)
        if index is None:
            raise HwbpError(
                "all four u_debugreg of the task are in use", errno="ENOSPC", holders=self._layer.holders()
            )
        self._layer.validate(address, length, kind)
        fresh = self.events[index] is None
        bits = dr.dr7_encode(index, length, kind) & ~dr.DR7_GE & ~(0xAA) | 1 << 2 * index
        others = self.dr7 & ~(0xF << 16 + 4 * index | 3 << 2 * index)
        try:
            if not fresh:
                self._write_dr7(
                    others
                )  # an execute event at any address, so that the next write cannot be refused
            self.poke(index, address)
            self.poke(7, others | bits)
        except HwbpError:
            if fresh and (event := self.events[index]) is not None:
                self._layer.unregister(event)
                self.events[index] = None
            raise
        event = self.events[index]
        assert event is not None
        event.text = text
        return event

    def drop(self, event: PerfEvent) -> None:
        """Disable one by DR7, as a debugger's delete does: the slot stays taken."""
        assert event.index is not None
        self.poke(7, self.dr7 & ~(0xF << 16 + 4 * event.index | 3 << 2 * event.index))

    def remove(self, event: PerfEvent) -> None:
        """Undo `watch`, of a request that was refused in part."""
        self.drop(event)
        assert event.index is not None
        self._layer.unregister(event)
        self.events[event.index] = None

    def flush(self) -> None:
        """flush_ptrace_hw_breakpoint: exec and exit clear everything."""
        for event in self.events:
            if event is not None:
                self._layer.unregister(event)
        self.events = [None] * SLOTS
        self.dr7 = self.virtual_dr6 = 0

    def hit(self, event: PerfEvent) -> None:
        """ptrace_triggered: the virtual DR6 shows ptrace's index, whichever register it sat in."""
        assert event.index is not None
        self.virtual_dr6 |= 1 << event.index
