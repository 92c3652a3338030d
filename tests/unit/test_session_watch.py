"""The text of a watch (docs/cli.md)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import HwbpError
from tui.session.watch import Watch, WatchError


@pytest.mark.parametrize(
    ("text", "expr", "length", "type_"),
    [
        ("counter", "counter", None, None),
        ("counter:w", "counter", None, "w"),
        ("counter/4", "counter", 4, None),
        ("box+32/8:rw", "box+32", 8, "rw"),
        ("cfg.limits[3]", "cfg.limits[3]", None, None),
        ("head->next:rw", "head->next", None, "rw"),
        ("main:x", "main", None, "x"),
        ("main/1:x", "main", 1, "x"),
        ("prog.c:42", "prog.c:42", None, None),
        ("prog.c:42:x", "prog.c:42", None, "x"),
        ("src/prog.c:42", "src/prog.c:42", None, None),
        ("file.c::v", "file.c::v", None, None),
        ("file.c::w", "file.c::w", None, None),
        ("func::x:rw", "func::x", None, "rw"),
        ("func::v/2:w", "func::v", 2, "w"),
        ("table[(8/2)]", "table[(8/2)]", None, None),
        ("table[8/2]", "table[8/2]", None, None),
        ("*0x601000", "*0x601000", None, None),
        ("src/file.c::v/4", "src/file.c::v", 4, None),
        ("(size/2)/4", "(size/2)", 4, None),
        ("0x601000/20", "0x601000", 20, None),
        ("  counter /8 :rw ", "counter", 8, "rw"),
        ("std::vector<int>::size", "std::vector<int>::size", None, None),
    ],
)
def test_a_watch_is_read_from_the_right(text: str, expr: str, length: int | None, type_: str | None) -> None:
    watch = Watch.parse(text)
    assert (watch.expr, watch.length, watch.type) == (expr, length, type_)
    assert Watch.parse(str(watch)) == watch


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs an expression"),
        ("   ", "needs an expression"),
        (":w", "needs an expression"),
        ("/8", "needs an expression"),
        ("counter/0", "at least 1 byte"),
        ("counter/0:rw", "at least 1 byte"),
        ("counter:r", "x86 cannot watch reads alone"),
        ("counter:wr", "unknown type 'wr'"),
        ("counter:", "unknown type"),
        ("main/4:x", "execute watch has length 1"),
        ("counter/0x8", "not a decimal number"),
        ("counter/-1", "not a decimal number"),
        ("counter/", "not a decimal number"),
        ("counter/" + "9" * 5000, "larger than an address space"),
        ("counter+", "'counter+' ends too early"),
        ("buf[", "ends too early"),
        ("((counter", "')' expected"),
        ("counter/8/8", "LEN comes last, and once"),
        ("counter/8+8/8", "LEN comes last, and once"),
        ("(counter)/8+1", "a division stands in parentheses"),
        ("main:x/1", "the type comes last"),
        ("counter:w:rw", "the type comes last"),
        ("[red]x[/red]", "cannot read '[red]x[/red]'"),
        ("*0", "0 is a null pointer"),
        ("a b", "cannot read 'a b' from 'b' on"),
        ("\x1b[31mred", "cannot read '\\x1b[31mred' from '\\x1b[31mred' on"),
    ],
)
def test_a_bad_watch_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(WatchError) as caught:
        Watch.parse(text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_read_only_watch_offers_read_and_write() -> None:
    with pytest.raises(WatchError) as caught:
        Watch.parse("box+4/4:r")
    assert "box+4/4:rw" in caught.value.remedy


@pytest.mark.parametrize("expr", ["a/8", "a:w", " a", "a/", "a:"])
def test_a_watch_that_could_not_be_read_back_cannot_be_made(expr: str) -> None:
    with pytest.raises(WatchError):
        Watch(expr)


@pytest.mark.parametrize(
    ("text", "place", "condition", "limit", "pending"),
    [
        ("plug pending", "plug", "", None, True),
        ("plug/4:rw  if value > 3 limit 2 pending ", "plug/4:rw", "value > 3", 2, True),
        ("plug limit 2 pending", "plug", "", 2, True),
        ("plug if value == 1 pending", "plug", "value == 1", None, True),
        ("pending", "pending", "", None, False),
        ("pending pending", "pending", "", None, True),
    ],
)
def test_a_watch_may_wait(text: str, place: str, condition: str, limit: int | None, pending: bool) -> None:
    watch = Watch.parse(text)
    assert (watch.place, watch.condition, watch.limit, watch.pending) == (place, condition, limit, pending)
    assert Watch.parse(str(watch)) == watch


@pytest.mark.parametrize("text", ["plug limit pending", "plug pending limit 2", "plug pending pending"])
def test_pending_comes_last_and_once(text: str) -> None:
    with pytest.raises(WatchError):
        Watch.parse(text)


@pytest.mark.parametrize(
    ("text", "condition", "ignore", "limit", "pending"),
    [
        ("a ignore 99", "", 99, None, False),
        ("a if value > 3 ignore 2 limit 1 pending", "value > 3", 2, 1, True),
        ("ignore ignore 1", "", 1, None, False),
        ("ignore", "", 0, None, False),
    ],
)
def test_a_watch_may_leave_out_its_first_hits(
    text: str, condition: str, ignore: int, limit: int | None, pending: bool
) -> None:
    watch = Watch.parse(text)
    assert (watch.condition, watch.ignore, watch.limit, watch.pending) == (condition, ignore, limit, pending)
    assert str(watch) == text


@pytest.mark.parametrize(
    "text", ["a ignore", "a ignore limit 3", "a ignore 0", "a ignore -1", "a ignore x", "a ignore pending"]
)
def test_how_many_to_leave_out_is_a_number_from_1(text: str) -> None:
    with pytest.raises(WatchError, match=r"of hits from 1|how many hits"):
        Watch.parse(text)


_TAIL = st.sampled_from(["a", " if ", "value > 3", " ignore ", " limit ", "2", " pending", " ", ":w", "/8"])


@given(st.lists(_TAIL, max_size=8).map("".join))
def test_conditions_limits_and_waiting_in_any_order_survive_the_round_trip(text: str) -> None:
    try:
        watch = Watch.parse(text)
    except HwbpError:
        return
    assert Watch.parse(str(watch)) == watch


@given(st.text(max_size=30))
def test_whatever_can_be_parsed_is_written_as_something_that_parses_to_the_same(text: str) -> None:
    try:
        watch = Watch.parse(text)
    except WatchError:
        return
    assert Watch.parse(str(watch)) == watch


_PARTS = st.sampled_from(
    ["a", "cfg", ".", "->", "[3]", "+", "8", "/", ":", "::", "w", "x", "rw", "r", "(", ")", " ", "0x10"]
)


@given(st.lists(_PARTS, max_size=10).map("".join))
def test_pieces_of_watches_in_any_order_survive_the_round_trip(text: str) -> None:
    try:
        watch = Watch.parse(text)
    except WatchError:
        return
    assert Watch.parse(str(watch)) == watch
