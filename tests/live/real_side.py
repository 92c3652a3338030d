"""The real kernel's side of a sequence: children that do as they are told, perf events, ptrace."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import select
import signal
import socket
import struct
import time
from typing import Any, Final

from backends import dr
from backends.emulated.kernel.attr import Attr
from tests.live.ptrace import (
    CONT,
    DEBUG_REGISTERS,
    DETACH,
    GETSIGINFO,
    INTERRUPT,
    PEEKUSER,
    POKEUSER,
    SEIZE,
    WALL,
    Unavailable,
    ptrace,
)
from tests.live.steps import MAPPED_SAMPLES, TASKS, rings

__all__ = ["CPU", "Real", "attr_of", "open_event", "slots_are_free"]

CPU: Final = 1 if (os.cpu_count() or 1) > 1 else 0
"""Where every task of a sequence runs."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_PERF_EVENT_OPEN = 298
_ENABLE, _DISABLE, _REFRESH, _RESET, _PERIOD, _MODIFY = 0x2400, 0x2401, 0x2402, 0x2403, 0x40082404, 0x4008240B
_PR_SET_PDEATHSIG = 1
_COMMAND, _REPLY = struct.Struct("<BBHIQ"), struct.Struct("<iIIIQ")
_MASK64 = (1 << 64) - 1
_PATIENCE = 5.0
_DATA_HEAD = 1024

Result = tuple[Any, ...]


def _errno(number: int | None = None) -> Result:
    """An errno by the name that the model uses: EOPNOTSUPP and ENOTSUP are one number."""
    name = errno.errorcode[ctypes.get_errno() if number is None else number]
    return ("errno", "EOPNOTSUPP" if name == "ENOTSUP" else name)


def attr_of(wish: dict[str, int]) -> bytes:
    """The bytes of an attr; `size` beyond the structure is followed by zeros."""
    return Attr(**wish).pack().ljust(max(wish["size"], 136), b"\0")


