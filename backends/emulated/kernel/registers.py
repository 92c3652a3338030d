"""The debug registers of one CPU, and the kernel's per-CPU books over them (arch/x86/kernel/hw_breakpoint.c).

Every write to a debug register, whoever causes it, goes through `CpuRegisters.write`: it is counted and journaled.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from backends import dr
from backends.emulated.kernel.accounting import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backends.emulated.kernel.events import PerfEvent
    from backends.emulated.kernel.journal import Cause, Journal

__all__ = ["CpuRegisters", "DebugRegisters", "RegisterFile"]


class DebugRegisters(Protocol):
    """DR0 to DR7 of a CPU as software sees them: `backends.emulated.debug_unit.DebugUnit`, or a `RegisterFile`."""

    dr: list[int]
    dr6: int
    dr7: int

    def write(self, register: int, value: int) -> None:
        """MOV to DR0-DR3, DR6 or DR7."""
        ...


class RegisterFile:
    """Debug registers without an engine behind them: for CPUs that run no real program, and for virtual CPUs."""

    def __init__(self) -> None:
        self.dr = [0, 0, 0, 0]
        self.dr6 = dr.DR6_BASE
        self.dr7 = dr.DR7_BASE

    def write(self, register: int, value: int) -> None:
        """MOV to DR0-DR3, DR6 or DR7: bits that a CPU does not keep vanish."""
        if register == 7:
            self.dr7 = dr.dr7_written(value)
        elif register == 6:
            self.dr6 = dr.dr6_written(value)
        else:
            self.dr[register] = value

    def hits(self, address: int, size: int, access: str) -> int:
        """The slots (bits B0 to B3) that an access of kind "x", "r" or "w" matches."""
        addresses = (self.dr[0], self.dr[1], self.dr[2], self.dr[3])
        return dr.matches(self.dr7, addresses, address, size, access)  # type: ignore[arg-type]


class CpuRegisters:
    """cpu_dr7 (the kernel's copy of DR7, without fixed bit 10), cpu_debugreg and bp_per_reg of one CPU.

    `changed_dr7` are the bits that the last write to DR7 changed, `changed_by` who made it. `writes` counts all writes.
    `on_change` is called after the hardware or its owners changed. `cause` is what writes are counted under, set by
    `because`. `leave_guest` is called before the kernel's code on this CPU touches them: an IPI or NMI takes it out of a guest.
    """

    def __init__(self, cpu: int, unit: DebugRegisters, journal: Journal) -> None:
        self.cpu = cpu
        self.unit = unit
        self.journal = journal
        self.cpu_dr7 = 0
        self.cpu_debugreg = [0] * SLOTS
        self.bp_per_reg: list[PerfEvent | None] = [None] * SLOTS
        self.changed_dr7 = 0
        self.changed_by = ""
        self.writes = 0
        self.cause: Cause = "install"
        self.on_change: Callable[[CpuRegisters], None] = lambda registers: None
        self.leave_guest: Callable[[int], object] = lambda cpu: None

    def slot_of(self, event: PerfEvent) -> int | None:
        """The register the event sits in on this CPU."""
        for slot, held in enumerate(self.bp_per_reg):
            if held is event:
                return slot
        return None

    @property
    def active(self) -> bool:
        """hw_breakpoint_active: whether the kernel's copy enables anything (any Gn)."""
        return bool(self.cpu_dr7 & dr.DR7_GLOBALS)

    def because(self, cause: Cause) -> AbstractContextManager[None]:
        """Count the writes inside under another cause."""
        return self._because(cause)

    @contextmanager
    def _because(self, cause: Cause) -> Iterator[None]:
        before, self.cause = self.cause, cause
        try:
            yield
        finally:
            self.cause = before

    def write(self, register: int, value: int, cause: Cause | None = None, by: str = "") -> None:
        """The one way to a debug register."""
        self.writes += 1
        self.journal.wrote(self.cpu, register, value, cause or self.cause)
        if register != 7:
            self.unit.write(register, value)
            return
        before = self.unit.dr7
        self.unit.write(7, value)
        self.changed_dr7 = before ^ self.unit.dr7
        self.changed_by = by or cause or self.cause

    def install(self, event: PerfEvent) -> bool:
        """arch_install_hw_breakpoint: the first free register; the shadow is written before the hardware.

        False where all four are taken (EBUSY with a WARN in the kernel: the accounting makes it impossible).
        """
        if None not in self.bp_per_reg:
            return False
        self.leave_guest(self.cpu)
        slot = self.bp_per_reg.index(None)
        self.bp_per_reg[slot] = event
        self.write(slot, event.hardware.address)
        self.cpu_debugreg[slot] = event.hardware.address
        self.cpu_dr7 |= dr.dr7_encode(slot, event.hardware.length, event.hardware.type)
        self.write(7, self.cpu_dr7, by=event.owner.kind)
        self.journal.sat_down(self.cpu, slot, event.id, event.owner.kind)
        self.on_change(self)
        return True

    def uninstall(self, event: PerfEvent) -> None:
        """arch_uninstall_hw_breakpoint: hardware first; DRn keeps its stale address, and GE stays set."""
        slot = self.slot_of(event)
        if slot is None:
            return
        self.leave_guest(self.cpu)
        self.bp_per_reg[slot] = None
        dr7 = self.cpu_dr7 & ~(0xF << 16 + 4 * slot | 2 << 2 * slot)
        cause: Cause = "uninstall" if self.cause == "install" else self.cause
        self.write(7, dr7, cause, by=event.owner.kind)
        self.cpu_dr7 = dr7
        self.journal.stood_up(self.cpu, slot)
        self.on_change(self)

    def save(self, hypervisor: bool, cause: Cause) -> int:
        """local_db_save: DR7 off for a handler. Returns what `restore_saved` wants: the value to put back, or 0.

        Under a hypervisor the register is left alone where the kernel's copy enables nothing: reading it would
        leave the guest.
        """
        self.leave_guest(self.cpu)
        if hypervisor and not self.active:
            return 0
        saved = self.unit.dr7 & ~dr.DR7_BASE
        if saved:
            self.write(7, dr.DR7_BASE, cause)
            self.on_change(self)
        return saved

    def restore_saved(self, saved: int, cause: Cause) -> None:
        """local_db_restore: the value of entry comes back, whatever has changed meanwhile. That makes ghosts."""
        if saved:
            self.write(7, saved, cause)
            self.on_change(self)

    def handled(self, count: int) -> None:
        """So many #DB handlers wrote DR6's base value back: counted, and not journaled one by one."""
        self.writes += count
        self.journal.totals[self.cpu]["db"] += count

    def restore(self, cause: Cause = "restore") -> None:
        """hw_breakpoint_restore: DR0-DR3, DR6 and DR7 again from the kernel's copies; memory is read, no register."""
        for slot in range(SLOTS):
            self.write(slot, self.cpu_debugreg[slot], cause)
        self.write(6, dr.DR6_BASE, cause)
        self.write(7, self.cpu_dr7, cause)
        self.on_change(self)

    def ghosts(self) -> tuple[int, ...]:
        """Registers that the hardware has enabled and nobody's books own."""
        return tuple(
            slot for slot in range(SLOTS) if dr.enabled(self.unit.dr7, slot) and self.bp_per_reg[slot] is None
        )
