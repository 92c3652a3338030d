"""Tasks and CPUs: which one is looked at, which there are, where they may run, and what happened to the registers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from backends.base import HwbpError, Spawn
from backends.model import CpuView, Mark, Occupancy, TaskView
from tui.session.commands.table import Command, answer
from tui.session.commands.words import count, number
from tui.session.escape import escape
from tui.session.letters import owner_letter
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS", "cpus", "journal", "tasks"]

_SHOWN: Final = 20
_GAP: Final = 100


def _where(task: TaskView) -> str:
    pinned = f" pinned to {_list(task.pinned)}" if task.pinned else ""
    if task.kind == "told" and task.cpu is None:
        return f"waits to be told what to do{pinned}"
    if task.cpu is None:
        return "never runs"
    place = f"on CPU {task.cpu}" if task.state == "running" else f"last on CPU {task.cpu}"
    wait = f" for {escape(task.waits_for)}" if task.waits_for else ""
    return f"{task.state}{wait}, {place}{pinned}"


def _list(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def tasks(session: Session, _text: str) -> Answer:
    """`info tasks`."""
    lines, rows = [], []
    for task in session.view.tasks:
        line = f"{'*' if task.tid == session.view.task else ' '} {task.tid}"
        line += f" (pid {task.pid})" if task.pid != task.tid else ""
        line += f"  {escape(task.comm)}"
        if task.state != "unknown":
            line += f"  {_where(task)}"
            if task.ran_ns is not None:
                turns = f" in {task.switches} turns" if task.switches is not None else ""
                line += f", ran {task.ran_ns} ns{turns}"
        if task.pc is not None and task.kind == "program":
            line += f"  at {session.describe(task.pc)} ({task.pc:#x})"
        if task.virtual_dr6 is not None and task.ptrace_dr7 is not None:
            line += f", virtual DR6 {task.virtual_dr6:#x}, ptrace DR7 {task.ptrace_dr7:#x}"
        lines.append(line)
        rows.append({**asdict(task), "comm": escape(task.comm), "waits_for": escape(task.waits_for)})
    return answer(*(lines or ["no tasks"]), tasks=rows, task=session.view.task, quantum=session.view.quantum)


def _task_of(session: Session, tid: int | None) -> str:
    if tid is None:
        return "idle"
    comm = next((task.comm for task in session.view.tasks if task.tid == tid), "")
    return f"task {tid} {escape(comm)}".rstrip()


def _letters(cpu: CpuView, session: Session) -> str:
    owners = {bp.id: bp.owner.kind for bp in session.view.breakpoints}
    used = {
        slot.index: slot.breakpoint
        for slot in cpu.slots
        if slot.breakpoint is not None or slot.local or slot.global_
    }
    shown = []
    for index in range(4):
        if index not in used:
            shown.append("-")
        else:
            holder = used[index]
            shown.append(owner_letter("hand" if holder is None else owners.get(holder, "unknown")))
    return " ".join(shown)


def cpus(session: Session, _text: str) -> Answer:
    """`info cpus`."""
    lines = ["  CPU  DR0-3    DR7         free  #DB     writes  task"]
    rows = []
    for cpu in session.view.cpus:
        lines.append(
            f"{'*' if cpu.cpu == session.cpu else ' '} {cpu.cpu:<3}  {_letters(cpu, session)}  {cpu.dr7:#010x}  {cpu.free:<4}  "
            f"{cpu.db_count:<6}  {cpu.dr_writes:<6}  {_task_of(session, cpu.tid)}"
        )
        rows.append({**asdict(cpu), "writes": dict(cpu.writes)})
    return answer(*lines, cpus=rows, cpu=session.cpu)


def _sat(session: Session, row: Occupancy) -> tuple[int, int, str]:
    until = f"until {row.end_ns}" if row.end_ns is not None else "until now"
    label = session.watch_label(row.breakpoint)
    return row.start_ns, 0, f"{row.start_ns:>12}  CPU {row.cpu}  DR{row.slot}  {label} ({row.owner}) {until}"


def _mark(session: Session, row: Mark) -> tuple[int, int, str]:
    what = f"switch to {_task_of(session, row.tid or None)}" if row.kind == "switch" else row.kind
    if row.tid and row.kind != "switch":
        what += f" {_task_of(session, row.tid)}"
    return row.time_ns, 1, f"{row.time_ns:>12}  CPU {row.cpu}  {what}"


def journal(session: Session, text: str) -> Answer:
    """`info journal`."""
    shown = count(text, "info journal [N]", _SHOWN, 4096)
    page = session.backend.journal(0, (1 << 63) - 1)
    rows = [_sat(session, row) for row in page.occupancies] + [_mark(session, row) for row in page.marks]
    rows.sort(key=lambda row: (row[0], row[1]))
    data: dict[str, Any] = asdict(page)
    lines = [row[2] for row in rows[-shown:]]
    return answer(*(lines or ["nothing has happened to the debug registers yet"]), **data)


def _task(session: Session, text: str) -> Answer:
    if not text.strip():
        tid = session.view.task
        return answer(_task_of(session, tid) if tid is not None else "no task", task=tid)
    session.took(session.backend.select(number(text, "a task's number", "task [TID]")))
    return answer(f"looking at {_task_of(session, session.view.task)}", task=session.view.task)


def _cpu(session: Session, text: str) -> Answer:
    if text.strip():
        wanted = number(text, "a CPU's number", "cpu [N]")
        if wanted not in range(len(session.view.cpus)):
            raise HwbpError(
                f"no CPU {wanted}", errno="ENXIO", remedy=f"there are 0 to {len(session.view.cpus) - 1}"
            )
        session.cpu = wanted
    cpu = session.view.cpus[session.cpu]
    return answer(f"CPU {cpu.cpu}: {_letters(cpu, session)}, {_task_of(session, cpu.tid)}", cpu=cpu.cpu)


def _spawn(session: Session, text: str) -> Answer:
    grammar = "spawn nothing|program|pattern ... [on CPU,...]"
    words = text.split()
    if not words:
        raise UsageError("spawn what?", f"usage: {grammar}")
    on: tuple[int, ...] = ()
    if len(words) > 2 and words[-2] == "on":
        on = _cpus(words[-1], grammar)
        words = words[:-2]
    kind, rest = words[0], words[1:]
    if kind == "nothing":
        wish = Spawn(name=" ".join(rest), cpus=on)
    elif kind == "program":
        if not rest:
            raise UsageError("which program?", f"usage: {grammar}")
        wish = Spawn(program=rest[0], argv=tuple(rest[1:]), cpus=on)
    elif kind == "pattern":
        wish = Spawn(
            name=f"pattern-{rest[0]}"[:15] if rest else "", pattern=_pattern(session, rest, grammar), cpus=on
        )
    else:
        raise UsageError(f"{escape(kind)!r} cannot be spawned", f"usage: {grammar}")
    task = session.backend.spawn(wish)
    session.look()
    return answer(f"task {task.tid} {escape(task.comm)}, {_where(task)}", tid=task.tid)


def _pattern(session: Session, words: list[str], grammar: str) -> tuple[tuple[str, int, int, int], ...]:
    """`w:ADDRESS[/SIZE][@GAP]` ...: an address is a number or an expression."""
    found = []
    for word in words:
        kind, _, rest = word.partition(":")
        place, _, gap = rest.partition("@")
        place, _, size = place.partition("/")
        if kind not in ("r", "w", "x") or not place:
            raise UsageError(
                f"{escape(word)!r} is no access", f"usage: spawn pattern w:counter/8@100 ...; {grammar}"
            )
        address = session.names.resolve(place).address
        found.append(
            (
                kind,
                address,
                number(size, "a size", grammar) if size else (1 if kind == "x" else 8),
                number(gap, "a number of instructions", grammar) if gap else _GAP,
            )
        )
    if not found:
        raise UsageError("which accesses?", "usage: spawn pattern w:counter/8@100 ...")
    return tuple(found)


def _cpus(text: str, grammar: str) -> tuple[int, ...]:
    if text == "all":
        return ()
    return tuple(number(part, "a CPU's number", grammar) for part in text.split(","))


def _pin(session: Session, text: str) -> Answer:
    grammar = "pin TID CPU[,CPU]...|all"
    words = text.split()
    if len(words) != 2:
        raise UsageError("which task, and where?", f"usage: {grammar}")
    task = session.backend.pin(number(words[0], "a task's number", grammar), _cpus(words[1], grammar))
    session.look()
    return answer(
        f"task {task.tid} {escape(task.comm)}, {_where(task)}", tid=task.tid, cpus=list(task.pinned)
    )


def _hold(session: Session, text: str, on: bool) -> Answer:
    grammar = f"{'sleep' if on else 'wake'} TID"
    task = session.backend.hold(number(text, "a task's number", grammar), on)
    session.look()
    return answer(f"task {task.tid} {escape(task.comm)}, {_where(task)}", tid=task.tid, state=task.state)


def _sleep(session: Session, text: str) -> Answer:
    return _hold(session, text, True)


def _wake(session: Session, text: str) -> Answer:
    return _hold(session, text, False)


def _tids(session: Session, _text: str) -> list[str]:
    return [str(task.tid) for task in session.view.tasks]


def _numbers(session: Session, _text: str) -> list[str]:
    return [str(cpu.cpu) for cpu in session.view.cpus]


COMMANDS: Final = (
    Command(
        "task",
        "looking",
        "task [TID]",
        "look at this task: registers, memory, single steps",
        "Without a number, which task that is. A hit that stops the machine selects its task.\nExample: task 1001",
        _task,
        aliases=("thread",),
        complete=_tids,
    ),
    Command(
        "cpu",
        "looking",
        "cpu [N]",
        "look at this CPU's registers",
        "Without a number, which CPU that is. Example: cpu 1",
        _cpu,
        complete=_numbers,
    ),
    Command(
        "spawn",
        "running",
        "spawn nothing|program|pattern ... [on CPU,...]",
        "add a task to the machine",
        "`spawn nothing NAME` never runs, and can be given breakpoints. `spawn program PATH [ARG]...` runs another program.\n"
        "`spawn pattern ACCESS...` makes accesses again and again: w:ADDRESS/SIZE@GAP is a write, r: a read, x: a call, and\n"
        "GAP the instructions to the next. `on 1` pins it to CPU 1.\n"
        "Example: spawn pattern w:counter/8@1000 on 1",
        _spawn,
    ),
    Command(
        "pin",
        "running",
        "pin TID CPU[,CPU]...|all",
        "say where a task may run",
        "Example: pin 1001 1",
        _pin,
        complete=_tids,
    ),
    Command(
        "sleep",
        "running",
        "sleep TID",
        "keep a task from running",
        "It keeps its breakpoints, and they leave the registers. `wake` lets it run again. Example: sleep 1001",
        _sleep,
        complete=_tids,
    ),
    Command(
        "wake",
        "running",
        "wake TID",
        "let a task run again",
        "Example: wake 1001",
        _wake,
        complete=_tids,
    ),
)
