"""`struct perf_event_attr` (include/uapi/linux/perf_event.h): its layout, its flags, and the checks of perf_copy_attr."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from backends.base import HwbpError

__all__ = [
    "ATTR_SIZE",
    "FLAGS",
    "FORMAT",
    "SAMPLE",
    "TYPE_BREAKPOINT",
    "Attr",
    "checked",
    "copy_attr",
    "flag_names",
]

TYPE_BREAKPOINT: Final = 5
ATTR_SIZE: Final = 136
_VER0: Final = 64
_PAGE: Final = 4096
_LAYOUT: Final = struct.Struct("<IIQQQQQIIQQQQIiQIHHIIQQ")
assert _LAYOUT.size == ATTR_SIZE

FLAGS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "disabled": 0, "inherit": 1, "pinned": 2, "exclusive": 3, "exclude_user": 4, "exclude_kernel": 5,
        "exclude_hv": 6, "exclude_idle": 7, "mmap": 8, "comm": 9, "freq": 10, "inherit_stat": 11,
        "enable_on_exec": 12, "task": 13, "watermark": 14, "mmap_data": 17, "sample_id_all": 18,
        "exclude_host": 19, "exclude_guest": 20, "exclude_callchain_kernel": 21, "exclude_callchain_user": 22,
        "mmap2": 23, "comm_exec": 24, "use_clockid": 25, "context_switch": 26, "write_backward": 27,
        "namespaces": 28, "ksymbol": 29, "bpf_event": 30, "aux_output": 31, "cgroup": 32, "text_poke": 33,
        "build_id": 34, "inherit_thread": 35, "remove_on_exec": 36, "sigtrap": 37,
    }
)  # fmt: skip
"""Name of each one-bit flag, and its bit in the 64-bit field at offset 40 (precise_ip takes bits 15 and 16)."""

SAMPLE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "ip": 1 << 0, "tid": 1 << 1, "time": 1 << 2, "addr": 1 << 3, "read": 1 << 4, "callchain": 1 << 5,
        "id": 1 << 6, "cpu": 1 << 7, "period": 1 << 8, "stream_id": 1 << 9, "raw": 1 << 10,
        "branch_stack": 1 << 11, "regs_user": 1 << 12, "stack_user": 1 << 13, "weight": 1 << 14,
        "data_src": 1 << 15, "identifier": 1 << 16, "transaction": 1 << 17, "regs_intr": 1 << 18,
        "phys_addr": 1 << 19, "aux": 1 << 20, "cgroup": 1 << 21, "data_page_size": 1 << 22,
        "code_page_size": 1 << 23, "weight_struct": 1 << 24,
    }
)  # fmt: skip
"""PERF_SAMPLE_*: the bits of sample_type."""

FORMAT: Final[Mapping[str, int]] = MappingProxyType(
    {"total_time_enabled": 1, "total_time_running": 2, "id": 4, "group": 8, "lost": 16}
)
"""PERF_FORMAT_*: the bits of read_format."""

_SAMPLE_MAX = 1 << 25
_FORMAT_MAX = 1 << 5
_BRANCH_MAX = 1 << 20
_BRANCH_LEVELS = 0b111
_FLAGS_RESERVED = ~((1 << 38) - 1) & (1 << 64) - 1
_INHERIT, _ENABLE_ON_EXEC, _INHERIT_THREAD, _REMOVE_ON_EXEC, _SIGTRAP = (
    1 << FLAGS[name] for name in ("inherit", "enable_on_exec", "inherit_thread", "remove_on_exec", "sigtrap")
)
_TOGETHER = _INHERIT_THREAD | _REMOVE_ON_EXEC | _SIGTRAP
_REGS_RESERVED = 0xFF << 24 | 0xF << 12  # between R15 and XMM0; DS ES FS GS exist in name only


@dataclass(slots=True)
class Attr:
    """One `struct perf_event_attr`. Integers as in C; `flags` is the bit field at offset 40. Never changed once made: a
    frozen one takes five times as long to make, and every request makes some.

    For a breakpoint `bp_type` is 1 read, 2 write, 3 both, 4 execute; `bp_len` 1, 2, 4 or 8, and 8 for execute.
    """

    type: int = TYPE_BREAKPOINT
    size: int = ATTR_SIZE
    config: int = 0
    sample_period: int = 0
    sample_type: int = 0
    read_format: int = 0
    flags: int = 0
    wakeup: int = 0
    bp_type: int = 0
    bp_addr: int = 0
    bp_len: int = 0
    branch_sample_type: int = 0
    sample_regs_user: int = 0
    sample_stack_user: int = 0
    clockid: int = 0
    sample_regs_intr: int = 0
    aux_watermark: int = 0
    sample_max_stack: int = 0
    reserved_2: int = 0
    aux_sample_size: int = 0
    aux_action: int = 0
    sig_data: int = 0
    config3: int = 0

    def flag(self, name: str) -> bool:
        """One of `FLAGS`."""
        return bool(self.flags >> FLAGS[name] & 1)

    @property
    def disabled(self) -> bool:
        """attr.disabled: what the creator asked for, or what the last modification left."""
        return bool(self.flags & 1)

    @property
    def pinned(self) -> bool:
        """attr.pinned: scheduled before the others."""
        return bool(self.flags & 4)

    @property
    def sampling(self) -> bool:
        """is_sampling_event: a period, or a frequency, is set."""
        return self.sample_period != 0

    def pack(self) -> bytes:
        """The 136 bytes of the structure."""
        return _LAYOUT.pack(*_VALUES(self))

    def changed(self, **fields: Any) -> Attr:
        """Another attr, with some fields different."""
        other = Attr(*_VALUES(self))
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    @classmethod
    def unpack(cls, data: bytes) -> Attr:
        """From the structure's bytes; what is missing is 0."""
        return cls(*_LAYOUT.unpack(data[:ATTR_SIZE].ljust(ATTR_SIZE, b"\0")))


