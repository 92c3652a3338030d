"""What a request would take, before anybody makes it: its address, type and windows, and who is in the way.

The same rules as arming (`tui.session.arming.plan`, `backends.planner`), with nothing reserved. Room is counted as the
kernel counts it for a task: on each CPU the breakpoints on every task, and those of the task itself (hw_breakpoint.c
`fetch_bp_busy_slots`), whatever other tasks have.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.model import Breakpoint, CpuView, WatchType
from backends.planner import SLOTS, fitting_length
from symbols.dataclass import dataclass
from tui.session.arming import Planned, numbered, owner_text, plan, wanted_text, way_to_free
from tui.session.editing import edited, plan_edit
from tui.session.escape import escape, one_line
from tui.session.result import pointer
from tui.session.slot_queue import IT_MAY_WAIT
from tui.session.watch import Watch

if TYPE_CHECKING:
    from backends.model import MachineView
    from tui.session.session import Session
    from tui.session.watches import ArmedWatch

__all__ = ["FORCED", "Holder", "Proposal", "Room", "proposal_lines", "propose", "rooms"]

FORCED: Final[dict[str, WatchType | None]] = {"watch": None, "awatch": "rw", "hbreak": "x", "perf open": None}
"""The words that ask for slots, and the type that some of them mean."""

_LONGEST_VALUE: Final = 40


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a slot: `text` says what for, `who` is the owner, `where` the registers it sits in now, "" for none."""

    who: str
    text: str
    where: str
    breakpoint: int


