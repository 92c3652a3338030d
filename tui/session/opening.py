"""The watches that a session is opened with (`-w`), also those of libraries that are not mapped yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.base import HwbpError
from tui.session.arming import Planned, arm, plan
from tui.session.escape import escape
from tui.session.watches import ArmedWatch, WatchBook

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.watch import Watch

__all__ = ["open_watches"]


def open_watches(session: Session, watches: tuple[Watch, ...]) -> tuple[ArmedWatch, ...]:
    """Arm the -w watches, all or none.

    A watch of a library that is not mapped yet makes a program that has not begun run to its entry point first,
    where its libraries are in place. The other watches are armed before that, so that they miss nothing, and
    armed anew there, so that registers are in the order of the command line. What is still unknown then, and may
    wait, has its number and waits.
    """
    plans: list[Planned | None] = []
    for watch in watches:
        try:
            plans.append(plan(session, watch))
        except HwbpError as error:
            if session.entry is None and not watch.pending:
                raise session.pending.hint(error) from None
            plans.append(None)
    ready = tuple(planned for planned in plans if planned)
    if len(ready) == len(plans):
        return arm(session, ready) if ready else ()
    early = dict(zip(ready, arm(session, ready), strict=True)) if ready else {}
    try:
        late = _plan_late(session, plans, watches)
    finally:
        session.watches = WatchBook()
        if ids := tuple(bp_id for armed in early.values() for bp_id in armed.breakpoints):
            session.backend.disarm(ids)
    found = {number: planned for number, planned in enumerate(late) if isinstance(planned, Planned)}
    if len(found) < len(late):
        for watch in watches:
            session.watches.reserve(watch, escape(watch.expr))
    all_armed = arm(session, tuple(found.values()), numbers=tuple(found)) if found else ()
    for armed in all_armed:
        if (planned := plans[armed.index]) is not None:
            session.watches.also(armed.index, early[planned].breakpoints)
    session.pending.begin([why for why in late if isinstance(why, HwbpError)])
    return all_armed


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
