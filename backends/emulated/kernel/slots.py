"""The layer under all owners: reservation when asked, a register when scheduled in.

kernel/events/hw_breakpoint.c (accounting, order of errors) and arch/x86/kernel/hw_breakpoint.c (registers).
A breakpoint counts from its creation to its destruction, enabled or not; which register it sits in is chosen when it
is installed, the first free one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from backends import dr
from backends.base import HwbpError
from backends.emulated.debug_unit import DebugUnit
from backends.model import Owner, WatchType

__all__ = ["SLOTS", "TASK_SIZE_MAX", "CpuRegisters", "HwBreakpointLayer", "PerfEvent"]

SLOTS = 4
TASK_SIZE_MAX = 0x7FFF_FFFF_F000


@dataclass(slots=True, eq=False)
class PerfEvent:
    """One perf event: the one carrier of a breakpoint, whoever owns it.

    `tid` None is CPU-bound, `cpu` None is every CPU. `index` is ptrace's u_debugreg index.
    """

    id: int
    address: int
    length: int
    type: WatchType
    owner: Owner
    tid: int | None
    cpu: int | None
    enabled: bool = True
    index: int | None = None
    watch: int = -1
    window: int = 0
    text: str = ""
    stop: bool = False

    def counts_on(self, cpu: int) -> bool:
        """Whether it takes a slot of this CPU's budget."""
        return self.cpu is None or self.cpu == cpu

    def described(self) -> str:
        """For a list of holders."""
        name = (
            f"{self.text} ({self.address:#x})"
            if self.text
            else f"{self.address:#x}/{self.length}:{self.type}"
        )
        number = f" u_debugreg[{self.index}]" if self.index is not None else f" event {self.owner.fd}"
        where = f"task {self.tid}" if self.tid is not None else f"CPU {self.cpu}"
        return f"{self.owner.kind}{number}: {name}, {where}{'' if self.enabled else ', disabled'}"


@dataclass(slots=True)
class CpuRegisters:
    """The kernel's per-CPU books: cpu_dr7 (without fixed bit 10) and bp_per_reg."""

    cpu: int
    unit: DebugUnit
    cpu_dr7: int = 0
    bp_per_reg: list[PerfEvent | None] = field(default_factory=lambda: [None] * SLOTS)
    changed_dr7: int = 0
    changed_by: str = ""

    def slot_of(self, event: PerfEvent) -> int | None:
        """The register the event sits in on this CPU."""
        return next((n for n, held in enumerate(self.bp_per_reg) if held is event), None)

    def install(self, event: PerfEvent) -> None:
        """arch_install_hw_breakpoint: the first free register; the shadow is written before the hardware."""
        slot = self.bp_per_reg.index(None)
        self.bp_per_reg[slot] = event
        self.unit.write(slot, event.address)
        self.cpu_dr7 |= dr.dr7_encode(slot, event.length, event.type)
        self.write_dr7(self.cpu_dr7, event.owner.kind)

    def uninstall(self, event: PerfEvent) -> None:
        """arch_uninstall_hw_breakpoint: hardware first; DRn keeps its stale address and GE stays set."""
        slot = self.slot_of(event)
        if slot is None:
            return
        self.bp_per_reg[slot] = None
        self.cpu_dr7 &= ~(dr.dr7_encode(slot, event.length, event.type) & ~dr.DR7_GE | 0xF << 16 + 4 * slot)
        self.write_dr7(self.cpu_dr7, event.owner.kind)

    def write_dr7(self, value: int, by: str) -> None:
        """Write the hardware's DR7 and remember what that changed."""
        before = self.unit.dr7
        self.unit.write(7, value)
        self.changed_dr7 = before ^ self.unit.dr7
        self.changed_by = by


