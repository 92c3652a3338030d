"""The messages between the front end and a backend's process: length-prefixed JSON of frozen dataclasses.

A call is a method of `backends.base.Backend`, taken from its signature; there is no second list of messages. What
does not have exactly the expected shape is refused. Never pickle.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import socket
import struct
import types
import typing
from typing import Any, Literal

from backends.base import Backend
from symbols.dataclass import dataclass

__all__ = [
    "MAX_MESSAGE",
    "METHODS",
    "VERSION",
    "Call",
    "Failure",
    "Hello",
    "ProtocolError",
    "Reply",
    "decode",
    "encode",
    "method_types",
    "pack",
    "receive",
    "unpack",
]

VERSION = 1
MAX_MESSAGE = 16 << 20
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side sent something that is not a message of this version."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of each side. The front end's carries the ring's descriptor beside it."""

    version: int
    backend: str


@dataclass(frozen=True, slots=True)
class Call:
    """Ask for `method` with its arguments in order, encoded."""

    id: int
    method: str
    args: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What the method returned, encoded."""

    id: int
    value: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """The `HwbpError` it raised, or with errno "EIO" what went wrong in the backend's process."""

    id: int
    message: str
    errno: str | None
    holders: tuple[str, ...]
    remedy: str


_KINDS = {kind.__name__: kind for kind in (Hello, Call, Reply, Failure)}

METHODS = frozenset(name for name, what in vars(Backend).items() if callable(what) and name[0] != "_")
"""What may be called: the contract's methods, also those that not every machine has."""


@functools.cache
def method_types(name: str) -> tuple[tuple[Any, ...], Any]:
    """A method of a backend: the types of its arguments, and of what it returns."""
    method = getattr(Backend, name)
    hints = typing.get_type_hints(method)
    code = method.__code__
    parameters = code.co_varnames[1 : code.co_argcount]
    return tuple(hints[parameter] for parameter in parameters), hints["return"]


@functools.cache
def _fields(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def encode(value: Any) -> Any:
    """A value as JSON can carry it: dataclasses become objects, bytes base64."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value


def decode(kind: Any, value: Any) -> Any:
    """Back again, checked against the type it must have (ProtocolError)."""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        fields = _fields(typing.cast(typing.Hashable, kind))
        if not isinstance(value, dict) or value.keys() != fields.keys():
            raise ProtocolError(f"not a {getattr(kind, '__name__', kind)}")
        return typing.cast(Any, kind)(**{name: decode(hint, value[name]) for name, hint in fields.items()})
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ProtocolError("not a list")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(decode(args[0], item) for item in value)
        if len(value) != len(args):
            raise ProtocolError(f"not {len(args)} values")
        return tuple(decode(hint, item) for hint, item in zip(args, value, strict=True))
    if origin is Literal:
        if value not in args:
            raise ProtocolError(f"not one of {args}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return decode(next(arg for arg in args if arg is not type(None)), value)
    if kind is bytes:
        try:
            return base64.b64decode(value, validate=True)
        except (TypeError, ValueError) as error:
            raise ProtocolError("not base64") from error
    if kind in (None, type(None)):
        if value is not None:
            raise ProtocolError("not null")
        return None
    if type(value) is not kind:
        raise ProtocolError(f"not {kind.__name__}")
    return value


def pack(message: Hello | Call | Reply | Failure) -> bytes:
    """A message as it goes over the socket (ProtocolError when it is too large)."""
    body = json.dumps({"kind": type(message).__name__, **encode(message)}, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(body)} bytes is too large")
    return _LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> Hello | Call | Reply | Failure:
    """Back again (ProtocolError)."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    name = value.pop("kind", None) if isinstance(value, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError("not a message")
    message: Hello | Call | Reply | Failure = decode(kind, value)
    return message


def receive(connection: socket.socket) -> Hello | Call | Reply | Failure | None:
    """The next message; None when the other side has gone."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > MAX_MESSAGE:
        raise ProtocolError(f"a message of {size} bytes is too large")
    body = _exactly(connection, size)
    return None if body is None else unpack(body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(min(size - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)
