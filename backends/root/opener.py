"""The backend's side: what takes privileges is asked of the root process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Any, Final

from backends.base import HwbpError
from backends.bpf.syscall import BpfError
from backends.kernelview.books import Books
from backends.perf import events
from backends.perf.opener import Buffers, Opener, OwnOpener
from backends.perf.program import HitProgram
from backends.protocol import ProtocolError, decode
from backends.root import asked as ask

__all__ = ["RootOpener"]

_GONE: Final = "the root process has ended: what is armed stays, nothing more can be opened"


class RootOpener(Opener):
    """Asks over a socket. What this process may do by itself (its own child's memory) it does by itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._own = OwnOpener()

    def _ask(self, asked: ask.Asked) -> tuple[Any, list[int]]:
        try:
            ask.send_asked(self._connection, asked)
            got = ask.receive_answer(self._connection)
        except (OSError, ProtocolError) as error:
            raise OSError(errno.EPIPE, _GONE) from error
        if got is None:
            raise OSError(errno.EPIPE, _GONE)
        answer, fds = got
        if not answer.failed:
            return answer.value, fds
        for fd in fds:
            os.close(fd)
        match answer.failed:
            case "bpf":
                raise BpfError(answer.errno, answer.text)
            case "books":
                raise HwbpError(answer.text, errno="EPERM", remedy=answer.remedy)
            case "refused":
                raise OSError(errno.EPERM, f"the root process does not do that: {answer.text}")
        raise OSError(answer.errno, answer.text)

    def _one(self, asked: ask.Asked) -> int:
        _value, fds = self._ask(asked)
        if len(fds) != 1:
            for fd in fds:
                os.close(fd)
            raise OSError(errno.EPIPE, "the root process handed no descriptor over")
        return fds[0]

    def target(self, pid: int) -> None:
        try:
            self._ask(ask.Target(pid))
        except ProcessLookupError as error:
            raise HwbpError(f"process {pid} has just ended", errno="ESRCH") from error
        except OSError as error:
            raise HwbpError(error.strerror or "", errno=errno.errorcode.get(error.errno or 0)) from error

    def buffers(self) -> Buffers:
        try:
            size, fds = self._ask(ask.Buffers())
        except BpfError:
            raise
        except OSError as error:
            raise BpfError(error.errno, error.strerror) from error
        if len(fds) != 2 or type(size) is not int:
            for fd in fds:
                os.close(fd)
            raise BpfError(errno.EPIPE, "the root process handed no maps over")
        return Buffers(fds[0], size, fds[1])

    def load(self, number: int, program: HitProgram, attr: events.Attributes) -> None:
        self._ask(ask.Load(number, attr.bp_addr, events.is_for_whole_cpus(attr), program))

    def open(self, number: int, tid: int, cpu: int = -1) -> int:
        return self._one(ask.Open(number, tid, cpu))

    def unload(self, number: int) -> None:
        with contextlib.suppress(OSError):  # with the process gone, so is the program
            self._ask(ask.Unload(number))

    def stop_at(self, tid: int, address: int, sp_above: int, *, inherited: bool = False) -> int:
        return self._one(ask.StopAt(tid, address, sp_above, inherited))

    def follow(self, tid: int, cpu: int, *, children: bool) -> int:
        return self._one(ask.Follow(tid, cpu))

    def ring_owner(self, cpu: int) -> int:
        return self._one(ask.RingOwner(cpu))

    def memory(self, pid: int) -> int:
        try:
            return self._own.memory(pid)
        except PermissionError:
            return self._one(ask.File("mem"))

    def mappings(self, pid: int) -> int:
        try:
            return self._own.mappings(pid)
        except PermissionError:
            return self._one(ask.File("maps"))

    def executable(self, pid: int) -> int:
        try:
            return self._own.executable(pid)
        except PermissionError:
            return self._one(ask.File("exe"))

    def books(self) -> Books:
        value, fds = self._ask(ask.Books())
        for fd in fds:
            os.close(fd)
        try:
            books: Books = decode(Books, value)
        except ProtocolError as error:
            raise HwbpError(f"the root process sent nonsense: {error}", errno="EPIPE") from error
        return books

    def close(self) -> None:
        self._own.close()
        self._connection.close()
