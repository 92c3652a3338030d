"""Between the machine and the kernel's hw-breakpoint layer: what happens on the CPUs is told to the layer, and what the
layer decides reaches the CPUs and the tasks.
"""

from __future__ import annotations

import errno
from functools import partial

from backends import dr
from backends.base import HwbpError
from backends.emulated.capture import Capture
from backends.emulated.cpu import Cpu
from backends.emulated.kernel.core import KERNEL_SYMBOLS, Kernel
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.exceptions import return_to_user
from backends.emulated.kernel.registers import CpuRegisters
from backends.emulated.kernel.tasks import Siginfo
from backends.emulated.kernel.tasks import Task as Tracked
from backends.emulated.linux import Process, Task
from backends.emulated.linux.sending import bit, send, siginfo
from backends.emulated.linux.state import fail
from backends.emulated.machine import Machine
from backends.emulated.user_state import UserState
from backends.model import Stop

__all__ = ["Breakpoints", "capabilities_of"]

_UID = 1000
_SIGTRAP, _TRAP_PERF, _ASYNC = 5, 6, 1
_BANDS = {1: 0x41, 6: 0x18}  # POLL_IN: POLLIN | POLLRDNORM; POLL_HUP: POLLHUP | POLLERR


class Breakpoints:
    """The layer over the machine's CPUs. `kernel` is the layer; `tracked` finds its record of a task.

    `origin` maps an inherited event's number to that of the event that somebody asked for.
    `execute_ids` are the numbers of those that were ever execute breakpoints in a register.
    `executed` are processes that have executed another program since somebody last looked, and its name.
    A slot whose event only counts (`Kernel.attentive` says which do more) is not told hit by hit: `settle` tells its hits
    since the last time.
    """

    def __init__(self, machine: Machine, capture: Capture) -> None:
        self._machine = machine
        self._capture = capture
        self.kernel = Kernel([cpu.unit for cpu in machine.cpus], clock=machine.clock)
        self.kernel.user_state = self._user_state
        self.kernel.settle = self._settle_all
        self.origin: dict[int, int] = {}
        self.execute_ids: set[int] = set()
        self.executed: dict[int, str] = {}
        self._holders: list[list[PerfEvent | None]] = [[None] * 4 for _ in machine.cpus]
        self.kernel.set_on_change(self.installed)
        machine.on_switch = self._switched
        for cpu in machine.cpus:
            cpu.on_db = partial(self._debug_exception, cpu)
            cpu.on_settle = partial(self.settle, cpu)

    # -- tasks

    def begin(self, task: Task) -> None:
        """The first task."""
        system = task.system
        self.kernel.now = system.now
        self.kernel.spawn(task.comm, tid=task.tid, uid=_UID, capabilities=capabilities_of(system.allow))
        system.kernel = self.kernel
        self.kernel.on_signal = self._signal
        system.on_breakpoints = self.refresh
        system.on_resume = self._resumes
        system.taken = lambda tid: self.kernel.tasks.get(tid) is not None
        system.on_new = self._cloned
        system.on_exec = self._executed
        system.on_exit = self._exited
        system.on_rename = self._renamed
        system.on_reap = self._reaped

    def tracked(self, tid: int) -> Tracked:
        """The layer's record of a task (ESRCH)."""
        return self.kernel.task(tid)

    def _cloned(self, tid: int, parent: Task, flags: int) -> None:
        """clone(2): perf events are inherited, or the call fails with what they failed with."""
        try:
            self.kernel.clone(self.tracked(parent.tid), flags, tid)
        except HwbpError as error:
            raise fail(getattr(errno, error.errno or "", errno.ENOMEM)) from error

    def _executed(self, task: Task) -> None:
        self.kernel.exec(self.tracked(task.tid), task.comm)
        self.executed[task.process.pid] = task.comm

    def _renamed(self, old: int, new: int) -> None:
        leader, task = self.kernel.tasks.get(new), self.tracked(old)
        if leader is not None:
            self.kernel.reap(leader)
        self.kernel.tasks.rename(task, new)

    def _exited(self, task: Task) -> None:
        tracked = self.tracked(task.tid)
        self.kernel.exit(tracked)
        if task.tid != task.process.pid:
            self.kernel.reap(tracked)

    def _reaped(self, process: Process) -> None:
        tracked = self.kernel.tasks.get(process.pid)
        if tracked is not None:
            self.kernel.reap(tracked)

    def _switched(self, cpu: Cpu, task: Task | None) -> None:
        """A context switch."""
        self.kernel.switch(cpu.number, None if task is None else self.kernel.tasks.get(task.tid))

    def reclaim(self) -> None:
        """The programs run on: no CPU stands in kgdb or in a guest, and each has the machine's own task again (EBUSY)."""
        kernel = self.kernel
        if kernel.kgdb.stopped is not None:
            raise HwbpError("the machine stands in kgdb", errno="EBUSY", remedy="`kgdb continue` goes on")
        for cpu in self._machine.cpus:
            if (vcpu := kernel.kvm.guest_on(cpu.number)) is not None:
                raise HwbpError(
                    f"CPU {cpu.number} runs the guest {vcpu.name}",
                    errno="EBUSY",
                    remedy=f"`kvm exit {vcpu.name}`",
                )
            if kernel.in_nmi(cpu.number):
                raise HwbpError(
                    f"CPU {cpu.number} is in an NMI", errno="EBUSY", remedy=f"`nmi end {cpu.number}`"
                )
        for cpu in self._machine.cpus:
            task = self._machine.on_cpu(cpu.number)
            wanted = None if task is None else kernel.tasks.get(task.tid)
            if kernel.current(cpu.number) is not wanted:
                if wanted is not None and wanted.cpu not in (None, cpu.number):
                    kernel.switch(wanted.cpu, None)
                kernel.switch(cpu.number, wanted)

    # -- registers

    def installed(self, registers: CpuRegisters) -> None:
        """Who sits in which register of a CPU has changed: hits go to the new holders."""
        number = registers.cpu
        cpu = self._machine.cpus[number]
        self.settle(cpu)
        cpu.attentive = self.kernel.attentive(number)
        for slot, event in enumerate(registers.bp_per_reg):
            self._holders[number][slot] = event
            if event is not None and event.type == "x":
                self.execute_ids.add((event.parent or event).id)
            # An inherited event's hits are those of the breakpoint that somebody asked for.
            shown = 0 if event is None else (event.parent or event).id
            if event is not None and event.parent is not None:
                self.origin[event.id] = shown
            cpu.sinks[slot] = self._capture.sink(shown)
            cpu.labels[slot] = (
                (event.text or f"{event.address:#x}") if event else "a register nobody's books own"
            )

    def refresh(self) -> None:
        """Breakpoints have changed: what CPUs and address spaces must know of all of them."""
        for registers in self.kernel.cpus:
            self.installed(registers)
        events = self.kernel.layer.events
        addresses = frozenset(event.address for event in events if event.type == "x")
        watching = any(event.type != "x" for event in events)
        for mm in self._machine.address_spaces():
            mm.places.keep(addresses, watching)

    def _settle_all(self) -> None:
        for cpu in self._machine.cpus:
            self.settle(cpu)

    def settle_all(self) -> None:
        """The same for every CPU."""
        for cpu in self._machine.cpus:
            self.settle(cpu)

    def settle(self, cpu: Cpu) -> None:
        """Tell the layer of the hits that only counted."""
        if not cpu.quiet_dbs:
            return
        self.kernel.cpus[cpu.number].handled(cpu.quiet_dbs)
        cpu.quiet_dbs = 0
        for slot, event in enumerate(self._holders[cpu.number]):
            hits, cpu.quiet[slot] = cpu.quiet[slot], 0
            if hits and event is not None:
                self.kernel.quiet_hits(event, hits)

    # -- hits

    def _debug_exception(self, cpu: Cpu, hits: int, step: bool, user: bool) -> int:
        """A #DB that the layer has to know of at once; the slots whose hits are to be recorded."""
        number = cpu.number
        self.settle(cpu)
        labels = tuple(cpu.labels)
        dr6 = dr.DR6_BASE | hits | (dr.DR6_BS if step else 0)
        ip = cpu.engine.pc if user else KERNEL_SYMBOLS["rep_movs_alternative"]
        result = self.kernel.debug_exception(number, dr6, ip, user=user)
        for task, signal in result.signals:
            self._signal(task, signal)
        if result.signals:
            cpu.yielding = True  # to the signals' handlers, before its next instruction
        if not user:
            current = self._machine.on_cpu(number)
            if current is not None and self.tracked(current.tid).task_work:
                current.notify_resume = True
        if result.kgdb:
            cpu.stop = Stop("user", "the machine stands in kgdb")
        recorded = sum(1 << fired.slot for fired in result.fired)
        recorded |= sum(1 << ignored.slot for ignored in result.ignored if ignored.why == "no owner" and user)
        recorded &= ~cpu.unwanted
        for fired in result.fired:
            if fired.event.stop and not cpu.unwanted >> fired.slot & 1:
                label = labels[fired.slot]
                last = self._capture.head - 1 + (0 if step else recorded.bit_count())
                cpu.stop = Stop("hit", f"{label} hit (DR{fired.slot})", last)
                break
        return recorded

    def _resumes(self, task: Task) -> None:
        """The task goes back to user mode after hits in the kernel's mode (task_work_run)."""
        tracked = self.tracked(task.tid)
        for signal in return_to_user(tracked):
            self._signal(tracked, signal)

    def _user_state(self, number: int) -> UserState | None:
        task = self._machine.on_cpu(number)
        return UserState(task) if task is not None else None

    def _signal(self, tracked: Tracked, signal: Siginfo) -> None:
        """A signal that a breakpoint raised. ptrace's SIGTRAP stops the machine instead: its person is the tracer."""
        self.kernel.signal_delivered(tracked, signal)
        if signal.number == _SIGTRAP and signal.code != _TRAP_PERF:
            return
        system = self._machine.linux.system
        task = system.tasks.get(tracked.tid)
        if signal.to_process:
            process = system.processes.get(tracked.tid)
            if process is not None:
                send(system, process, signal.number, _io_info(signal))
        elif task is not None and signal.code == _TRAP_PERF:
            # A blocked SIGTRAP comes late, and says so (kernel/signal.c send_sig_perf).
            late = _ASYNC if task.blocked & bit(_SIGTRAP) else 0
            info = siginfo(_SIGTRAP, _TRAP_PERF, "QQII", signal.address, signal.data, signal.perf_type, late)
            send(system, task.process, _SIGTRAP, info, task)
        elif task is not None:
            send(system, task.process, signal.number, _io_info(signal), task)


def capabilities_of(allow: frozenset[str]) -> frozenset[str]:
    """What `--allow` makes of a program's capabilities."""
    return frozenset({"perfmon"}) & allow


def _io_info(signal: Siginfo) -> bytes:
    """si_band and si_fd, where F_SETSIG asked for a signal with particulars (fs/fcntl.c send_sigio_to_task)."""
    if signal.code not in _BANDS:
        return siginfo(signal.number, signal.code)
    return siginfo(signal.number, signal.code, "qi", _BANDS[signal.code], signal.data)
