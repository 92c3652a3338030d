"""The front end's side of a backend's process: starts it, and is a `Backend` itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from typing import Any, NoReturn

from backends.base import Attach, Backend, HwbpError, Launch, Register, Spawn
from backends.condition import Condition
from backends.model import (
    Breakpoint,
    BreakpointRequest,
    DebugException,
    Frame,
    Journal,
    MachineView,
    Site,
    TaskView,
)
from backends.protocol import (
    VERSION,
    Call,
    Failure,
    Hello,
    ProtocolError,
    Reply,
    decode,
    encode,
    method_types,
    pack,
    receive,
)
from backends.spawn import DEFAULT_CAPACITY, Spawned, spawn

__all__ = ["ClientBackend", "connect", "start"]

_PATIENCE = 2.0
"""Seconds that a process gets to answer `close`, and to end."""


def start(backend: str, capacity: int = DEFAULT_CAPACITY) -> ClientBackend:
    """Start a backend's process ("emulated", "perf"). Returns at once; the first call waits for it.

    `capacity` is how many hits the ring keeps, a power of two.
    """
    return connect(spawn(backend, capacity))


def connect(spawned: Spawned) -> ClientBackend:
    """Greet a process that has been started. Returns at once; the first call waits for it."""
    with contextlib.suppress(OSError):  # a process that has died already: the first call says why
        spawned.connection.sendall(pack(Hello(VERSION, spawned.backend)))
    return ClientBackend(spawned.connection, spawned.process, spawned.ring_fd)


class ClientBackend(Backend):
    """A backend in another process. Calls may come from any thread, one at a time."""

    def __init__(self, connection: socket.socket, process: subprocess.Popen[bytes], ring_fd: int) -> None:
        self._connection = connection
        self._process = process
        self._lock = threading.Lock()
        self._next = 1
        self._greeted = False
        self._dead: str | None = None
        self.ring_fd = ring_fd

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self._process.pid

    def _call(self, method: str, *args: Any) -> Any:
        with self._lock:
            if self._dead is not None:
                raise HwbpError(self._dead, errno="EPIPE")
            try:
                self._greet()
                number = self._next
                self._next += 1
                self._connection.sendall(pack(Call(number, method, encode(args))))
                message = receive(self._connection)
            except OSError:
                message = None
            except ProtocolError as error:
                self._end(f"the machine's process sent nonsense: {error}")
            if message is None:
                self._end(self._obituary())
            if isinstance(message, Failure):
                raise HwbpError(
                    message.message, errno=message.errno, holders=message.holders, remedy=message.remedy
                )
            if not isinstance(message, Reply) or message.id != number:
                self._end("the machine's process answered out of turn")
            try:
                return decode(method_types(method)[1], message.value)
            except ProtocolError as error:
                self._end(f"the machine's process sent nonsense: {error}")

    def _greet(self) -> None:
        if self._greeted:
            return
        message = receive(self._connection)
        if message is None:
            self._end(self._obituary())
        if isinstance(message, Failure):
            self._end(message.message)
        if not isinstance(message, Hello) or message.version != VERSION:
            self._end("the machine's process is of another version")
        self._greeted = True

    def _end(self, why: str) -> NoReturn:
        self._dead = why
        self._connection.close()
        self._reap(0.0)
        raise HwbpError(why, errno="EPIPE")

    def _obituary(self) -> str:
        """Why the process died, in one line."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return "the machine's process closed the connection"
        last = ""
        if self._process.stderr is not None:
            lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            last = f": {lines[-1]}" if lines else ""
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:  # a real-time signal
                name = f"signal {-code}"
            return f"the machine's process died by {name}{last}"
        return f"the machine's process ended with status {code}{last}"

    def _reap(self, patience: float) -> None:
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def launch(self, launch: Launch) -> MachineView:
        return self._call("launch", launch)  # type: ignore[no-any-return]

    def attach(self, attach: Attach) -> MachineView:
        return self._call("attach", attach)  # type: ignore[no-any-return]

    def view(self) -> MachineView:
        return self._call("view")  # type: ignore[no-any-return]

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        return self._call("arm", requests)  # type: ignore[no-any-return]

    def disarm(self, ids: tuple[int, ...]) -> None:
        self._call("disarm", ids)

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        self._call("enable", id, on)

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        return self._call("move", ids, requests)  # type: ignore[no-any-return]

    def write(self, address: int, data: bytes) -> None:
        self._call("write", address, data)

    def set_register(self, tid: int | None, name: str, value: int) -> None:
        self._call("set_register", tid, name, value)

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        self._call("restrict", ids, condition, limit)

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        self._call("ignore", ids, count)

    def resume(self) -> None:
        self._call("resume")

    def stop(self) -> MachineView:
        return self._call("stop")  # type: ignore[no-any-return]

    def step(self, count: int, over_calls: bool) -> MachineView:
        return self._call("step", count, over_calls)  # type: ignore[no-any-return]

    def finish(self) -> MachineView:
        return self._call("finish")  # type: ignore[no-any-return]

    def run_to(self, address: int) -> MachineView:
        return self._call("run_to", address)  # type: ignore[no-any-return]

    def run_to_mapping(self, until: int) -> MachineView:
        return self._call("run_to_mapping", until)  # type: ignore[no-any-return]

    def stop_at_mappings(self, loader: int | None) -> None:
        self._call("stop_at_mappings", loader)

    def release(self) -> MachineView:
        return self._call("release")  # type: ignore[no-any-return]

    def read(self, address: int, size: int) -> bytes:
        return self._call("read", address, size)  # type: ignore[no-any-return]

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        return self._call("registers", tid)  # type: ignore[no-any-return]

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        return self._call("write_dr", cpu, register, value)  # type: ignore[no-any-return]

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        return self._call("ptrace_peek", tid, register)  # type: ignore[no-any-return]

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        self._call("ptrace_poke", tid, register, value)

    def owner(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return self._call("owner", owner, verb, arguments)  # type: ignore[no-any-return]

    def kallsyms(self) -> bytes:
        return self._call("kallsyms")  # type: ignore[no-any-return]

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        return self._call("stacks", first)  # type: ignore[no-any-return]

    def sites(self) -> tuple[Site, ...]:
        return self._call("sites")  # type: ignore[no-any-return]

    def select(self, tid: int) -> MachineView:
        return self._call("select", tid)  # type: ignore[no-any-return]

    def spawn(self, spawn: Spawn) -> TaskView:
        return self._call("spawn", spawn)  # type: ignore[no-any-return]

    def pin(self, tid: int, cpus: tuple[int, ...]) -> TaskView:
        return self._call("pin", tid, cpus)  # type: ignore[no-any-return]

    def hold(self, tid: int, on: bool) -> TaskView:
        return self._call("hold", tid, on)  # type: ignore[no-any-return]

    def journal(self, start_ns: int, end_ns: int) -> Journal:
        return self._call("journal", start_ns, end_ns)  # type: ignore[no-any-return]

    def debug_exceptions(self, first: int) -> tuple[DebugException, ...]:
        return self._call("debug_exceptions", first)  # type: ignore[no-any-return]

    def show_disabled(self, on: bool) -> MachineView:
        return self._call("show_disabled", on)  # type: ignore[no-any-return]

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        return self._call("output", first)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process; it is gone when this returns. One that does not answer is killed."""
        if self._lock.acquire(timeout=_PATIENCE):
            try:
                if self._dead is None:
                    self._connection.settimeout(_PATIENCE)
            finally:
                self._lock.release()
        else:  # another thread waits for an answer that does not come: it gets an error now
            self._process.kill()
        with contextlib.suppress(HwbpError):
            self._call("close")
        if self._dead is None:
            self._dead = "the machine has been closed"
            self._connection.close()
            self._reap(_PATIENCE)
        with contextlib.suppress(OSError):
            os.close(self.ring_fd)
            self.ring_fd = -1