@dataclass(frozen=True, slots=True)
class Room:
    """What stands against the request on some CPUs that are alike: `used` slots of four, and by whom."""

    cpus: tuple[int, ...]
    used: int
    holders: tuple[Holder, ...]

    @property
    def free(self) -> int:
        """Slots that the request could still get here."""
        return max(0, SLOTS - self.used)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A request as it would be made. Texts are escaped; `wanted` is its condition and limit. `windows` are (address, length), one slot each.

    `errno` and `problem` are "" where it would be accepted; `instead` is a command line that would fit, "" for none.
    `freed` is the number of slots that an edit gives back first. `waits`: as many are not free, and it may wait for them.
    """

    command: str
    label: str
    declared: str
    now: str
    type: WatchType | None
    address: int | None
    place: str
    length: int
    windows: tuple[tuple[int, int], ...]
    rooms: tuple[Room, ...]
    stop: bool
    wanted: str
    errno: str
    problem: str
    remedy: str
    instead: str
    pointer: tuple[str, ...] = ()
    freed: int = 0
    waits: bool = False

    @property
    def free(self) -> int:
        """Slots that the request could get on the CPU with the least room."""
        return min((room.free for room in self.rooms), default=SLOTS)


def propose(session: Session, line: str, typed: bool = True) -> Proposal | None:
    """What a command line would take; None for a line that asks for no slots, or names nothing yet.

    `typed` false leaves out the type and the value, which may read much of a program's DWARF.
    """
    found = _request(session, line)
    if found is None:
        return None
    word, text, force, replaced = found
    text, stop = _without_stop(text)
    if not text:
        return None
    freed = len(replaced.breakpoints) if replaced is not None else 0
    ours = replaced.breakpoints if replaced is not None else ()
    room = rooms(session, ours)
    try:
        watch = edited(replaced, text) if replaced is not None else Watch.parse(text)
        if force is not None and watch.type not in (None, force):
            raise HwbpError(f"{word} watches {force}", errno="EINVAL", remedy="`watch` takes any type")
        watch = replace(watch, type=force) if force else watch
        planned = plan_edit(session, replaced, watch) if replaced is not None else plan(session, watch)
    except HwbpError as error:
        return _refused(session, line, word, text, stop, room, error, freed)
    needed, free = len(planned.windows), min((each.free for each in room), default=SLOTS)
    problem = remedy = instead = errno = ""
    waits = needed > free and watch.pending and replaced is None and planned.frame is None
    if needed > free and not waits:
        errno = "ENOSPC"
        have = "none is free" if not free else f"{free} {'is' if free == 1 else 'are'} free"
        problem = f"needs {needed} slot{'s' * (needed != 1)}, and {have}"
        remedy, instead = _way_out(session, word, planned, free, stop, ours)
    declared, now = _typed(session, planned) if typed else ("", "")
    return Proposal(
        command=line.strip(),
        label=planned.label,
        declared=declared,
        now=now,
        type=planned.type,
        address=planned.address,
        place=_place(session, planned),
        length=planned.length,
        windows=planned.windows,
        rooms=room,
        stop=stop,
        wanted=wanted_text(watch).removeprefix(", "),
        errno=errno,
        problem=problem,
        remedy=remedy,
        instead=instead,
        freed=freed,
        waits=waits,
    )


def rooms(session: Session, without: tuple[int, ...] = ()) -> tuple[Room, ...]:
    """The CPUs as the looked-at task's next request meets them, those that are alike together.

    `without`: breakpoints that would be gone by then.
    """
    view = session.view
    alike: dict[tuple[int, ...], list[CpuView]] = {}
    for cpu in view.cpus:
        held = tuple(sorted(bp.id for bp in _against(view, cpu) if bp.id not in without))
        alike.setdefault(held, []).append(cpu)
    known = {bp.id: bp for bp in view.breakpoints}
    return tuple(
        Room(
            tuple(sorted(cpu.cpu for cpu in cpus)),
            min(SLOTS, len(held)),
            tuple(_holder(session, known[bp_id], cpus) for bp_id in held),
        )
        for held, cpus in alike.items()
    )


def proposal_lines(proposal: Proposal, brief: bool = False) -> list[tuple[str, str]]:
    """The proposal for people: (what the line is, its text): "what", "windows", "room", "bad" or "good", "help".

    `brief` leaves out who owns the slots that are held, and in which registers they are.
    """
    out: list[tuple[str, str]] = []
    if proposal.address is not None:
        out.append(("what", _what(proposal)))
        out.append(("windows", _windows(proposal)))
    if proposal.address is not None or proposal.errno == "ENOSPC":
        out += [("room", text) for room in proposal.rooms for text in _room_lines(room, brief)]
    if proposal.problem:
        errno = f"{proposal.errno}: " if proposal.errno else ""
        out.append(("bad", f"{errno}{proposal.problem}"))
        if proposal.remedy:
            out.append(("help", proposal.remedy))
    elif proposal.waits:
        slots = len(proposal.windows)
        have = f"{proposal.free} free" if proposal.free else "none is free"
        out.append(
            ("good", f"waits: needs {slots} slot{'s' * (slots != 1)}, {have}; armed by itself when it fits")
        )
    else:
        slots = len(proposal.windows)
        freed = f" (after the {proposal.freed} that this watch gives back)" if proposal.freed else ""
        out.append(("good", f"fits: takes {slots} of {proposal.free} free{freed}"))
    return out


def _what(p: Proposal) -> str:
    size = "" if p.type == "x" else f" {p.length} byte{'s' * (p.length != 1)}"
    words = [p.label, f"({p.declared})" if p.declared else "", f"{p.type}{size} at {p.address:#x}"]
    if p.place and p.place != p.label:
        words.append(f"<{p.place}>")
    if p.now:
        words.append(f"now {p.now}")
    if p.wanted:
        words.append(p.wanted)
    if p.stop:
        words.append("stops at each hit")
    return "  ".join(filter(None, words))


def _windows(p: Proposal) -> str:
    count = len(p.windows)
    if p.type == "x":
        return "1 slot: an execute watch is 1 byte"
    pieces = "  ".join(f"{length} at {address:#x}" for address, length in p.windows[:8])
    more = f"  and {count - 8} more" if count > 8 else ""
    return f"{count} slot{'s' * (count != 1)}: {pieces}{more}"


def _room_lines(room: Room, brief: bool) -> list[str]:
    where = f"CPU{'s' * (len(room.cpus) > 1)} {_ranges(room.cpus)}"
    if not room.holders:
        return [f"{where}: all 4 slots free"]
    holders = [
        each.text if brief else f"{each.text} ({', '.join(filter(None, (each.who, each.where)))})"
        for each in room.holders
    ]
    return [f"{where}: {room.used} used, {room.free} free:  {'  '.join(holders)}"]


def _ranges(numbers: tuple[int, ...]) -> str:
    """0-3,6"""
    out: list[list[int]] = []
    for number in numbers:
        if out and number == out[-1][-1] + 1:
            out[-1][1:] = [number]
        else:
            out.append([number])
    return ",".join("-".join(map(str, each)) for each in out)


def _request(session: Session, line: str) -> tuple[str, str, WatchType | None, ArmedWatch | None] | None:
    """Word, watch text, the type that the word forces, and the watch that would be replaced."""
    from tui.session.commands import find

    try:
        command, rest = find(line)
    except HwbpError:
        return None
    if command.word in FORCED:
        return command.word, re.sub(r"^\s*-l(?:ocation)?\s+", "", rest), FORCED[command.word], None
    if command.word == "edit":
        number, _, text = rest.strip().partition(" ")
        watch = session.watches.get(int(number)) if number.isdecimal() and len(number) < 9 else None
        if watch is None or watch.removed:
            return None
        return f"edit {watch.index}", text, None, watch
    return None


def _without_stop(text: str) -> tuple[str, bool]:
    words = text.split()
    if len(words) > 1 and words[-1] == "stop":
        return text.strip()[: -len("stop")].strip(), True
    return text.strip(), False


def _refused(
    session: Session,
    line: str,
    word: str,
    text: str,
    stop: bool,
    room: tuple[Room, ...],
    error: HwbpError,
    freed: int,
) -> Proposal:
    instead = ""
    if error.errno == "ENOSPC":
        instead = _shorter(session, word, text, min((each.free for each in room), default=SLOTS), stop)
    return Proposal(
        command=line.strip(),
        label=escape(text),
        declared="",
        now="",
        type=None,
        address=None,
        place="",
        length=0,
        windows=(),
        rooms=room,
        stop=stop,
        wanted="",
        errno=error.errno or "",
        problem=one_line(error.message),
        remedy=f"`{one_line(instead)}` would fit" if instead else one_line(error.remedy),
        instead=instead,
        pointer=pointer(error, line),
        freed=freed,
    )


def _way_out(
    session: Session, word: str, planned: Planned, free: int, stop: bool, kept: tuple[int, ...]
) -> tuple[str, str]:
    """What would help, and the command line that would fit."""
    instead = _shorter(session, word, str(planned.watch), free, stop)
    ways = [f"`{one_line(instead)}` would fit"] if instead else []
    ways.append(way_to_free(session, max(1, len(planned.windows) - free), kept))
    if not kept and planned.frame is None:
        ways.append(IT_MAY_WAIT)
        instead = instead or f"{word} {replace(planned.watch, pending=True)}{' stop' * stop}"
    return "; ".join(filter(None, ways)), instead


def _shorter(session: Session, word: str, text: str, free: int, stop: bool) -> str:
    """The same request for the longest beginning that fits."""
    try:
        watch = Watch.parse(text)
        target = session.names.resolve(watch.expr)
        length = watch.length or target.size or 0
        fits = fitting_length(target.address, length, free) if free and length else 0
        if not fits or fits >= length or target.kind == "code" or target.also:
            return ""
        return f"{word} {replace(watch, length=fits)}{' stop' * stop}"
    except (HwbpError, ValueError):
        return ""


def _against(view: MachineView, cpu: CpuView) -> list[Breakpoint]:
    """What counts against a request of the program's own tasks on this CPU: the most that any one of them has."""
    current = view.current
    pid = current.pid if current is not None else None
    tids = {task.tid for task in view.tasks if task.pid == pid}
    pinned = [bp for bp in view.breakpoints if bp.tid is None and bp.cpu in (None, cpu.cpu)]
    by_task: dict[int, list[Breakpoint]] = {}
    for bp in view.breakpoints:
        if bp.tid is not None and bp.cpu in (None, cpu.cpu) and (bp.tid in tids or not tids):
            by_task.setdefault(bp.tid, []).append(bp)
    return pinned + max(by_task.values(), key=len, default=[])


