"""The words of those who own slots: perf's, ptrace's, and writing the registers by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.dr import DR7_BITS, dr7_fields
from tui.session.arming import Planned, event_number, free_slots, holders, no_space, plan, record
from tui.session.commands.table import Command, answer
from tui.session.commands.watching import arm_text, armed_answer
from tui.session.commands.words import none, number, number_or_none, perf_event, symbols
from tui.session.editing import bit_request
from tui.session.result import Answer, UsageError
from tui.session.watch import Watch

if TYPE_CHECKING:
    from backends.model import Breakpoint
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_TYPE_BITS: Final = {"x": 0b00, "w": 0b01, "rw": 0b11}
_LENGTH_BITS: Final = {1: 0b00, 2: 0b01, 8: 0b10, 4: 0b11}
_ALIASES: Final = {4: 6, 5: 7}
"""While CR4.DE is 0, as Linux leaves it (SDM 3B 17.2.2)."""
_MASK64: Final = (1 << 64) - 1


def _perf_open(session: Session, text: str) -> Answer:
    return arm_text(session, text, "perf open WATCH [stop]")


def _perf_close(session: Session, text: str) -> Answer:
    bp = perf_event(session, text, "perf close FD")
    label = session.watch_label(bp.id)
    session.backend.disarm((bp.id,))
    session.look()
    return answer(f"perf fd {event_number(bp)} ({label}) is closed, 1 slot freed", event=event_number(bp))


def _perf_switch(session: Session, text: str, on: bool) -> Answer:
    bp = perf_event(session, text, f"perf {'enable' if on else 'disable'} FD")
    session.backend.enable(bp.id, on)
    session.look()
    state = "enabled" if on else "disabled, and keeps its slot"
    return answer(f"perf fd {event_number(bp)} is {state}", event=event_number(bp), enabled=on)


def _perf_enable(session: Session, text: str) -> Answer:
    return _perf_switch(session, text, True)


def _perf_disable(session: Session, text: str) -> Answer:
    return _perf_switch(session, text, False)


def _value(session: Session, text: str) -> int:
    """A number, or the address that an expression means."""
    if (value := number_or_none(text)) is not None:
        return value & _MASK64
    return session.names.resolve(text).address


def _register(text: str, grammar: str, allowed: Iterable[int]) -> int:
    value = number(text.lower().removeprefix("dr"), "a debug register's number", grammar)
    if value not in allowed:
        raise UsageError(f"there is no such register: {value}", f"usage: {grammar}")
    return value


def _ptrace_peek(session: Session, text: str) -> Answer:
    register = _register(text, "ptrace peek N", range(8))
    value = session.backend.ptrace_peek(None, register)
    return answer(f"u_debugreg[{register}] = {value:#x}", register=register, value=value)


def _ptrace_poke(session: Session, text: str) -> Answer:
    grammar = "ptrace poke N VALUE|EXPR"
    where, _, what = text.strip().partition(" ")
    register = _register(where, grammar, range(8))
    if not what.strip():
        raise UsageError("which value?", f"usage: {grammar}")
    value = _value(session, what)
    _poke(session, register, value)
    session.look()
    return answer(f"u_debugreg[{register}] = {value:#x}", register=register, value=value)


def _poke(session: Session, register: int, value: int, *plans: Planned) -> None:
    try:
        session.backend.ptrace_poke(None, register, value)
    except HwbpError as error:
        session.look()
        if error.errno == "ENOSPC":
            raise no_space(session, error, plans) from error
        raise


def _traced(session: Session) -> list[Breakpoint]:
    """ptrace's breakpoints of the task whose u_debugreg these words write: a live machine shows those of others too."""
    tid = session.view.tasks[0].tid if session.view.tasks else None
    return [bp for bp in session.view.breakpoints if bp.owner.kind == "ptrace" and bp.tid in (None, tid)]


