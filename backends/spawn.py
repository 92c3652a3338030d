"""Starting a backend's process. Imports nothing of ours before the process exists: its start is the longest wait."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from backends.ring import create_memfd

if TYPE_CHECKING:
    from backends.root.start import RootProcess

__all__ = ["DEFAULT_CAPACITY", "Spawned", "spawn"]

DEFAULT_CAPACITY: Final = 1 << 20


class Spawned(NamedTuple):
    """A process that is starting: `backends.client.connect` makes it a `Backend`.

    It ends by itself when `connection` is closed.
    """

    backend: str
    connection: socket.socket
    process: subprocess.Popen[bytes]
    ring_fd: int
    root: RootProcess | None = None


def spawn(backend: str, capacity: int = DEFAULT_CAPACITY, root: RootProcess | None = None) -> Spawned:
    """Start a backend's process ("emulated", "perf") and hand it its ring of `capacity` hits (a power of two), and a
    connection to the root process where there is one.

    Returns at once. Raises HwbpError (EPIPE) when there can be no process.
    """
    asking = root.session() if root is not None else None
    ring_fd = create_memfd(capacity)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with theirs:
            process = _process(theirs, backend)
    except BaseException:
        ours.close()
        os.close(ring_fd)
        raise
    with contextlib.suppress(OSError):  # a process that has died already: the first call says why
        # A live program may write to our own streams, which are not those of its parent, the machine's process.
        streams = [1, 2] if backend == "perf" else []
        more = [asking.fileno()] if asking is not None else []
        socket.send_fds(ours, [b"\0"], [ring_fd, *streams, *more])
    if asking is not None:
        asking.close()
    return Spawned(backend, ours, process, ring_fd, root)


def _process(theirs: socket.socket, backend: str) -> subprocess.Popen[bytes]:
    """The process itself. Its standard error is read when it dies, everything else is told over the socket.

    Ctrl-C reaches the whole foreground process group, so the child is born with SIGINT blocked: it can be hit
    before it is able to ignore it. `-P`: modules are not looked for in the directory that we were started in.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), here]))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "backends.host", str(theirs.fileno()), backend],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError as error:
        from backends.base import HwbpError

        raise HwbpError(
            f"the machine's process cannot be started: {error.strerror}", errno="EPIPE"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
