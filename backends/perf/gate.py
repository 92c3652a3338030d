"""An execute slot on every thread of a target where its dynamic loader calls its debugger: whoever comes by stops there.

What stops a thread is the signal of all our stops (`backends.perf.stepping`), so it is no trap that could kill it.
"""

from __future__ import annotations

import contextlib
import os

from backends.perf import events
from backends.perf.opener import Opener
from backends.perf.target import Target

__all__ = ["Gate"]


class Gate:
    """Open from the beginning; threads that begin later have theirs from the ones that began them.

    Raises OSError (ENOSPC where no register is free), with nothing left behind.
    """

    def __init__(self, opener: Opener, target: Target, address: int) -> None:
        self._fds: list[int] = []
        try:
            with target.tracer.still() as tids:
                for tid in target.threads() if tids is None else tids:
                    with contextlib.suppress(ProcessLookupError):
                        self._fds.append(opener.stop_at(tid, address, 0, inherited=True))
        except BaseException:
            self.close()
            raise

    @property
    def passed(self) -> int:
        """How often a thread has come by."""
        return sum(events.read_counts(fd, sampled=False).hits for fd in self._fds)

    def close(self) -> int:
        """Free the slots; how often a thread had come by."""
        passed = self.passed
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        return passed