def _ptrace_watch(session: Session, text: str) -> Answer:
    """What gdb does: an index whose enable bits are clear, DRn, then DR7 with Ln; one index for each window."""
    if not text.strip():
        raise UsageError("what should be watched?", "usage: ptrace watch WATCH")
    planned = plan(session, Watch.parse(text))
    dr7 = session.backend.ptrace_peek(None, 7)
    unused = [index for index in range(4) if not dr7 >> 2 * index & 3]
    if len(unused) < len(planned.windows):
        session.look()
        raise HwbpError(
            f"{planned.label} needs {len(planned.windows)} of the tracer's four registers, and {len(unused)} are unused",
            errno="ENOSPC",
            holders=holders(session),
            remedy="`ptrace clear` disables them all",
        )
    indices = unused[: len(planned.windows)]
    for index, (address, length) in zip(indices, planned.windows, strict=True):
        _poke(session, index, address, planned)
        dr7 &= ~(0xF << 16 + 4 * index | 3 << 2 * index)
        dr7 |= (_LENGTH_BITS[length] << 2 | _TYPE_BITS[planned.type]) << 16 + 4 * index | 1 << 2 * index
    _poke(session, 7, dr7, planned)
    session.look()
    made = {bp.index: bp.id for bp in _traced(session)}
    ids = tuple(made[index] for index in indices if index in made)
    if len(ids) < len(indices):
        raise HwbpError(
            "what was written does not show in the task's registers: it may have ended", errno="ESRCH"
        )
    armed = record(session, planned, session.watches.next_index, ids, "ptrace", True)
    return armed_answer(session, armed)


def _ptrace_clear(session: Session, text: str) -> Answer:
    none(text, "ptrace clear")
    _poke(session, 7, 0)
    session.look()
    kept = len(_traced(session))
    lines = [
        f"u_debugreg[7] = 0: nothing of ptrace's is enabled, {kept} slot{'s' * (kept != 1)} stay{'s' * (kept == 1)} reserved"
    ]
    if kept:
        lines.append(
            "ptrace gives a slot back only when the task execs or exits (x86 ptrace.c ptrace_write_dr7)"
        )
    return answer(*lines, kept=kept, free=free_slots(session.view))


def _dr7_toggle(session: Session, text: str) -> Answer:
    grammar = "dr7 toggle BIT"
    if (
        not session.view.can.writes_dr
    ):  # a live kernel: the request that comes to the same, or why there is none
        from tui.session.commands import find

        command, rest = find(line := bit_request(session, text))
        made = command.run(session, rest)
        return answer(*made.lines, f"asked for by `{line}`", request=line, **made.data)
    name = text.strip().upper()
    fields = {field.name: field for field in dr7_fields()}
    old = session.view.cpus[session.cpu].dr7
    if name in fields:
        field = fields[name]
        mask = (1 << field.width) - 1 << field.shift
        value = old & ~mask | (old + (1 << field.shift)) & mask
    else:
        bit = number(
            text, "a field (L0-L3, G0-G3, LE, GE, RTM, GD, RW0-RW3, LEN0-LEN3) or a bit's number", grammar
        )
        if not 0 <= bit < 64:
            raise UsageError(f"DR7 has no bit {bit}", f"usage: {grammar}")
        value = old ^ 1 << bit
    session.took(session.backend.write_dr(session.cpu, 7, value))
    session.look()
    new = session.view.cpus[session.cpu].dr7
    return answer(f"DR7 {old:#x} -> {new:#x} ({_changes(old, new)})", old=old, written=value, value=new)


def _dr6_disabled(session: Session, text: str) -> Answer:
    word = text.strip()
    if word not in ("on", "off"):
        raise UsageError("on or off?", "usage: dr6 disabled on|off")
    session.took(session.backend.show_disabled(word == "on"))
    return answer(
        f"DR6 shows slots that match {'whether or not they are' if word == 'on' else 'only if they are'} enabled",
        shown=word == "on",
    )


def _changes(old: int, new: int) -> str:
    """`G0 0 -> 1`, for every field that changed."""
    changed = [f"{f.name} {f.of(old)} -> {f.of(new)}" for f in dr7_fields() if f.of(old) != f.of(new)]
    return ", ".join(changed) or "nothing changed: the CPU does not keep that bit"


def _dr7(session: Session, text: str) -> Answer:
    return _write(session, 7, text, "dr7 VALUE")


def _dr(session: Session, text: str) -> Answer:
    grammar = "dr N VALUE|EXPR"
    where, _, what = text.strip().partition(" ")
    register = _register(where, grammar, range(8))
    return _write(session, _ALIASES.get(register, register), what, grammar)


def _write(session: Session, register: int, text: str, grammar: str) -> Answer:
    if not text.strip():
        raise UsageError("which value?", f"usage: {grammar}")
    value = _value(session, text)
    session.took(session.backend.write_dr(session.cpu, register, value))
    session.look()
    cpu = session.view.cpus[session.cpu]
    now = {6: cpu.dr6, 7: cpu.dr7}.get(register)
    now = cpu.dr[register] if now is None else now
    note = "" if now == value else f" (written {value:#x})"
    return answer(f"DR{register} = {now:#x}{note}", register=register, written=value, value=now)


