"""The members of kernel structures that the books are read from: one read for a structure, whatever is wanted of it.

Names are those of include/linux/sched.h, perf_event.h, fdtable.h and pid.h. What only some kernels have is looked for, not
assumed.
"""

from __future__ import annotations

from backends.kernelview.btf import Btf, Field
from backends.kernelview.memory import Memory
from symbols.dataclass import dataclass

__all__ = ["Layout", "Record", "Shape"]


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
    """Some members of one structure, and the span of bytes that holds them all."""

    def __init__(self, btf: Btf, structure: str, *paths: str, optional: tuple[str, ...] = ()) -> None:
        fields = {path: btf.field(structure, path) for path in paths}
        fields |= {path: btf.field(structure, path) for path in optional if btf.has_field(structure, path)}
        self._first = min(field.offset for field in fields.values())
        self._size = max(field.end for field in fields.values()) - self._first
        self._fields = {
            path: Field(field.offset - self._first, field.size, field.type_id, field.bits, field.shift)
            for path, field in fields.items()
        }

    def __contains__(self, path: str) -> bool:
        return path in self._fields

    def offset(self, path: str) -> int:
        """Where a member lies in the structure, in bytes."""
        return self._fields[path].offset + self._first

    def read(self, memory: Memory, address: int) -> Record:
        """Read them from the structure at an address. Raises `UnreadableError`."""
        return Record(address, self._fields, memory.read(address + self._first, self._size))


class Layout:
    """Everything that one kernel's BTF says of the structures in question. Raises `BtfError` where it says too little."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.task = Shape(
            btf,
            "task_struct",
            *("tasks", "thread_node", "pid", "tgid", "comm", "signal", "group_leader", "thread_pid", "files"),
            *("ptrace", "parent", "perf_event_list", "exit_state", "thread.ptrace_bps"),
        )
        # Before 6.2 an array: the contexts of hardware and of software events; breakpoints are in the second.
        contexts = btf.field("task_struct", "perf_event_ctxp")
        self.task_context = contexts.offset + (8 if contexts.size == 16 else 0)
        self.signal = Shape(btf, "signal_struct", "thread_head")
        self.pid = Shape(btf, "pid", "level")
        self.pid_numbers = btf.field("pid", "numbers").offset
        self.upid = Shape(btf, "upid", "nr", "ns")
        self.upid_size = btf.size(btf.field("pid", "numbers.0").type_id)
        self.event = Shape(
            btf,
            "perf_event",
            *(
                "event_entry",
                "owner_entry",
                "pmu",
                "state",
                "count",
                "child_count",
                "parent",
                "cpu",
                "owner",
                "id",
            ),
            *("attr.type", "hw.target", "overflow_handler", "destroy"),
            *("hw.info.address", "hw.info.mask", "hw.info.len", "hw.info.type"),
            optional=("pmu_list",),
        )
        self.context = Shape(btf, "perf_event_context", "event_list")
        self.files = Shape(btf, "files_struct", "fdt")
        self.fdtable = Shape(btf, "fdtable", "max_fds", "fd")
        self.file = Shape(btf, "file", "private_data")
        self.pmu_events = btf.field("pmu", "events").offset if btf.has_field("pmu", "events") else None
        self.cpu_context = (
            btf.field("perf_cpu_context", "ctx").offset if btf.has_variable("perf_cpu_context") else None
        )
