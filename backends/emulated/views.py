"""The state of the emulated machine as the immutable views that the front end draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from backends import dr
from backends.emulated.capture import Capture
from backends.emulated.cpu import Cpu
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.journal import Journal as KernelJournal
from backends.emulated.kernel.registers import CpuRegisters
from backends.emulated.kernel.slots import HwBreakpointLayer
from backends.emulated.linux import Task
from backends.emulated.machine import Machine
from backends.model import (
    Breakpoint,
    CpuView,
    Journal,
    Mark,
    Occupancy,
    RegisterWrite,
    Slot,
    TaskState,
    TaskView,
)

__all__ = ["MOST_ROWS", "breakpoint_view", "cpu_views", "journal_view", "task_view", "task_views"]

MOST_ROWS = 4096
Row = TypeVar("Row")


def breakpoint_view(
    event: PerfEvent, cpus: Sequence[CpuRegisters], capture: Capture, limit: int | None = None
) -> Breakpoint:
    """One perf event of the layer, and the register it sits in on the first CPU where it is in any."""
    every = (event, *event.children)
    slots = (registers.slot_of(each) for registers in cpus for each in every)
    return Breakpoint(
        id=event.id,
        address=event.address,
        length=event.length,
        type=event.type,
        owner=event.owner,
        enabled=event.switched_on,
        tid=event.tid,
        cpu=event.cpu if event.cpu >= 0 else None,
        slot=next((slot for slot in slots if slot is not None), None),
        index=event.index,
        watch=event.watch,
        window=event.window,
        text=event.text,
        stop=event.stop,
        hits=capture.sink(event.id).hits,
        filtered=capture.sink(event.id).filtered,
        condition=capture.sink(event.id).condition,
        limit=limit,
        ignore=capture.sink(event.id).ignore[0],
    )


def cpu_views(machine: Machine, kernel: Kernel) -> tuple[CpuView, ...]:
    """Every CPU with its registers, and who runs there."""
    return tuple(
        _cpu_view(
            cpu,
            registers,
            kernel.layer,
            current.tid if current is not None else None,
            guest.name if (guest := kernel.kvm.guest_on(cpu.number)) is not None else "",
        )
        for cpu, registers in zip(machine.cpus, kernel.cpus, strict=True)
        for current in (kernel.current(cpu.number),)
    )


def _cpu_view(
    cpu: Cpu, registers: CpuRegisters, layer: HwBreakpointLayer, tid: int | None, guest: str = ""
) -> CpuView:
    """One CPU's registers; `tid` is the task on it, None for none, `guest` the virtual CPU that runs there."""
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
        slots=tuple(_guest_slots(registers) if guest else _slots(registers)),
        writes=tuple(sorted(registers.journal.totals[registers.cpu].items())),
        switches=cpu.switches,
        guest=guest,
    )


def _oldest(rows: deque[Row], time: Callable[[Row], int]) -> int:
    """The time of the oldest row, where older ones were dropped; else 0."""
    return time(rows[0]) if len(rows) == rows.maxlen else 0


def journal_view(
    journal: KernelJournal, start_ns: int, end_ns: int, now_ns: int, origin: Mapping[int, int]
) -> Journal:
    """The rows of a span of time, at most the latest `MOST_ROWS` of each kind.

    `origin` maps an inherited event to the one that somebody asked for.
    """
    first = max(
        _oldest(journal.occupancies, lambda row: row.start_ns),
        _oldest(journal.marks, lambda row: row.time_ns),
        _oldest(journal.writes, lambda row: row.time_ns),
    )
    occupancies = [
        Occupancy(row.cpu, row.slot, origin.get(row.event, row.event), row.owner, row.start_ns, row.end_ns)
        for row in journal.occupancies
        if row.start_ns < end_ns and (row.end_ns is None or row.end_ns > start_ns)
    ]
    marks = [
        Mark(row.time_ns, row.cpu, row.kind, row.tid)
        for row in journal.marks
        if start_ns <= row.time_ns < end_ns
    ]
    writes = [
        RegisterWrite(row.time_ns, row.cpu, row.register, row.value, row.cause)
        for row in journal.writes
        if start_ns <= row.time_ns < end_ns
    ]
    if len(occupancies) > MOST_ROWS:
        first = max(first, occupancies[-MOST_ROWS].start_ns)
    for rows in (marks, writes):
        if len(rows) > MOST_ROWS:
            first = max(first, rows[-MOST_ROWS].time_ns)
    return Journal(
        first, now_ns, tuple(occupancies[-MOST_ROWS:]), tuple(marks[-MOST_ROWS:]), tuple(writes[-MOST_ROWS:])
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
            breakpoint=(event.parent or event).id if event else None,
        )


def _guest_slots(registers: CpuRegisters) -> Iterator[Slot]:
    """What is enabled while a guest runs is its own or its debugger's: no breakpoint of the host's is in there."""
    return (replace(slot, breakpoint=None) for slot in _slots(registers) if slot.local or slot.global_)


def task_view(task: Task, machine: Machine, kernel: Kernel) -> TaskView:
    """A task that runs a program, a pattern or nothing, where it stands."""
    mm, tracked = task.process.mm, kernel.task(task.tid)
    resident = mm.resident is task or task.context is None
    return TaskView(
        task.process.pid,
        task.tid,
        task.comm,
        mm.engine.pc if resident else task.context[0],  # type: ignore[index]
        mm.engine.get("RSP") if resident else mm.engine.saved(task.context, "RSP"),  # type: ignore[arg-type]
        kernel.ptrace.peek(tracked, 6),
        kernel.ptrace.peek(tracked, 7),
        state=_task_state(task, machine),
        waits_for=task.wait.what if task.wait is not None else "",
        cpu=None if task.process.kind == "nothing" else task.cpu,
        pinned=tuple(sorted(task.affinity or ())),
        ran_ns=task.ran,
        switches=task.switches,
        kind=task.process.kind,
    )


def _task_state(task: Task, machine: Machine) -> TaskState:
    if task.stopped:
        return "stopped"
    if task.wait is not None or task.process.kind == "nothing":
        return "waiting"
    return "running" if machine.on_cpu(task.cpu) is task else "runnable"


def task_views(machine: Machine, kernel: Kernel) -> tuple[TaskView, ...]:
    """All tasks: those in the machine by number, then those that do what they are told."""
    tasks = sorted(machine.linux.system.tasks.values(), key=lambda task: task.tid)
    return (*(task_view(task, machine, kernel) for task in tasks), *_told_tasks(machine, kernel))


def _told_tasks(machine: Machine, kernel: Kernel) -> tuple[TaskView, ...]:
    """Tasks that run no program and do what they are told; who opens the session's events and traces for it is none of them."""
    known, peek = machine.linux.system.tasks, kernel.ptrace.peek
    return tuple(
        TaskView(
            task.tgid, task.tid, task.comm, None, None, peek(task, 6), peek(task, 7),
            state="running" if task.cpu is not None else "waiting", waits_for="" if task.cpu is not None else "to be told",
            cpu=task.cpu, pinned=tuple(sorted(task.pinned)), ran_ns=task.ctx.time(kernel.now), kind="told",
        )
        for task in kernel.tasks
        if task.kind == "nothing" and task.uid and not task.dead and task.tid not in known
    )  # fmt: skip
