"""The watches that a session is opened with (`-w`), also those of libraries that are not mapped yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.base import HwbpError
from tui.session.arming import Planned, arm, plan, way_to_free
from tui.session.escape import escape
from tui.session.result import Result
from tui.session.watches import ArmedWatch, WatchBook

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.watch import Watch

__all__ = ["open_watches"]


def open_watches(
    session: Session, watches: tuple[Watch, ...], fitting: bool = False
) -> tuple[ArmedWatch, ...]:
    """Arm the -w watches, all or none; with `fitting` those that fit, and the others wait for slots, as `pending` ones do.

    A watch of a library that is not mapped yet makes a program that has not begun run to its entry point first,
    where its libraries are in place. The other watches are armed before that, so that they miss nothing, and
    armed anew there, so that registers are in the order of the command line. What is still unknown then, and may
    wait, has its number and waits.
    """
    with session.queue.held():
        return _open(session, watches, fitting)


def _open(session: Session, watches: tuple[Watch, ...], fitting: bool) -> tuple[ArmedWatch, ...]:
    plans: list[Planned | None] = []
    for watch in watches:
        try:
            plans.append(plan(session, watch))
        except HwbpError as error:
            if session.entry is None and not watch.pending:
                raise session.pending.hint(error) from None
            plans.append(None)
    ready = {number: planned for number, planned in enumerate(plans) if planned is not None}
    first = session.watches.next_index
    if len(ready) == len(plans):
        armed = _arm(session, tuple(ready.values()), tuple(range(first, first + len(ready))), fitting)
        return _told(session, armed)
    begun = _arm(session, tuple(ready.values()), tuple(range(first, first + len(ready))), fitting)
    early = {number: watch.breakpoints for number, watch in zip(ready, begun, strict=True)}
    try:
        late = _plan_late(session, plans, watches)
    finally:
        session.watches = WatchBook()
        if ids := tuple(bp_id for ids in early.values() for bp_id in ids):
            session.backend.disarm(ids)
    found = {number: planned for number, planned in enumerate(late) if isinstance(planned, Planned)}
    if len(found) < len(late):
        for watch in watches:
            session.watches.reserve(watch, escape(watch.expr))
    armed = _arm(session, tuple(found.values()), tuple(found), fitting)
    for row in armed:
        session.watches.also(row.index, early.get(row.index, ()))
    session.pending.begin([why for why in late if isinstance(why, HwbpError)])
    return _told(session, armed)


def _arm(
    session: Session, plans: tuple[Planned, ...], numbers: tuple[int, ...], fitting: bool
) -> tuple[ArmedWatch, ...]:
    """Arm watches: all of them; or those that fit, where each of the others may wait. Raises HwbpError."""
    if not plans:
        return ()
    try:
        return arm(session, plans, numbers=numbers)
    except HwbpError as error:
        if error.errno != "ENOSPC" or not any(fitting or planned.watch.pending for planned in plans):
            raise
        refused = error
    for number, planned in zip(numbers, plans, strict=True):
        if session.watches.get(number) is None:
            session.watches.reserve(planned.watch, planned.label)
    rows: dict[int, ArmedWatch] = {}
    wanted = list(zip(numbers, plans, strict=True))
    if not fitting:
        wanted.sort(key=lambda each: each[1].watch.pending)  # those that may not wait come first
    try:
        for number, planned in wanted:
            try:
                (rows[number],) = arm(session, (planned,), numbers=(number,), again=True)
            except HwbpError as error:
                if error.errno != "ENOSPC":
                    raise
                if not (fitting or planned.watch.pending):
                    raise refused from error
                rows[number] = session.queue.add(planned, error, index=number)
    except HwbpError:
        for number in numbers:
            if number in rows and rows[number].breakpoints:
                session.backend.disarm(rows[number].breakpoints)
            session.watches.remove(number)
        raise
    return tuple(rows[number] for number in numbers)


def _told(session: Session, rows: tuple[ArmedWatch, ...]) -> tuple[ArmedWatch, ...]:
    """Say which of them wait."""
    waiting = [row for row in rows if row.waiting]
    if waiting:
        names = ", ".join(f"watch {row.index} {row.label}" for row in waiting)
        wait = "wait" if len(waiting) > 1 else "waits"
        said = f"{len(rows) - len(waiting)} of {len(rows)} watches are armed; {names} {wait} for slots to come free"
        way = way_to_free(session, max(1, sum(len(row.windows) for row in waiting)))
        session.happened("-w", Result(True, "watch", (said, *([way] if way else []))))
    return rows


def _plan_late(
    session: Session, plans: list[Planned | None], watches: tuple[Watch, ...]
) -> tuple[Planned | HwbpError, ...]:
    """Let the dynamic loader work until every watch has an address, or says why it has none and may wait."""
    while True:
        entry = session.entry
        if entry is not None:
            session.run_to_mapping(entry)
        mapped = entry is not None and session.view.stop.reason == "mapped"
        late: list[Planned | HwbpError] = []
        for planned, watch in zip(plans, watches, strict=True):
            try:
                late.append(planned or plan(session, watch))
            except HwbpError as error:
                if not mapped and not watch.pending:
                    raise session.pending.hint(error) from None
                late.append(error)
        if not mapped or not any(isinstance(each, HwbpError) for each in late):
            return tuple(late)
