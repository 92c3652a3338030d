"""What a root process can be asked, and how: length-prefixed JSON of frozen dataclasses, answers with descriptors beside them.

There is nothing else to ask. `backends.root.process` says what it checks before it answers.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from typing import Any, Final, Literal

from backends.perf.program import HitProgram
from backends.protocol import ProtocolError, decode, encode
from symbols.dataclass import dataclass

__all__ = [
    "Answer",
    "Asked",
    "Books",
    "Buffers",
    "File",
    "Follow",
    "Load",
    "Open",
    "RingOwner",
    "StopAt",
    "Target",
    "Unload",
    "receive_answer",
    "receive_asked",
    "send_answer",
    "send_asked",
]

_LENGTH: Final = struct.Struct(">I")
_MOST_ASKED: Final = 1 << 16
_MOST_ANSWERED: Final = 64 << 20
_MOST_FDS: Final = 2


@dataclass(frozen=True, slots=True)
class Target:
    """The process that everything else is about; once."""

    pid: int


@dataclass(frozen=True, slots=True)
class Buffers:
    """The maps that hits are written to; once. Answered with ring and control array, and the ring's size."""


@dataclass(frozen=True, slots=True)
class Load:
    """Make the program of breakpoint `number` at `address` ready; `wide` for events of whole CPUs."""

    number: int
    address: int
    wide: bool
    program: HitProgram


@dataclass(frozen=True, slots=True)
class Open:
    """An event of a breakpoint on a thread of the target, or with tid -1 on a CPU."""

    number: int
    tid: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Unload:
    """Forget a breakpoint's program."""

    number: int


@dataclass(frozen=True, slots=True)
class StopAt:
    """An execute event on a thread of the target that sends it SIGURG there; `inherited` by threads that it begins."""

    tid: int
    address: int
    sp_above: int
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """An event that tells of a thread's mappings, names, threads and exits on a CPU."""

    tid: int
    cpu: int


@dataclass(frozen=True, slots=True)
class RingOwner:
    """An event that never happens, on a CPU."""

    cpu: int


@dataclass(frozen=True, slots=True)
class File:
    """/proc/TARGET/mem, maps or exe, for reading."""

    name: Literal["mem", "maps", "exe"]


@dataclass(frozen=True, slots=True)
class Books:
    """A scan of the kernel's own books."""


Asked = Target | Buffers | Load | Open | Unload | StopAt | Follow | RingOwner | File | Books
_KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in Asked.__args__}


@dataclass(frozen=True, slots=True)
class Answer:
    """`value` where it was done. Else `failed` says what kind of error it was ("os" and "bpf" with the kernel's errno), or
    that it is nothing one may ask for ("refused")."""

    value: Any = None
    failed: Literal["", "os", "bpf", "books", "refused"] = ""
    errno: int = 0
    text: str = ""
    remedy: str = ""


def send_asked(connection: socket.socket, asked: Asked) -> None:
    """Ask."""
    _send(connection, {"kind": type(asked).__name__, **encode(asked)}, ())


def receive_asked(connection: socket.socket) -> Asked | None:
    """The next question; None when the other side has gone. ProtocolError for what is none. Descriptors are not taken."""
    body = _body(connection, _MOST_ASKED)
    if body is None:
        return None
    value = _json(body)
    name = value.pop("kind", None) if isinstance(value, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError("nothing that can be asked")
    asked: Asked = decode(kind, value)
    return asked


def send_answer(connection: socket.socket, answer: Answer, fds: tuple[int, ...] = ()) -> None:
    """Answer; the descriptors stay open here too."""
    _send(connection, encode(answer), fds)


def receive_answer(connection: socket.socket) -> tuple[Answer, list[int]] | None:
    """The answer and its descriptors; None when the other side has gone."""
    head, fds = bytearray(), array.array("i")
    space = socket.CMSG_SPACE(_MOST_FDS * fds.itemsize)
    while len(head) < _LENGTH.size:
        data, extra, _flags, _where = connection.recvmsg(
            _LENGTH.size - len(head), space, socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, sent in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(sent[: len(sent) - len(sent) % fds.itemsize])
        if not data:
            return None
        head += data
    try:
        (size,) = _LENGTH.unpack(head)
        body = _exactly(connection, size) if size <= _MOST_ANSWERED else None
        if body is None:
            raise ProtocolError("the answer breaks off")
        answer: Answer = decode(Answer, _json(body))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return answer, list(fds)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error


def _send(connection: socket.socket, value: Any, fds: tuple[int, ...]) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    data = _LENGTH.pack(len(body)) + body
    sent = socket.send_fds(connection, [data], fds) if fds else 0
    connection.sendall(data[sent:])


def _body(connection: socket.socket, most: int) -> bytes | None:
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > most:
        raise ProtocolError(f"a message of {size} bytes is too large")
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return bytes(data)
