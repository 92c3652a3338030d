"""What a hit must be like: its text, and the range checks that it becomes."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import HwbpError
from backends.condition import Condition, Term, matching
from tests.unit.scripted import MAPPINGS, PROGRAM, FakeSpace
from tui.session.condition import condition, parts
from tui.session.names import Names
from tui.session.watch import Watch, WatchError

ALL = (1 << 64) - 1
OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def made(
    text: str, *, length: int = 8, execute: bool = False, whole: bool = True, signed: bool = False
) -> Condition:
    names = Names(PROGRAM, lambda _address, size: bytes(size), FakeSpace)
    names.update(MAPPINGS)
    return condition(text, "counter", names, execute=execute, length=length, whole=whole, signed=signed)


def of(
    value: int | None = 0, thread: int = 1, process: int = 1, ip: int = 0, cpu: int = 0
) -> tuple[int | None, int, int, int, int]:
    return value, thread, process, ip, cpu


@given(st.sampled_from([1, 2, 4, 8]), st.booleans(), st.sampled_from(sorted(OPERATORS)), st.data())
def test_a_comparison_means_what_it_means_in_c(
    length: int, signed: bool, sign: str, data: st.DataObject
) -> None:
    bits = 8 * length
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    near = st.sampled_from([least, least + 1, -1 if signed else 1, 0, most - 1, most])
    number, value = (data.draw(st.one_of(near, st.integers(least, most))) for _ in range(2))
    text = f"value {sign} {number}"
    right = OPERATORS[sign](value, number)
    if not any(
        OPERATORS[sign](each, number)
        for each in (least, number - 1, number, number + 1, most)
        if least <= each <= most
    ):
        with pytest.raises(HwbpError, match="can never be"):
            made(text, length=length, signed=signed)
        return
    found = made(text, length=length, signed=signed)
    raw = value & ((1 << bits) - 1)
    assert found.holds(*of(raw)) is right
    column = {"value": np.array([raw], np.uint64)}
    assert matching(found, column, np.array([True])).tolist() == [right]  # type: ignore[arg-type]


def test_a_negative_number_is_compared_with_sign_whatever_the_type() -> None:
    below = made("value < -3")
    assert [below.holds(*of(value & ALL)) for value in (-4, -3, 5)] == [True, False, False]


def test_a_mask_is_applied_first() -> None:
    low = made("counter & 0xff == 3", length=4)
    assert [low.holds(*of(value)) for value in (0x103, 3, 4)] == [True, True, False]


def test_all_comparisons_must_hold() -> None:
    both = made("value > 3 && value != 7 && thread == 4712 && cpu == 1")
    assert both.holds(*of(5, thread=4712, cpu=1))
    assert not both.holds(*of(7, thread=4712, cpu=1))
    assert not both.holds(*of(5, thread=4713, cpu=1))
    assert not both.holds(*of(5, thread=4712, cpu=0))


def test_the_ip_of_a_data_hit_lies_behind_its_instruction() -> None:
    data, code = made("ip in main"), made("ip in main", execute=True)
    assert [data.holds(*of(ip=ip)) for ip in (0x401100, 0x401101, 0x401140, 0x401141)] == [
        False,
        True,
        True,
        False,
    ]
    assert [code.holds(*of(ip=ip)) for ip in (0x4010FF, 0x401100, 0x40113F, 0x401140)] == [
        False,
        True,
        True,
        False,
    ]
    assert made("ip not in main").holds(*of(ip=0x401100))


def test_a_value_that_is_not_known_is_no_reason_to_drop_a_hit() -> None:
    wanted = made("value == 3 && thread == 2")
    assert wanted.holds(*of(None, thread=2))
    assert not wanted.holds(*of(None, thread=3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("value", "'value' is no comparison"),
        ("value > 3 || value < 1", "joined by &&"),
        ("limits > 3", "not of 'limits'"),
        ("value in main", "only an ip can be in a function"),
        ("value ==", "is no comparison"),
        (" && ".join(["value > 3"] * 7), "6 comparisons at most"),
        ("\x1b[31m > 3", "not of '\\x1b[31m'"),
    ],
)
def test_a_bad_condition_is_told_from_its_text(text: str, said: str) -> None:
    with pytest.raises(HwbpError) as caught:
        parts(text, "counter")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "length", "said"),
    [
        ("value > 255", 1, "value > 255 can never be"),
        ("value == 300", 1, "can never be"),
        ("ip in counter", 8, "no function"),
        ("value > small", 8, "'small' is no constant"),
        ("value > nosuch", 8, "no symbol nosuch"),
    ],
)
def test_what_can_never_be_or_means_nothing_is_refused(text: str, length: int, said: str) -> None:
    with pytest.raises(HwbpError) as caught:
        made(text, length=length)
    assert said in caught.value.message


def test_values_are_one_windows() -> None:
    with pytest.raises(HwbpError, match="several windows"):
        made("value > 3", whole=False)
    with pytest.raises(HwbpError, match="execute watch has no value"):
        made("value > 3", execute=True)


@pytest.mark.parametrize(
    ("text", "place", "wanted", "limit"),
    [
        ("counter if value > 3", "counter", "value > 3", None),
        ("counter/4:rw  if  value > 3  limit 5", "counter/4:rw", "value > 3", 5),
        ("counter limit 1", "counter", "", 1),
        ("iffy", "iffy", "", None),
        ("limit", "limit", "", None),
    ],
)
def test_a_watch_may_say_which_hits_it_wants(text: str, place: str, wanted: str, limit: int | None) -> None:
    watch = Watch.parse(text)
    assert (watch.place, watch.condition, watch.limit) == (place, wanted, limit)
    assert Watch.parse(str(watch)) == watch


@pytest.mark.parametrize(
    "text",
    ["counter if", "counter limit", "counter limit 0", "counter limit -1", "counter if value > 3 limit x"],
)
def test_a_watch_whose_tail_is_incomplete_is_refused(text: str) -> None:
    with pytest.raises(WatchError):
        Watch.parse(text)


def test_a_term_is_plain_numbers() -> None:
    assert Term("cpu", 1, 0).holds(1)
    assert not Term("cpu", 1, 0, outside=True).holds(1)
