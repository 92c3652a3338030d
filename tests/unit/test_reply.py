"""What a demo's narrator shows of an answer: all of it where it fits, else what matters, and how much is missing."""

from __future__ import annotations

from tui.app.reply import Reply
from tui.session.result import Result

HOLDERS = (
    "watch 0: counter (0x403050), perf fd 3, task 1000, disabled",
    "watch 1: total:rw (0x403048), perf fd 4, task 1000",
    "ptrace u_debugreg[0]: 0x403030/8:w, task 1000",
    "kgdb breakinfo[0]: jiffies (0xffffffff82205000), CPU 0",
)


def _refused() -> Result:
    return Result(False, "watch", error="no free debug register", errno="ENOSPC", holders=HOLDERS)


def test_an_answer_that_fits_is_shown_whole() -> None:
    reply = Reply.of(Result(True, "w", lines=("CPU 0: 1", "", "CPU 1: 2")), "CPU 1")
    assert reply.rows(40, 3) == ["CPU 0: 1", "CPU 1: 2"]


def test_one_that_does_not_fit_begins_where_it_matters_and_says_what_is_missing() -> None:
    reply = Reply.of(Result(True, "w", lines=tuple(f"line {n}" for n in range(9))), "line 5")
    rows = reply.rows(40, 3)
    assert [row.split("  ")[0] for row in rows] == ["line 5", "line 6", "line 7"]
    assert rows[-1].endswith("(+1 more)")
    assert len(rows[-1]) == 40


def test_a_refusal_names_every_holder_in_three_lines_of_a_small_screen() -> None:
    rows = Reply.of(_refused()).rows(74, 3)
    assert rows[0] == "ENOSPC: no free debug register"
    said = " ".join(rows)
    assert "held by watch 0: counter, disabled; watch 1: total:rw; " in said
    assert "; ptrace u_debugreg[0]: 0x403030/8:w; kgdb breakinfo[0]: jiffies" in said
    assert "more)" not in said


def test_where_there_is_room_a_refusal_keeps_its_details() -> None:
    assert "counter (0x403050), perf fd 3, task 1000, disabled" in " ".join(Reply.of(_refused()).rows(200, 3))


def test_another_answer_than_the_planned_one_is_told_first() -> None:
    reply = Reply.of(Result(True, "w", lines=("one",)), planned=False)
    assert not reply.ok
    assert reply.rows(40, 3) == ["not as planned: one"]
