"""attr.freq: the period that the kernel adapts to reach a rate (kernel/events/core.c perf_adjust_period)."""

from __future__ import annotations

from typing import Final

from backends.emulated.kernel.events import PerfEvent

__all__ = ["overflowed", "tick"]

_SECOND: Final = 10**9


def _adjust(event: PerfEvent, nanoseconds: int, count: int) -> None:
    """perf_adjust_period: an eighth of the way to the period that would have given the rate; `count` hits took that long."""
    wanted = count * _SECOND // (nanoseconds * event.attr.sample_period)
    change = wanted - event.period
    change += 7 if change >= 0 else -7
    event.period = max(1, event.period + int(change / 8))
    if event.period_left > 8 * event.period:
        event.period_left = 0


def overflowed(event: PerfEvent, now: int) -> None:
    """__perf_event_account_interrupt: it has just overflowed."""
    state = event.frequency
    assert state is not None
    passed, state.stamp = now - state.stamp, now
    if 0 < passed < 2 * state.tick_ns:
        _adjust(event, passed, event.last_period)


def tick(event: PerfEvent, now: int) -> None:
    """perf_adjust_freq_unthr_context, made up for at the first hit after a timer tick."""
    state = event.frequency
    assert state is not None
    if now // state.tick_ns == state.tick:
        return
    state.tick = now // state.tick_ns
    counted, state.count = event.count - 1 - state.count, event.count - 1
    if counted > 0:
        _adjust(event, state.tick_ns, counted)
