"""What must hold of a kernel's books at every instant (docs/semantics.md, "What always holds")."""

from __future__ import annotations

from backends import dr
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.events import PerfEvent, State
from backends.emulated.kernel.registers import CpuRegisters
from backends.emulated.kernel.tasks import Task

__all__ = ["Exceptions", "check"]


class Exceptions:
    """CPUs on which an exception's exit has put an older DR7 back (`late`): until the kernel writes it anew, the hardware may
    differ from the kernel's copy, and have ghosts. Events that were `grouped`: one that is left by a leader that was off
    waits for the next reschedule."""

    def __init__(self) -> None:
        self.late: set[int] = set()
        self.grouped: set[PerfEvent] = set()


def check(kernel: Kernel, exceptions: Exceptions | None = None) -> None:
    """Assert all of it. Costs some hundred microseconds."""
    events = kernel.layer.events
    exceptions = exceptions or Exceptions()
    late = exceptions.late
    for registers in kernel.cpus:
        installed = [event for event in registers.bp_per_reg if event is not None]
        assert len(set(map(id, installed))) == len(installed) <= 4
        for slot, event in enumerate(registers.bp_per_reg):
            enabled = bool(registers.cpu_dr7 >> 2 * slot & 2)
            assert enabled == (event is not None), "Gn is set exactly for owned registers"
            if event is not None:
                assert event.reserved
                assert dr.slot_type(registers.cpu_dr7, slot) == event.type
                assert registers.cpu_debugreg[slot] == event.address
                if not _dark(kernel, registers.cpu):
                    assert registers.unit.dr[slot] == event.address
        assert not registers.cpu_dr7 & 0x55, "Linux never sets Ln"
        ever = any(row.cpu == registers.cpu for row in kernel.journal.occupancies)
        assert bool(registers.cpu_dr7 & dr.DR7_GE) == ever, "GE, once set, stays"
        if not _dark(kernel, registers.cpu):
            _check_dr7(kernel, registers, late)
        if kernel.kvm.guest_on(registers.cpu) is None:
            assert registers.unit.dr6 == dr.DR6_BASE or kernel.kvm.vcpus, "the handler has reset DR6"
        assert registers.writes == kernel.journal.written(registers.cpu)
        _check_budget(kernel, registers.cpu, events)
        _check_scheduled(kernel, registers.cpu, exceptions.grouped)
    for event in events:
        if event.state is State.ACTIVE:
            assert sum(r.slot_of(event) is not None for r in kernel.cpus) == 1
        elif event.owner.kind != "kgdb":
            assert all(r.slot_of(event) is None for r in kernel.cpus)
    for task in kernel.tasks:
        for index, bp in enumerate(task.ptrace_bps):
            assert bp is None or (bp.index == index and bp.target is task and bp.reserved)
    _check_kgdb(kernel)
    _check_guests(kernel)


def _check_dr7(kernel: Kernel, registers: CpuRegisters, late: set[int]) -> None:
    """The hardware has the kernel's copy, except for what an exception's exit put back, and for GE after a guest."""
    wanted = registers.cpu_dr7 | dr.DR7_BASE
    if registers.unit.dr7 == wanted:
        late.discard(registers.cpu)
        return
    if not registers.active and registers.unit.dr7 == dr.DR7_BASE:
        return  # a guest was left, or DR7 was off, and nothing was put back: nothing was enabled
    assert registers.cpu in late, f"CPU {registers.cpu}: DR7 {registers.unit.dr7:#x}, not {wanted:#x}"


def _check_kgdb(kernel: Kernel) -> None:
    """What kgdb has set counts on every CPU, and sits in a register of each once the machine goes on."""
    for info in kernel.kgdb.breakinfo:
        assert all(event.reserved == info.enabled for event in info.events)
        if kernel.kgdb.stopped is None:
            for event in info.events:
                assert (kernel.cpus[event.cpu].slot_of(event) is not None) == info.enabled


def _check_guests(kernel: Kernel) -> None:
    """In a guest the hardware has what runs the guest, and none of the host's is enabled."""
    for vcpu in kernel.kvm.vcpus.values():
        if vcpu.cpu is not None:
            unit = kernel.cpus[vcpu.cpu].unit
            assert kernel.kgdb.stopped is None
            if not vcpu.lazy:
                assert unit.dr7 == dr.dr7_written(vcpu.effective_dr7 & 0xFFFF_FFFF)
                assert not vcpu.bp_enabled or list(unit.dr) == vcpu.eff_db


def _dark(kernel: Kernel, cpu: int) -> bool:
    """DR7 is off, or not the kernel's: an NMI, kgdb, a guest."""
    return kernel.in_nmi(cpu) or kernel.kgdb.stopped is not None or kernel.kvm.guest_on(cpu) is not None


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


def _check_scheduled(kernel: Kernel, cpu: int, grouped: set[PerfEvent]) -> None:
    """Exactly the events that are on and belong here sit in this CPU's registers."""
    current = kernel.current(cpu)
    contexts = [kernel.scheduler.contexts[cpu]]
    if current is not None and not current.ctx.dead:
        contexts.append(current.ctx)
    wanted = {
        event
        for context in contexts
        for event in context.events
        if event.state >= State.INACTIVE
        and event.cpu in (-1, cpu)
        and (event.group_leader is None or event.group_leader.state is State.ACTIVE)
    }
    sitting = {
        event for event in kernel.cpus[cpu].bp_per_reg if event is not None and event.owner.kind != "kgdb"
    }
    assert sitting <= wanted
    assert all((event.parent or event) in grouped for event in wanted - sitting)
