"""From watches to breakpoints: resolve, plan, reserve all or nothing, and say who is in the way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backends.base import HwbpError
from backends.condition import Condition
from backends.model import Breakpoint, BreakpointRequest, MachineView, OwnerKind, WatchType
from backends.planner import SLOTS, explain, slots_needed, windows
from symbols.dataclass import dataclass
from tui.session.condition import condition
from tui.session.escape import escape
from tui.session.typed import signed_integer
from tui.session.watch import Watch
from tui.session.watches import ArmedWatch

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = [
    "Planned",
    "arm",
    "asked",
    "event_number",
    "free_slots",
    "held_against",
    "holders",
    "ignoring",
    "no_space",
    "numbered",
    "owner_text",
    "plan",
    "record",
    "wanted_text",
    "way_to_free",
]


@dataclass(frozen=True, slots=True)
class Planned:
    """A watch that has an address: its windows are (address, length), for a thread-local variable of every thread.

    `frame`: for a variable of a stopped function, the stack pointer at which that function has returned.
    """

    watch: Watch
    label: str
    type: WatchType
    address: int
    length: int
    windows: tuple[tuple[int, int], ...]
    frame: int | None = None
    condition: Condition | None = None
    per_thread: bool = False


def plan(session: Session, watch: Watch, default: WatchType | None = None) -> Planned:
    """Find out what a watch covers. Raises HwbpError (no such symbol, LEN missing, more windows than slots)."""
    target = session.names.resolve(watch.expr, typed=False)
    kind = watch.type or default or ("x" if target.kind == "code" else "w")
    length = 1 if kind == "x" else watch.length or target.size or 0
    label = escape(watch.expr)
    if not length and not target.address % 8:
        length = 8
    if not length:
        raise HwbpError(
            f"{label}: {target.address:#x} is not aligned to 8 bytes, and nothing says how long the object is",
            errno="EINVAL",
            remedy=f"say how long: {label}/1, {label}/2 or {label}/4",
        )
    places = (target.address, *target.also)
    try:
        needed = sum(slots_needed(place, length, kind) for place in places)
    except ValueError as error:
        raise HwbpError(f"{label}: {error}", errno="EINVAL") from error
    if needed > SLOTS:
        raise HwbpError(
            f"{label}: {explain(target.address, length, kind, free_slots(session.view))}",
            errno="ENOSPC",
            holders=holders(session),
            remedy="watch a part of it: EXPR/LEN",
        )
    covered = tuple(window for place in places for window in windows(place, length, kind))
    wanted = None
    if watch.condition:
        wanted = held_against(session, watch.condition, watch.expr, kind, covered)
    return Planned(
        watch, label, kind, target.address, length, covered, target.frame, wanted, target.per_thread
    )


def held_against(
    session: Session, text: str, expr: str, kind: WatchType, windows_: tuple[tuple[int, int], ...]
) -> Condition:
    """The condition that a text spells for a watch of `expr` with these windows. Raises HwbpError."""
    length = windows_[0][1]
    signed = signed_integer(session, expr, length)
    return condition(
        text, expr, session.names, execute=kind == "x", length=length, whole=len(windows_) == 1, signed=signed
    )


def arm(
    session: Session,
    plans: tuple[Planned, ...],
    owner: OwnerKind = "perf",
    stop: bool = False,
    numbers: tuple[int, ...] | None = None,
    again: bool = False,
) -> tuple[ArmedWatch, ...]:
    """Reserve all windows of all watches, or none. Raises HwbpError; ENOSPC names who holds the slots.

    `numbers` are those of watches that have waited; `again`: they were refused before, and that is known.
    """
    first = session.watches.next_index
    numbers = numbers or tuple(range(first, first + len(plans)))
    requests = tuple(
        request
        for number, planned in zip(numbers, plans, strict=True)
        for request in asked(planned, number, owner, stop, again)
    )
    try:
        made = session.backend.arm(requests)
    except HwbpError as error:
        if error.errno == "ENOSPC":
            raise no_space(session, error, plans) from error
        raise
    finally:
        session.look()
    armed, rest = [], list(made)
    for number, planned in zip(numbers, plans, strict=True):
        mine, rest = rest[: len(planned.windows)], rest[len(planned.windows) :]
        ids = tuple(bp.id for bp in mine)
        armed.append(record(session, planned, number, ids, owner, stop))
    return tuple(armed)


def asked(
    planned: Planned, index: int, owner: OwnerKind, stop: bool, again: bool = False
) -> tuple[BreakpointRequest, ...]:
    """What a machine is asked for a watch with this number: a breakpoint for each window."""
    return tuple(
        BreakpointRequest(
            address=address,
            length=length,
            type=planned.type,
            owner=owner,
            watch=index,
            window=window,
            text=planned.watch.place,
            stop=stop,
            condition=planned.condition,
            limit=planned.watch.limit,
            ignore=planned.watch.ignore,
            again=again,
        )
        for window, (address, length) in enumerate(planned.windows)
    )


def record(
    session: Session, planned: Planned, index: int, ids: tuple[int, ...], owner: OwnerKind, stop: bool
) -> ArmedWatch:
    """Put a watch that was armed into the session's book."""
    watch = ArmedWatch(
        index=index,
        watch=planned.watch,
        label=planned.label,
        type=planned.type,
        address=planned.address,
        length=planned.length,
        windows=planned.windows,
        breakpoints=ids,
        owner=owner,
        stop=stop,
        frame=planned.frame,
        condition=planned.condition,
        per_thread=planned.per_thread,
    )
    session.watches.add(watch, first_hit=session.ring.head)
    return watch


