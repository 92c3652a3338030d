"""The backend's process: one machine, driven between messages.

It ends when the front end goes away, however that goes and whatever it is doing then: the socket hangs up. It is started
by `backends.client`, never by hand.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Protocol

from backends.base import Backend, HwbpError
from backends.protocol import (
    METHODS,
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

if TYPE_CHECKING:
    from backends.perf.opener import Opener

__all__ = ["Machine", "main", "serve"]


class Machine(Protocol):
    """A backend that runs in slices."""

    @property
    def running(self) -> bool:
        """Whether there is anything to run."""
        ...

    def run_slice(self) -> float:
        """Run for some milliseconds; returns how long to wait for messages before the next slice, in seconds."""
        ...


def _import(name: str) -> None:
    """What `_make` will need. What cannot be imported is told when it is asked for."""
    if name == "emulated":
        with contextlib.suppress(ImportError):
            import backends.emulated.backend
    elif name == "perf":
        with contextlib.suppress(ImportError):
            import backends.perf.backend
            import backends.perf.recorder  # noqa: F401


def _make(name: str, ring_fd: int, streams: list[int]) -> tuple[Backend, Machine]:
    if name == "emulated":
        from backends.emulated.backend import EmulatedBackend

        backend = EmulatedBackend(ring_fd)
        return backend, backend
    if name == "bare":
        from backends.emulated.bare.backend import BareBackend

        bare = BareBackend(ring_fd)
        return bare, bare
    if name == "perf" and len(streams) in (2, 3):
        from backends.perf.backend import PerfBackend

        live = PerfBackend(ring_fd, (streams[0], streams[1]), _root(streams[2:]))
        return live, live
    raise HwbpError(f"no backend '{name}'")


def _root(connections: list[int]) -> Opener | None:
    """Where a root process opens in our place: the connection to it."""
    if not connections:
        return None
    from backends.root.opener import RootOpener

    return RootOpener(socket.socket(fileno=connections[0]))


def _answer(backend: Backend, call: Call) -> Reply | Failure:
    entry = method_types(call.method) if call.method in METHODS else None
    if entry is None or not isinstance(call.args, list) or len(call.args) != len(entry[0]):
        raise ProtocolError(f"no such call: {call.method}")
    try:
        args = [decode(kind, value) for kind, value in zip(entry[0], call.args, strict=True)]
        return Reply(call.id, encode(getattr(backend, call.method)(*args)))
    except HwbpError as error:
        return Failure(call.id, error.message, error.errno, error.holders, error.remedy)
    except ProtocolError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        return Failure(
            call.id, f"fault in the machine: {type(error).__name__}: {error} ({where})", "EIO", (), ""
        )


def serve(connection: socket.socket, backend: Backend, machine: Machine) -> None:
    """Answer messages, and run the machine in between, until the other side goes or says close.

    A slice that is due comes before a message: questions that follow each other closely do not keep a live machine
    from taking its hits, nor from seeing that one of them has stopped a thread.
    """
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    due = 0.0
    while True:
        if machine.running and time.monotonic() >= due:
            wait = machine.run_slice()
            due = time.monotonic() + wait
        if poll.poll(max(0.0, due - time.monotonic()) * 1000 if machine.running else None):
            message = receive(connection)
            if message is None:
                return
            if not isinstance(message, Call):
                raise ProtocolError("expected a call")
            connection.sendall(pack(_answer(backend, message)))
            if message.method == "close":
                return


def _same_user(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid == os.getuid()


def _end_with(connection: socket.socket) -> None:
    """End this process as soon as the other side has gone.

    Whoever is served would see that only after the answer that is being made, and an answer may take seconds (thousands of
    threads, a busy machine): as long a program that we hold would stand still, and slots would stay taken. What ends here
    is what SIGKILL could end as well.
    """
    gone = select.poll()
    gone.register(connection, 0)  # POLLHUP is always told
    gone.poll()
    os._exit(0)


def main(arguments: list[str]) -> int:
    """`python -m backends.host SOCKET_FD BACKEND`. The name lets it import while the front end still does the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the front end
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy's threads turn idly; nothing here multiplies matrices
    _import(arguments[1])
    connection = socket.socket(fileno=int(arguments[0]))
    if not _same_user(connection):
        return 1
    data, fds, _, _ = socket.recv_fds(connection, 1, 4)
    for fd in (connection.fileno(), *fds):  # a program that we launch is to have none of them
        os.set_inheritable(fd, False)
    hello = receive(connection) if data and fds else None
    if not isinstance(hello, Hello):
        return 1
    try:
        if hello.version != VERSION:
            raise HwbpError(
                f"the front end speaks version {hello.version} of the protocol, this process {VERSION}"
            )
        backend, machine = _make(hello.backend, fds[0], fds[1:])
    except (HwbpError, ImportError) as error:
        connection.sendall(pack(Failure(0, str(error), None, (), "")))
        return 1
    connection.sendall(pack(Hello(VERSION, hello.backend)))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    gc.freeze()
    gc.disable()  # nothing in the loop makes cycles
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(connection, backend, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
