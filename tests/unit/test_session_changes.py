"""Changing one's mind: edit, undo and redo, what a request would take, and bits of DR7 that have to be asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.model import Abilities, MachineView
from tests.unit.scripted import ScriptedBackend, open_session
from tui.session.proposal import proposal_lines, propose
from tui.session.result import Result
from tui.session.session import Session


def session_with() -> Session:
    return open_session(ScriptedBackend(()))


def done(session: Session, *lines: str) -> Result:
    result = Result(True, "")
    for line in lines:
        result = session.execute(line)
        assert result.ok, (line, result.error)
    return result


def armed(session: Session) -> list[str]:
    off = {bp.id for bp in session.view.breakpoints if not bp.enabled}
    return sorted(
        f"{each.watch.expr} {each.type} {each.length}{'' if off.isdisjoint(each.breakpoints) else ' off'}"
        for each in session.watches.armed
    )


def slots_used(session: Session) -> int:
    return len(session.look().breakpoints)


# Undo


@pytest.mark.parametrize(
    "line",
    [
        "watch small",
        "awatch small",
        "hbreak main",
        "perf open small",
        "watch odd/5:rw",
        "delete 0",
        "disable 0",
        "edit 0 :rw",
        "edit 0 /4",
        "edit 0 small",
    ],
)
def test_what_undo_takes_back_redo_does_again(line: str) -> None:
    session = session_with()
    done(session, "watch counter")
    before = armed(session)
    done(session, line)
    after = armed(session)
    assert after != before
    assert done(session, "undo").lines[0] == f"undone: {line}"
    assert armed(session) == before
    assert slots_used(session) == 1
    assert done(session, "redo").lines[0] == f"done again: {line}"
    assert armed(session) == after
    done(session, "undo", "undo")
    assert armed(session) == []
    assert slots_used(session) == 0


def test_undo_walks_back_through_watches_that_were_given_new_numbers() -> None:
    session = session_with()
    lines = ["watch counter", "edit 0 /4", "edit 1 :rw", "disable 2", "delete 2", "watch small"]
    states = [armed(session)]
    for line in lines:
        done(session, line)
        states.append(armed(session))
    for _ in range(2):
        for state in reversed(states[:-1]):
            done(session, "undo")
            assert armed(session) == state
        assert not session.execute("undo").ok
        for state in states[1:]:
            done(session, "redo")
            assert armed(session) == state
        assert not session.execute("redo").ok


def test_a_register_written_by_hand_gets_back_the_bits_that_were_changed_and_no_others() -> None:
    session = session_with()
    done(session, "dr7 toggle G3")
    mine = session.view.cpus[0].dr7
    session.took(session.backend.write_dr(0, 7, mine | 1 << 13))
    session.look()
    others = session.view.cpus[0].dr7 ^ mine
    done(session, "undo")
    assert session.look().cpus[0].dr7 == (mine ^ 1 << 7) | others


def test_an_undo_that_is_refused_leaves_everything_and_can_be_tried_again() -> None:
    session = session_with()
    done(session, "watch counter", "delete 0")
    for expr in ("small", "text/8", "limits/8", "odd/1"):
        done(session, f"watch {expr}")
        session.changes._done.pop()  # as if somebody else had taken it
    refused = session.execute("undo")
    assert (refused.errno, slots_used(session)) == ("ENOSPC", 4)
    done(session, "delete 4")
    session.changes._done.pop()
    done(session, "undo")
    assert "counter w 8" in armed(session)


def test_running_is_not_undone_and_a_new_change_forgets_what_was_undone() -> None:
    session = session_with()
    assert "nothing to undo" in session.execute("undo").error
    done(session, "watch counter", "undo", "watch small")
    assert "nothing to do again" in session.execute("redo").error


def test_what_ptrace_took_is_not_undone() -> None:
    session = session_with()
    done(session, "watch counter", "undo")
    done(session, "ptrace watch small")
    assert "nothing to undo" in session.execute("undo").error
    assert slots_used(session) == 1


# Edit


def test_an_edit_that_is_refused_keeps_the_old_watch() -> None:
    session = session_with()
    for expr in ("counter", "small", "text/8", "limits/8"):
        done(session, f"watch {expr}")
    refused = session.execute("edit 0 odd/6")
    assert refused.errno == "ENOSPC"
    assert slots_used(session) == 4
    assert "counter w 8" in armed(session)
    done(session, "edit 1 odd/1")
    assert slots_used(session) == 4


def test_an_edit_changes_only_what_it_names_and_a_disabled_watch_stays_disabled() -> None:
    session = session_with()
    done(session, "watch counter/4:rw", "disable 0", "edit 0 /2")
    assert armed(session) == ["counter rw 2 off"]
    done(session, "edit 1 :w")
    assert armed(session) == ["counter w 2 off"]


@pytest.mark.parametrize(
    "line", ["edit", "edit 7 :w", "edit 0", "edit 0 :q", "edit 0 /0", "edit 0 nosuch", "edit x"]
)
def test_a_bad_edit_changes_nothing(line: str) -> None:
    session = session_with()
    done(session, "watch counter")
    assert not session.execute(line).ok
    assert armed(session) == ["counter w 8"]
    assert not session.execute("redo").ok


# What a request would take


def test_a_proposal_says_address_windows_room_and_holders_and_takes_nothing() -> None:
    session = session_with()
    done(session, "watch counter")
    found = propose(session, "watch odd/6:rw stop")
    assert found is not None
    assert [length for _, length in found.windows] == [1, 2, 2, 1]
    assert (found.type, found.stop, found.errno, found.free) == ("rw", True, "ENOSPC", 3)
    assert found.instead == "watch odd/5:rw stop"
    text = "\n".join(line for _, line in proposal_lines(found))
    assert "watch 0: counter w 8" in text
    assert "1 used, 3 free" in text
    assert slots_used(session) == 1


@pytest.mark.parametrize(
    "line", ["", "watch", "info slots", "watch ", "edit 5 counter", "nonsense", "continue", "edit 0"]
)
def test_what_asks_for_no_slots_has_no_proposal(line: str) -> None:
    assert propose(session_with(), line) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("watch nosuch", "no symbol nosuch"),
        ("watch counter:r", "x86 cannot watch reads alone"),
        ("awatch counter:w", "awatch watches rw"),
        ("watch limits", "need 8 windows"),
        ("watch 0x404001", "not aligned"),
    ],
)
def test_a_proposal_says_what_is_wrong_with_a_request(line: str, said: str) -> None:
    found = propose(session_with(), line)
    assert found is not None
    assert said in found.problem
    assert found.windows == ()


def test_the_alternative_of_a_proposal_can_be_armed() -> None:
    session = session_with()
    done(session, "watch counter")
    found = propose(session, "watch limits")
    assert found is not None
    assert found.instead == "watch limits/24"
    done(session, found.instead)
    assert slots_used(session) == 4


def test_would_answers_in_a_script() -> None:
    session = session_with()
    answer = done(session, "would watch limits")
    assert (answer.data["fits"], answer.data["errno"], answer.data["instead"]) == (
        False,
        "ENOSPC",
        "watch limits/32",
    )
    assert done(session, "would hbreak main").data["fits"]
    assert session.execute("would watch nosuch").ok is False
    assert session.execute("would continue").errno == "EINVAL"
    assert slots_used(session) == 0


def test_an_edit_counts_what_it_gives_back() -> None:
    session = session_with()
    for expr in ("counter", "small", "text/8", "limits/8"):
        done(session, f"watch {expr}")
    found = propose(session, "edit 0 :rw")
    assert found is not None
    assert (found.problem, found.free, found.freed) == ("", 1, 1)


# Bits that have to be asked for


class OnlyByRequest(ScriptedBackend):
    """A machine like the live one: its registers cannot be written by hand."""

    def _view(self) -> MachineView:
        return replace(super()._view(), can=Abilities(writes_dr=False))


@pytest.mark.parametrize(
    ("bit", "request_"),
    [
        ("G0", "disable 0"),
        ("1", "disable 0"),
        ("RW0", "edit 0 :rw"),
        ("17", "edit 0 :rw"),
        ("LEN0", "edit 0 /1"),
        ("18", "edit 0 /4"),
        ("19", "edit 0 /1"),
    ],
)
def test_a_toggled_bit_becomes_a_request(bit: str, request_: str) -> None:
    session = open_session(OnlyByRequest(()))
    done(session, "watch counter")
    answer = done(session, f"dr7 toggle {bit}")
    assert answer.data["request"] == request_
    assert f"asked for by `{request_}`" in answer.lines
    done(session, "undo")
    assert armed(session) == ["counter w 8"]


@pytest.mark.parametrize(
    ("bit", "said"),
    [
        ("L0", "Linux enables slots by their G bit alone"),
        ("16", "RW0 = 00"),
        ("GD", "GD would trap"),
        ("GE", "Linux sets GE with any slot"),
        ("RTM", "transactions"),
        ("G1", "DR1 of CPU 0 is free"),
        ("10", "no bit '10'"),
        ("nonsense", "no bit 'nonsense'"),
        ("G2", "belongs to ptrace"),
    ],
)
def test_a_bit_that_nobody_can_ask_for_says_why(bit: str, said: str) -> None:
    session = open_session(OnlyByRequest(()))
    done(session, "watch counter", "watch small", "ptrace watch text/8", "delete 1")
    refused = session.execute(f"dr7 toggle {bit}")
    if bit == "16":
        assert refused.ok
        assert refused.data["request"] == "edit 0 :x"
        return
    assert not refused.ok
    assert said in refused.error
