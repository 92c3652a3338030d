"""Other owners of debug registers, for scenes: real processes of our own that do what a profiler or a debugger does.

A scene needs somebody to contend with. `task` processes sleep and are watched; a `debugger` traces the watched program and
writes its debug registers through ptrace; perf events beside the session's own are ours. All of them end with us, and the
debugger cleans up first, unless a scene has it killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from backends.base import HwbpError
from backends.model import WatchType
from backends.perf import events

__all__ = ["Actors"]

_PLACE: Final = re.compile(r"(0x[0-9a-f]+|\d+)(?:/(\d+))?(?::(w|rw|x))?", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,14}")
_MOST: Final = 16
_TYPES: Final[dict[str, WatchType]] = {"w": "w", "rw": "rw", "x": "x"}
_DEBUGGER: Final = "debugger"
_FIRST_EVENT: Final = 900
"""Descriptors of a scene's events begin here, so that a scene can name them."""


class _Actor:
    """One process that obeys a line at a time (`backends.perf.actor`)."""

    def __init__(self, *role: str) -> None:
        here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), here]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "backends.perf.actor", *role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
        try:
            self._answer()
        except HwbpError:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str) -> int:
        """The number that it answers. Raises HwbpError with the errno that it met."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise HwbpError("the debugger has ended", errno="ESRCH") from error
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout
        word, _, value = self._process.stdout.readline().partition(" ")
        if word == "ok":
            return int(value)
        number = int(value) if word == "errno" else errno.ESRCH
        raise HwbpError(os.strerror(number), errno=errno.errorcode.get(number))

    def end(self) -> None:
        """Let it clean up and go."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


