"""The root process itself: `python -I -B backends/root/__main__.py SOCKET TARGET [children] [kernel]`, started through sudo.

It connects to the front end's socket, checks who made it, leaves sudo and the terminal behind, gives up what it does not
need, and answers one backend after another. It ends when the front end does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import struct
import sys
from typing import Final

from backends.protocol import ProtocolError
from backends.root import privileges
from backends.root.asked import Answer, receive_asked, send_answer
from backends.root.session import Allowed, Session

__all__ = ["LAUNCHED", "NONE", "main", "serve"]

LAUNCHED: Final = "launched"
NONE: Final = "none"
_PATIENCE: Final = 5.0
"""Seconds that half a message may take, or an answer that nobody reads."""
_MOST_SESSIONS: Final = 16
_MOST_OPEN: Final = 8192


def main(arguments: list[str]) -> int:
    """Returns the exit code of what sudo started; the process that stays is its child."""
    uid, gid = (int(os.environ.get(name, "0")) for name in ("SUDO_UID", "SUDO_GID"))
    path, target, *options = arguments
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.connect(path)
    except OSError as error:
        return _complain(f"{path}: {error.strerror}")
    front, owner = _peer(control)
    if owner != uid:
        return _complain("the socket belongs to another user")
    allowed = Allowed(
        pid={LAUNCHED: None, NONE: 0}[target] if target in (LAUNCHED, NONE) else int(target),
        uid=uid,
        front=front,
        children="children" in options,
        kernel="kernel" in options,
    )
    if os.fork():
        return 0
    _alone()
    try:
        privileges.drop(uid, gid, kernel=allowed.kernel)
    except OSError as error:
        send_answer(control, Answer(failed="os", errno=error.errno or 0, text=error.strerror or ""))
        return 1
    send_answer(control, Answer())
    serve(control, allowed)
    return 0


def _complain(message: str) -> int:
    os.write(2, f"hwbp-tui's root process: {message}\n".encode("utf-8", "backslashreplace"))
    return 1


def _peer(connection: socket.socket) -> tuple[int, int]:
    """(pid, uid) of whoever listens at the other end."""
    pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _alone() -> None:
    """Away from sudo's terminal, its signals, its directory and its environment."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
    os.chdir("/")
    os.umask(0o077)
    os.environ.clear()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _MOST_OPEN), hard))


def serve(control: socket.socket, allowed: Allowed) -> None:
    """Answer the backends whose sockets come over the control socket, until the front end goes."""
    sessions: dict[int, tuple[socket.socket, Session]] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    gc.freeze()
    while True:
        for fd, _events in poll.poll():
            if fd == control.fileno():
                data, fds, _flags, _where = socket.recv_fds(control, 1, 1)
                if not data:
                    return
                for new in fds:
                    if len(sessions) >= _MOST_SESSIONS:
                        os.close(new)
                        continue
                    connection = socket.socket(fileno=new)
                    connection.settimeout(_PATIENCE)
                    sessions[new] = connection, Session(allowed)
                    poll.register(new, select.POLLIN)
            elif not _one(*sessions[fd]):
                poll.unregister(fd)
                connection, session = sessions.pop(fd)
                session.close()
                connection.close()


def _one(connection: socket.socket, session: Session) -> bool:
    """One question and its answer; False once the other side has gone, or says what is no question."""
    try:
        asked = receive_asked(connection)
        if asked is None:
            return False
        answer, fds = session.answer(asked)
        try:
            send_answer(connection, answer, fds)
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
    except (OSError, ProtocolError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
