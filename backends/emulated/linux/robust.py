"""Robust futexes: what a thread still holds when it ends is marked, and the next in line wakes (kernel/futex/core.c exit_robust_list)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from typing import Final

from backends.emulated.linux.futex import futex_key
from backends.emulated.linux.state import Handler, Task, fail

__all__ = ["HANDLERS", "release_robust"]

_HEAD_SIZE: Final = 24
"""struct robust_list_head: the first entry, the offset from an entry to its futex, an entry that is being taken or given back."""
_MOST: Final = 2048
"""ROBUST_LIST_LIMIT."""
_WAITERS, _OWNER_DIED, _TID = 0x8000_0000, 0x4000_0000, 0x3FFF_FFFF
_WHOLE: Final = 0xFFFF_FFFF_FFFF_FFFF


def set_robust_list(task: Task, head: int, size: int, *_: int) -> int:
    """Only remembered: the list is read when the thread ends."""
    if size != _HEAD_SIZE:
        raise fail(errno.EINVAL)
    task.robust_list = head
    return 0


def release_robust(task: Task) -> None:
    """The thread ends, or has another program: go through its list, as far as that can be read."""
    head, task.robust_list = task.robust_list, 0
    if head:
        with contextlib.suppress(OSError):
            _walk(task, head)


def _walk(task: Task, head: int) -> None:
    entry, offset, pending = task.unpack("<QqQ", head)
    for _ in range(_MOST):
        at = entry & ~1
        if at == head:
            break
        following = task.unpack("<Q", at)[0]
        if at != pending & ~1:
            _owner_died(task, at + offset & _WHOLE, bool(entry & 1), pending=False)
        entry = following
    if pending & ~1:
        _owner_died(task, (pending & ~1) + offset & _WHOLE, bool(pending & 1), pending=True)


def _owner_died(task: Task, word: int, inherits: bool, *, pending: bool) -> None:
    """handle_futex_death; `inherits`: the futex is a priority-inheriting one, which nobody waits for here."""
    if word % 4:
        return
    value = task.unpack("<I", word)[0]
    if pending and not inherits and not value:
        task.system.wake(futex_key(task, word), 1)
    elif value & _TID == task.tid:
        task.pack("<I", word, value & _WAITERS | _OWNER_DIED)
        if value & _WAITERS and not inherits:
            task.system.wake(futex_key(task, word), 1)


HANDLERS: Mapping[str, Handler] = {"set_robust_list": set_robust_list}