def _bits(_session: Session, _text: str) -> Iterable[str]:
    return [*DR7_BITS, *(f"{kind}{n}" for n in range(4) for kind in ("RW", "LEN"))]


def _events(session: Session, _text: str) -> Iterable[str]:
    return [str(event_number(bp)) for bp in session.view.breakpoints if bp.owner.kind == "perf"]


COMMANDS = (
    Command(
        "perf open",
        "owners",
        "perf open WATCH [stop]",
        "open perf events that cover a watch",
        "perf_event_open(2) with PERF_TYPE_BREAKPOINT, pinned, one event for each window: what `watch` does.\n"
        "Example: perf open counter:w",
        _perf_open,
        complete=symbols,
        undoable=True,
    ),
    Command(
        "perf close",
        "owners",
        "perf close FD",
        "close one perf event and free its slot",
        "FD is its descriptor, as `info slots` prints it; `delete` takes a watch's number. Example: perf close 3",
        _perf_close,
        complete=_events,
        undoable=True,
    ),
    Command(
        "perf enable",
        "owners",
        "perf enable FD",
        "enable one perf event",
        "PERF_EVENT_IOC_ENABLE. Example: perf enable 3",
        _perf_enable,
        complete=_events,
        undoable=True,
    ),
    Command(
        "perf disable",
        "owners",
        "perf disable FD",
        "disable one perf event; it keeps its slot",
        "PERF_EVENT_IOC_DISABLE. Example: perf disable 3",
        _perf_disable,
        complete=_events,
        undoable=True,
    ),
    Command(
        "ptrace watch",
        "owners",
        "ptrace watch WATCH",
        "watch as a debugger does, through u_debugreg",
        "gdb's way: an index whose enable bits are clear, PTRACE_POKEUSER of DRn, then of DR7; one for each window.\n"
        "The task gets SIGTRAP at each hit, so it stops. Example: ptrace watch total:rw",
        _ptrace_watch,
        complete=symbols,
    ),
    Command(
        "ptrace peek",
        "owners",
        "ptrace peek N",
        "read the task's u_debugreg[N]",
        "PTRACE_PEEKUSER. 4 and 5 read 0, 6 is the task's virtual DR6, 7 what was written last. Example: ptrace peek 7",
        _ptrace_peek,
    ),
    Command(
        "ptrace poke",
        "owners",
        "ptrace poke N VALUE|EXPR",
        "write the task's u_debugreg[N]",
        "PTRACE_POKEUSER, with the kernel's own errnos. Writing 0-3 takes a slot even while DR7 leaves it disabled.\n"
        "Example: ptrace poke 0 counter",
        _ptrace_poke,
        complete=symbols,
    ),
    Command(
        "ptrace clear",
        "owners",
        "ptrace clear",
        "clear u_debugreg[7]; the slots stay reserved",
        "What a debugger does at the end. ptrace gives a slot back only at exec or exit. Example: ptrace clear",
        _ptrace_clear,
    ),
    Command(
        "dr7 toggle",
        "owners",
        "dr7 toggle BIT",
        "turn one field of DR7 by hand",
        "BIT is L0-L3, G0-G3, LE, GE, RTM, GD or a bit's number; RW0-RW3 and LEN0-LEN3 have two bits and move on to\n"
        "their next value. This goes past the kernel's books: they still say what they said. Example: dr7 toggle G0",
        _dr7_toggle,
        key="t",
        asks=True,
        complete=_bits,
        undoable="by hand",
    ),
    Command(
        "dr6 disabled",
        "owners",
        "dr6 disabled on|off",
        "whether DR6 also shows slots that match and are not enabled",
        "The manual lets a CPU set Bn for those beside another cause of a #DB (SDM 3B 17.2.3), so a handler must look at DR7,\n"
        "too. Bare mode only, off at first: turn it on to test a handler. Example: dr6 disabled on",
        _dr6_disabled,
        complete=lambda _session, _text: ["on", "off"],
    ),
    Command(
        "dr7",
        "owners",
        "dr7 VALUE",
        "write DR7 of CPU 0 by hand",
        "Past the kernel's books; the CPU obeys. Example: dr7 0x000d0202",
        _dr7,
        undoable="by hand",
    ),
    Command(
        "dr",
        "owners",
        "dr N VALUE|EXPR",
        "write a debug register of CPU 0 by hand",
        "N is 0-7; 4 and 5 are aliases of 6 and 7. Past the kernel's books; the CPU obeys. Example: dr 0 counter",
        _dr,
        complete=symbols,
        undoable="by hand",
    ),
)
