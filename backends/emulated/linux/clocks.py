"""System calls about time: it is the machine's, one nanosecond an instruction, and sleeping makes it pass."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from backends.emulated.linux.paths import signed
from backends.emulated.linux.state import EPOCH_NS, Handler, State, Unsupported, fail

__all__ = ["HANDLERS"]

_SECOND = 10**9
_REALTIME = (0, 5, 8, 11)  # CLOCK_REALTIME, _COARSE, _ALARM, CLOCK_TAI


def _clock(state: State, number: int) -> int:
    if signed(number) < 0:  # a process's CPU clock, made by clock_getcpuclockid(3)
        return state.now() - state.slept_ns
    if number > 11 or number == 10:
        raise fail(errno.EINVAL)
    if number in (2, 3):  # CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID
        return state.now() - state.slept_ns
    return state.now() + (EPOCH_NS if number in _REALTIME else 0)


def clock_gettime(state: State, clock: int, buffer: int, *_: int) -> int:
    state.pack("<qq", buffer, *divmod(_clock(state, clock), _SECOND))
    return 0


def clock_getres(state: State, clock: int, buffer: int, *_: int) -> int:
    _clock(state, clock)
    if buffer:
        state.pack("<qq", buffer, 0, 1)
    return 0


def gettimeofday(state: State, buffer: int, zone: int, *_: int) -> int:
    if buffer:
        seconds, rest = divmod(state.now() + EPOCH_NS, _SECOND)
        state.pack("<qq", buffer, seconds, rest // 1000)
    if zone:
        state.pack("<ii", zone, 0, 0)
    return 0


def time(state: State, buffer: int, *_: int) -> int:
    seconds = (state.now() + EPOCH_NS) // _SECOND
    if buffer:
        state.pack("<q", buffer, seconds)
    return seconds


def _interval(state: State, request: int) -> int:
    seconds, rest = state.unpack("<qq", request)
    if seconds < 0 or not 0 <= rest < _SECOND:
        raise fail(errno.EINVAL)
    return seconds * _SECOND + rest


def nanosleep(state: State, request: int, *_: int) -> int:
    state.sleep_until(state.now() + _interval(state, request))
    return 0


def clock_nanosleep(state: State, clock: int, flags: int, request: int, *_: int) -> int:
    wait = _interval(state, request)
    now = _clock(state, clock)
    state.sleep_until(state.now() + (wait - now if flags & 1 else wait))  # TIMER_ABSTIME
    return 0


def times(state: State, buffer: int, *_: int) -> int:
    ticks = (state.now() - state.slept_ns) // (_SECOND // 100)
    if buffer:
        state.pack("<qqqq", buffer, ticks, 0, 0, 0)
    return state.now() // (_SECOND // 100)


def getrusage(state: State, who: int, buffer: int, *_: int) -> int:
    if signed(who) not in (0, -1, 1):
        raise fail(errno.EINVAL)
    seconds, rest = divmod(state.now() - state.slept_ns if signed(who) != -1 else 0, _SECOND)
    state.pack("<18q", buffer, seconds, rest // 1000, *([0] * 16))
    return 0


def alarm(state: State, seconds: int, *_: int) -> int:
    if seconds & 0xFFFF_FFFF:
        raise Unsupported("alarm(2): no signal handler could be run")
    return 0


def setitimer(state: State, which: int, new: int, old: int, *_: int) -> int:
    if new and any(state.unpack("<4q", new)[2:]):
        raise Unsupported("setitimer(2): no signal handler could be run")
    return getitimer(state, which, old) if old else 0


def getitimer(state: State, which: int, buffer: int, *_: int) -> int:
    if which > 2:
        raise fail(errno.EINVAL)
    state.pack("<4q", buffer, 0, 0, 0, 0)
    return 0


HANDLERS: Mapping[str, Handler] = {
    "clock_gettime": clock_gettime,
    "clock_getres": clock_getres,
    "gettimeofday": gettimeofday,
    "time": time,
    "nanosleep": nanosleep,
    "clock_nanosleep": clock_nanosleep,
    "times": times,
    "getrusage": getrusage,
    "alarm": alarm,
    "setitimer": setitimer,
    "getitimer": getitimer,
}
