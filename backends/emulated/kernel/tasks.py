"""The task table: what Linux keeps of a task as far as breakpoints go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from backends.emulated.kernel.events import PerfEvent

__all__ = [
    "CLONE_CLEAR_SIGHAND",
    "CLONE_THREAD",
    "CLONE_VM",
    "Context",
    "Siginfo",
    "Task",
    "TaskKind",
    "TaskTable",
]

CLONE_VM: Final = 0x100
CLONE_THREAD: Final = 0x10000
CLONE_CLEAR_SIGHAND: Final = 0x1_0000_0000

TaskKind = Literal["user", "kernel", "nothing"]
"""`user` runs a program, `kernel` is a kernel thread without an address space, `nothing` exists and never runs."""


@dataclass(frozen=True, slots=True)
class Siginfo:
    """A signal that a breakpoint causes. Numbers as in struct siginfo.

    `code` of SIGTRAP: 1 TRAP_BRKPT, 2 TRAP_TRACE, 4 TRAP_HWBKPT, 6 TRAP_PERF. `address` is si_addr: the instruction
    pointer, and for TRAP_PERF the breakpoint's address with `data` as si_perf_data. `to_process`: any thread may take it.
    """

    number: int
    code: int
    address: int = 0
    data: int = 0
    perf_type: int = 0
    to_process: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Context:
    """struct perf_event_context: the events of one task, or of one CPU (`task` None).

    A context that fork made as an exact copy is a clone: between two clones a context switch swaps the contexts
    and leaves the registers alone (perf_event_context_sched_out). `generation` grows when events come or go.
    A task's context has a clock that runs while the task does, from its first event on: `ran_ns`, and since when it runs (None: it does not).
    """

    task: Task | None = None
    cpu: int = -1
    events: list[PerfEvent] = field(default_factory=list)
    parent: Context | None = None
    parent_generation: int = 0
    generation: int = 0
    dead: bool = False
    ran_ns: int = 0
    since_ns: int | None = None

    def time(self, now: Callable[[], int]) -> int:
        """Its clock, in nanoseconds: a CPU's context's is the machine's."""
        if self.task is None:
            return now()
        return self.ran_ns if self.since_ns is None else self.ran_ns + now() - self.since_ns

    def start(self, now: Callable[[], int]) -> None:
        """Its task runs."""
        if self.since_ns is None:
            self.since_ns = now()

    def stop(self, now: Callable[[], int]) -> None:
        """Its task runs no more."""
        if self.since_ns is not None:
            self.ran_ns += now() - self.since_ns
            self.since_ns = None

    def unclone(self) -> None:
        """unclone_ctx: it is going to differ from what it was copied from."""
        self.parent = None
        self.generation += 1

    def equivalent(self, other: Context) -> bool:
        """context_equiv: one is an unchanged copy of the other, or both are of a third."""
        if self is other.parent and self.generation == other.parent_generation:
            return True
        if self.parent is other and self.parent_generation == other.generation:
            return True
        return (
            self.parent is not None
            and self.parent is other.parent
            and self.parent_generation == other.parent_generation
        )


@dataclass(slots=True, eq=False, repr=False)
class Task:
    """One thread. `mm` numbers its address space (threads share it; kernel threads have none: 0).

    `pinned` are the CPUs it may run on (empty: all). `capabilities` are those of `config.CAPABILITIES` it has.
    `exiting` is PF_EXITING; `dead` tasks are in the table until they are reaped. `cpu` is the CPU it runs on now.
    `ptrace_bps`, `ptrace_dr7` and `virtual_dr6` are its thread_struct (x86): virtual_dr6 in positive polarity.
    `signals` are those that a breakpoint raised and that were not delivered yet; `task_work` the events with
    attr.sigtrap whose signal is sent at the next return to user mode.
    """

    tid: int
    tgid: int
    parent: int = 0
    mm: int = 0
    comm: str = ""
    kind: TaskKind = "user"
    uid: int = 0
    capabilities: frozenset[str] = frozenset()
    dumpable: bool = True
    pinned: frozenset[int] = frozenset()
    tracer: Task | None = None
    stopped: bool = False
    exiting: bool = False
    dead: bool = False
    cpu: int | None = None
    ctx: Context = field(default_factory=Context)
    ptrace_bps: list[PerfEvent | None] = field(default_factory=lambda: [None] * 4)
    ptrace_dr7: int = 0
    virtual_dr6: int = 0
    single_step: bool = False
    signals: list[Siginfo] = field(default_factory=list)
    task_work: list[PerfEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ctx.task = self

    def __repr__(self) -> str:
        return f"<task {self.tid} {self.comm!r}{' dead' if self.dead else ''}>"

    def capable(self, capability: str) -> bool:
        """Whether it has a capability."""
        return capability in self.capabilities

    @property
    def perfmon_capable(self) -> bool:
        """CAP_PERFMON or CAP_SYS_ADMIN."""
        return "perfmon" in self.capabilities or "sys_admin" in self.capabilities


class TaskTable:
    """All tasks, the dead ones included until they are reaped. Iterates in the order of creation."""

    def __init__(self) -> None:
        self._by_tid: dict[int, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(self._by_tid.values())

    def __len__(self) -> int:
        return len(self._by_tid)

    def get(self, tid: int) -> Task | None:
        """The task with this tid; None where there is none."""
        return self._by_tid.get(tid)

    def add(self, task: Task) -> None:
        """A new task. Its tid must be free."""
        assert task.tid not in self._by_tid
        self._by_tid[task.tid] = task

    def rename(self, task: Task, tid: int) -> None:
        """It takes a number that is free."""
        assert tid not in self._by_tid
        del self._by_tid[task.tid]
        task.tid = tid
        self._by_tid[tid] = task

    def remove(self, task: Task) -> None:
        """Reaped. Events may still point at it."""
        del self._by_tid[task.tid]

    def threads(self, tgid: int) -> tuple[Task, ...]:
        """The living threads of a process."""
        return tuple(task for task in self if task.tgid == tgid and not task.dead)
