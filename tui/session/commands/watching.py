"""gdb's words for watches: watch, awatch, rwatch, hbreak, delete, enable, disable."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import HwbpError
from backends.condition import Condition
from backends.model import OwnerKind, WatchType
from tui.session.arming import arm, event_number, held_against, ignoring, plan, wanted_text
from tui.session.commands.table import Command, answer
from tui.session.commands.words import count, symbols, watch_numbers, watch_of, watches_of
from tui.session.escape import escape
from tui.session.result import Answer, UsageError
from tui.session.watch import Watch

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.watches import ArmedWatch

__all__ = ["COMMANDS", "arm_text", "armed_answer", "armed_line"]


def arm_text(
    session: Session,
    text: str,
    grammar: str,
    force: WatchType | None = None,
    owner: OwnerKind = "perf",
) -> Answer:
    """Arm the watch that a command's argument spells, with `stop` as its last word or without."""
    text, stop = _stop_word(text)
    if owner == "ptrace" and any(f" {word} " in text for word in ("if", "ignore", "limit")):
        raise UsageError(
            "ptrace reports every hit: conditions and limits are for perf's", f"usage: {grammar}"
        )
    if not text:
        raise UsageError("what should be watched?", f"usage: {grammar}")
    watch = Watch.parse(text)
    if force is not None:
        if watch.type not in (None, force):
            raise UsageError(
                f"{escape(text)}: this command watches {force}", "use `watch`, which takes any type"
            )
        watch = replace(watch, type=force)
    ran = ""
    try:
        planned = plan(session, watch)
    except HwbpError as error:
        if session.entry is None:
            return _wait(session, watch, error, owner, stop)
        session.run_to_entry()
        ran = "ran to the program's entry point first, where its libraries are in place"
        try:
            planned = plan(session, watch)
        except HwbpError as still:
            return _wait(session, watch, still, owner, stop)
    try:
        (armed,) = arm(session, (planned,), owner, stop)
    except HwbpError as error:
        if error.errno != "ENOSPC" or owner != "perf" or planned.frame is not None:
            raise
        if not watch.pending:
            raise session.queue.hint(error) from None
        return _wait_for_slots(session, session.queue.add(planned, error, stop), ran)
    return armed_answer(session, armed, ran)


def _wait_for_slots(session: Session, row: ArmedWatch, ran: str) -> Answer:
    return answer(
        *session.queue.said(row),
        *([ran] if ran else []),
        watch=row.index,
        expr=row.label,
        waiting=True,
        waits_for="slot",
        slots=len(row.windows),
    )


def _wait(session: Session, watch: Watch, why: HwbpError, owner: OwnerKind, stop: bool) -> Answer:
    """A watch that means nothing yet: it waits if that was asked for, else `why` is raised."""
    if not watch.pending or owner != "perf":
        raise session.pending.hint(why)
    row = session.pending.add(watch, why, stop)
    late = session.pending.late
    return answer(
        f"watch {row.index}: {row.label} waits for a library ({why.message})",
        *([late] if late else []),
        watch=row.index,
        expr=row.label,
        waiting=True,
        waits_for="library",
    )


def armed_answer(session: Session, armed: ArmedWatch, *more: str) -> Answer:
    """What a watch that was just armed looks like."""
    made = {bp.id: bp for bp in session.view.breakpoints}
    return answer(
        armed_line(session, armed),
        *(line for line in (*more, armed.caution) if line),
        watch=armed.index,
        expr=armed.label,
        type=armed.type,
        address=armed.address,
        length=armed.length,
        owner=armed.owner,
        stop=armed.stop,
        condition=escape(armed.watch.condition) or None,
        ignore=armed.watch.ignore,
        limit=armed.watch.limit,
        breakpoints=list(armed.breakpoints),
        windows=[
            {
                "address": address,
                "length": length,
                "breakpoint": bp_id,
                "event": event_number(made[bp_id]) if bp_id in made else None,
                "slot": made[bp_id].slot if bp_id in made else None,
            }
            for (address, length), bp_id in zip(armed.windows, armed.breakpoints, strict=True)
        ],
    )


def armed_line(session: Session, armed: ArmedWatch) -> str:
    """`watch 0: cfg.limits[3]  w 8 bytes at 0x55550000c058, perf fd 3, 1 slot`."""
    size = f"{armed.length} byte{'s' * (armed.length != 1)}"
    what = f"x at {armed.address:#x}" if armed.type == "x" else f"{armed.type} {size} at {armed.address:#x}"
    many = len(armed.breakpoints) != 1
    mine = [bp for bp in session.view.breakpoints if bp.id in armed.breakpoints]
    if armed.owner == "ptrace":
        owner = f"ptrace ind{'ices' if many else 'ex'} {', '.join(str(bp.index) for bp in mine)}"
    else:
        owner = f"{armed.owner} fd{'s' * many} {', '.join(str(event_number(bp)) for bp in mine)}"
    end = wanted_text(armed.watch) + (", stops" if armed.stop else "")
    return (
        f"watch {armed.index}: {armed.label}  {what}, {owner}, {len(armed.breakpoints)} slot{'s' * many}{end}"
    )