def open_event(attr: bytes, pid: int, cpu: int, group: int = -1, flags: int = 0) -> int:
    """perf_event_open: a descriptor, or -1 with errno set."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    ctypes.set_errno(0)
    result: int = _LIBC.syscall(_PERF_EVENT_OPEN, buffer, pid, cpu, group, flags)
    return result


def slots_are_free(pid: int, wide: bool) -> bool:
    """Whether nobody else holds a slot that a sequence would meet: four events fit where they should."""
    attr = Attr(bp_type=2, bp_len=8, bp_addr=0x1000, flags=0x61).pack()
    places = [(-1, cpu) for cpu in range(os.cpu_count() or 1)] if wide else [(pid, -1)]
    fds: list[int] = []
    try:
        for pid_, cpu in places:
            for _ in range(4):
                fd = open_event(attr, pid_, cpu)
                if fd < 0:
                    return False
                fds.append(fd)
        return True
    finally:
        for fd in fds:
            os.close(fd)


class _Task:
    """One task of the sequence: its end of the socket, and what is known of it."""

    def __init__(self, ours: socket.socket) -> None:
        self.socket = ours
        self.tid = 0
        self.leader = 0
        self.attached = False
        self.gone = False


class Real:
    """One sequence on the real kernel. `foreign` is the tid of a task of somebody else's."""

    def __init__(self, subject: str, foreign: int) -> None:
        self.foreign = foreign
        pairs = [socket.socketpair() for _ in range(TASKS)]
        self.tasks: list[_Task | None] = [None] * TASKS
        self._ours = [ours for ours, _ in pairs]
        self.fds: list[tuple[int, mmap.mmap | None, Attr]] = []
        theirs = [each for _, each in pairs]
        fds = [each.fileno() for each in theirs]
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                os.sched_setaffinity(0, {CPU})
                for fd in fds:
                    os.set_inheritable(fd, True)
                os.execv(subject, [subject, "0", *map(str, fds)])
            finally:
                os._exit(127)
        for each in theirs:
            each.close()
        self._take(0, self._pid, self._pid)
        self._reply(self._task(0))

    def _take(self, index: int, tid: int, leader: int) -> None:
        task = _Task(self._ours[index])
        task.tid, task.leader = tid, leader
        self.tasks[index] = task

    def _task(self, index: int) -> _Task:
        task = self.tasks[index]
        assert task is not None
        return task

    # -- telling tasks what to do

    def _ended(self, tid: int) -> bool:
        try:
            with open(f"/proc/{tid}/stat", "rb") as file:
                return file.read().rsplit(b")", 1)[1].split()[0] in (b"Z", b"X")
        except (FileNotFoundError, ProcessLookupError):
            return True

    def _stopped(self, tid: int) -> bool:
        """A ptrace stop is waiting; the wait status is consumed, no exit status is."""
        try:
            return os.waitid(os.P_PID, tid, os.WSTOPPED | os.WNOHANG | WALL) is not None
        except ChildProcessError:
            return False

    def _reply(self, task: _Task, stops: list[Result] | None = None) -> Result:
        """Its answer, meeting its ptrace stops on the way. ("died",) if it ended instead."""
        deadline = time.monotonic() + _PATIENCE
        pause = 0.0005
        while time.monotonic() < deadline:
            ready, _, _ = select.select([task.socket], [], [], 0.0 if task.attached else pause)
            if ready:
                data = task.socket.recv(_REPLY.size, socket.MSG_WAITALL)
                if len(data) < _REPLY.size:
                    return ("died",)
                result, tid, signals, _, value = _REPLY.unpack(data)
                return ("answer", result, tid, signals, value)
            if task.attached and self._stopped(task.tid):
                number = self._stop(task, stops)
                with contextlib.suppress(ProcessLookupError):
                    ptrace(CONT, task.tid, 0, number)
                continue
            if self._ended(task.tid):
                return ("died",)
            pause = min(pause * 2, 0.01)
        raise Unavailable(f"task {task.tid} does not answer")

    def _stop(self, task: _Task, stops: list[Result] | None) -> int:
        """One stop of a tracee: noted if it is a SIGTRAP of a breakpoint. The signal to go on with."""
        info = ctypes.create_string_buffer(128)
        try:
            ptrace(GETSIGINFO, task.tid, 0, ctypes.addressof(info))
        except OSError:
            return 0
        number, _, code = struct.unpack_from("<iii", info)
        if number != signal.SIGTRAP or code >> 8:
            return 0 if number == signal.SIGTRAP else number
        if stops is not None:
            stops.append((code, self._peek(task, 6)))
        return number if code == 6 else 0

    def _tell(self, task: _Task, op: str, size: int = 0, other: int = 0, address: int = 0) -> Result:
        stops: list[Result] = []
        task.socket.send(_COMMAND.pack(ord(op), size, other, 0, address))
        if task.attached:
            ptrace(CONT, task.tid)
        answer = self._reply(task, stops)
        if answer[0] == "died":
            self._after_death(task)
        elif task.attached:
            self._interrupt(task)
        return (*answer, tuple(stops))

    def _interrupt(self, task: _Task) -> None:
        with contextlib.suppress(ProcessLookupError):
            ptrace(INTERRUPT, task.tid)
        deadline = time.monotonic() + _PATIENCE
        while not self._stopped(task.tid):
            if self._ended(task.tid) or time.monotonic() > deadline:
                return

    def _after_death(self, task: _Task) -> None:
        """The process has ended: threads vanish once they are waited for; leaders stay as zombies."""
        for each in self.tasks:
            if each is None or each.gone or each.leader != task.leader:
                continue
            deadline = time.monotonic() + _PATIENCE
            while not self._ended(each.tid) and time.monotonic() < deadline:
                time.sleep(0.0002)
            if each.tid != each.leader:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(each.tid, WALL)
            each.gone = True

    # -- the steps

    def open(self, target: str, task: int, cpu: int, leader: int, flags: int, wish: dict[str, int]) -> Result:
        pid = {"self": 0, "nobody": 999_999_9, "foreign": self.foreign, "all": -1}.get(target)
        if pid is None:
            chosen = self.tasks[task]
            if chosen is None:
                return ("skip",)
            pid = chosen.tid
        group = self.fds[leader % len(self.fds)][0] if leader >= 0 and self.fds else -1
        fd = open_event(attr_of(wish), pid, cpu, group, flags)
        if fd < 0:
            return _errno()
        attr = Attr(**wish)
        ring = None
        if rings(attr, cpu):
            with contextlib.suppress(OSError):
                ring = mmap.mmap(fd, 8192, mmap.MAP_SHARED, mmap.PROT_READ)
        self.fds.append((fd, ring, attr))
        return ("ok",)

    def close(self, event: int) -> Result:
        if not self.fds:
            return ("skip",)
        fd, ring, _ = self.fds.pop(event % len(self.fds))
        if ring is not None:
            ring.close()
        os.close(fd)
        return ("ok",)

    def _ioctl(self, event: int, request: int, argument: Any = 0) -> Result:
        if not self.fds:
            return ("skip",)
        ctypes.set_errno(0)
        result = _LIBC.ioctl(self.fds[event % len(self.fds)][0], ctypes.c_ulong(request), argument)
        return ("ok",) if result >= 0 else _errno()

    def enable(self, event: int) -> Result:
        return self._ioctl(event, _ENABLE)

    def disable(self, event: int) -> Result:
        return self._ioctl(event, _DISABLE)

    def reset(self, event: int) -> Result:
        return self._ioctl(event, _RESET)

    def refresh(self, event: int, count: int) -> Result:
        return self._ioctl(event, _REFRESH, ctypes.c_ulong(count))

    def period(self, event: int, value: int) -> Result:
        return self._ioctl(event, _PERIOD, ctypes.byref(ctypes.c_uint64(value)))

    def modify(self, event: int, attr: bytes) -> Result:
        return self._ioctl(event, _MODIFY, ctypes.create_string_buffer(attr, len(attr)))

    def _read(self, fd: int, ring: mmap.mmap | None, attr: Attr) -> tuple[int | None, int | None]:
        data = os.read(fd, 64)
        count = struct.unpack_from("<Q", data)[0] if data else None
        samples = None
        if ring is not None:
            size = 8 + 8 * (attr.sample_type & MAPPED_SAMPLES).bit_count()
            samples = struct.unpack_from("<Q", ring, _DATA_HEAD)[0] // size
        return count, samples

    def attach(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None:
            return ("skip",)
        try:
            ptrace(SEIZE, chosen.tid)
        except OSError as error:
            return _errno(error.errno)
        chosen.attached = True
        self._interrupt(chosen)
        return ("ok",)

    def detach(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None:
            return ("skip",)
        try:
            ptrace(DETACH, chosen.tid)
        except OSError as error:
            return _errno(error.errno)
        chosen.attached = False
        return ("ok",)

    def _peek(self, task: _Task, register: int) -> int:
        return ptrace(PEEKUSER, task.tid, DEBUG_REGISTERS + 8 * register)

    def poke(self, task: int, register: int, value: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None:
            return ("skip",)
        try:
            ptrace(POKEUSER, chosen.tid, DEBUG_REGISTERS + 8 * register, value)
        except OSError as error:
            return _errno(error.errno)
        return ("ok",)

    def access(self, task: int, kind: str, address: int, size: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.gone:
            return ("skip",)
        answer = self._tell(chosen, kind, size, 0, address)
        if answer[0] == "died":
            return ("died", answer[-1])
        return ("ok", answer[3], answer[4], answer[-1])

    def fork(self, task: int, into: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.gone or self.tasks[into] is not None:
            return ("skip",)
        result = self._tell(chosen, "f", other=into)[1]
        if result < 0:
            return ("errno", errno.errorcode[-result] if result < -1 else "failed")
        self._take(into, result, result)
        return ("ok",)

    def thread(self, task: int, into: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.gone or self.tasks[into] is not None:
            return ("skip",)
        result = self._tell(chosen, "t", other=into)[1]
        if result < 0:
            return ("errno", "failed")
        self._take(into, result, chosen.leader)
        return ("ok",)

    def exec(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.gone or chosen.tid != chosen.leader:
            return ("skip",)
        if any(t and t.leader == chosen.leader and t is not chosen and not t.gone for t in self.tasks):
            return ("skip",)
        self._tell(chosen, "e", other=task)
        return ("ok",)

    def exit(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.gone or chosen.attached:
            return ("skip",)
        whole = chosen.tid == chosen.leader
        if whole and any(t and t.leader == chosen.leader and t.attached and not t.gone for t in self.tasks):
            return ("skip",)
        chosen.socket.send(_COMMAND.pack(ord("q"), whole, 0, 0, 0))
        deadline = time.monotonic() + _PATIENCE
        while not self._ended(chosen.tid) and time.monotonic() < deadline:
            time.sleep(0.0002)
        if whole:
            self._after_death(chosen)
        chosen.gone = True
        return ("ok",)

    def state(self) -> Result:
        """Every count, every ring's records, and what a tracer reads of every stopped tracee."""
        counts = tuple(self._read(*each) for each in self.fds)
        registers = []
        for task in self.tasks:
            if task is not None and task.attached and not task.gone:
                with contextlib.suppress(OSError):
                    registers.append(tuple(self._peek(task, n) for n in range(8)))
        return (counts, tuple(registers))

    def end(self) -> None:
        """Nothing stays behind."""
        while self.fds:
            self.close(0)
        for task in self.tasks:
            if task is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(task.leader, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, WALL)
        for each in self._ours:
            each.close()

    @property
    def pid(self) -> int:
        """The first task's."""
        return self._pid


assert dr.DR6_BASE == 0xFFFF0FF0
