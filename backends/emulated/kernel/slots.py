"""The layer under all owners (kernel/events/hw_breakpoint.c): a slot is reserved when an event is made, and what it
watches is validated after that. Which register it sits in is decided by `scheduling`, when it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backends.base import HwbpError
from backends.emulated.kernel.accounting import SLOTS, Accounting
from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.config import KernelConfig
from backends.emulated.kernel.events import Hardware, PerfEvent
from backends.emulated.kernel.tasks import Task
from backends.model import WatchType

__all__ = ["SLOTS", "TASK_SIZE_MAX", "HwBreakpointLayer", "bp_len", "bp_type"]

TASK_SIZE_MAX: Final = 0x7FFF_FFFF_F000
_R, _W, _RW, _X = 1, 2, 3, 4
_EMPTY, _INVALID = 0, 7
_TYPES: Final[dict[int, WatchType]] = {_W: "w", _RW: "rw", _X: "x"}
_BITS: Final = {"w": _W, "rw": _RW, "x": _X}
_WORD: Final = 8
_MASK64: Final = (1 << 64) - 1
_EXCLUDE_KERNEL: Final = 1 << 5


def bp_type(kind: WatchType) -> int:
    """HW_BREAKPOINT_W, RW or X."""
    return _BITS[kind]


def bp_len(kind: WatchType, length: int) -> int:
    """attr.bp_len for a window: execute has sizeof(long) there."""
    return _WORD if kind == "x" else length


@dataclass(frozen=True, slots=True)
class _Refused:
    """A rule that was met."""

    errno: str
    why: str


class HwBreakpointLayer:
    """Reservation and validation. `events` are all events that exist, by id; `locked_by` names who is in the middle of
    a reservation and so holds the layer's locks (bp_cpuinfo_sem, before 6.1 nr_bp_mutex): empty for nobody.
    """

    def __init__(self, config: KernelConfig, cpus: int) -> None:
        self.config = config
        possible = max(cpus, config.possible or 0)
        self.accounting = Accounting(possible, one_mutex=config.one_mutex)
        self.by_id: dict[int, PerfEvent] = {}
        self.locked_by = ""

    @property
    def events(self) -> tuple[PerfEvent, ...]:
        """All that count, oldest first."""
        return tuple(event for event in self.by_id.values() if event.reserved)

    @property
    def lock(self) -> str:
        """The name of the lock that a reservation of kgdb must find free."""
        return "nr_bp_mutex" if self.config.one_mutex else "bp_cpuinfo_sem"

    def free(self, cpu: int) -> int:
        """What a CPU-wide request would still get on this CPU."""
        return self.accounting.free(cpu)

    def holders(self) -> tuple[str, ...]:
        """Who counts, one line each."""
        return tuple(event.described() for event in self.events)

    # -- validation

    def parse(self, attr: Attr, caller: Task | None) -> Hardware:
        """hw_breakpoint_parse: what goes into a register (EINVAL, EOPNOTSUPP, EPERM, in the kernel's order).

        `caller` is the calling task, whose CAP_SYS_ADMIN a kernel address needs; None is the kernel itself.
        """
        hardware = self._arch_parse(attr)
        if isinstance(hardware, _Refused):
            raise HwbpError(hardware.why, errno=hardware.errno)
        last = hardware.address + hardware.length - 1 & _MASK64
        if hardware.address >= TASK_SIZE_MAX or last >= TASK_SIZE_MAX:
            if attr.flags & _EXCLUDE_KERNEL:
                raise HwbpError(
                    f"{hardware.address:#x} is a kernel address, and this event excludes the kernel",
                    errno="EINVAL",
                )
            if caller is not None and not caller.capable("sys_admin"):
                raise HwbpError(
                    f"{hardware.address:#x} is a kernel address, which needs CAP_SYS_ADMIN", errno="EPERM"
                )
        return hardware

    def _arch_parse(self, attr: Attr) -> Hardware | _Refused:
        """hw_breakpoint_arch_parse (arch/x86/kernel/hw_breakpoint.c), its checks in its order."""
        address, length = attr.bp_addr, attr.bp_len
        end = address + length - 1 & _MASK64
        if end < address:
            return _Refused(
                "EINVAL",
                f"{address:#x}: past the end of the address space"
                if length
                else "length 0 watches nothing: a register covers 1, 2, 4 or 8 bytes",
            )
        for first, last in self.config.cpu_entry:
            if address <= last and first <= end:
                return _Refused("EINVAL", f"{address:#x} lies in what a CPU needs to enter the kernel")
        kind = _TYPES.get(attr.bp_type)
        if kind is None:
            why = "x86 cannot watch reads alone" if attr.bp_type == _R else f"bp_type {attr.bp_type} is none"
            return _Refused("EINVAL", why)
        if kind == "x":
            if address >= TASK_SIZE_MAX and not self.config.kprobes:
                return _Refused("EINVAL", "without CONFIG_KPROBES no kernel address can be broken at")
            if length != _WORD:
                return _Refused("EINVAL", "an execute breakpoint's bp_len is sizeof(long), 8")
            return Hardware(address, 1, "x")
        mask = 0
        if length not in (1, 2, 4, 8):
            if length & length - 1:
                return _Refused("EINVAL", f"length {length}: a register covers 1, 2, 4 or 8 bytes")
            if address & length - 1:
                return _Refused("EINVAL", f"{address:#x} is not aligned to its length {length}")
            if not self.config.bpext:
                return _Refused(
                    "EOPNOTSUPP", f"length {length}: a register covers 1, 2, 4 or 8 bytes without AMD's BPEXT"
                )
            mask, length = length - 1, 1
        elif address & length - 1:
            return _Refused("EINVAL", f"{address:#x} is not aligned to its length {length}")
        return Hardware(address, length, kind, mask)

    # -- life of a breakpoint

    def register(self, event: PerfEvent, caller: Task | None) -> None:
        """register_perf_hw_breakpoint: reserve first, validate second; on error nothing is left behind."""
        self.reserve(event)
        try:
            event.hardware = self.parse(event.attr, caller)
        except HwbpError:
            self.release(event)
            raise
        self.by_id[event.id] = event

    def reserve(self, event: PerfEvent) -> None:
        """reserve_bp_slot: EINVAL for a type that is none, ENOSPC where a CPU's budget would pass four."""
        if event.attr.bp_type in (_EMPTY, _INVALID):
            raise HwbpError(f"bp_type {event.attr.bp_type} is no breakpoint", errno="EINVAL")
        tightest = self.accounting.tightest(event.cpu, event.target)
        if tightest.used + 1 > SLOTS:
            raise HwbpError(
                f"no free debug register: {tightest}/{SLOTS}",
                errno="ENOSPC",
                holders=tuple(each.described() for each in self.accounting.against(tightest)),
                remedy="a disabled breakpoint still holds its slot",
            )
        self.accounting.add(event)
        event.reserved = True

    def release(self, event: PerfEvent) -> None:
        """release_bp_slot."""
        if event.reserved:
            self.accounting.remove(event)
            event.reserved = False

    def renumber(self, event: PerfEvent, number: int) -> None:
        """An event that is made once and used again has another number each time: what it counted before was somebody else's."""
        self.by_id.pop(event.id, None)
        event.id = number
        self.by_id[number] = event

    def destroy(self, event: PerfEvent) -> None:
        """event->destroy: the event is gone, its slot is free."""
        self.release(event)
        self.by_id.pop(event.id, None)

    def try_reserve(self, event: PerfEvent) -> bool:
        """dbg_reserve_bp_slot: without taking a lock, so safe in an NMI; refused with -1 when a lock is held.

        False for both that and ENOSPC: kgdb does not tell them apart.
        """
        if self.locked_by:
            return False
        try:
            self.reserve(event)
        except HwbpError:
            return False
        return True

    def try_release(self, event: PerfEvent) -> bool:
        """dbg_release_bp_slot: the same rule."""
        if self.locked_by:
            return False
        self.release(event)
        return True
