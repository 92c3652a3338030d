"""What a root process does for one backend: each question is checked against the one target before anything is opened."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Any, Final

from backends.base import HwbpError
from backends.bpf.syscall import BpfError
from backends.perf import events
from backends.perf.lines import LINE, LINES
from backends.perf.opener import OwnOpener
from backends.protocol import encode
from backends.root import asked as ask
from symbols.dataclass import dataclass

__all__ = ["Allowed", "RefusedError", "Session"]

_USER_END: Final = 1 << 47
_KERNEL_START: Final = 1 << 63
_LENGTHS: Final = (1, 2, 4, 8)


class RefusedError(Exception):
    """Something that a root process is not there for."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What this root process was started for. Nothing widens it later.

    `pid` is the one process that may be watched; None: one that `front`, the front end, has launched through a backend
    of its own, as user `uid`; 0: none. `children` and `kernel` as the front end was started with.
    """

    pid: int | None
    uid: int
    front: int
    children: bool = False
    kernel: bool = False


class Session:
    """One backend's questions. `answer` never raises for what is asked, whatever it is."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._own = OwnOpener()
        self._target: int | None = None
        self._pidfd = -1
        self._buffers = False
        self._wide: dict[int, bool] = {}

    def answer(self, asked: ask.Asked) -> tuple[ask.Answer, tuple[int, ...]]:
        """The answer, and descriptors that go with it and are to be closed then."""
        try:
            value, fds = self._do(asked)
            return ask.Answer(value), fds
        except RefusedError as error:
            return ask.Answer(failed="refused", text=str(error)), ()
        except BpfError as error:
            return ask.Answer(failed="bpf", errno=error.errno or 0, text=error.strerror or ""), ()
        except OSError as error:
            return ask.Answer(failed="os", errno=error.errno or 0, text=error.strerror or ""), ()
        except HwbpError as error:
            return ask.Answer(failed="books", text=error.message, remedy=error.remedy), ()
        except (ValueError, OverflowError) as error:  # numbers that no program or attribute can hold
            return ask.Answer(failed="refused", text=str(error)), ()

    def _do(self, asked: ask.Asked) -> tuple[Any, tuple[int, ...]]:
        match asked:
            case ask.Target(pid):
                self._choose(pid)
            case ask.Books():
                return encode(self._own.books()), ()
            case ask.RingOwner(cpu):
                return None, (self._own.ring_owner(cpu),)
            case ask.Buffers():
                self._alive()
                _need(not self._buffers, "the maps have been handed over")
                ring, size, control = self._own.buffers()
                self._buffers = True
                return size, (ring, control)
            case ask.Load():
                self._load(asked)
            case ask.Unload(number):
                self._own.unload(number)
                self._wide.pop(number, None)
            case ask.Open(number, tid, cpu):
                return None, (self._open(number, tid, cpu),)
            case ask.StopAt(tid, address, sp_above, inherited):
                self._thread(tid)
                _need(0 <= address < _USER_END, "no user address")
                _need(0 <= sp_above < 1 << 64, "no stack pointer")
                fd = self._own.stop_at(tid, address, sp_above, inherited=inherited)
                return None, (self._sure(tid, fd),)
            case ask.Follow(tid, cpu):
                self._thread(tid)
                fd = self._own.follow(tid, cpu, children=self._allowed.children)
                return None, (self._sure(tid, fd),)
            case ask.File(name):
                pid = self._alive()
                reader = {"mem": self._own.memory, "maps": self._own.mappings, "exe": self._own.executable}[
                    name
                ]
                return None, (self._sure(pid, reader(pid)),)
        return None, ()

    # The target

    def _choose(self, pid: int) -> None:
        _need(self._target is None, "there is a target already")
        _need(0 < pid < 1 << 31, "no process id")
        _need(self._allowed.pid in (None, pid), f"this root process is for process {self._allowed.pid}")
        pidfd = os.pidfd_open(pid)
        try:
            if self._allowed.pid is None:
                _need(self._launched(pid), "only a program that this front end's own backend has launched")
        except BaseException:
            os.close(pidfd)
            raise
        self._pidfd, self._target = pidfd, pid

    def _launched(self, pid: int) -> bool:
        parent, uids = _status(pid)
        return uids == {self._allowed.uid} and bool(parent) and _status(parent)[0] == self._allowed.front

    def _alive(self) -> int:
        """The target's pid. A process that has been reaped may have left its number to another."""
        _need(self._target is not None, "no target has been named")
        assert self._target is not None
        if select.select([self._pidfd], [], [], 0)[0]:
            raise ProcessLookupError(3, os.strerror(3))
        return self._target

    def _thread(self, tid: int) -> None:
        pid = self._alive()
        _need(0 < tid < 1 << 31, "no thread id")
        if not os.path.isdir(f"/proc/{pid}/task/{tid}"):
            raise ProcessLookupError(3, os.strerror(3))

    def _sure(self, tid: int, fd: int) -> int:
        """A descriptor, if what it was opened on by number is the target still."""
        try:
            self._thread(tid)
        except BaseException:
            os.close(fd)
            raise
        return fd

    # Breakpoints

    def _load(self, asked: ask.Load) -> None:
        pid = self._alive()
        program = asked.program
        kernel = asked.address >= _KERNEL_START
        _need(self._buffers, "there are no maps yet")
        _need(0 < asked.number < 1 << 31, "no breakpoint's number")
        _need(asked.number in self._wide or len(self._wide) < LINES, "too many programs")
        _need(program.breakpoint == asked.number, "another breakpoint's program")
        _need(program.length in _LENGTHS, "no length of a debug register")
        for line in (program.line, program.limit_line):
            _need(0 <= line < LINES * LINE and line % LINE == 0, "no control line")
        _need(0 <= asked.address < _USER_END or (kernel and asked.address < 1 << 64), "no address")
        _need(not kernel or self._allowed.kernel, "kernel addresses were not asked for (--kernel)")
        _need(program.kernel_address == kernel, "the program and its address do not fit")
        _need(program.signal in (None, int(signal.SIGURG)), "no signal but SIGURG")
        _need(program.tgid == pid if asked.wide else program.tgid in (None, pid), "another process's hits")
        attr = events.breakpoint_attributes(
            asked.address,
            program.length,
            program.type,
            children=self._allowed.children,
            kernel=self._allowed.kernel,
            sampled=False,
        )
        if asked.wide:
            events.for_whole_cpus(attr)
        self._own.load(asked.number, program, attr)
        self._wide[asked.number] = asked.wide

    def _open(self, number: int, tid: int, cpu: int) -> int:
        _need(number in self._wide, "no such breakpoint")
        if self._wide[number]:
            self._alive()
            _need(tid == -1 and 0 <= cpu < 1 << 16, "that breakpoint is for whole CPUs")
            return self._own.open(number, tid, cpu)
        _need(cpu == -1, "that breakpoint is for threads")
        self._thread(tid)
        return self._sure(tid, self._own.open(number, tid))

    def close(self) -> None:
        """Forget everything."""
        self._own.close()
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pidfd)
            self._pidfd = -1


def _need(good: bool, otherwise: str) -> None:
    if not good:
        raise RefusedError(otherwise)


def _status(pid: int) -> tuple[int, set[int]]:
    """(parent, real, effective, saved and file system user) of a process, by the kernel's own words."""
    parent, uids = 0, set[int]()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file.read(1 << 14).split(b"\n"):  # a newline in a name is escaped there
            if line.startswith(b"PPid:"):
                parent = int(line[5:])
            elif line.startswith(b"Uid:"):
                uids = {int(word) for word in line[4:].split()}
    return parent, uids
