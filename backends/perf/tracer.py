"""The threads of a target, held by ptrace: always seized, so that our death lets every one of them go on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from backends.perf import ptrace
from backends.perf.process import standing

__all__ = ["Held", "Tracer"]

_PATIENCE: Final = 2.0
_OPTIONS: Final = ptrace.Option.SYSGOOD | ptrace.Option.CLONE | ptrace.Option.EXEC
_GROUP_STOPS: Final = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


class Held(Protocol):
    """Whose threads they are (`backends.perf.target.Target`)."""

    pid: int

    def threads(self) -> tuple[int, ...]: ...
    def end(self, status: int | None) -> None: ...


class Tracer:
    """Which threads are seized: `stopped` with the signal that each will get when it goes on, and `running`.

    `ours(tid)` tells whether a SIGURG that a thread has stopped with was sent by us; such threads are in `hits`, and
    never see the signal.
    """

    def __init__(self, target: Held) -> None:
        self._target = target
        self.stopped: dict[int, int] = {}
        self.running: set[int] = set()
        self.hits: list[int] = []
        self.ours: Callable[[int], bool] = lambda _tid: False
        self._parked: set[int] = set()
        self._leaving: set[int] = set()
        self._going = False
        self._want_stopped = False
        self._alone: int | None = None

    @property
    def attached(self) -> bool:
        """Whether there is anything to poll for."""
        return bool(self.stopped or self.running or self._parked or self._leaving)

    @property
    def stands(self) -> bool:
        """Whether every thread that we know is stopped."""
        return bool(self.stopped) and not self.running

    def adopt(self) -> None:
        """The target has been seized, and stands at its exec."""
        self.stopped = {self._target.pid: 0}
        self._want_stopped = True

    # Seizing and stopping

    def seize_all(self) -> set[int]:
        """Seize every thread, also those that begin meanwhile; each runs on. Raises PermissionError.

        Returns those that have ended and are listed still: a first thread that ended before the others is, until they end.
        """
        self._going = False
        ended: set[int] = set()
        while new := self._unknown() - ended:
            ended |= {tid for tid in new if not self._seize(tid)}
        return ended

    def _unknown(self) -> set[int]:
        return {*self._target.threads()} - self.running - self._parked - self.stopped.keys()

    def _seize(self, tid: int) -> bool:
        try:
            ptrace.seize(tid, _OPTIONS)
        except ProcessLookupError:
            return False
        except PermissionError:
            state, tracer = standing(self._target.pid, tid)
            if tracer == os.getpid():  # on its way out of our hands, or begun by a thread in them
                self._leaving.discard(tid)
            elif state in ("", "Z", "X"):
                return False
            else:
                raise
        self.running.add(tid)
        return True

    def stop_all(self) -> bool:
        """Stop every thread; False if one sleeps where nothing reaches it. Raises PermissionError."""
        self._want_stopped, self._alone = True, None
        until = time.monotonic() + _PATIENCE
        asked: set[int] = set()
        pause = 0.0
        while True:
            ended = self.seize_all()
            for tid in (self.running | self._parked) - asked:
                with contextlib.suppress(ProcessLookupError):
                    ptrace.interrupt(tid)
                asked.add(tid)
            self.poll()
            if not self.running and not self._parked:
                if not self._unknown() - ended:
                    return True
                continue
            if time.monotonic() > until:
                return False
            time.sleep(pause)
            pause = min(pause + 0.0001, 0.005)

    def go_on(self, only: int | None = None) -> None:
        """Let the stopped threads run, still seized; with `only` that one alone."""
        self._want_stopped, self._alone = only is not None, only
        for tid in list(self.stopped) if only is None else [only]:
            number = self.stopped.pop(tid, 0)
            with contextlib.suppress(ProcessLookupError):
                ptrace.set_options(tid, _OPTIONS)
                ptrace.cont(tid, number)
                self.running.add(tid)

    def let_go(self) -> None:
        """Be nobody's tracer any more. Threads that run are let go as soon as they stop."""
        self._want_stopped = False
        self._going = True
        for tid, number in self.stopped.items():
            with contextlib.suppress(ProcessLookupError):
                ptrace.detach(tid, number)
        self.stopped.clear()
        leaving = self.running | self._parked
        self.running.clear()
        self._parked.clear()
        until = time.monotonic() + _PATIENCE
        while leaving:
            for tid in leaving:
                with contextlib.suppress(ProcessLookupError):
                    ptrace.interrupt(tid)
                    self._leaving.add(tid)
            while self._leaving and time.monotonic() < until:
                self.poll()
                time.sleep(0.0005)
            # A thread that ran until now may have begun others, which are in our hands since then.
            leaving = self._still_ours() if time.monotonic() < until else set()

    def _still_ours(self) -> set[int]:
        pid, me = self._target.pid, os.getpid()
        return {tid for tid in self._target.threads() if standing(pid, tid)[1] == me}

    @contextlib.contextmanager
    def still(self) -> Iterator[tuple[int, ...] | None]:
        """Every thread stopped for a moment, so that none can begin another: their ids; None where not permitted."""
        if self.stands:
            yield tuple(self.stopped)
            return
        before = bool(self.running)
        try:
            self.stop_all()
        except PermissionError:
            if not before:
                self.let_go()
            yield None
            return
        try:
            yield tuple({*self.stopped, *self.running})
        finally:
            if before:
                self.go_on()
            else:
                self.let_go()

    # News

    def poll(self) -> None:
        """Take what the threads have to say: let those run on that stopped for nothing we wait for."""
        while True:
            try:
                news = ptrace.wait(-1, block=False)
            except ChildProcessError:
                if self.attached:  # all of them are gone, and so is what we waited for
                    self._all_gone()
                return
            if news is None:
                return
            with contextlib.suppress(ProcessLookupError):
                self._take(news)

    def _all_gone(self) -> None:
        known = self.running | self._parked | self.stopped.keys()
        self.running.clear()
        self._parked.clear()
        self.stopped.clear()
        self._leaving.clear()
        if known:
            self._target.end(None)

    def _take(self, news: ptrace.WaitStatus) -> None:
        tid = news.tid
        self.running.discard(tid)
        self._parked.discard(tid)
        if news.exit is not None:
            self.stopped.pop(tid, None)
            self._leaving.discard(tid)
            if tid == self._target.pid:
                self._target.end(news.exit)
        elif tid in self._leaving or self._going:
            self._leaving.discard(tid)
            ptrace.detach(tid, 0 if news.event or self._is_ours(news) else news.signal)
        elif news.event == ptrace.EVENT_STOP and news.signal in _GROUP_STOPS and not self._want_stopped:
            ptrace.listen(tid)
            self._parked.add(tid)
        elif news.event == ptrace.EVENT_EXEC:
            self._only(tid)
            self._rest(tid, 0)
        elif news.event or news.at_syscall:
            self._rest(tid, 0)
        elif self._is_ours(news):
            self.stopped[tid] = 0
            self.hits.append(tid)
        else:
            self._rest(tid, news.signal)

    def _is_ours(self, news: ptrace.WaitStatus) -> bool:
        return news.signal == signal.SIGURG and not news.event and self.ours(news.tid)

    def _only(self, tid: int) -> None:
        """After an exec there is one thread."""
        self.running.clear()
        self._parked.clear()
        self.stopped = {}
        self.running.discard(tid)

    def _rest(self, tid: int, number: int) -> None:
        """A thread that stopped by itself: stay so if all are to stand, else run on."""
        if self._want_stopped and tid != self._alone:
            self.stopped[tid] = number
        else:
            ptrace.cont(tid, number)
            self.running.add(tid)
