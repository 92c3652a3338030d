"""The kernel: what a machine calls when a task is made, runs, stops, hits a breakpoint and ends.

It knows no engine. A machine owns CPUs (engines, or patterns of accesses), says here what happens on them, and obeys
the debug registers, which this side writes. Time is the machine's. The rules and their sources are in docs/semantics.md.

How a machine uses it:

* `spawn` for a task that comes from nowhere, `clone` for fork and clone(2), `exec`, `exit`, `reap`;
* `switch(cpu, task)` at each context switch, which writes registers only where one of the two has a breakpoint;
* `debug_exception` when its hardware has matched: it says which events counted, which signals follow, and whether the handler
  set RF. Hits of slots that are not in `attentive` do nothing but count, so a machine may collect them and call
  `quiet_hits` once for many;
* `signal_delivered` when one of a task's `signals` has been delivered, `return_to_user` after kernel-mode hits;
* `enter` and `leave` around an NMI or machine check, where DR7 is off;
* the owners: `perf`, `ptrace`, `kgdb`, `kvm`, `ksym`, `wprobe`, each with the calls its users know;
* `write` for a register that a person writes past the books.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from backends.base import HwbpError
from backends.emulated.kernel.config import KernelConfig
from backends.emulated.kernel.events import PerfEvent, Regs, State
from backends.emulated.kernel.exceptions import DebugException, handle, return_to_user
from backends.emulated.kernel.inherit import inherit_events
from backends.emulated.kernel.journal import Journal
from backends.emulated.kernel.kgdb import Kgdb
from backends.emulated.kernel.ksym import KsymTracer
from backends.emulated.kernel.kvm import Kvm
from backends.emulated.kernel.perf import Perf
from backends.emulated.kernel.ptrace import Ptrace
from backends.emulated.kernel.registers import CpuRegisters, DebugRegisters, RegisterFile
from backends.emulated.kernel.samples import UserState
from backends.emulated.kernel.scheduling import Scheduler, overflows
from backends.emulated.kernel.sideband import Sideband
from backends.emulated.kernel.slots import HwBreakpointLayer
from backends.emulated.kernel.tasks import CLONE_THREAD, CLONE_VM, Siginfo, Task, TaskKind, TaskTable
from backends.emulated.kernel.wprobe import Wprobes
from backends.emulated.kernel.wprobe_triggers import Triggers

__all__ = ["KERNEL_SYMBOLS", "Kernel"]

KERNEL_SYMBOLS: Mapping[str, int] = MappingProxyType(
    {
        "jiffies": 0xFFFF_FFFF_8220_5000,
        "jiffies_64": 0xFFFF_FFFF_8220_5000,
        "pid_max": 0xFFFF_FFFF_8220_6040,
        "init_pid_ns": 0xFFFF_FFFF_8220_6080,
        "panic_timeout": 0xFFFF_FFFF_8220_7004,
        "schedule": 0xFFFF_FFFF_8190_0000,
        "do_nanosleep": 0xFFFF_FFFF_8190_4000,
        "rep_movs_alternative": 0xFFFF_FFFF_8191_0000,
    }
)
"""The emulated kernel's kallsyms: data and functions that kgdb and ftrace may name. Nothing runs there by itself; the kernel's
accesses to user memory are said to come from rep_movs_alternative."""
_DATA: Final = 0xFFFF_FFFF_8200_0000
_NEAR: Final = 0x1000  # bytes behind a symbol that still go by its name


class Kernel:
    """Linux's hw-breakpoint layer with its owners, over the debug registers of all CPUs.

    `units` are the CPUs' debug registers (a number makes that many without an engine behind them). `clock` gives the
    machine's time in nanoseconds. `on_change(registers)` is called whenever a CPU's registers, or who sits in them,
    changed: a machine re-reads `attentive` and its sinks there.
    """

    def __init__(
        self,
        units: Sequence[DebugRegisters] | int = 1,
        config: KernelConfig | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.config = config or KernelConfig()
        self.time_ns = 0
        if isinstance(units, int):
            units = [RegisterFile() for _ in range(units)]
        self.journal = Journal(len(units), clock or (lambda: self.time_ns))
        self.cpus = tuple(CpuRegisters(cpu, unit, self.journal) for cpu, unit in enumerate(units))
        self.layer = HwBreakpointLayer(self.config, len(units))
        self.now: Callable[[], int] = self.journal.clock
        self.scheduler = Scheduler(self.cpus, lambda: self.now())
        self.tasks = TaskTable()
        self.idle_dr6 = [0] * len(units)
        self.pending_disable: list[PerfEvent] = []
        self._ids = 0
        self._tids = 1000
        self._mms = 0
        self._saved: dict[int, list[tuple[str, int]]] = {cpu: [] for cpu in range(len(units))}
        self.perf = Perf(self)
        self.sideband = Sideband(self)
        self.ptrace = Ptrace(self)
        self.kgdb = Kgdb(self)
        self.kvm = Kvm(self)
        for registers in self.cpus:
            registers.leave_guest = self.kvm.kick
        self.settle: Callable[[], None] = lambda: None
        self.on_signal: Callable[[Task, Siginfo], None] = lambda task, signal: None
        """A signal that no #DB raised has been put into a task's `signals`."""
        self.user_state: Callable[[int], UserState | None] = lambda cpu: None
        self.symbols: dict[str, int] = dict(KERNEL_SYMBOLS)
        self.ksym = KsymTracer(self, self.symbols.get)
        self.wprobe = Wprobes(self, self.symbols.get)
        self.triggers = Triggers(self, self.wprobe)

    def configure(self, config: KernelConfig) -> None:
        """Be another kernel (EBUSY while anybody holds a slot or kgdb is set up: books cannot change hands)."""
        if self.layer.events or self.kgdb.connected:
            raise HwbpError(
                "the kernel's version can change only while nobody holds a slot",
                errno="EBUSY",
                holders=self.layer.holders(),
            )
        self.config = config
        self.layer = HwBreakpointLayer(config, len(self.cpus))

    def symbol_at(self, address: int) -> str:
        """`jiffies`, `pid_max+0x4`: the kernel's own name for an address of its; "" where none is near."""
        near = max((base for base in self.symbols.values() if base <= address), default=0)
        if not near or address - near >= _NEAR:
            return ""
        name = next(name for name, base in self.symbols.items() if base == near)
        return name + (f"+{address - near:#x}" if address > near else "")

    def kallsyms(self) -> str:
        """/proc/kallsyms: a line for each symbol."""
        return "".join(
            f"{base:016x} {'T' if base < _DATA else 'D'} {name}\n" for name, base in self.symbols.items()
        )

    def new_id(self) -> int:
        """A number for a new event. Never used twice."""
        self._ids += 1
        return self._ids

    def set_on_change(self, call: Callable[[CpuRegisters], None]) -> None:
        """Whom to call when registers, or who sits in them, changed."""
        for registers in self.cpus:
            registers.on_change = call

    # -- tasks

    def current(self, cpu: int) -> Task | None:
        """The task that runs on a CPU; None for the idle task."""
        return self.scheduler.current[cpu]

    def task(self, tid: int) -> Task:
        """A task by its tid (ESRCH)."""
        task = self.tasks.get(tid)
        if task is None:
            raise HwbpError(f"no task {tid}", errno="ESRCH")
        return task

    def _next_tid(self) -> int:
        """alloc_pid goes on from the last one, and does not come back to one that has just become free."""
        while self.tasks.get(self._tids) is not None:
            self._tids += 1
        self._tids += 1
        return self._tids - 1

    def spawn(
        self,
        comm: str = "",
        *,
        tid: int | None = None,
        kind: TaskKind = "user",
        uid: int = 0,
        capabilities: frozenset[str] = frozenset(),
        pinned: frozenset[int] = frozenset(),
        parent: int = 0,
    ) -> Task:
        """A process that comes from nowhere, with one thread. EEXIST where the tid is taken."""
        tid = self._next_tid() if tid is None else tid
        if self.tasks.get(tid) is not None:
            raise HwbpError(f"there is a task {tid} already", errno="EEXIST")
        if kind == "user":
            self._mms += 1
        mm = self._mms if kind == "user" else 0
        task = Task(tid, tid, parent, mm, comm, kind, uid, capabilities, pinned=pinned)
        self.tasks.add(task)
        return task

    def clone(self, parent: Task, flags: int = 0, tid: int | None = None) -> Task:
        """fork (0) or clone(2) with its flags (CLONE_VM, CLONE_THREAD, CLONE_CLEAR_SIGHAND matter).

        Inheritable perf events are copied, each taking its own slot; ptrace's breakpoints are not, but the child's
        u_debugreg[6] and [7] read as its parent's (copy_thread clears ptrace_bps only). Fails, with nothing left behind,
        where an event cannot be inherited (perf_event_init_task): EPERM, ENOSPC.
        """
        tid = self._next_tid() if tid is None else tid
        if self.tasks.get(tid) is not None:
            raise HwbpError(f"there is a task {tid} already", errno="EEXIST")
        if not flags & CLONE_VM and parent.mm:
            self._mms += 1
        child = Task(
            tid,
            parent.tgid if flags & CLONE_THREAD else tid,
            parent.parent if flags & CLONE_THREAD else parent.tgid,
            parent.mm if flags & CLONE_VM or not parent.mm else self._mms,
            parent.comm,
            parent.kind,
            parent.uid,
            parent.capabilities,
            parent.dumpable,
            parent.pinned,
            ptrace_dr7=parent.ptrace_dr7,
            virtual_dr6=parent.virtual_dr6,
        )
        inherit_events(self, parent, child, flags)
        self.perf.forked(parent, child, flags)
        self.tasks.add(child)
        self.sideband.forked(parent, child)
        self.journal.mark(parent.cpu or 0, "fork", tid)
        return child

    def exec(self, task: Task, comm: str | None = None) -> None:
        """execve succeeded: ptrace's breakpoints are gone (flush_thread); enable_on_exec and remove_on_exec act.

        The other threads of the process end first, as in de_thread.
        """
        for other in self.tasks.threads(task.tgid):
            if other is not task:
                self.exit(other)
        self._mms += 1
        task.mm = self._mms
        if comm is not None:
            task.comm = comm
        self.ptrace.flush(task)
        self.perf.executed(task)
        self.sideband.named(task, exec_=True)
        self.journal.mark(task.cpu or 0, "exec", task.tid)

    def rename(self, task: Task, comm: str) -> None:
        """The task goes by another name (prctl PR_SET_NAME)."""
        task.comm = comm
        self.sideband.named(task)

    def exit(self, task: Task) -> None:
        """The thread ends: PF_EXITING, then perf's events of it get state EXIT, then ptrace's are flushed.

        Its own descriptors are closed when its last thread ends. It leaves its CPU, and stays as a zombie until `reap`.
        """
        if task.dead:
            return
        task.exiting = True
        cpu = task.cpu
        self.sideband.exited(task)
        self.perf.control.exited(task)
        self.ptrace.flush(task)
        if cpu is not None:
            self.switch(cpu, None)
        task.dead = True
        for tracee in self.tasks:
            if tracee.tracer is task:
                tracee.tracer = None
        if not self.tasks.threads(task.tgid):
            self.perf.close_all(task.tgid)
        self.journal.mark(cpu or 0, "exit", task.tid)

    def reap(self, task: Task) -> None:
        """wait(2): the zombie is gone from the table. Events that follow it keep their slots until they are closed."""
        if task.dead:
            self.tasks.remove(task)

    def switch(self, cpu: int, following: Task | None) -> int:
        """Context switch on a CPU; None is the idle task. Returns how many debug-register writes it took.

        EINVAL for a task that runs elsewhere, is dead, or may not run on this CPU.
        """
        if following is not None and (
            following.dead
            or following.cpu not in (None, cpu)
            or (following.pinned and cpu not in following.pinned)
        ):
            raise HwbpError(f"task {following.tid} cannot run on CPU {cpu} now", errno="EINVAL")
        if self.kvm.vcpus and following is not self.current(cpu):
            self.kvm.kick(cpu)  # a vCPU's thread is scheduled out
        writes = 0
        if not self.scheduler.switch_free(cpu, following):
            registers = self.cpus[cpu]
            before = registers.writes
            cause, registers.cause = registers.cause, "switch"
            try:
                self.scheduler.switch(cpu, following)
            finally:
                registers.cause = cause
            writes = registers.writes - before
        self.journal.mark(cpu, "switch", following.tid if following is not None else 0)
        return writes

    # -- hits

    def attentive(self, cpu: int) -> int:
        """The slots (bits) of a CPU whose hits must each come through `debug_exception`.

        A slot that nobody's books own is among them.
        """
        bits = 0
        for slot, event in enumerate(self.cpus[cpu].bp_per_reg):
            bits |= (event is None or not event.quiet) << slot
        return bits

    def debug_exception(self, cpu: int, dr6: int, ip: int, *, user: bool = True) -> DebugException:
        """#DB on a CPU. `dr6` is DR6 as the exception delivered it (active-low bits as in hardware), `ip` the saved
        instruction pointer. Linux reads DR6 and writes its base value back at once (debug_read_reset_dr6)."""
        self.cpus[cpu].write(6, 0xFFFF_0FF0, "db")
        return handle(self, cpu, dr6, Regs(ip, user))

    def run_irq_work(self) -> None:
        """Events that have used up their limit are disabled once the #DB handler is over, and DR7 is back."""
        while self.pending_disable:
            self.scheduler.disable(self.pending_disable.pop())

    def return_to_user(self, cpu: int) -> tuple[Siginfo, ...]:
        """The task on this CPU goes back to user mode: what hits in the kernel's mode left to be signalled then.

        `debug_exception` has done this itself for a #DB in user mode.
        """
        task = self.current(cpu)
        return return_to_user(task) if task is not None else ()

    def quiet_hits(self, event: PerfEvent, hits: int) -> int:
        """`hits` user-mode hits of an event that is `quiet`, each a #DB of its own or shared with other quiet events.

        Returns the overflows. They discard the current task's earlier virtual DR6, as every user-mode #DB does.
        """
        if event.ctx is not None and event.ctx.task is not None:
            event.ctx.task.virtual_dr6 = 0
        number = overflows(event, hits)
        event.overflows += number
        return number

    def signal_delivered(self, task: Task, signal: Siginfo) -> None:
        """A signal of `task.signals` has been delivered, or thrown away."""
        task.signals.remove(signal)

    # -- contexts in which the kernel keeps its own breakpoints off

    def enter(self, cpu: int, what: Literal["nmi", "mce"]) -> None:
        """An NMI or machine check begins (exc_nmi, exc_machine_check: local_db_save). They nest."""
        registers = self.cpus[cpu]
        saved = registers.save(self.config.hypervisor, "nmi")
        self._saved[cpu].append((what, saved))
        self.journal.mark(cpu, "nmi")

    def leave(self, cpu: int) -> None:
        """The innermost of them ends: DR7 comes back as it was at entry."""
        if not self._saved[cpu]:
            raise HwbpError(f"CPU {cpu} is in no NMI", errno="EINVAL")
        _, saved = self._saved[cpu].pop()
        self.cpus[cpu].restore_saved(saved, "nmi")
        self.journal.mark(cpu, "nmi end")

    def in_nmi(self, cpu: int) -> bool:
        """Whether the CPU is in an NMI or machine check."""
        return bool(self._saved[cpu])

    # -- by hand

    def write(self, cpu: int, register: int, value: int) -> None:
        """A person writes a debug register, past the books (EINVAL for a register or value that is none)."""
        if cpu not in range(len(self.cpus)):
            raise HwbpError(f"no CPU {cpu}", errno="ENXIO")
        self.cpus[cpu].write(register, value, "hand")

    # -- the one way in for events

    def create(self, event: PerfEvent, caller: Task | None) -> None:
        """Reserve, validate and put an event into its context (ENOSPC, EINVAL, EOPNOTSUPP, EPERM)."""
        self.layer.register(event, caller)
        self.scheduler.add(event)

    def destroy(self, event: PerfEvent) -> None:
        """Out of its register and context; its slot is free."""
        if event.state > State.DEAD or event.ctx is not None:
            self.scheduler.remove(event)
        event.state = State.DEAD
        event.leave_group()
        self.layer.destroy(event)