class Actors:
    """Who was brought onto the stage. Every method may raise `HwbpError`; `holders` says who holds a process's slots."""

    def __init__(self, holders: Callable[[int | None], tuple[str, ...]]) -> None:
        self._holders = holders
        self._tasks: dict[str, _Actor] = {}
        self._ended: dict[str, int] = {}
        self._debugger: _Actor | None = None
        self._watched = 0
        self._events: dict[int, str] = {}

    def play(self, owner: str, verb: str, arguments: tuple[str, ...], pid: int) -> tuple[str, ...]:
        """One word of an owner's with its arguments; the answer in lines. `pid` is the watched program."""
        words = {
            "task new": self._task_new,
            "task exit": self._task_exit,
            "perf event": self._perf_event,
            "perf list": self._perf_list,
            "ptrace attach": self._attach,
            "ptrace detach": self._detach,
            "ptrace kill": self._kill,
        }
        act = words.get(f"{owner} {verb}")
        if act is None:
            raise HwbpError(
                f"{owner} {verb}: no owner of a live machine does this for us",
                errno="EOPNOTSUPP",
                remedy=f"what can be done here: {', '.join(words)}",
            )
        return act(arguments, pid)

    # Tasks

    def _task_new(self, arguments: tuple[str, ...], _pid: int) -> tuple[str, ...]:
        name = arguments[0] if len(arguments) == 1 else ""
        if not _NAME.fullmatch(name):
            raise HwbpError("task new NAME: a name of small letters", errno="EINVAL")
        if name in self._tasks:
            raise HwbpError(f"there is a task {name}", errno="EEXIST")
        if len(self._tasks) >= _MOST:
            raise HwbpError(f"{_MOST} tasks are enough", errno="EAGAIN")
        self._tasks[name] = _Actor("task", name)
        self._ended.pop(name, None)
        return (f"task {name} is process {self._tasks[name].pid}, and sleeps",)

    def _task_exit(self, arguments: tuple[str, ...], _pid: int) -> tuple[str, ...]:
        name = arguments[0] if len(arguments) == 1 else ""
        actor = self._tasks.pop(name, None)
        if actor is None:
            raise HwbpError(f"there is no task {name}", errno="ESRCH")
        actor.end()
        self._ended[name] = actor.pid
        return (f"task {name}, process {actor.pid}, has ended",)

    def _tid(self, text: str, pid: int) -> int:
        if text in self._tasks:
            return self._tasks[text].pid
        if not text.isdecimal():
            raise HwbpError(f"there is no task {text}", errno="ESRCH")
        if int(text) != pid and int(text) not in {actor.pid for actor in self._tasks.values()}:
            raise HwbpError(f"process {text} is none of this scene's", errno="EPERM")
        return int(text)

    # Events beside the session's own

    def _perf_event(self, arguments: tuple[str, ...], pid: int) -> tuple[str, ...]:
        grammar = "perf event ADDRESS[/LEN][:TYPE] [-t TASK] [-C CPU] [disabled]"
        place = _PLACE.fullmatch(arguments[0]) if arguments else None
        if place is None:
            raise HwbpError(grammar, errno="EINVAL")
        task, cpu, disabled = None, -1, False
        rest = list(arguments[1:])
        while rest:
            word = rest.pop(0)
            if word == "disabled":
                disabled = True
            elif word == "-t" and rest:
                task = self._tid(rest.pop(0), pid)
            elif word == "-C" and rest and rest[0].isdecimal():
                cpu = int(rest.pop(0))
            else:
                raise HwbpError(f"{grammar}: {word}?", errno="EINVAL")
        kind = _TYPES[(place[3] or "w").lower()]
        attr = events.breakpoint_attributes(
            int(place[1], 0), int(place[2] or 8), kind, children=False, kernel=False, sampled=False
        )
        target = task if task is not None else pid if cpu < 0 else -1
        try:
            fd = events.open_event(attr, target, cpu)
        except OSError as error:
            held = self._holders(target if target > 0 else None) if error.errno == errno.ENOSPC else ()
            where = f"CPU {cpu}" if target < 0 else f"process {target}"
            raise events.refusal(error, arguments[0], where, held) from error
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_EVENT)
        os.close(fd)
        fd = high
        if not disabled:
            events.enable(fd)
        self._events[fd] = arguments[0]
        return (f"perf event {fd}: {' '.join(arguments)}",)

    def _perf_list(self, _arguments: tuple[str, ...], _pid: int) -> tuple[str, ...]:
        return tuple(
            f"perf event {fd}: {text}, {events.read_counts(fd, sampled=False).hits} hits"
            for fd, text in sorted(self._events.items())
        )

    def close_event(self, fd: int) -> bool:
        """Close one of them; False where the descriptor is none."""
        if self._events.pop(fd, None) is None:
            return False
        os.close(fd)
        return True

    # The debugger

    def _attach(self, _arguments: tuple[str, ...], pid: int) -> tuple[str, ...]:
        if self._debugger is not None:
            raise HwbpError("a debugger has attached already", errno="EBUSY")
        try:
            self._debugger = _Actor(_DEBUGGER, str(pid))
        except HwbpError as error:
            raise HwbpError(
                f"the debugger cannot attach to process {pid}: {error.message}",
                errno=error.errno,
                remedy="a process has one tracer; let the program run first: `continue`",
            ) from error
        self._watched = pid
        return (f"a debugger, process {self._debugger.pid}, traces process {pid}",)

    def _gone(self, what: str) -> _Actor:
        if self._debugger is None:
            raise HwbpError(f"{what}: no debugger is attached", errno="ESRCH")
        debugger, self._debugger = self._debugger, None
        return debugger

    def _detach(self, _arguments: tuple[str, ...], _pid: int) -> tuple[str, ...]:
        debugger = self._gone("ptrace detach")
        try:
            debugger.ask("detach")
        finally:
            debugger.end()
        return (f"the debugger has let go of process {self._watched}; what it armed stays armed",)

    def _kill(self, _arguments: tuple[str, ...], _pid: int) -> tuple[str, ...]:
        debugger = self._gone("ptrace kill")
        debugger.kill()
        return (f"kill -9 {debugger.pid}: the debugger is gone, and could clean up nothing",)

    def peek(self, register: int, pid: int) -> int:
        """PTRACE_PEEKUSER by the debugger, which attaches if it has not."""
        return self._attached(pid).ask(f"peek {register}")

    def poke(self, register: int, value: int, pid: int) -> None:
        """PTRACE_POKEUSER by the debugger."""
        debugger = self._attached(pid)
        try:
            debugger.ask(f"poke {register} {value}")
        except HwbpError as error:
            raise HwbpError(
                f"PTRACE_POKEUSER u_debugreg[{register}] = {value:#x}: {error.message}",
                errno=error.errno,
                holders=self._holders(pid) if error.errno == "ENOSPC" else (),
            ) from error

    def _attached(self, pid: int) -> _Actor:
        if self._debugger is None:
            self._attach((), pid)
        assert self._debugger is not None
        return self._debugger

    def close(self) -> None:
        """Everybody leaves, and the debugger takes its watches with it."""
        for fd in list(self._events):
            self.close_event(fd)
        if self._debugger is not None:
            self._debugger.end()
            self._debugger = None
        for actor in self._tasks.values():
            actor.end()
        self._tasks.clear()
