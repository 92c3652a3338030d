"""Who wrote these bytes last: the newest write that can have been it, and the newest that changed them."""

from __future__ import annotations

import pytest

from backends.model import Site
from tests.unit.scripted import Access, ScriptedBackend, open_session
from tui.session.session import Session

COUNTER, SMALL, TEXT = 0x404000, 0x404008, 0x404010


def ran(*accesses: Access, watches: tuple[str, ...] = ("counter", "text/8"), capacity: int = 4096) -> Session:
    session = open_session(ScriptedBackend(accesses, capacity=capacity))
    for watch in watches:
        assert session.execute(f"watch {watch}").ok
    assert session.execute("continue").ok
    return session


def test_the_last_writer_is_the_newest_write_of_the_window() -> None:
    session = ran(
        Access(COUNTER, value=1),
        Access(COUNTER, value=2, insn_ip=0x401220),
        Access(TEXT, value=9, insn_ip=0x401100),
    )
    found = session.execute("who counter")
    assert found.ok, found.error
    assert (found.data["hit"]["hit"], found.data["changed"]["hit"]) == (2, 2)
    assert found.lines[0].startswith("last written by hit 2 ")
    assert "add_limit+0x20" in found.lines[0]
    assert found.data["changed_since"] == []


def test_a_write_that_left_the_byte_as_it_was_is_not_what_changed_it() -> None:
    """The byte beside the one that is meant is in the window too."""
    session = ran(Access(COUNTER, value=0x01_05), Access(COUNTER, value=0x02_05, insn_ip=0x401230))
    low, high = session.execute(f"who {COUNTER:#x}/1"), session.execute(f"who {COUNTER + 1:#x}/1")
    assert (low.data["hit"]["hit"], low.data["changed"]["hit"]) == (2, 1)
    assert [line.partition(" hit ")[0] for line in low.lines] == [
        "last write into its window:",
        "last known change:",
    ]
    assert (high.data["hit"]["hit"], high.data["changed"]["hit"]) == (2, 2)
    untouched = session.execute(f"who {COUNTER + 7:#x}/1")
    assert untouched.data["changed"] is None
    assert "none of the history's hits is known to have changed it" in untouched.lines


def test_before_a_hit_one_walks_back_from_write_to_write() -> None:
    session = ran(*(Access(COUNTER, value=number) for number in range(1, 6)))
    walked, at = [], session.execute("who counter").data["hit"]["hit"]
    while at is not None:
        walked.append(at)
        found = session.execute(f"who counter before {at}")
        at = found.data["hit"]["hit"] if found.ok else None
    assert walked == [5, 4, 3, 2, 1]


def test_what_changed_without_a_hit_is_told() -> None:
    backend = ScriptedBackend([Access(COUNTER, value=0x0705)])
    session = open_session(backend)
    session.execute("watch counter")
    session.execute("continue")
    backend.ram[1] = 0xFF
    found = session.execute("who counter")
    assert found.data["changed_since"] == [{"address": COUNTER + 1, "then": 7, "now": 0xFF}]
    assert found.lines[-1] == f"changed since, by no recorded hit: {COUNTER + 1:#x} was 0x07 and is 0xff"


def test_reads_are_no_writes() -> None:
    session = ran(Access(COUNTER, value=4), Access(COUNTER, access="r"), watches=("counter:rw",))
    assert session.execute("who counter").data["hit"]["hit"] == 1


def test_where_the_ring_has_gone_round_the_totals_know_the_last_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accesses = [Access(COUNTER, value=1), *(Access(TEXT, value=number) for number in range(300))]
    session = ran(*accesses, capacity=128)
    assert session.execute("who text/8").data["hit"]["hit"] == 301
    counter, text = (bp.id for bp in session.view.breakpoints)
    sites = (
        Site(text, 0x401240, 300, 2, 301, 299, 298, 0),
        Site(counter, 0x401220, 3, 1, 5, 1, 0, 0),
        Site(counter, 0x401230, 1, 7, 7, 1, 0, 0),
    )
    monkeypatch.setattr(session.backend, "sites", lambda: sites)
    found = session.execute("who counter")
    assert found.data["site"]["insn_ip"] == 0x401230
    assert found.lines[0].startswith("last written by add_limit+0x30 at counter.c:48, at time 7, before ")
    monkeypatch.setattr(session.backend, "sites", tuple)
    unknown = session.execute("who counter")
    assert unknown.errno == "ENOENT"
    assert "counter is watched, and no hit from " in unknown.error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("who", "who wrote what?"),
        ("who small", "nobody is known to have written small: it is not watched"),
        ("who main", "main is code"),
        ("who counter before x", "a hit's number expected"),
        ("who counter if value > 3", "only a place and its length"),
        ("who counter:rw", "only a place and its length"),
        ("who counter before 1", "counter is watched, and nothing has hit yet"),
    ],
)
def test_where_nobody_is_known_it_says_why(line: str, said: str) -> None:
    found = ran(Access(COUNTER, value=1)).execute(line)
    assert not found.ok
    assert said in found.error


def test_the_way_out_is_a_command() -> None:
    session = ran(Access(COUNTER, value=1))
    assert session.execute("who small").remedy == "`watch small` shows who writes it from now on"
    assert session.execute("watch small").ok
