"""PERF_RECORD_SAMPLE: what a breakpoint's overflow leaves in a ring buffer (kernel/events/core.c perf_output_sample)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from backends.emulated.kernel.attr import FLAGS, SAMPLE, Attr
from backends.emulated.kernel.events import PerfEvent, Regs

__all__ = ["SUPPORTED", "Now", "UserState", "record", "sample_id"]

SUPPORTED: Final = sum(
    SAMPLE[name]
    for name in (
        "ip", "tid", "time", "addr", "read", "callchain", "id", "cpu", "period", "stream_id", "raw", "regs_user",
        "weight", "data_src", "identifier", "transaction",
    )
)  # fmt: skip
"""The bits of sample_type that records are written with."""

_SAMPLE: Final = 9
_KERNEL, _USER = 1, 2
_CONTEXT_KERNEL, _CONTEXT_USER = (1 << 64) - 128, (1 << 64) - 512
_ABI_64: Final = 2
_NO_DATA_SOURCE: Final = 0x1E_0508_0021
"""PERF_MEM_NA: nothing is known of where the data came from."""


class UserState(Protocol):
    """The registers and stack of the task on a CPU, as they will be when it goes back to user mode."""

    def register(self, number: int) -> int:
        """One of PERF_REG_X86_*: 0 AX, 1 BX, 2 CX ... 8 IP, 9 FLAGS, 16 R8 to 23 R15."""
        ...

    def callers(self, most: int) -> tuple[int, ...]:
        """Return addresses, found by frame pointers as the kernel finds them."""
        ...


@dataclass(frozen=True, slots=True)
class Now:
    """When and where an overflow happens. `values` gives what read(2) of the event would."""

    time_ns: int
    pid: int
    tid: int
    cpu: int
    values: Callable[[PerfEvent], bytes]
    user: UserState | None = None


def sample_id(event: PerfEvent, now: Now) -> bytes:
    """What attr.sample_id_all puts behind every other record."""
    attr = event.attr
    if not attr.flag("sample_id_all"):
        return b""
    kind, parts = attr.sample_type, bytearray()
    original = event.parent or event
    for name, layout, values in (
        ("tid", "<II", (now.pid, now.tid)),
        ("time", "<Q", (now.time_ns,)),
        ("id", "<Q", (original.id,)),
        ("stream_id", "<Q", (event.id,)),
        ("cpu", "<II", (now.cpu, 0)),
        ("identifier", "<Q", (original.id,)),
    ):
        if kind & SAMPLE[name]:
            parts += struct.pack(layout, *values)
    return bytes(parts)


def record(event: PerfEvent, regs: Regs, period: int, now: Now) -> bytes:
    """The record, header included: `period` is how many hits it stands for."""
    attr, parts = event.attr, bytearray()
    kind, original = attr.sample_type, event.parent or event
    word = struct.Struct("<Q").pack

    def has(name: str) -> int:
        return kind & SAMPLE[name]

    if has("identifier"):
        parts += word(original.id)
    if has("ip"):
        parts += word(regs.ip)
    if has("tid"):
        parts += struct.pack("<II", now.pid, now.tid)
    if has("time"):
        parts += word(now.time_ns)
    if has("addr"):
        parts += word(attr.bp_addr)
    if has("id"):
        parts += word(original.id)
    if has("stream_id"):
        parts += word(event.id)
    if has("cpu"):
        parts += struct.pack("<II", now.cpu, 0)
    if has("period"):
        parts += word(period)
    if has("read"):
        parts += now.values(event)
    if has("callchain"):
        chain = _callchain(attr, regs, now)
        parts += struct.pack(f"<{len(chain) + 1}Q", len(chain), *chain)
    if has("raw"):
        parts += struct.pack("<II", 4, 0)
    if has("regs_user"):
        parts += _registers(attr.sample_regs_user, now)
    if has("weight"):
        parts += word(0)
    if has("data_src"):
        parts += word(_NO_DATA_SOURCE)
    if has("transaction"):
        parts += word(0)
    return struct.pack("<IHH", _SAMPLE, _USER if regs.user else _KERNEL, 8 + len(parts)) + parts


def _callchain(attr: Attr, regs: Regs, now: Now) -> list[int]:
    """get_perf_callchain: each part behind the word that says whose it is, the innermost first."""
    chain: list[int] = []
    most = attr.sample_max_stack
    flags = attr.flags
    if not regs.user and not flags >> FLAGS["exclude_callchain_kernel"] & 1:
        chain += [_CONTEXT_KERNEL, regs.ip]
        most -= 1
    if now.user is not None and not flags >> FLAGS["exclude_callchain_user"] & 1:
        ip = regs.ip if regs.user else now.user.register(8)
        chain += [_CONTEXT_USER, ip, *now.user.callers(most - 1)][: most + 1]
    return chain


def _registers(mask: int, now: Now) -> bytes:
    if now.user is None:
        return struct.pack("<Q", 0)  # PERF_SAMPLE_REGS_ABI_NONE
    values = [now.user.register(number) for number in range(64) if mask >> number & 1]
    return struct.pack(f"<{len(values) + 1}Q", _ABI_64, *values)