def _holder(session: Session, bp: Breakpoint, cpus: list[CpuView]) -> Holder:
    sits = [
        f"DR{slot.index}" + (f" of CPU {cpu.cpu}" if len(cpus) > 1 else "")
        for cpu in cpus
        for slot in cpu.slots
        if slot.breakpoint == bp.id
    ]
    registers = {text.partition(" ")[0] for text in sits}
    where = (
        f"{registers.pop()} everywhere" if len(sits) == len(cpus) > 1 == len(registers) else ", ".join(sits)
    )
    text = f"{numbered(session, bp)} {bp.type} {bp.length}"
    return Holder(
        owner_text(bp) + ("" if bp.enabled else ", disabled"), text, f"in {where}" if where else "", bp.id
    )


def _place(session: Session, planned: Planned) -> str:
    if planned.type == "x":
        return session.source(planned.address) or session.describe(planned.address)
    return session.names.describe_data(planned.address)


def _typed(session: Session, planned: Planned) -> tuple[str, str]:
    """The object's type and its value now, as far as either is known."""
    from symbols.values import spell_value
    from tui.session.typed import look, style

    if planned.type == "x":
        return "", ""
    try:
        found = look(session, planned.watch.expr)
        # A bare address has a type as well: that of the number.
        place = found.type is not None and found.address == planned.address
        declared = escape(str(found.type)) if place else ""
        if not place or found.type is None or found.data is None or planned.length != len(found.data):
            data = session.backend.read(planned.address, min(planned.length, 8))
            return declared, str(int.from_bytes(data, "little")) if planned.length <= 8 else ""
        spelled = one_line(spell_value(found.data, found.type, style(session), found.bits))
    except HwbpError:
        return "", ""
    return declared, spelled if len(spelled) <= _LONGEST_VALUE else spelled[:_LONGEST_VALUE] + "..."
