"""The desk between the app and the machine: one thread that asks, one question at a time.

The session is only ever touched from this thread, so it needs no locks and the screen never waits for it. It is a
daemon thread: a machine that does not answer cannot keep the app from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Desk"]

T = TypeVar("T")
Deliver = Callable[..., Any]


class Desk:
    """Runs jobs in order; `deliver(callback, ...)` brings each answer back into the app's own thread."""

    def __init__(self, deliver: Deliver, name: str = "hwbp-desk") -> None:
        self._deliver = deliver
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions asked and not yet answered (counted in the app's thread)."""
        return self._waiting

    def ask(
        self, job: Callable[[], T], then: Callable[[T], None], fail: Callable[[Exception], None] | None = None
    ) -> None:
        """Do `job` in the desk's thread, then call `then` with its answer, or `fail` with its error, in the app's."""
        self._waiting += 1

        def work() -> None:
            try:
                answer = job()
            except (
                Exception
            ) as error:  # any failure of a machine is an answer: the app shows it and stays open
                self._deliver(self._answered, fail, error)
            else:
                self._deliver(self._answered, then, answer)

        self._jobs.put(work)

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._jobs.put(None)

    def _answered(self, callback: Callable[[Any], None] | None, answer: Any) -> None:
        self._waiting -= 1
        if callback is not None:
            callback(answer)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
