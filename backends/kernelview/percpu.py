"""Where each CPU keeps its per-CPU variables, found without the kernel's symbol table.

BTF gives the offset of a per-CPU variable in its section. The section's base on a CPU comes from one variable whose address
there is known: `runqueues`, which each task points to (`se.cfs_rq->rq`, kernel/sched/sched.h). Every CPU has kernel threads
bound to it, so every CPU is found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import MappingProxyType

from backends.base import HwbpError
from backends.kernelview.btf import Btf
from backends.kernelview.memory import Memory, UnreadableError
from symbols.dataclass import dataclass

__all__ = ["PerCpu"]


@dataclass(frozen=True, slots=True)
class PerCpu:
    """The base of each online CPU's per-CPU section."""

    btf: Btf
    bases: Mapping[int, int]

    @classmethod
    def of(cls, btf: Btf, memory: Memory) -> PerCpu:
        """Find the bases. They do not change while the kernel runs; CPUs that come online later are not in it.

        Raises `HwbpError` where this kernel has no way that leads there.
        """
        run_queues = btf.variable("runqueues").offset
        number = btf.variable("cpu_number").offset if btf.has_variable("cpu_number") else None
        cpu, online = btf.field("rq", "cpu"), btf.field("rq", "online")
        bases: dict[int, int] = {}
        for queue in _run_queues(btf, memory):
            with contextlib.suppress(UnreadableError):
                data = memory.read(queue, max(cpu.end, online.end))
                base = queue - run_queues & 0xFFFF_FFFF_FFFF_FFFF
                if number is not None:
                    said = int.from_bytes(memory.read(base + number, 4), "little")
                    if said != cpu.value(data):
                        continue  # not a run queue any more, or BTF of another kernel
                if online.value(data):
                    bases[cpu.value(data)] = base
        if not bases:
            raise HwbpError("the per-CPU variables of this kernel were not found")
        return cls(btf, MappingProxyType(dict(sorted(bases.items()))))

    def address(self, variable: str, cpu: int) -> int:
        """The address of a per-CPU variable on a CPU: `address("bp_per_reg", 0)` is that of four `struct perf_event *`.

        Raises `HwbpError` for a CPU that is not online and for a variable that this kernel does not have.
        """
        if cpu not in self.bases:
            raise HwbpError(f"CPU {cpu} is not online", errno="ENODEV")
        return self.bases[cpu] + self.btf.variable(variable).offset


def _run_queues(btf: Btf, memory: Memory) -> set[int]:
    """The run queues that tasks belong to."""
    in_task = btf.field("task_struct", "se.cfs_rq").offset
    in_queue = btf.field("cfs_rq", "rq").offset
    tasks = btf.field("task_struct", "tasks").offset
    leader = memory.word(memory.task() + btf.field("task_struct", "group_leader").offset)
    queues = {word for _, word in memory.nodes(leader + tasks, in_task - tasks)}
    found: set[int] = set()
    for queue in queues:
        with contextlib.suppress(UnreadableError):
            found.add(memory.word(queue + in_queue))
    return found
