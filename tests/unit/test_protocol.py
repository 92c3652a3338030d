"""The messages between the front end and the backend's process: what is not exactly one is refused."""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import threading
import types
import typing
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import model
from backends.base import Backend, Launch, Register
from backends.client import ClientBackend
from backends.emulated.backend import EmulatedBackend
from backends.perf.backend import PerfBackend
from backends.protocol import (
    MAX_MESSAGE,
    METHODS,
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
    unpack,
)

MODELS = [
    kind
    for name in model.__all__
    if isinstance(kind := getattr(model, name), type) and dataclasses.is_dataclass(kind)
]
SENT = [*MODELS, Launch, Register, Hello, Failure]
NUMBERS = st.integers(-(1 << 70), 1 << 70)
# U+DC80 to U+DCFF too: that is how bytes that are not UTF-8 look. A high surrogate never comes of bytes, and JSON joins it with a low one.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    max_size=20,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as its annotation says."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        made: Any = kind
        return st.builds(
            made, **{field.name: values(hints[field.name]) for field in dataclasses.fields(kind)}
        )
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, args))
    simple = {
        int: NUMBERS,
        str: TEXT,
        bool: st.booleans(),
        bytes: st.binary(max_size=40),
        type(None): st.none(),
    }
    return simple[kind]


def over_the_wire(value: Any) -> Any:
    message = unpack(pack(Reply(1, encode(value)))[4:])
    assert isinstance(message, Reply)
    return message.value


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.__name__)
def test_every_type_comes_back_as_it_went(kind: Any) -> None:
    @settings(max_examples=25, deadline=None)
    @given(values(kind))
    def check(value: Any) -> None:
        assert decode(kind, over_the_wire(value)) == value

    check()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_call_and_its_answer_come_back_as_they_went(name: str) -> None:
    arguments, returned = method_types(name)

    @settings(max_examples=10, deadline=None)
    @given(st.tuples(*map(values, arguments)), values(returned))
    def check(args: tuple[Any, ...], answer: Any) -> None:
        call = unpack(pack(Call(3, name, encode(args)))[4:])
        assert isinstance(call, Call)
        assert [decode(kind, value) for kind, value in zip(arguments, call.args, strict=True)] == list(args)
        assert decode(returned, over_the_wire(answer)) == answer

    check()