def _stop_word(text: str) -> tuple[str, bool]:
    words = text.split()
    if len(words) > 1 and words[-1] == "stop":
        return text.strip()[: -len("stop")].strip(), True
    return text.strip(), False


def _watch(session: Session, text: str) -> Answer:
    return arm_text(
        session, text, "watch EXPR[/LEN][:w|rw|x] [if CONDITION] [ignore N] [limit N] [pending] [stop]"
    )


def _awatch(session: Session, text: str) -> Answer:
    return arm_text(
        session, text, "awatch EXPR[/LEN] [if CONDITION] [ignore N] [limit N] [pending] [stop]", "rw"
    )


def _hbreak(session: Session, text: str) -> Answer:
    return arm_text(session, text, "hbreak EXPR [if CONDITION] [ignore N] [limit N] [pending] [stop]", "x")


def _rwatch(_session: Session, text: str) -> Answer:
    what = escape(text.strip()) or "EXPR"
    raise HwbpError(
        "x86 cannot watch reads alone: the R/W field of DR7 has encodings for execute, write, and read or write",
        errno="EINVAL",
        remedy=f"use `awatch {what}`, which reports writes as well",
    )


def _delete(session: Session, text: str) -> Answer:
    gone = watches_of(session, text, "delete N... | all", waiting=True)
    for watch in gone:
        if watch.waiting:
            session.watches.remove(watch.index)
    waiting = session.watches.waiting
    armed = [watch for watch in gone if not watch.waiting]
    session.backend.disarm(tuple(bp_id for watch in armed for bp_id in watch.breakpoints))
    for watch in armed:
        session.watches.remove(watch.index)
    session.pending.removed()
    session.look()
    lines = []
    for watch in gone:
        freed = len(watch.breakpoints)
        lines.append(f"watch {watch.index}: {watch.label} is gone, {freed} slot{'s' * (freed != 1)} freed")
    lines += [
        armed_line(session, now)
        for row in waiting
        if (now := session.watches.get(row.index)) is not None and not now.waiting and not now.removed
    ]
    return answer(
        *lines,
        watch=gone[0].index if len(gone) == 1 else None,
        watches=[watch.index for watch in gone],
        freed=sum(len(watch.breakpoints) for watch in gone),
    )


def _condition(session: Session, text: str) -> Answer:
    number, _, wanted = text.strip().partition(" ")
    armed = watch_of(session, number, "condition N [CONDITION]")
    wanted = " ".join(wanted.split()).removeprefix("if ")
    found = held_against(session, wanted, armed.watch.expr, armed.type, armed.windows) if wanted else None
    return _restrict(session, armed, replace(armed.watch, condition=wanted), found)


def _restrict(session: Session, armed: ArmedWatch, watch: Watch, condition: Condition | None) -> Answer:
    _choosy(armed)
    session.backend.restrict(armed.breakpoints, condition, watch.limit)
    session.watches.change(replace(armed, watch=watch, condition=condition))
    session.look()
    said = wanted_text(replace(watch, ignore=ignoring(session.view, armed))) or ", every hit"
    return answer(
        f"watch {armed.index}: {armed.label}{said}",
        watch=armed.index,
        condition=escape(watch.condition) or None,
        limit=watch.limit,
    )


def _choosy(armed: ArmedWatch) -> None:
    if armed.owner != "perf":
        raise HwbpError(f"watch {armed.index} is {armed.owner}'s, who reports every hit", errno="EOPNOTSUPP")


def _ignore(session: Session, text: str) -> Answer:
    words = text.split()
    if len(words) != 2:
        raise UsageError("which watch, and how many of its next hits?", "usage: ignore N COUNT")
    armed = watch_of(session, words[0], "ignore N COUNT")
    _choosy(armed)
    wanted = 0 if words[1] == "0" else count(words[1], "ignore N COUNT", most=(1 << 63) - 1)
    session.backend.ignore(armed.breakpoints, wanted)
    session.look()
    many = "hit is" if wanted == 1 else f"{wanted} hits are"
    said = f"its next {many} counted only: not recorded, no stop" if wanted else "none of its hits is ignored"
    return answer(f"watch {armed.index}: {armed.label}, {said}", watch=armed.index, ignore=wanted)


def _switch(session: Session, text: str, on: bool) -> Answer:
    word = "enable" if on else "disable"
    switched = watches_of(session, text, f"{word} N... | all")
    lines = []
    for watch in switched:
        for bp_id in watch.breakpoints:
            session.backend.enable(bp_id, on)
        state = "enabled" if on else "disabled, and keeps its slot" + "s" * (len(watch.breakpoints) != 1)
        lines.append(f"watch {watch.index}: {watch.label} is {state}")
    session.look()
    return answer(
        *lines,
        watch=switched[0].index if len(switched) == 1 else None,
        watches=[watch.index for watch in switched],
        enabled=on,
    )


def _enable(session: Session, text: str) -> Answer:
    words = text.split()
    if words[:1] == ["count"]:
        if len(words) != 3:
            raise UsageError("how many hits, and of which watch?", "usage: enable count COUNT N")
        armed = watch_of(session, words[2], "enable count COUNT N")
        wanted = count(words[1], "enable count COUNT N", most=(1 << 63) - 1)
        _restrict(session, armed, replace(armed.watch, limit=wanted), armed.condition)
        text = words[2]
    return _switch(session, text, True)


