"""Watches that wait for slots: kept in the list, armed by themselves when there is room, and never in somebody's way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.base import HwbpError
from tests.unit.scripted import Access, ScriptedBackend, open_session
from tui.session.result import Result
from tui.session.session import Session
from tui.session.watch import Watch

FOUR = ("watch counter", "watch small", "watch limits/8", "watch text/8")


def session_with(*lines: str) -> Session:
    session = open_session(ScriptedBackend([Access(0x404065, 1, value=7)]))
    done(session, *lines)
    return session


def done(session: Session, *lines: str) -> Result:
    result = Result(True, "")
    for line in lines:
        result = session.execute(line)
        assert result.ok, (line, result.error)
    return result


def armed(session: Session) -> list[str]:
    return sorted(f"{each.index} {each.label}" for each in session.watches.armed)


def waiting(session: Session) -> list[str]:
    return [f"{each.index} {each.label}" for each in session.watches.waiting]


def ids(session: Session) -> int:
    """How many breakpoints the machine has."""
    return len(session.look().breakpoints)


def test_what_finds_no_slot_waits_and_has_the_next_one_that_comes_free() -> None:
    session = session_with(*FOUR)
    answer = done(session, "watch odd/1 limit 3 pending stop")
    assert answer.lines == (
        "watch 4: odd waits for 1 slot to come free, w 1 byte at 0x404065",
        "`delete 3` frees 1 slot",
    )
    assert (answer.data["waiting"], answer.data["waits_for"], answer.data["slots"]) == (True, "slot", 1)
    listed = done(session, "info watchpoints")
    assert "  4  -            odd/1 limit 3 pending  waits for 1 slot to come free" in listed.lines
    assert listed.data["waiting"] == [{"watch": 4, "expr": "odd", "for": "slot", "slots": 1}]
    gone = done(session, "delete 1")
    assert gone.lines[0] == "watch 1: small is gone, 1 slot freed"
    assert gone.lines[1].startswith("watch 4: odd  w 1 byte at 0x404065")
    assert armed(session) == ["0 counter", "2 limits", "3 text", "4 odd"]
    assert waiting(session) == []
    (watch,) = (each for each in session.watches.armed if each.index == 4)
    assert (watch.stop, watch.watch.limit, watch.type) == (True, 3, "w")
    done(session, "continue")
    assert session.hit(0) is not None
    assert session.hit(0).watch == 4  # type: ignore[union-attr]
    assert [each.lines for each in session.news()] == [("watch 4: odd has its 1 slot now, w at 0x404065",)]
    assert session.news() == ()


def test_without_the_word_it_is_refused_and_the_refusal_says_the_word() -> None:
    session = session_with(*FOUR)
    refused = session.execute("watch odd/1")
    assert (refused.errno, waiting(session)) == ("ENOSPC", [])
    assert "`pending`" in refused.remedy
    refused = session.execute("ptrace watch odd/1")
    assert refused.errno == "ENOSPC"
    assert "`pending`" not in refused.remedy


def test_one_that_needs_more_does_not_hold_back_those_behind_it() -> None:
    session = session_with(*FOUR, "watch limits/16 pending", "watch odd/1 pending", "awatch counter pending")
    assert waiting(session) == ["4 limits", "5 odd", "6 counter"]
    done(session, "delete 0")
    assert (armed(session)[-1], waiting(session)) == ("5 odd", ["4 limits", "6 counter"])
    done(session, "delete 1-2")
    assert (armed(session)[-1], waiting(session)) == ("5 odd", ["6 counter"])
    assert ids(session) == 4
    done(session, "delete 3")
    assert waiting(session) == []
    assert next(each for each in session.watches.armed if each.index == 6).type == "rw"


def test_a_machine_that_stays_full_is_not_asked_again_and_again() -> None:
    session = session_with(*FOUR, "watch odd/1 pending")
    asked = session.view.refused
    for _ in range(5):
        session.look()
        done(session, "disable 0", "enable 0")
    assert (session.view.refused, waiting(session)) == (asked, ["4 odd"])


def test_a_refusal_that_the_books_do_not_explain_is_tried_again_later_and_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_with(*FOUR, "watch odd/1 pending")
    backend = session.backend
    assert isinstance(backend, ScriptedBackend)
    told = session.view.refused
    now = [1000.0]
    monkeypatch.setattr("tui.session.slot_queue.time.monotonic", lambda: now[0])
    tries: list[tuple[bool, ...]] = []

    def full(requests: tuple[object, ...]) -> tuple[object, ...]:
        tries.append(tuple(request.again for request in requests))  # type: ignore[attr-defined]
        raise HwbpError("no room for it", errno="ENOSPC")

    monkeypatch.setattr(backend, "arm", full)
    done(session, "delete 0")
    assert tries == [(True,)]
    session.look()
    assert len(tries) == 1, "nothing has changed since"
    now[0] += 1.5
    session.look()
    assert (len(tries), session.view.refused) == (2, told)
    monkeypatch.undo()
    session.queue._tried.clear()  # as if time had passed
    session.look()
    assert (waiting(session), len(tries)) == ([], 2)


def test_what_is_refused_for_another_reason_waits_no_more_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_with(*FOUR, "watch odd/1 pending")

    def refuse(_requests: object) -> tuple[object, ...]:
        raise HwbpError("not this time", errno="EPERM")

    monkeypatch.setattr(session.backend, "arm", refuse)
    done(session, "delete 0")
    assert (waiting(session), armed(session)) == ([], ["1 small", "2 limits", "3 text"])
    (news,) = session.news()
    assert (news.ok, news.errno, news.error) == (False, "EPERM", "not this time")


def test_what_waits_ends_when_the_program_executes_another() -> None:
    session = session_with(*FOUR, "watch odd/1 pending")
    rebuilt = tuple(replace(row, path=f"{row.path} (deleted)") for row in session.view.mappings)
    session.took(replace(session.view, mappings=rebuilt))
    assert waiting(session) == ["4 odd"]
    other = tuple(replace(row, path="/bin/other") for row in session.view.mappings)
    session.took(replace(session.view, mappings=other, breakpoints=()))
    assert (waiting(session), armed(session)) == ([], [])
    assert session.news()[-1].lines == ("watch 4: odd waits no more: the program executed another",)


def test_one_that_waits_is_deleted_and_cannot_be_changed() -> None:
    session = session_with(*FOUR, "watch odd/1 pending", "watch limits/16 pending")
    assert session.execute("disable 4").errno == "EAGAIN"
    assert session.execute("condition 4 value > 3").error == "watch 4 waits for a free slot"
    done(session, "delete 4-5 0")
    assert (waiting(session), ids(session)) == ([], 3)
    done(session, "undo")
    assert sorted(name.split()[1] for name in armed(session)) == ["counter", "limits", "small", "text"]
    assert [name.split()[1] for name in waiting(session)] == ["odd", "limits"]


def test_an_edit_keeps_the_slot_that_it_gives_back_meanwhile() -> None:
    session = session_with(*FOUR, "watch odd/1 pending")
    done(session, "edit 0 counter/4")
    assert (waiting(session), ids(session)) == (["4 odd"], 4)
    assert [each.length for each in session.watches.armed][-1] == 4


# Undo


def test_undo_of_a_delete_takes_the_slot_back_from_the_one_that_had_waited_for_it() -> None:
    session = session_with(*FOUR, "watch odd/1 pending", "delete 0")
    assert (waiting(session), ids(session)) == ([], 4)
    for _ in range(2):
        done(session, "undo")
        assert sorted(name.split()[1] for name in armed(session)) == ["counter", "limits", "small", "text"]
        assert waiting(session) == ["4 odd"]
        done(session, "redo")
        assert [name.split()[1] for name in armed(session)] == ["small", "limits", "text", "odd"]
        assert (waiting(session), ids(session)) == ([], 4)


def test_undo_of_the_watch_ends_the_waiting_and_redo_waits_again() -> None:
    session = session_with(*FOUR, "watch odd/1 pending")
    assert "watch 4: odd waits no more" in done(session, "undo").lines
    assert waiting(session) == []
    done(session, "redo")
    assert [name.split()[1] for name in waiting(session)] == ["odd"]
    done(session, "delete 0")
    assert ids(session) == 4
    assert waiting(session) == []
    done(session, "undo", "undo")
    assert [each.label for each in session.watches.armed] == ["small", "limits", "text", "counter"]
    assert waiting(session) == []


# -w


def opened(*texts: str, fitting: bool) -> Session:
    session = open_session(ScriptedBackend())
    session.backend.run_to(0x401000)
    session.open_watches(tuple(Watch.parse(text) for text in texts), fitting=fitting)
    return session


def test_the_app_opens_with_the_watches_that_fit_and_the_others_listed() -> None:
    session = opened("counter", "text/16", "limits/16", "small", "odd/1", fitting=True)
    assert armed(session) == ["0 counter", "1 text", "3 small"]
    assert waiting(session) == ["2 limits", "4 odd"]
    (news,) = session.news()
    assert (
        news.lines[0] == "3 of 5 watches are armed; watch 2 limits, watch 4 odd wait for slots to come free"
    )
    assert session.view.refused == 1, "the request for all of them; what follows from it is no news"
    done(session, "delete 1")
    assert (armed(session), waiting(session)) == (["0 counter", "2 limits", "3 small"], ["4 odd"])


def test_elsewhere_only_those_wait_that_may() -> None:
    with pytest.raises(HwbpError, match="5 watches need 5 slots together"):
        opened("counter", "small", "text/8", "limits/8", "odd/1", fitting=False)
    session = opened("counter", "odd/1 pending", "text/8", "limits/8", "small", fitting=False)
    assert (armed(session), waiting(session)) == (["0 counter", "2 text", "3 limits", "4 small"], ["1 odd"])
    with pytest.raises(HwbpError, match="6 watches need 6 slots"):
        opened(*["counter"] * 5, "odd/1 pending", fitting=False)
