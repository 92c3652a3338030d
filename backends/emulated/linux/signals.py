"""Signals that a program sends itself or earns by a fault. Default actions happen; handlers cannot run yet."""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping

from backends.emulated.linux.paths import signed
from backends.emulated.linux.state import NO_ACTION, NO_STACK, PID, Handler, State, Unsupported, fail

__all__ = ["HANDLERS", "name_of", "raise_fault", "send"]

_DEFAULT, _IGNORE = 0, 1
_KILL, _STOP = 9, 19
_UNBLOCKABLE = 1 << (_KILL - 1) | 1 << (_STOP - 1)
_QUIET = (17, 18, 23, 28)  # SIGCHLD, SIGCONT, SIGURG, SIGWINCH: nothing happens by default
_STOPPING = (19, 20, 21, 22)  # SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU


def name_of(number: int) -> str:
    """ "SIGUSR1" for 10."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def send(state: State, number: int) -> None:
    """A signal from the process to itself."""
    signals = state.signals
    if signals.blocked & ~_UNBLOCKABLE & 1 << (number - 1):
        signals.pending |= 1 << (number - 1)
        return
    _act(state, number)


def raise_fault(state: State, number: int) -> None:
    """A fault's signal: it cannot be blocked or ignored (kernel/signal.c, force_sig_info)."""
    handler = state.signals.handler(number)
    if handler > _IGNORE and not state.signals.blocked & 1 << (number - 1):
        raise Unsupported(f"signal handler delivery ({name_of(number)})")
    state.exit_status = -number


def _act(state: State, number: int) -> None:
    handler = state.signals.handler(number)
    if handler == _IGNORE or (handler == _DEFAULT and number in _QUIET):
        return
    if handler != _DEFAULT:
        raise Unsupported(f"signal handler delivery ({name_of(number)})")
    if number in _STOPPING:
        raise Unsupported(f"a stop by {name_of(number)}")
    state.exit_status = -number


def rt_sigaction(state: State, number: int, new: int, old: int, size: int, *_: int) -> int:
    if size != 8 or not 1 <= number <= 64:
        raise fail(errno.EINVAL)
    action = state.space.copy_out(new, 32) if new else None
    if action is not None and number in (_KILL, _STOP):
        raise fail(errno.EINVAL)
    if old:
        state.space.copy_in(old, state.signals.actions.get(number, NO_ACTION))
    if action is not None:
        state.signals.actions[number] = action
    return 0


def rt_sigprocmask(state: State, how: int, new: int, old: int, size: int, *_: int) -> int:
    if size != 8:
        raise fail(errno.EINVAL)
    signals = state.signals
    before = signals.blocked
    after = before
    if new:
        (mask,) = state.unpack("<Q", new)
        choices = {0: before | mask, 1: before & ~mask, 2: mask}  # SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK
        if how not in choices:
            raise fail(errno.EINVAL)
        after = choices[how] & ~_UNBLOCKABLE
    if old:
        state.pack("<Q", old, before)
    signals.blocked = after
    for number in range(1, 65):
        bit = 1 << (number - 1)
        if signals.pending & bit and not signals.blocked & bit and state.exit_status is None:
            signals.pending &= ~bit
            _act(state, number)
    return 0


def rt_sigpending(state: State, buffer: int, *_: int) -> int:
    state.pack("<Q", buffer, state.signals.pending)
    return 0


def sigaltstack(state: State, new: int, old: int, *_: int) -> int:
    wanted = state.unpack("<QixxxxQ", new) if new else None
    if old:
        state.pack("<QixxxxQ", old, *state.signals.stack)
    if wanted is not None:
        if not wanted[1] & 2 and wanted[2] < 2048:
            raise fail(errno.ENOMEM)
        state.signals.stack = NO_STACK if wanted[1] & 2 else wanted
    return 0


def _send_checked(state: State, target: int, number: int, what: str) -> int:
    if not 0 <= number <= 64:
        raise fail(errno.EINVAL)
    if target not in (0, PID, -PID):
        if not number:
            raise fail(errno.ESRCH)
        raise state.refuse("kill", f"{what} of {target} with {name_of(number)}", errno.EPERM)
    if number:
        send(state, number)
    return 0


def kill(state: State, target: int, number: int, *_: int) -> int:
    return _send_checked(state, signed(target), signed(number), "kill")


def tkill(state: State, target: int, number: int, *_: int) -> int:
    return _send_checked(state, signed(target), signed(number), "tkill")


def tgkill(state: State, group: int, target: int, number: int, *_: int) -> int:
    if signed(group) != PID:
        return _send_checked(state, signed(group), signed(number), "tgkill")
    return _send_checked(state, signed(target), signed(number), "tgkill")


HANDLERS: Mapping[str, Handler] = {
    "rt_sigaction": rt_sigaction,
    "rt_sigprocmask": rt_sigprocmask,
    "rt_sigpending": rt_sigpending,
    "sigaltstack": sigaltstack,
    "kill": kill,
    "tkill": tkill,
    "tgkill": tgkill,
}
