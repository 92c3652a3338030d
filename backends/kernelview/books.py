"""What the kernel's books say of the debug registers at one moment: frozen data, and what follows from it.

Texts (names of processes) are kept as they are and are escaped where they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final, Literal

from backends.model import Owner
from symbols.dataclass import dataclass

__all__ = ["SLOTS", "Books", "CpuBook", "Holding", "Target", "used_slots"]

SLOTS: Final = 4
"""HBP_NUM (arch/x86/include/asm/hw_breakpoint.h)."""


@dataclass(frozen=True, slots=True)
class Target:
    """The task that a breakpoint follows. Numbers are those of our own PID namespace, None where it does not see it."""

    pid: int | None
    tid: int | None
    comm: str


@dataclass(frozen=True, slots=True)
class Holding:
    """One breakpoint of one owner. It counts against the slots whether or not it is enabled or in a register.

    `slot` is the register it is in, on the CPU whose book lists it; None while it is in none. `cpu` is the CPU it is bound
    to, None for all. `index` is the number of ptrace's u_debugreg, None for other owners. `hits` is the event's own count
    (with those of children that have ended); None where it cannot be known. `orphan`: nobody is left that could remove it.
    `event` and `task` are kernel addresses, and serve as identities only.
    """

    slot: int | None
    address: int
    length: int
    type: Literal["x", "w", "rw", "io"]
    enabled: bool
    owner: Owner
    target: Target | None
    cpu: int | None
    index: int | None
    hits: int | None
    orphan: bool
    event: int = 0
    task: int = 0

    @property
    def without_descriptor(self) -> bool:
        """Whether it was made by `perf_event_open()`, and no descriptor is known that leads to it."""
        return self.owner.kind == "perf" and self.owner.fd is None

    def concerns(self, pid: int) -> bool:
        """Whether the owner or the target is that process, or the target that thread."""
        return self.owner.pid == pid or (
            self.target is not None and pid in (self.target.pid, self.target.tid)
        )


@dataclass(frozen=True, slots=True)
class CpuBook:
    """One CPU's registers. `dr7` is `cpu_dr7` as the kernel stores it, without fixed bit 10: the hardware's DR6 and DR7 cannot
    be read. `free` is what a CPU-wide request on this CPU would still get. `slots` lists the occupied ones."""

    cpu: int
    dr7: int
    free: int
    slots: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """A scan. `taken_ns` is CLOCK_MONOTONIC at its end. `reserved` are breakpoints that take a slot and were in no register.
    `unknown` are sentences about what could not be told."""

    source: Literal["kernel books", "proc"]
    taken_ns: int
    scan_ms: float
    cpus: tuple[CpuBook, ...]
    reserved: tuple[Holding, ...]
    unknown: tuple[str, ...] = ()

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """All of them, those in registers first."""
        return (*(holding for cpu in self.cpus for holding in cpu.slots), *self.reserved)

    def of_process(self, pid: int) -> Books:
        """Only what has that process, or that thread, as its owner or target. What is free stays as it is."""
        return replace(
            self,
            cpus=tuple(
                replace(cpu, slots=tuple(h for h in cpu.slots if h.concerns(pid))) for cpu in self.cpus
            ),
            reserved=tuple(h for h in self.reserved if h.concerns(pid)),
        )


def used_slots(cpus: Iterable[int], holdings: Collection[Holding]) -> dict[int, tuple[int, int]]:
    """For each CPU (breakpoints bound to it, those of the greediest task that count there): 4 minus both is what is free.

    The rule of `__reserve_bp_slot` (kernel/events/hw_breakpoint.c): a CPU-bound breakpoint must leave room for every
    single task, whether or not that runs; a task's breakpoints are those on all CPUs and those on this one. Disabled ones,
    and those of tasks that have ended, count.
    """
    everywhere = Counter(holding.task for holding in holdings if holding.task and holding.cpu is None)
    on_one: dict[int, Counter[int]] = {cpu: Counter() for cpu in cpus}
    for holding in holdings:
        if holding.cpu in on_one:
            on_one[holding.cpu][holding.task] += 1
    most = max(everywhere.values(), default=0)
    return {
        cpu: (here[0], max([most, *(n + everywhere[task] for task, n in here.items() if task)]))
        for cpu, here in on_one.items()
    }