def example(kind: Any) -> Any:
    """The simplest value of a type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name]) for field in dataclasses.fields(kind)})  # type: ignore[operator]
    if origin is tuple:
        return () if args[-1] is Ellipsis else tuple(map(example, args))
    if origin is Literal:
        return args[0]
    if origin in (typing.Union, types.UnionType):
        return example(args[0])
    return {int: 1, str: "a", bool: True, bytes: b"a", type(None): None}[kind]


def test_the_far_side_of_the_socket_answers_whatever_a_machine_answers() -> None:
    asked = [name for name, each in vars(Backend).items() if callable(each) and not name.startswith("_")]
    for machine in (EmulatedBackend, PerfBackend):
        answered = [name for name in asked if getattr(machine, name) is not getattr(Backend, name)]
        assert [name for name in answered if getattr(ClientBackend, name) is getattr(Backend, name)] == []


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.__name__)
def test_a_field_too_many_or_too_few_is_refused(kind: Any) -> None:
    good = over_the_wire(example(kind))
    with pytest.raises(ProtocolError):
        decode(kind, {**good, "more": 1})
    for name in good:
        with pytest.raises(ProtocolError):
            decode(kind, {key: value for key, value in good.items() if key != name})


WRONG: dict[str, list[Any]] = {
    "int": [1.0, "1", None, True, [], {}],
    "str": [1, None, [], {}, True],
    "bool": [1, 0, "true", None],
    "bytes": [1, "é", "a", "!!!!", None, [], {}, "YQ=", "YQ==\n"],
    "NoneType": [0, False, "", [], {}],
    "tuple": [{}, "ab", None, 1],
    "Literal": ["", "W", 1, None, [], {}, True],
    "dataclass": [[], None, "x", 1],
}


def wrong(kind: Any) -> list[Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return WRONG["dataclass"]
    if origin is tuple:
        more = [[value] for value in wrong(args[0])] if args[-1] is Ellipsis else [[], [1] * (len(args) + 1)]
        return [*WRONG["tuple"], *more]
    if origin is Literal:
        return WRONG["Literal"]
    if origin in (typing.Union, types.UnionType):
        some = [arg for arg in args if arg is not type(None)]
        assert len(some) == 1, "the decoder knows `X | None` only"
        return [value for value in wrong(some[0]) if value is not None]
    return WRONG[kind.__name__]


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.__name__)
def test_a_field_of_a_wrong_type_is_refused(kind: Any) -> None:
    good = over_the_wire(example(kind))
    hints = typing.get_type_hints(kind)
    for name in good:
        for bad in wrong(hints[name]):
            with pytest.raises(ProtocolError):
                decode(kind, {**good, name: bad})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_answer_of_a_wrong_type_is_refused(name: str) -> None:
    for bad in wrong(method_types(name)[1]):
        with pytest.raises(ProtocolError):
            decode(method_types(name)[1], bad)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"Hello"',
        b"{}",
        b"\xff\xfe",
        b'{"kind": "Hello"}',
        b'{"kind": "Goodbye", "version": 1, "backend": "x"}',
        b'{"kind": [], "version": 1, "backend": "x"}',
        b'{"kind": {}, "version": 1, "backend": "x"}',
        b'{"kind": null, "version": 1, "backend": "x"}',
        b'{"version": 1, "backend": "x"}',
        b'{"kind": "Hello", "version": "1", "backend": "x"}',
        b'{"kind": "Hello", "version": true, "backend": "x"}',
        b'{"kind": "Hello", "version": 1.0, "backend": "x"}',
        b'{"kind": "Hello", "version": 1, "backend": "x", "more": 1}',
        b'{"kind": "Call", "id": 1, "method": ["view"], "args": []}',
        b'{"kind": "Call", "id": NaN, "method": "view", "args": []}',
        b'{"kind": "Failure", "id": 1, "message": "", "errno": 5, "holders": [], "remedy": ""}',
        b'{"kind": "Failure", "id": 1, "message": "", "errno": null, "holders": [1], "remedy": ""}',
        b'{"kind": "Hello", "version": ' + b"9" * 5000 + b', "backend": "x"}',
        b"[" * 100_000,
        b'{"kind": ' * 100_000,
        b'{"kind": "Call", "id": 1, "method": "view", "args": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:60]),
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(body)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_junk_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(
    JSON, st.sampled_from([*SENT, *[kinds for kinds, _ in map(method_types, Backend.__abstractmethods__)]])
)
def test_any_json_for_any_type_is_a_value_or_refused(value: Any, kind: Any) -> None:
    for one in kind if isinstance(kind, tuple) else (kind,):
        try:
            decoded = decode(one, value)
        except ProtocolError:
            continue
        assert encode(decoded) == value


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["kind", "id", "method", "args", "version", "backend", "value"]), JSON)
)
def test_a_message_with_any_contents_is_a_message_or_refused(contents: dict[str, Any]) -> None:
    body = json.dumps(contents).encode()
    try:
        message = unpack(body)
    except ProtocolError:
        return
    assert {"kind": type(message).__name__, **encode(message)} == contents


@pytest.fixture
def pair() -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_message_larger_than_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ProtocolError, match="too large"):
        pack(Reply(1, "x" * MAX_MESSAGE))
    assert len(pack(Reply(1, "x" * (MAX_MESSAGE - 100)))) < MAX_MESSAGE


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, (1 << 32) - 1])
def test_a_length_beyond_the_limit_is_refused_before_anything_is_read_for_it(pair: Any, size: int) -> None:
    ours, theirs = pair
    ours.sendall(struct.pack(">I", size))
    with pytest.raises(ProtocolError, match="too large"):
        receive(theirs)


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0\0", b"\0\0\0\x09", b"\0\0\0\x09{}"])
def test_a_side_that_goes_in_the_middle_of_a_message_has_gone(pair: Any, sent: bytes) -> None:
    ours, theirs = pair
    ours.sendall(sent)
    ours.close()
    assert receive(theirs) is None


def test_messages_in_a_row_and_in_pieces_arrive_whole(pair: Any) -> None:
    ours, theirs = pair
    sent = [Reply(n, "x" * n * 1000) for n in range(60)]
    data = b"".join(map(pack, sent))

    def write() -> None:
        for at in range(0, len(data), 777):
            ours.sendall(data[at : at + 777])

    thread = threading.Thread(target=write)
    thread.start()
    assert [receive(theirs) for _ in sent] == sent
    thread.join()


def test_an_empty_body_is_refused(pair: Any) -> None:
    ours, theirs = pair
    ours.sendall(b"\0\0\0\0")
    with pytest.raises(ProtocolError):
        receive(theirs)


def test_text_that_is_not_utf8_travels_unchanged() -> None:
    name = "caf\udcff\x00\x1b\u202e\\"
    assert decode(str, over_the_wire(name)) == name
