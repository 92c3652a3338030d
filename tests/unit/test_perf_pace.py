"""How long the collector waits between two looks at the hits."""

from __future__ import annotations

from backends.perf.pace import IDLE, Pace


def test_few_hits_are_looked_for_soon() -> None:
    pace = Pace()
    assert pace.pause(0, 100_000, 1.0) == IDLE
    assert pace.pause(10, 100_000, 1.015) == IDLE


def test_many_hits_are_taken_together_as_long_as_there_is_room_for_them() -> None:
    pace = Pace()
    pace.pause(0, 100_000, 1.0)
    assert pace.pause(5_000, 100_000, 1.1) == 0.25
    assert abs(pace.pause(5_000, 10_000, 1.2) - 0.03) < 1e-9  # at 100,000 a second three tenths are full then


def test_a_faster_program_than_was_expected_is_looked_at_more_often_until_it_slows_down() -> None:
    pace = Pace()
    pace.pause(0, 100_000, 1.0)
    fast = pace.pause(100_000, 100_000, 1.1)
    assert abs(fast - 0.03) < 1e-9  # a million a second
    now, pauses = 1.1, []
    for _ in range(40):
        now += 0.1
        pauses.append(pace.pause(5_000, 100_000, now))
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.25


def test_a_small_ring_may_be_filled_further() -> None:
    pace = Pace()
    pace.pause(0, 10_000, 1.0)
    assert abs(pace.pause(5_000, 10_000, 1.1, 0.5) - 0.05) < 1e-9


def test_what_was_taken_in_no_time_says_nothing_of_a_rate() -> None:
    assert Pace().pause(100, 1000, 0.0) == IDLE
