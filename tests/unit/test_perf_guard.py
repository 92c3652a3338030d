"""The rate guard, by a clock of its own."""

from __future__ import annotations

from backends.perf.guard import MOST_HITS, Guard

MS = 1_000_000


class Run:
    """A program that hits at a rate while it is watched."""

    def __init__(self, rate: int) -> None:
        self.rate, self.now, self.hits, self.on = rate, 0, 0, True
        self.switched: list[bool] = []
        self.guard = Guard(self.switch, 0)

    def switch(self, on: bool) -> None:
        self.on = on
        self.switched.append(on)

    def go(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 5):
            self.now += 5 * MS
            self.hits += self.rate * 5 // 1000 * self.on
            self.guard.look(self.hits, self.now)


def test_a_program_within_the_rate_is_watched_all_the_time() -> None:
    run = Run(MOST_HITS)
    run.go(5000)
    assert run.switched == []
    assert run.guard.blind_ns(run.now) == 0


def test_a_flood_is_let_through_at_the_rate_on_average() -> None:
    run = Run(20 * MOST_HITS)
    run.go(20_000)
    assert 0.8 * MOST_HITS * 20 < run.hits < 1.2 * MOST_HITS * 20
    assert run.switched[:4] == [False, True, False, True]


def test_blind_time_is_what_was_not_watched() -> None:
    run = Run(10 * MOST_HITS)
    run.go(10_000)
    watched = run.hits * 1000 * MS // run.rate
    assert abs(run.guard.blind_ns(run.now) + watched - run.now) <= 10 * MS


def test_a_watch_that_calms_down_is_watched_again_and_stays_so() -> None:
    run = Run(100 * MOST_HITS)
    run.go(100)
    run.rate = MOST_HITS // 10
    run.go(1500)
    before = list(run.switched)
    run.go(3000)
    assert run.on
    assert run.switched == before
