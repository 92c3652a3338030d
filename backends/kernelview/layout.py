"""The members of kernel structures that the books are read from: one read for a structure, whatever is wanted of it.

Names are those of include/linux/sched.h, perf_event.h, fdtable.h and pid.h. What only some kernels have is looked for, not
assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from backends.kernelview.btf import Btf, Field
from backends.kernelview.memory import Memory, Pieces
from symbols.dataclass import dataclass

__all__ = ["Layout", "Record", "Shape"]

_GAP: Final = 16
"""Bytes: a gap that is read along with what lies around it, which costs less than a piece more."""


@dataclass(frozen=True, slots=True)
class Record:
    """A structure as it was read: `record["pid"]` is an unsigned number, `record.signed("cpu")` a signed one."""

    address: int
    fields: dict[str, Field]
    data: bytes

    def __getitem__(self, name: str) -> int:
        return self.fields[name].value(self.data)

    def signed(self, name: str) -> int:
        """A signed number."""
        field = self.fields[name]
        value = field.value(self.data)
        return value - (1 << 8 * field.size) if value >> (8 * field.size - 1) else value

    def words(self, name: str) -> list[int]:
        """An array of 64-bit words."""
        raw = self.bytes(name)
        return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]

    def bytes(self, name: str) -> bytes:
        """The bytes of a member."""
        field = self.fields[name]
        return self.data[field.offset : field.end]

    def text(self, name: str) -> str:
        """A string of the kernel, as Python keeps undecodable file names: it may hold anything."""
        return self.bytes(name).split(b"\0")[0].decode("utf-8", "surrogateescape")


class Shape:
    """Some members of one structure, and where they lie in it.

    What is read of a structure are those members only (and small gaps between them), as pieces one behind the other: two
    readings are the same bytes if all of these are as they were, whatever goes on beside them. Of `places` only the
    offset is wanted.
    """

    def __init__(
        self,
        btf: Btf,
        structure: str,
        *paths: str,
        places: tuple[str, ...] = (),
        optional_places: tuple[str, ...] = (),
    ) -> None:
        fields = {path: btf.field(structure, path) for path in paths}
        self._offsets = {path: field.offset for path, field in fields.items()}
        self._offsets |= {path: btf.field(structure, path).offset for path in places}
        self._offsets |= {
            path: btf.field(structure, path).offset
            for path in optional_places
            if btf.has_field(structure, path)
        }
        self.pieces = _pieces((field.offset, field.end) for field in fields.values())
        self.fields = {path: self._moved(field) for path, field in fields.items()}

    def _moved(self, field: Field) -> Field:
        """Where a member lies in the pieces."""
        before = 0
        for offset, size in self.pieces:
            if offset <= field.offset < offset + size:
                break
            before += size
        return Field(before + field.offset - offset, field.size, field.type_id, field.bits, field.shift)

    def offset(self, path: str) -> int:
        """Where a member lies in the structure, in bytes."""
        return self._offsets[path]

    def read(self, memory: Memory, address: int) -> Record:
        """Read them from the structure at an address, at one moment if it is small. Raises `UnreadableError`."""
        return Record(address, self.fields, memory.structure(address, self.pieces))


def _pieces(spans: Iterable[tuple[int, int]]) -> Pieces:
    """(offset, size) of the pieces that hold spans of bytes (begin, end), in their order."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + _GAP:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return tuple((begin, end - begin) for begin, end in joined)


class Layout:
    """Everything that one kernel's BTF says of the structures in question. Raises `BtfError` where it says too little."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.task = Shape(
            btf,
            "task_struct",
            *("pid", "tgid", "comm", "group_leader", "thread_pid", "files", "ptrace", "parent", "exit_state"),
            *("thread.ptrace_bps", "start_time"),
            places=("tasks", "thread_node", "signal", "perf_event_list"),
        )
        # Before 6.2 an array: the contexts of hardware and of software events; breakpoints are in the second.
        contexts = btf.field("task_struct", "perf_event_ctxp")
        self.task_context = contexts.offset + (8 if contexts.size == 16 else 0)
        self.signal = Shape(btf, "signal_struct", places=("thread_head",))
        self.pid = Shape(btf, "pid", "level")
        self.pid_numbers = btf.field("pid", "numbers").offset
        self.upid = Shape(btf, "upid", "nr", "ns")
        self.upid_size = btf.size(btf.field("pid", "numbers.0").type_id)
        self.event = Shape(
            btf,
            "perf_event",
            *("pmu", "state", "count", "child_count", "parent", "cpu", "owner", "attr.type", "hw.target"),
            *(
                "overflow_handler",
                "destroy",
                "hw.info.address",
                "hw.info.mask",
                "hw.info.len",
                "hw.info.type",
            ),
            places=("event_entry", "owner_entry"),
            optional_places=("pmu_list",),
        )
        self.context = Shape(btf, "perf_event_context", places=("event_list",))
        self.files = Shape(btf, "files_struct", "fdt")
        self.fdtable = Shape(btf, "fdtable", "max_fds", "fd")
        self.file = Shape(btf, "file", "private_data")
        self.pmu_events = btf.field("pmu", "events").offset if btf.has_field("pmu", "events") else None
        self.cpu_context = (
            btf.field("perf_cpu_context", "ctx").offset if btf.has_variable("perf_cpu_context") else None
        )