def _disable(session: Session, text: str) -> Answer:
    return _switch(session, text, False)


COMMANDS = (
    Command(
        "watch",
        "watches",
        "watch EXPR[/LEN][:w|rw|x] [if CONDITION] [ignore N] [limit N] [pending] [stop]",
        "record every write to a variable",
        "Arms perf events that cover EXPR, one slot for each aligned window of 1, 2, 4 or 8 bytes, all or none.\n"
        "EXPR is a symbol, symbol+bytes, cfg.limits[3], head->next, prog.c:42, file.c::v, func::v or an address.\n"
        "Without LEN the object's own size; without a type w for data and x for functions.\n"
        "Hits are recorded and the program runs on; with `stop` as the last word it stops at each hit.\n"
        "Hits that do not meet CONDITION are counted only (see `condition`), then the first N of `ignore N` (see `ignore`);\n"
        "after `limit N` recorded hits it is disabled.\n"
        "With `pending` it waits where it cannot be armed yet: for slots to come free, or, where its name means nothing yet,\n"
        "for a library that the program loads later (dlopen). It is armed by itself then; `delete N` ends the waiting.\n"
        "Example: watch cfg.limits[3]   watch counter if value > 100 limit 5 stop",
        _watch,
        key="w",
        asks=True,
        complete=symbols,
        undoable=True,
    ),
    Command(
        "awatch",
        "watches",
        "awatch EXPR[/LEN] [if CONDITION] [ignore N] [limit N] [pending] [stop]",
        "record every read and write of a variable",
        "Like `watch EXPR:rw`.\nExample: awatch total stop",
        _awatch,
        aliases=("aw",),
        complete=symbols,
        undoable=True,
    ),
    Command(
        "rwatch",
        "watches",
        "rwatch EXPR",
        "x86 has no read-only watch; explains why",
        "The R/W field of DR7 has no encoding for reads alone, so this is always refused. awatch reports reads and\n"
        "writes; the hits say which of the two each was.\nExample: awatch counter",
        _rwatch,
        aliases=("rw",),
        complete=symbols,
    ),
    Command(
        "hbreak",
        "watches",
        "hbreak EXPR [if CONDITION] [ignore N] [limit N] [pending] [stop]",
        "record every execution of an instruction",
        "Arms one execute slot at a function, a source line or an address.\n"
        "Example: hbreak add_limit   hbreak counter.c:42 stop",
        _hbreak,
        aliases=("hb",),
        complete=symbols,
        undoable=True,
    ),
    Command(
        "delete",
        "watches",
        "delete N... | all",
        "remove watches and free their slots",
        "N is a watch's number, from 0: what stands beside it in the slots, in `info slots`, `info owners` and\n"
        "`info watchpoints`, and in a refusal. `perf close` takes a descriptor (fd).\n"
        "ptrace gives a slot back only when the task execs or exits.\nExample: delete 0   delete 1-3 5   delete all",
        _delete,
        aliases=("d",),
        key="d",
        asks=True,
        complete=watch_numbers,
        undoable=True,
    ),
    Command(
        "condition",
        "watches",
        "condition N [CONDITION]",
        "what hits of a watch must be like",
        "From the next hit on, while the program runs; without CONDITION every hit is wanted again. Comparisons joined by &&,\n"
        "of `value` (what the window holds after the hit), `thread`, `process`, `ip` or `cpu` with a constant: == != < <= >\n"
        ">=, `value & 0xff == 3`, `ip in FUNCTION`, `ip not in FUNCTION`. Hits that do not meet it are counted only.\n"
        "Example: condition 0 value > 100 && thread == 4712   condition 0 ip in add_limit   condition 0",
        _condition,
        complete=watch_numbers,
        undoable=True,
    ),
    Command(
        "ignore",
        "watches",
        "ignore N COUNT",
        "leave out the next hits of a watch",
        "The next COUNT hits that meet its condition are counted only: they are not recorded and stop nothing. What was left of\n"
        "an earlier COUNT is forgotten; 0 leaves out none. `info watchpoints` shows how many are left. `continue N` runs on to\n"
        "the Nth hit and records all of them.\nExample: ignore 0 99   ignore 0 0   watch counter ignore 99 stop",
        _ignore,
        complete=watch_numbers,
    ),
    Command(
        "enable",
        "watches",
        "enable N... | all | count COUNT N",
        "enable watches again",
        "Puts a disabled watch back into a register. With `count` it is disabled again after so many hits.\n"
        "Example: enable 0   enable all   enable count 10 0",
        _enable,
        complete=watch_numbers,
        undoable=True,
    ),
    Command(
        "disable",
        "watches",
        "disable N... | all",
        "disable watches; they keep their slots",
        "No more hits, but the kernel's books still count it, as on Linux.\nExample: disable 0   disable all",
        _disable,
        aliases=("dis",),
        complete=watch_numbers,
        undoable=True,
    ),
)
