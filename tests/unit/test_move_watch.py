"""`move`: another watch in the place of one."""

from __future__ import annotations

from tests.unit.scripted import ScriptedBackend, open_session
from tui.session.result import Result
from tui.session.session import Session


def session_with(*watches: str) -> Session:
    session = open_session(ScriptedBackend(()))
    for watch in watches:
        assert session.execute(watch).ok
    return session


def armed(session: Session) -> list[tuple[int, str, str]]:
    return [(watch.index, watch.label, watch.type) for watch in session.watches.armed]


def move(session: Session, line: str) -> Result:
    return session.execute(line)


def test_a_watch_moves_and_keeps_its_kind() -> None:
    session = session_with("awatch counter stop", "watch small")
    result = move(session, "move 0 limits/8")
    assert result.ok
    assert armed(session) == [(1, "small", "w"), (2, "limits", "rw")]
    assert result.data["stop"]
    assert len(session.view.breakpoints) == 2


def test_with_all_slots_taken_it_takes_the_old_ones() -> None:
    session = session_with("watch limits/8", "watch limits+8/8", "watch limits+16/8", "watch counter")
    assert move(session, "move 3 odd/1").ok
    assert armed(session)[-1] == (4, "odd", "w")
    assert len(session.view.breakpoints) == 4


def test_what_does_not_fit_leaves_the_old_one_armed() -> None:
    session = session_with("watch limits/8", "watch limits+8/8", "watch limits+16/8", "watch counter")
    result = move(session, "move 3 limits/16")
    assert (result.ok, result.errno) == (False, "ENOSPC")
    assert "watch 4: counter is armed again" in result.error
    assert armed(session)[-1] == (4, "counter", "w")
    assert len(session.view.breakpoints) == 4


def test_what_means_nothing_changes_nothing() -> None:
    session = session_with("watch counter")
    for line in ("move", "move 0", "move 0 nosuch", "move 1 counter", "move 0 counter:r", "move x counter"):
        assert not move(session, line).ok
    assert armed(session) == [(0, "counter", "w")]
