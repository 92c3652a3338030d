"""The app on a machine whose process writes 200,000 records a second into the ring.

Everything is real (program, session, names, slots, stacks, the process and its socket) but the CPU: after the first
hits it repeats them with new numbers, at the rate that is asked for.

    python -m tests.bench.flood RATE CAPACITY
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import numpy as np

from backends.base import Launch
from backends.client import ClientBackend
from backends.emulated.backend import EmulatedBackend
from backends.emulated.programs import PROGRAMS
from backends.host import serve
from backends.protocol import VERSION, Hello, pack, receive
from backends.ring import RECORD_FIELDS, create_memfd
from backends.ring_reader import RingReader

__all__ = ["RATE", "FloodBackend", "command"]

RATE = 200_000
_TEMPLATES = 64
_DTYPE = np.dtype([(name, "<" + kind) for name, kind in RECORD_FIELDS])
_MOST = 8192


class FloodBackend(EmulatedBackend):
    """Runs the program until it has hit often enough, then writes those hits again and again."""

    def __init__(self, ring_fd: int, rate: int) -> None:
        super().__init__(ring_fd)
        self._rate = rate
        self._rows = np.frombuffer(self._capture.records, dtype=_DTYPE)
        self._templates = np.empty(0, _DTYPE)
        self._began = 0.0
        self._from = 0

    def run_slice(self) -> float:
        """A burst every four milliseconds."""
        capture = self._capture
        if not len(self._templates):
            wait = super().run_slice()
            if capture.head < _TEMPLATES:
                return wait
            self._templates = np.tile(self._rows[:_TEMPLATES].copy(), _MOST // _TEMPLATES)
            self._began, self._from = time.perf_counter(), capture.head
        due = self._from + int((time.perf_counter() - self._began) * self._rate) - capture.head
        count = min(due, _MOST)
        if count > 0:
            self._write(count)
            self._publish()
        return 0.0 if due > _MOST else 0.004

    def _write(self, count: int) -> None:
        capture = self._capture
        numbers = np.arange(capture.head, capture.head + count, dtype="<u8")
        rows = self._templates[:count]
        rows["seq"] = numbers
        rows["time"] = numbers * np.uint64(20_000)
        rows["value"] = numbers
        rows["old"] = numbers - np.uint64(1)
        first = capture.head & capture.mask
        whole = min(count, len(self._rows) - first)
        self._rows[first : first + whole] = rows[:whole]
        self._rows[: count - whole] = rows[whole:]
        for breakpoint_id, times in enumerate(np.bincount(rows["breakpoint"])):
            if times:
                capture.sink(breakpoint_id).hits += int(times)
        capture.head += count


def command(rate: int, capacity: int) -> list[str]:
    """How to start the app on such a machine."""
    return [sys.executable, "-m", "tests.bench.flood", str(rate), str(capacity)]


def _host(fd: int, rate: int) -> int:
    connection = socket.socket(fileno=fd)
    _, fds, _, _ = socket.recv_fds(connection, 1, 1)
    if not isinstance(receive(connection), Hello):
        return 1
    backend = FloodBackend(fds[0], rate)
    connection.sendall(pack(Hello(VERSION, "emulated")))
    serve(connection, backend, backend)
    return 0


def _start(rate: int, capacity: int) -> ClientBackend:
    ring_fd = create_memfd(capacity)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.flood", "host", str(theirs.fileno()), str(rate)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    socket.send_fds(ours, [b"\0"], [ring_fd])
    ours.sendall(pack(Hello(VERSION, "emulated")))
    return ClientBackend(ours, process, ring_fd)


def _app(rate: int, capacity: int) -> int:
    from tui.app.main import run_app
    from tui.session.session import Session
    from tui.session.watch import Watch

    program = PROGRAMS["counter"]

    def open_it() -> Session:
        client = _start(rate, capacity)
        ring = RingReader(client.ring_fd)
        client.launch(Launch(str(program.path)))
        session = Session(client, ring)
        session.open_watches(tuple(Watch.parse(text) for text in program.suggested_watches))
        return session

    return run_app(open_it)


if __name__ == "__main__":
    if sys.argv[1] == "host":
        sys.exit(_host(int(sys.argv[2]), int(sys.argv[3])))
    sys.exit(_app(int(sys.argv[1]), int(sys.argv[2])))
