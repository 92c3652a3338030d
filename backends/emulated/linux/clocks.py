"""System calls about time: it is the machine's, one nanosecond an instruction, and sleeping makes it pass."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from backends.emulated.linux.paths import signed
from backends.emulated.linux.state import EPOCH_NS, Handler, Task, Unsupported, fail

__all__ = ["HANDLERS"]

_SECOND = 10**9
_REALTIME = (0, 5, 8, 11)  # CLOCK_REALTIME, _COARSE, _ALARM, CLOCK_TAI


def _clock(task: Task, number: int) -> int:
    if signed(number) < 0:  # a process's CPU clock, made by clock_getcpuclockid(3)
        return task.process_time()
    if number > 11 or number == 10:
        raise fail(errno.EINVAL)
    if number in (2, 3):  # CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID
        return task.process_time() if number == 2 else task.cpu_time()
    return task.now() + (EPOCH_NS if number in _REALTIME else 0)


def clock_gettime(task: Task, clock: int, buffer: int, *_: int) -> int:
    task.pack("<qq", buffer, *divmod(_clock(task, clock), _SECOND))
    return 0


def clock_getres(task: Task, clock: int, buffer: int, *_: int) -> int:
    _clock(task, clock)
    if buffer:
        task.pack("<qq", buffer, 0, 1)
    return 0


def gettimeofday(task: Task, buffer: int, zone: int, *_: int) -> int:
    if buffer:
        seconds, rest = divmod(task.now() + EPOCH_NS, _SECOND)
        task.pack("<qq", buffer, seconds, rest // 1000)
    if zone:
        task.pack("<ii", zone, 0, 0)
    return 0


def time(task: Task, buffer: int, *_: int) -> int:
    seconds = (task.now() + EPOCH_NS) // _SECOND
    if buffer:
        task.pack("<q", buffer, seconds)
    return seconds


def _interval(task: Task, request: int) -> int:
    seconds, rest = task.unpack("<qq", request)
    if seconds < 0 or not 0 <= rest < _SECOND:
        raise fail(errno.EINVAL)
    return seconds * _SECOND + rest


def nanosleep(task: Task, request: int, rest: int, *_: int) -> int:
    task.sleep_until(task.now() + _interval(task, request), rest=rest)
    return 0


def clock_nanosleep(task: Task, clock: int, flags: int, request: int, rest: int, *_: int) -> int:
    wait = _interval(task, request)
    now = _clock(task, clock)
    if flags & 1:  # TIMER_ABSTIME
        task.sleep_until(task.now() + wait - now)
    else:
        task.sleep_until(task.now() + wait, rest=rest)
    return 0


def times(task: Task, buffer: int, *_: int) -> int:
    ticks = task.process_time() // (_SECOND // 100)
    if buffer:
        task.pack("<qqqq", buffer, ticks, 0, 0, 0)
    return task.now() // (_SECOND // 100)


def getrusage(task: Task, who: int, buffer: int, *_: int) -> int:
    if signed(who) not in (0, -1, 1):
        raise fail(errno.EINVAL)
    seconds, rest = divmod(task.process_time() if signed(who) != -1 else 0, _SECOND)
    task.pack("<18q", buffer, seconds, rest // 1000, *([0] * 16))
    return 0


def _left(task: Task) -> int:
    timer = task.process.timer
    return 0 if timer is None else max(1, timer - task.now())


def alarm(task: Task, seconds: int, *_: int) -> int:
    left = -(-_left(task) // _SECOND)
    seconds &= 0xFFFF_FFFF
    task.system.set_timer(task.process, task.now() + seconds * _SECOND if seconds else None)
    return left


def _timer(task: Task, buffer: int) -> None:
    interval, left = task.process.timer_interval, _left(task)
    values = [part for ns in (interval, left) for part in divmod(ns // 1000, 10**6)]
    task.pack("<4q", buffer, *values)


def setitimer(task: Task, which: int, new: int, old: int, *_: int) -> int:
    if which > 2:
        raise fail(errno.EINVAL)
    values = task.unpack("<4q", new) if new else (0, 0, 0, 0)
    if any(value < 0 for value in values) or max(values[1], values[3]) >= 10**6:
        raise fail(errno.EINVAL)
    if which:
        if any(values[2:]):
            raise Unsupported("a timer of CPU time")
        return getitimer(task, which, old) if old else 0
    if old:
        _timer(task, old)
    interval, first = (values[n] * _SECOND + values[n + 1] * 1000 for n in (0, 2))
    task.system.set_timer(task.process, task.now() + first if first else None, interval)
    return 0


def getitimer(task: Task, which: int, buffer: int, *_: int) -> int:
    if which > 2:
        raise fail(errno.EINVAL)
    if which:
        task.pack("<4q", buffer, 0, 0, 0, 0)
    else:
        _timer(task, buffer)
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
