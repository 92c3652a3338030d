"""The bpf() system call through ctypes: maps, programs, test runs.

Attribute layouts: union bpf_attr, include/uapi/linux/bpf.h. Descriptors are close-on-exec (the kernel makes them so).
Every failure is a `BpfError`, which is an OSError with the kernel's errno; one from the verifier carries the last line of
its log.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from enum import IntEnum
from typing import Final

from backends.bpf.assembler import Assembler

__all__ = [
    "BpfError",
    "MapType",
    "ProgramRun",
    "ProgramType",
    "create_map",
    "delete_element",
    "load_program",
    "lookup",
    "map_array",
    "map_items",
    "run_program",
    "update",
]

_SYS_BPF: Final = 321  # x86-64
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD = range(6)
_PROG_TEST_RUN: Final = 10
_F_MMAPABLE: Final = 1 << 10
_LOG_SIZE: Final = 1 << 20
_EPERM: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


class BpfError(OSError):
    """bpf() failed. `errno` is the kernel's; the text says what was asked and, from the verifier, why not."""


class MapType(IntEnum):
    """enum bpf_map_type."""

    HASH = 1
    ARRAY = 2
    RINGBUF = 27


class ProgramType(IntEnum):
    """enum bpf_prog_type."""

    PERF_EVENT = 7
    RAW_TRACEPOINT = 17


def _bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char], what: str) -> int:
    buffer = (
        ctypes.create_string_buffer(attributes, len(attributes))
        if isinstance(attributes, bytes)
        else attributes
    )
    result: int = _libc.syscall(_SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        number = ctypes.get_errno()
        raise BpfError(number, f"{what}: {os.strerror(number)}")
    return result


def create_map(
    kind: MapType, key_size: int, value_size: int, entries: int, *, mappable: bool = False, name: str = ""
) -> int:
    """A map's descriptor. A ring buffer has key and value size 0 and its bytes (a power of two of pages) as entries.

    `mappable` lets an array be mapped with `map_array`. EPERM without CAP_BPF, ENOMEM or E2BIG for its size.
    """
    flags = _F_MMAPABLE if mappable else 0
    attributes = struct.pack(
        "<IIIIIII16s", kind, key_size, value_size, entries, flags, 0, 0, name.encode()[:15]
    ).ljust(72, b"\0")
    return _bpf(_MAP_CREATE, attributes, f"BPF map {name or kind.name.lower()}")


def map_array(fd: int, size: int) -> mmap.mmap:
    """The values of a mappable array in our own memory, `size` bytes: shared with the programs that use it."""
    page = mmap.PAGESIZE
    return mmap.mmap(fd, -(-size // page) * page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key, None where there is none."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_size)
    try:
        _bpf(
            _MAP_LOOKUP,
            struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0),
            "map lookup",
        )
    except BpfError as error:
        if error.errno == 2:
            return None
        raise
    return v.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set the value of a key, which is made if the map is a hash and has room (E2BIG)."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0), "map update")


def delete_element(fd: int, key: bytes) -> None:
    """Remove a key (ENOENT; EINVAL in an array)."""
    k = ctypes.create_string_buffer(key, len(key))
    _bpf(_MAP_DELETE, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k), 0, 0), "map delete")


def map_items(fd: int, key_size: int, value_size: int) -> list[tuple[bytes, bytes]]:
    """All keys with their values. A map that changes meanwhile may give a key twice or not."""
    found: list[tuple[bytes, bytes]] = []
    key, following = ctypes.create_string_buffer(key_size), ctypes.create_string_buffer(key_size)
    at = 0
    while True:
        try:
            _bpf(
                _MAP_NEXT_KEY,
                struct.pack("<IIQQQ", fd, 0, at, ctypes.addressof(following), 0),
                "map next key",
            )
        except BpfError as error:
            if error.errno == 2:  # ENOENT: that was the last one
                return found
            raise
        key.raw = following.raw
        at = ctypes.addressof(key)
        if (value := lookup(fd, key.raw, value_size)) is not None:
            found.append((key.raw, value))


def load_program(kind: ProgramType, program: Assembler | bytes, name: str = "hwbp") -> int:
    """Let the verifier look at a program and load it; its descriptor.

    EPERM without CAP_BPF (and CAP_PERFMON for programs that look at memory or perf events). Where the verifier refuses,
    the error's text ends with the last line of its log that says something.
    """
    code = program if isinstance(program, bytes) else program.code()
    what = f"BPF program {name}"
    text = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")  # helpers that read memory ask for it

    def attributes(level: int, log: int, log_size: int) -> bytes:
        return struct.pack(
            "<IIQQIIQII16s",
            kind,
            len(code) // 8,
            ctypes.addressof(text),
            ctypes.addressof(licence),
            level,
            log_size,
            log,
            0,
            0,
            name.encode()[:15],
        ).ljust(144, b"\0")

    try:
        return _bpf(_PROG_LOAD, attributes(0, 0, 0), what)
    except BpfError as error:
        if error.errno == _EPERM:
            raise
        refused = error
    log = ctypes.create_string_buffer(_LOG_SIZE)
    try:
        return _bpf(_PROG_LOAD, attributes(1, ctypes.addressof(log), _LOG_SIZE), what)
    except BpfError as error:
        reason = _last_reason(log.value.decode("ascii", "replace"))
        number = error.errno or refused.errno or 0
        raise BpfError(number, f"{what}: {os.strerror(number)}{f': {reason}' if reason else ''}") from error


def _last_reason(log: str) -> str:
    """The verifier ends with statistics; the line before them is the reason."""
    statistics = ("processed ", "verification time", "stack depth", "max_states", "peak_states", "mark_read")
    lines = [line.strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith(statistics)), "")


class _TestRun(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class ProgramRun:
    """BPF_PROG_TEST_RUN of a raw tracepoint program, prepared once: `run(*arguments)` costs one system call.

    The program finds its arguments (64-bit words) at r1. EINVAL for other program types.
    """

    __slots__ = ("_arguments", "_attributes", "_count")

    def __init__(self, fd: int, arguments: int) -> None:
        self._count = arguments
        self._arguments = (ctypes.c_uint64 * max(arguments, 1))()
        self._attributes = _TestRun(prog_fd=fd)
        if arguments:
            self._attributes.ctx_size_in = 8 * arguments
            self._attributes.ctx_in = ctypes.addressof(self._arguments)

    def run(self, *arguments: int) -> int:
        """Run it; what it returned, as a signed 32-bit number."""
        if len(arguments) != self._count:
            raise ValueError(f"{self._count} arguments expected")
        for index, value in enumerate(arguments):
            self._arguments[index] = value
        attributes = self._attributes
        if _libc.syscall(_SYS_BPF, _PROG_TEST_RUN, ctypes.byref(attributes), ctypes.sizeof(attributes)) < 0:
            number = ctypes.get_errno()
            raise BpfError(number, f"running a BPF program: {os.strerror(number)}")
        result: int = attributes.retval
        return result - (1 << 32) if result >> 31 else result


def run_program(fd: int, *arguments: int) -> int:
    """Run a raw tracepoint program once; see `ProgramRun`."""
    return ProgramRun(fd, len(arguments)).run(*arguments)
