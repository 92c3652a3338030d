"""When the translator takes over."""

from __future__ import annotations

from itertools import count

from backends.emulated.warmth import Warmth


def looks_until_hot(warmth: Warmth, places: int, most: int = 100_000) -> int:
    """How many looks it takes where a program goes round `places` lines of code."""
    return next(number for number in range(1, most) if warmth.look(number % places * 64))


def test_a_tight_loop_is_translated_soon_and_wide_code_late() -> None:
    assert looks_until_hot(Warmth(), 1) == 100
    assert looks_until_hot(Warmth(), 10) == 100
    assert looks_until_hot(Warmth(), 1000) == 8000


def test_code_that_never_comes_again_is_never_translated() -> None:
    warmth = Warmth()
    assert not any(warmth.look(place * 64) for place, _ in zip(count(), range(50_000), strict=False))


def test_a_start_that_ran_once_is_forgiven() -> None:
    warmth = Warmth()
    for place in range(200):
        warmth.look(place * 64)
    assert looks_until_hot(warmth, 2) <= 200 * 8


def test_after_a_failure_the_next_attempt_has_to_be_worth_more() -> None:
    warmth = Warmth()
    warmth.failed()
    assert looks_until_hot(warmth, 1) == 400
    warmth.cool()
    assert looks_until_hot(warmth, 1) == 400
