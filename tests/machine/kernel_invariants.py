"""What must hold of a kernel's books at every instant (docs/semantics.md, "What always holds")."""

from __future__ import annotations

from backends import dr
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.events import PerfEvent, State
from backends.emulated.kernel.tasks import Task

__all__ = ["check"]


def check(kernel: Kernel) -> None:
    """Assert all of it. Costs some hundred microseconds."""
    events = kernel.layer.events
    for registers in kernel.cpus:
        installed = [event for event in registers.bp_per_reg if event is not None]
        assert len(set(map(id, installed))) == len(installed) <= 4
        for slot, event in enumerate(registers.bp_per_reg):
            enabled = bool(registers.cpu_dr7 >> 2 * slot & 2)
            assert enabled == (event is not None), "Gn is set exactly for owned registers"
            if event is not None:
                assert event.reserved
                assert dr.slot_type(registers.cpu_dr7, slot) == event.type
                assert registers.cpu_debugreg[slot] == registers.unit.dr[slot] == event.address or _dark(
                    kernel, registers.cpu
                )
        assert not registers.cpu_dr7 & 0x55, "Linux never sets Ln"
        ever = any(row.cpu == registers.cpu for row in kernel.journal.occupancies)
        assert bool(registers.cpu_dr7 & dr.DR7_GE) == ever, "GE, once set, stays"
        if not _dark(kernel, registers.cpu) and not getattr(kernel, "ghostly", False):
            assert registers.unit.dr7 == registers.cpu_dr7 | dr.DR7_BASE
        assert registers.unit.dr6 == dr.DR6_BASE, "the handler has reset DR6"
        assert registers.writes == kernel.journal.written(registers.cpu)
        _check_budget(kernel, registers.cpu, events)
        _check_scheduled(kernel, registers.cpu)
    for event in events:
        if event.state is State.ACTIVE:
            assert sum(r.slot_of(event) is not None for r in kernel.cpus) == 1
        elif event.owner.kind != "kgdb":
            assert all(r.slot_of(event) is None for r in kernel.cpus)
    for task in kernel.tasks:
        for index, bp in enumerate(task.ptrace_bps):
            assert bp is None or (bp.index == index and bp.target is task and bp.reserved)


def _dark(kernel: Kernel, cpu: int) -> bool:
    """DR7 is off, or not the kernel's: an NMI, kgdb, a guest."""
    return kernel.in_nmi(cpu) or kernel.kgdb.stopped is not None


def _check_budget(kernel: Kernel, cpu: int, events: tuple[PerfEvent, ...]) -> None:
    """The histograms say what counting everything anew says, and no CPU passes four."""
    pinned = sum(event.target is None and event.cpu == cpu for event in events)
    own: dict[Task, int] = {}
    for event in events:
        if event.target is not None and event.counts_on(cpu):
            own[event.target] = own.get(event.target, 0) + 1
    books = kernel.layer.accounting
    assert books.cpu_pinned[cpu] == pinned
    count, task = books.greediest(cpu)
    assert count == max(own.values(), default=0)
    assert task is None if not count else own[task] == count  # type: ignore[index]
    assert pinned + count <= 4


def _check_scheduled(kernel: Kernel, cpu: int) -> None:
    """Exactly the events that are on and belong here sit in this CPU's registers."""
    current = kernel.current(cpu)
    contexts = [kernel.scheduler.contexts[cpu]]
    if current is not None and not current.ctx.dead:
        contexts.append(current.ctx)
    wanted = {
        id(event)
        for context in contexts
        for event in context.events
        if event.state >= State.INACTIVE and event.cpu in (-1, cpu)
    }
    sitting = {
        id(event) for event in kernel.cpus[cpu].bp_per_reg if event is not None and event.owner.kind != "kgdb"
    }
    assert wanted == sitting