_VALUES = attrgetter(*(each.name for each in fields(Attr)))


def flag_names(flags: int) -> tuple[str, ...]:
    """The names of the set flags."""
    return tuple(name for name, bit in FLAGS.items() if flags >> bit & 1)


def _no(why: str) -> HwbpError:
    return HwbpError(f"perf_event_attr: {why}", errno="EINVAL")


def copy_attr(data: bytes, max_stack: int = 127) -> Attr:
    """perf_copy_attr: from the bytes a caller passes to an attr, with its checks in their order (E2BIG, EINVAL).

    `data` begins with the structure; its `size` field says how much of it there is. 0 means 64.
    """
    size = int.from_bytes(data[4:8], "little") or _VER0
    if not _VER0 <= size <= _PAGE:
        raise HwbpError(f"perf_event_attr: size {size} is not between {_VER0} and {_PAGE}", errno="E2BIG")
    if any(data[ATTR_SIZE:size]):
        raise HwbpError(
            f"perf_event_attr: bytes beyond {ATTR_SIZE} that this kernel does not know are set", errno="E2BIG"
        )
    raw = bytearray(data[: min(size, ATTR_SIZE)].ljust(ATTR_SIZE, b"\0"))
    raw[4:8] = size.to_bytes(4, "little")
    return checked(Attr.unpack(bytes(raw)), max_stack)


def checked(attr: Attr, max_stack: int = 127) -> Attr:
    """The checks of perf_copy_attr on the fields themselves (E2BIG for a size that is none, EINVAL)."""
    if attr.size and not _VER0 <= attr.size <= _PAGE:
        raise HwbpError(
            f"perf_event_attr: size {attr.size} is not between {_VER0} and {_PAGE}", errno="E2BIG"
        )
    flags, sample = attr.flags, attr.sample_type
    if flags & _FLAGS_RESERVED or attr.reserved_2 or attr.aux_action >> 3:
        raise _no("a reserved field is set")
    if sample & ~(_SAMPLE_MAX - 1):
        raise _no("sample_type has unknown bits")
    if attr.read_format & ~(_FORMAT_MAX - 1):
        raise _no("read_format has unknown bits")
    if sample & SAMPLE["branch_stack"] and (
        attr.branch_sample_type & ~(_BRANCH_MAX - 1) or not attr.branch_sample_type & ~_BRANCH_LEVELS
    ):
        raise _no("branch_sample_type is empty or has unknown bits")
    if sample & SAMPLE["regs_user"] and (not attr.sample_regs_user or attr.sample_regs_user & _REGS_RESERVED):
        raise _no("sample_regs_user is empty or names registers that do not exist")
    if sample & SAMPLE["stack_user"] and (attr.sample_stack_user >= 0xFFFF or attr.sample_stack_user % 8):
        raise _no("sample_stack_user is a multiple of 8 below 65535")
    if sample & SAMPLE["regs_intr"] and (not attr.sample_regs_intr or attr.sample_regs_intr & _REGS_RESERVED):
        raise _no("sample_regs_intr is empty or names registers that do not exist")
    if sample & SAMPLE["weight"] and sample & SAMPLE["weight_struct"]:
        raise _no("weight and weight_struct exclude each other")
    if flags & _TOGETHER:
        if flags & _INHERIT_THREAD and not flags & _INHERIT:
            raise _no("inherit_thread needs inherit")
        if flags & _REMOVE_ON_EXEC and flags & _ENABLE_ON_EXEC:
            raise _no("remove_on_exec and enable_on_exec exclude each other")
        if flags & _SIGTRAP and not flags & _REMOVE_ON_EXEC:
            raise _no("sigtrap needs remove_on_exec")
    return attr if attr.sample_max_stack else attr.changed(sample_max_stack=max_stack)