class HwBreakpointLayer:
    """All breakpoints of the machine, and the registers they sit in.

    `on_install(cpu)` is called after a CPU's registers changed hands.
    """

    def __init__(self, cpus: Iterable[CpuRegisters], on_install: Callable[[CpuRegisters], None]) -> None:
        self.cpus = tuple(cpus)
        self.events: list[PerfEvent] = []
        self._on_install = on_install
        self._running: dict[int, int | None] = {registers.cpu: None for registers in self.cpus}

    # -- accounting (kernel/events/hw_breakpoint.c)

    def pinned(self, cpu: int) -> int:
        """Breakpoints bound to this CPU, whatever task runs."""
        return sum(1 for event in self.events if event.tid is None and event.counts_on(cpu))

    def of_task(self, tid: int, cpu: int) -> int:
        """This task's breakpoints that count on this CPU."""
        return sum(1 for event in self.events if event.tid == tid and event.counts_on(cpu))

    def greediest(self, cpu: int) -> tuple[int, int | None]:
        """The most breakpoints that any one task has on this CPU, and that task."""
        tids = {event.tid for event in self.events if event.tid is not None}
        counts = sorted(((self.of_task(tid, cpu), tid) for tid in tids), key=lambda row: (-row[0], row[1]))
        return (counts[0][0], counts[0][1]) if counts else (0, None)

    def free(self, cpu: int) -> int:
        """What a request for this CPU would still get."""
        return SLOTS - self.pinned(cpu) - self.greediest(cpu)[0]

    def holders(self) -> tuple[str, ...]:
        """Who counts, one line each."""
        return tuple(event.described() for event in self.events)

    def _reserve(self, event: PerfEvent) -> None:
        """__reserve_bp_slot: ENOSPC where a CPU's budget would pass four."""
        for registers in self.cpus:
            cpu = registers.cpu
            if not event.counts_on(cpu):
                continue
            pinned = self.pinned(cpu)
            if event.tid is None:
                used, tid = self.greediest(cpu)
            else:
                used, tid = self.of_task(event.tid, cpu), event.tid
            if pinned + used + 1 > SLOTS:
                books = f"CPU {cpu}: {pinned} pinned + {used} of task {tid} = {pinned + used}/{SLOTS}"
                raise HwbpError(
                    f"no free debug register: {books}",
                    errno="ENOSPC",
                    holders=self.holders(),
                    remedy="free one with `delete N`; a disabled breakpoint still holds its slot",
                )

    def validate(self, address: int, length: int, kind: WatchType) -> None:
        """hw_breakpoint_arch_parse, for events that exclude the kernel (EINVAL, EOPNOTSUPP)."""
        if not 0 <= address < 1 << 64 or address + length - 1 >= 1 << 64:
            raise HwbpError(f"{address:#x}: past the end of the address space", errno="EINVAL")
        if kind == "x":
            if length != 1:
                raise HwbpError(
                    "an execute breakpoint covers the first byte of an instruction only", errno="EINVAL"
                )
        elif length not in (1, 2, 4, 8):
            errno = (
                "EOPNOTSUPP"
                if length > 0 and not length & (length - 1) and not address & (length - 1)
                else "EINVAL"
            )
            raise HwbpError(f"length {length}: a register covers 1, 2, 4 or 8 bytes", errno=errno)
        elif address & (length - 1):
            raise HwbpError(f"{address:#x} is not aligned to its length {length}", errno="EINVAL")
        if address + length - 1 >= TASK_SIZE_MAX:
            raise HwbpError(
                f"{address:#x} is a kernel address, and this event excludes the kernel", errno="EINVAL"
            )

    # -- life of a breakpoint

    def register(self, event: PerfEvent) -> None:
        """register_perf_hw_breakpoint: reserve first, validate second, install where its task runs."""
        self._reserve(event)
        self.validate(event.address, event.length, event.type)
        self.events.append(event)
        self._install(event)

    def unregister(self, event: PerfEvent) -> None:
        """Take it out of the registers and give its slot back."""
        self._uninstall(event)
        self.events.remove(event)

    def modify(self, event: PerfEvent, address: int, length: int, kind: WatchType, enabled: bool) -> None:
        """modify_user_hw_breakpoint: nothing changes on error."""
        self.validate(address, length, kind)
        self._uninstall(event)
        event.address, event.length, event.type, event.enabled = address, length, kind, enabled
        self._install(event)

    def enable(self, event: PerfEvent, on: bool) -> None:
        """Enable or disable; the slot stays taken either way."""
        if event.enabled != on:
            self._uninstall(event)
            event.enabled = on
            self._install(event)

    def _wanted(self, event: PerfEvent, cpu: int) -> bool:
        running = self._running[cpu]
        return event.enabled and event.counts_on(cpu) and event.tid in (None, running)

    def _install(self, event: PerfEvent) -> None:
        for registers in self.cpus:
            if self._wanted(event, registers.cpu):
                registers.install(event)
                self._on_install(registers)

    def _uninstall(self, event: PerfEvent) -> None:
        for registers in self.cpus:
            if registers.slot_of(event) is not None:
                registers.uninstall(event)
                self._on_install(registers)

    def schedule_in(self, cpu: int, tid: int | None) -> None:
        """Context switch: the outgoing task's events leave the registers, the incoming one's enter."""
        registers = self.cpus[cpu]
        for event in [
            held for held in registers.bp_per_reg if held is not None and held.tid not in (None, tid)
        ]:
            registers.uninstall(event)
        self._running[cpu] = tid
        for event in self.events:
            if registers.slot_of(event) is None and self._wanted(event, cpu):
                registers.install(event)
        self._on_install(registers)