def no_space(session: Session, error: HwbpError, plans: tuple[Planned, ...]) -> HwbpError:
    """The same refusal, saying what was asked, what would fit, and who holds the slots."""
    free = free_slots(session.view)
    needed = sum(len(planned.windows) for planned in plans)
    message = error.message
    if len(plans) > 1:
        message += f"; {len(plans)} watches need {needed} slots together"
    elif needed > 1:
        only = plans[0]
        message += f"; {explain(only.address, only.length, only.type, free)}"
    who = tuple(_named(session, each) for each in error.holders) or holders(session)
    advice = (way_to_free(session, max(1, needed - free)), error.remedy)
    remedy = "; ".join(filter(None, advice))
    return HwbpError(message, errno="ENOSPC", holders=who, remedy=remedy)


def way_to_free(session: Session, missing: int, kept: tuple[int, ...] = ()) -> str:
    """What to delete, as "`delete 3` frees 1 slot": the newest watches of ours that hold as many, or all there are.

    Empty where none holds any. `kept` are breakpoints that shall stay.
    """
    chosen: list[int] = []
    freed = 0
    for watch in reversed(session.watches.armed):
        if watch.owner == "ptrace" or kept == watch.breakpoints:
            continue
        if watch.windows and freed < missing:
            chosen.insert(0, watch.index)
            freed += len(watch.windows)
    if not chosen:
        return ""
    return f"`delete {' '.join(map(str, chosen))}` frees {freed} slot{'s' * (freed != 1)}"


def _named(session: Session, holder: str) -> str:
    """A holder as the kernel tells it; ptrace, which knows addresses only, by its watch of this session."""
    found = re.match(r"(ptrace u_debugreg\[(\d)\]): (0x[0-9a-f]+)/\d:\w+", holder)
    if found is None:
        return holder
    for bp in session.view.breakpoints:
        same = bp.owner.kind == "ptrace" and bp.index == int(found[2]) and bp.address == int(found[3], 16)
        if same and session.watches.find(bp.id) is not None:
            return f"{numbered(session, bp)} ({found[3]}), {found[1]}{holder[found.end() :]}"
    return holder


def free_slots(view: MachineView) -> int:
    """How many windows an every-CPU request would still get."""
    return min((cpu.free for cpu in view.cpus), default=SLOTS)


def holders(session: Session) -> tuple[str, ...]:
    """One line for each breakpoint that holds a slot."""
    return tuple(holder(session, bp) for bp in session.view.breakpoints)


def holder(session: Session, bp: Breakpoint) -> str:
    """`watch 0: counter w 4 in DR0, perf fd 3, task 41`."""
    where = f"in DR{bp.slot}" if bp.slot is not None else "in no register"
    scope = f"task {bp.tid}" if bp.tid is not None else "every task"
    state = "" if bp.enabled else ", disabled"
    what = f"{numbered(session, bp)} {bp.type} {bp.length}"
    return f"{what} {where}, {owner_text(bp)}, {scope}{state}"


def numbered(session: Session, bp: Breakpoint) -> str:
    """`watch 0: counter`; the bare label of what belongs to no watch of this session."""
    label, found = session.watch_label(bp.id), session.watches.find(bp.id)
    return label if found is None else f"watch {found[0].index}: {label}"


def event_number(bp: Breakpoint) -> int:
    """The number a perf event goes by: its descriptor, where it is known."""
    return bp.id if bp.owner.fd is None else bp.owner.fd


def owner_text(bp: Breakpoint) -> str:
    """`perf fd 3`, `ptrace index 0 (gdb 812)`."""
    owner = bp.owner
    who = f" ({escape(owner.comm)} {owner.pid})" if owner.comm and owner.pid is not None else ""
    if owner.kind == "perf":
        return f"perf fd {event_number(bp)}{who}"
    number = f" index {bp.index}" if bp.index is not None else ""
    return f"{owner.kind}{number}{who}"


def wanted_text(watch: Watch) -> str:
    """`, if value > 3, ignore 5, limit 10`: what its hits must be like; empty for every one."""
    return (
        (f", if {escape(watch.condition)}" if watch.condition else "")
        + (f", ignore {watch.ignore}" if watch.ignore else "")
        + (f", limit {watch.limit}" if watch.limit is not None else "")
    )


def ignoring(view: MachineView, armed: ArmedWatch) -> int:
    """How many of the next hits of a watch are ignored."""
    return next((bp.ignore for bp in view.breakpoints if bp.id in armed.breakpoints), 0)
