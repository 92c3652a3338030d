"""The kernel's own accounting of slots: `bp_cpuinfo` of each CPU (kernel/events/hw_breakpoint.c)."""

from __future__ import annotations

from backends.kernelview.books import SLOTS
from backends.kernelview.btf import Btf
from backends.kernelview.memory import Memory
from backends.kernelview.percpu import PerCpu

__all__ = ["Counters"]


class Counters:
    """Reads `cpu_pinned` and `tsk_pinned`, on kernels that keep them in the per-CPU area (since 6.1)."""

    def __init__(self, btf: Btf, memory: Memory, per_cpu: PerCpu) -> None:
        self._memory = memory
        self._per_cpu = per_cpu
        self._bound = self._tasks = None
        if btf.has_variable("bp_cpuinfo") and btf.has_field("bp_cpuinfo", "cpu_pinned"):
            self._bound = btf.field("bp_cpuinfo", "cpu_pinned").offset
            if btf.has_field("bp_cpuinfo", "tsk_pinned.count"):
                histogram = btf.field("bp_cpuinfo", "tsk_pinned.count")
                self._tasks = histogram.offset if histogram.size == 4 * SLOTS else None

    def read(self, cpu: int) -> tuple[int, int]:
        """(CPU-bound breakpoints, those of the greediest task that has some on this CPU only); 0 where not known."""
        bound = tasks = 0
        if self._bound is not None:
            base = self._per_cpu.address("bp_cpuinfo", cpu)
            bound = int.from_bytes(self._memory.read(base + self._bound, 4), "little")
            if self._tasks is not None:
                # Element N counts the tasks that have N+1.
                counts = self._memory.read(base + self._tasks, 4 * SLOTS)
                used = [n + 1 for n in range(SLOTS) if any(counts[4 * n : 4 * n + 4])]
                tasks = max(used, default=0)
        return min(bound, SLOTS), tasks
