"""`python -m backends.perf.actor task NAME | debugger PID`: one of a scene's processes (`backends.perf.actors`).

It answers `ok NUMBER` or `errno NUMBER` to each line, and ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import sys
from typing import Final

from backends.perf import ptrace

__all__ = ["main"]

_PR_SET_NAME: Final = 15
_TRAP_HWBKPT: Final = 4
_INPUT: Final = 0
_OUTPUT: Final = 1
_MASK: Final = (1 << 64) - 1


def main(arguments: list[str]) -> int:
    """Play a role."""
    role, what = arguments
    if role == "task":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(what.encode()[:15]), 0, 0, 0)
        _say("ok 0")
        while os.read(_INPUT, 4096):
            pass
        return 0
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(b"debugger"), 0, 0, 0)
    try:
        debugger = Debugger(int(what))
    except OSError as error:
        _say(f"errno {error.errno}")
        return 1
    _say("ok 0")
    debugger.loop()
    return 0


def _say(line: str) -> None:
    os.write(_OUTPUT, f"{line}\n".encode())


class Debugger:
    """A debugger of one thread: it writes debug registers, and lets the thread go on at each hit."""

    def __init__(self, tid: int) -> None:
        self._tid = tid
        self._seized = False
        self._stopped = False
        wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        ptrace.seize(tid)
        self._seized = True

    def loop(self) -> None:
        """Until standard input ends: then its watches are disarmed, and the thread let go."""
        text = b""
        while True:
            ready, _, _ = select.select([_INPUT, self._wake], [], [])
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                if self._seized:
                    with contextlib.suppress(OSError):  # it has ended: the next line asked will say so
                        self._news()
            if _INPUT in ready:
                part = os.read(_INPUT, 4096)
                if not part:
                    break
                text += part
                while b"\n" in text:
                    line, text = text.split(b"\n", 1)
                    self._obey(line.decode("ascii", "replace").split())
        if self._seized:
            with contextlib.suppress(OSError):
                self._hold()
                ptrace.write_debug_register(self._tid, 7, 0)
                while self._trap_pending():
                    self._go_on(0)
                    self._news(block=True)
                    self._hold()
                self._let_go()

    def _trap_pending(self) -> bool:
        """Whether a hit came just before the stop: the stop is told first (kernel/signal.c, get_signal), and the SIGTRAP
        that waits behind it would kill a thread that is let go now."""
        with open(f"/proc/{self._tid}/status", encoding="ascii", errors="replace") as file:
            pending = next((line.split()[1] for line in file if line.startswith("SigPnd:")), "0")
        return bool(int(pending, 16) >> signal.SIGTRAP - 1 & 1)

    def _obey(self, words: list[str]) -> None:
        try:
            if not self._seized:
                raise ProcessLookupError(errno.ESRCH, "gone")
            self._hold()
            value = 0
            if words[0] == "peek":
                value = ptrace.debug_register(self._tid, int(words[1]))
            elif words[0] == "poke":
                ptrace.write_debug_register(self._tid, int(words[1]), int(words[2]) & _MASK)
            elif words[0] == "detach":
                self._let_go()
            _say(f"ok {value}")
        except OSError as error:
            _say(f"errno {error.errno}")
        finally:
            if self._seized and self._stopped:
                with contextlib.suppress(OSError):
                    self._go_on(0)

    def _hold(self) -> None:
        """Stop the thread. Signals that come first are delivered, hits are passed over."""
        ptrace.interrupt(self._tid)
        while not self._stopped:
            self._news(block=True)

    def _let_go(self) -> None:
        self._seized = self._stopped = False
        ptrace.detach(self._tid)

    def _go_on(self, number: int) -> None:
        self._stopped = False
        ptrace.cont(self._tid, number)

    def _news(self, *, block: bool = False) -> None:
        try:
            status = ptrace.wait(self._tid, block=block)
        except ChildProcessError:
            self._seized = False
            raise ProcessLookupError(errno.ESRCH, "gone") from None
        if status is None:
            return
        if status.exit is not None:
            self._seized = False
            raise ProcessLookupError(errno.ESRCH, "gone")
        if status.event == ptrace.EVENT_STOP:
            if block:
                self._stopped = True
            elif status.signal == signal.SIGTRAP:
                ptrace.cont(self._tid)
            else:  # a group stop: it stays in it, as it would without us
                ptrace.listen(self._tid)
            return
        hit = status.signal == signal.SIGTRAP and ptrace.signal_code(self._tid) == _TRAP_HWBKPT
        ptrace.cont(self._tid, 0 if hit or status.event else status.signal)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
