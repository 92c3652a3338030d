"""The state of the emulated machine as the immutable views that the front end draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backends import dr
from backends.emulated.capture import Capture
from backends.emulated.cpu import Cpu
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.registers import CpuRegisters
from backends.emulated.kernel.slots import HwBreakpointLayer
from backends.model import Breakpoint, CpuView, Slot

__all__ = ["breakpoint_view", "cpu_view"]


def breakpoint_view(event: PerfEvent, cpus: Sequence[CpuRegisters], capture: Capture) -> Breakpoint:
    """One perf event of the layer, and the register it sits in on the first CPU where it is in any."""
    slots = (registers.slot_of(event) for registers in cpus)
    return Breakpoint(
        id=event.id,
        address=event.address,
        length=event.length,
        type=event.type,
        owner=event.owner,
        enabled=event.enabled,
        tid=event.tid,
        cpu=event.cpu if event.cpu >= 0 else None,
        slot=next((slot for slot in slots if slot is not None), None),
        index=event.index,
        watch=event.watch,
        window=event.window,
        text=event.text,
        stop=event.stop,
        hits=capture.sink(event.id).hits,
    )


def cpu_view(cpu: Cpu, registers: CpuRegisters, layer: HwBreakpointLayer, tid: int | None) -> CpuView:
    """One CPU's registers; `tid` is the task on it, None for none."""
    unit = cpu.unit
    return CpuView(
        cpu=registers.cpu,
        tid=tid,
        dr=(unit.dr[0], unit.dr[1], unit.dr[2], unit.dr[3]),
        dr6=cpu.last_dr6,
        dr7=unit.dr7,
        cpu_dr7=registers.cpu_dr7,
        changed_dr7=registers.changed_dr7,
        changed_by=registers.changed_by,
        db_count=cpu.db_count,
        dr_writes=registers.writes,
        last_db=cpu.last_db,
        free=layer.free(registers.cpu),
        slots=tuple(_slots(registers)),
    )


def _slots(registers: CpuRegisters) -> Iterator[Slot]:
    """The registers that somebody owns or that are enabled, whoever enabled them."""
    unit = registers.unit
    for n, event in enumerate(registers.bp_per_reg):
        if event is None and not dr.enabled(unit.dr7, n):
            continue
        yield Slot(
            index=n,
            address=unit.dr[n],
            length=dr.slot_length(unit.dr7, n),
            type=dr.slot_type(unit.dr7, n),
            local=bool(unit.dr7 >> 2 * n & 1),
            global_=bool(unit.dr7 >> 2 * n & 2),
            breakpoint=event.id if event else None,
        )
