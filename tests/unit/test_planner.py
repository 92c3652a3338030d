"""Which windows cover a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.planner import explain, fitting_length, slots_needed, windows

ADDRESSES = st.one_of(st.integers(0, 64), st.integers(0, (1 << 64) - 64))
LENGTHS = st.integers(1, 40)


def fewest(address: int, length: int) -> int:
    """By trying every way."""
    best = [0] + [length] * length
    for end in range(1, length + 1):
        for size in (1, 2, 4, 8):
            if size <= end and (address + end - size) % size == 0:
                best[end] = min(best[end], best[end - size] + 1)
    return best[length]


@given(ADDRESSES, LENGTHS)
def test_windows_are_aligned_disjoint_and_cover_exactly_the_range(address: int, length: int) -> None:
    at = address
    for start, size in windows(address, length, "w"):
        assert start == at
        assert size in (1, 2, 4, 8)
        assert start % size == 0
        at += size
    assert at == address + length


@given(ADDRESSES, LENGTHS)
def test_there_is_no_cover_with_fewer_windows(address: int, length: int) -> None:
    assert len(windows(address, length, "rw")) == fewest(address, length)


@given(ADDRESSES, LENGTHS)
def test_the_count_is_known_without_listing_the_windows(address: int, length: int) -> None:
    assert slots_needed(address, length, "w") == len(windows(address, length, "w"))


@given(ADDRESSES, LENGTHS, st.integers(0, 4))
def test_the_longest_beginning_that_fits_is_the_longest(address: int, length: int, free: int) -> None:
    fits = fitting_length(address, length, free)
    assert fits == 0 or fewest(address, fits) <= free
    assert fits == length or fewest(address, fits + 1) > free


def test_an_execute_watch_is_one_window_of_length_one_wherever_it_lies() -> None:
    assert windows(0x401003, 1, "x") == [(0x401003, 1)]


@pytest.mark.parametrize(
    ("address", "length", "type_"),
    [(0, 0, "w"), (0, -1, "w"), (-8, 8, "w"), ((1 << 64) - 4, 8, "w"), (0, 4, "x")],
)
def test_a_range_that_is_none_is_refused(address: int, length: int, type_: str) -> None:
    with pytest.raises(ValueError, match=r"length|lie in"):
        windows(address, length, type_)  # type: ignore[arg-type]


def test_a_huge_range_is_counted_at_once() -> None:
    assert slots_needed(1, 1 << 62, "w") == (1 << 59) - 1 + 3 + 1


@pytest.mark.parametrize(
    ("address", "length", "free", "line"),
    [
        (0x1000, 8, 4, "8 bytes at 0x1000 need 1 slot"),
        (0x1000, 1, 1, "1 byte at 0x1000 needs 1 slot"),
        (0xFC8, 20, 4, "20 bytes at 0xfc8 need 3 windows: 8+8+4"),
        (
            0xFC8,
            20,
            2,
            "20 bytes at 0xfc8 need 3 windows: 8+8+4; only 2 slots are free; the first 16 bytes would fit",
        ),
        (0xFC8, 20, 0, "20 bytes at 0xfc8 need 3 windows: 8+8+4; no slot is free"),
        (
            0x1000,
            40,
            4,
            "40 bytes at 0x1000 need 5 windows: 8+8+8+8+8; an x86 CPU has 4 slots; the first 32 bytes would fit",
        ),
        (
            0x1001,
            40,
            1,
            "40 bytes at 0x1001 need 8 windows: 1+2+4+8+8+8+...; an x86 CPU has 4 slots, and only 1 slot is free; "
            "the first byte would fit",
        ),
    ],
)
def test_a_refusal_says_what_is_needed_what_is_free_and_what_would_fit(
    address: int, length: int, free: int, line: str
) -> None:
    assert explain(address, length, "w", free) == line
