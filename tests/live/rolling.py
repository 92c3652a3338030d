"""`python -m tests.live.rolling`: opens breakpoints and closes the oldest, in bursts, and says which there are.

A child each that sleeps, or that has ended, is the target. Prints its own number, then runs until it is killed; what began with it
ends with it. Standard input is a file of two 64-bit words that it keeps: the number of the oldest breakpoint that is open, and of the
next one. Breakpoint n watches FIRST + 8 * n.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import time

from tests.live.holders import perf_open

__all__ = ["FIRST", "OPEN"]

FIRST = 0x10000
OPEN = 16
_BURST = 32
_PAUSE = 0.003
"""Seconds: several scans fit, so that some breakpoints last for a whole one."""
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def sleeper() -> int:
    """A child that sleeps, and ends with us."""
    parent = os.getpid()
    if not (child := os.fork()):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        while os.getppid() == parent:
            signal.pause()
        os._exit(0)
    return child


def main(*, ended: bool) -> None:
    words = memoryview(mmap.mmap(0, mmap.PAGESIZE)).cast(
        "Q"
    )  # not struct.pack_into(), which fills with zeros first
    targets = [] if ended else [sleeper() for _ in range(OPEN)]
    print(os.getpid(), flush=True)
    events: list[int] = []
    oldest = coming = 0
    while True:
        if coming % _BURST == 0:
            time.sleep(_PAUSE)
        if len(events) == OPEN:
            oldest += 1
            words[0] = oldest
            os.close(events.pop(0))
        target = sleeper() if ended else targets[coming % OPEN]
        events.append(perf_open(FIRST + 8 * coming, pid=target, disabled=True))
        if ended:
            os.kill(target, signal.SIGKILL)
            os.waitpid(target, 0)
        coming += 1
        words[1] = coming


if __name__ == "__main__":
    main(ended=sys.argv[1:] == ["ended"])
