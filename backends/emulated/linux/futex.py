"""futex(2): waiting on a word of memory, and waking who waits (kernel/futex/)."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from backends.emulated.linux.paths import signed
from backends.emulated.linux.state import EPOCH_NS, LATEST_NS, Blocked, Handler, Task, Unsupported, Wait, fail

__all__ = ["HANDLERS", "futex_key"]

_WAIT, _WAKE, _REQUEUE, _CMP_REQUEUE, _WAKE_OP, _WAIT_BITSET, _WAKE_BITSET = 0, 1, 3, 4, 5, 9, 10
_CLOCK_REALTIME = 256
_EVERY_BIT = 0xFFFF_FFFF


def futex_key(task: Task, word: int) -> tuple[str, int, int]:
    """get_futex_key: a word of shared memory is the same word in every process."""
    shared = task.space.shared_at(word) if task.space.shares else None
    if shared is not None:
        return ("futex", id(shared[0]), shared[1])
    return ("futex", id(task.process.mm), word)


def _value(task: Task, word: int) -> int:
    return task.unpack("<I", word)[0]


def futex(task: Task, word: int, operation: int, value: int, timeout: int, second: int, bits: int) -> int:
    command = operation & 0x7F
    value &= 0xFFFF_FFFF
    if word % 4:
        raise fail(errno.EINVAL)
    if command in (_WAIT, _WAIT_BITSET):
        if command == _WAIT_BITSET and bits & _EVERY_BIT != _EVERY_BIT:
            raise Unsupported("a futex wait for some bits")
        _wait(
            task,
            word,
            value,
            timeout,
            absolute=command == _WAIT_BITSET,
            real=bool(operation & _CLOCK_REALTIME),
        )
    if command in (_WAKE, _WAKE_BITSET):
        task.space.check(word, 4, 1)
        return task.system.wake(futex_key(task, word), value)
    if command in (_REQUEUE, _CMP_REQUEUE):
        if command == _CMP_REQUEUE and _value(task, word) != bits & 0xFFFF_FFFF:
            raise fail(errno.EAGAIN)
        woken = task.system.wake(futex_key(task, word), value)
        return woken + _requeue(task, word, second, signed(timeout))
    if command == _WAKE_OP:
        return _wake_op(task, word, value, timeout, second, bits)
    raise fail(errno.ENOSYS)


def _wait(task: Task, word: int, value: int, timeout: int, *, absolute: bool, real: bool) -> None:
    if _value(task, word) != value:
        raise fail(errno.EAGAIN)
    deadline = None
    if timeout:
        seconds, rest = task.unpack("<qq", timeout)
        if seconds < 0 or not 0 <= rest < 10**9:
            raise fail(errno.EINVAL)
        deadline = seconds * 10**9 + rest
        deadline += 0 if absolute else task.now()
        deadline = min(deadline - (EPOCH_NS if absolute and real else 0), LATEST_NS)
        if deadline <= task.now():
            raise fail(errno.ETIMEDOUT)
    raise Blocked(
        Wait(
            f"futex {word:#x}", (futex_key(task, word),), deadline, woken=0, timed_out=-errno.ETIMEDOUT,
            restarts=deadline is None,
        )
    )  # fmt: skip


def _requeue(task: Task, word: int, target: int, most: int) -> int:
    """Move who still waits for one word to another."""
    waiters = task.system.waiters
    moved = list(waiters.get(futex_key(task, word), ()))[: max(0, most)]
    for other in moved:
        assert other.wait is not None
        queue = waiters[futex_key(task, word)]
        queue.remove(other)
        if not queue:
            del waiters[futex_key(task, word)]
        other.wait.keys = (futex_key(task, target),)
        other.wait.what = f"futex {target:#x}"
        waiters.setdefault(futex_key(task, target), []).append(other)
    return len(moved)


def _wake_op(task: Task, word: int, value: int, most: int, second: int, encoded: int) -> int:
    """FUTEX_WAKE_OP: change the second word, wake who waits for the first, and maybe who waits for the second."""
    operation, compare = encoded >> 28 & 0xF, encoded >> 24 & 0xF
    operand, against = encoded >> 12 & 0xFFF, encoded & 0xFFF
    operand, against = signed(operand, 12), signed(against, 12)
    if operation & 8:
        operand = 1 << (operand & 31)
    old = _value(task, second)
    new = {0: operand, 1: old + operand, 2: old | operand, 3: old & ~operand, 4: old ^ operand}.get(
        operation & 7
    )
    if new is None or compare > 5:
        raise fail(errno.ENOSYS)
    task.pack("<I", second, new & 0xFFFF_FFFF)
    was = signed(old)
    holds = (was == against, was != against, was < against, was <= against, was > against, was >= against)[
        compare
    ]
    woken = task.system.wake(futex_key(task, word), value)
    return woken + (task.system.wake(futex_key(task, second), most & 0xFFFF_FFFF) if holds else 0)


HANDLERS: Mapping[str, Handler] = {"futex": futex}
