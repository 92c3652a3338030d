"""The #DB exception as Linux handles it (arch/x86/kernel/traps.c, arch/x86/kernel/hw_breakpoint.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from backends import dr
from backends.emulated.kernel.attr import TYPE_BREAKPOINT
from backends.emulated.kernel.events import PerfEvent, Regs
from backends.emulated.kernel.frequency import overflowed
from backends.emulated.kernel.samples import Now, record, sample_id
from backends.emulated.kernel.scheduling import overflows
from backends.emulated.kernel.tasks import Siginfo, Task

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel
    from backends.emulated.kernel.ringbuffer import RingBuffer

__all__ = ["POLL_IN", "DebugException", "Fired", "Ignored", "Why", "handle", "io_signal", "return_to_user"]

SIGTRAP: Final = 5
TRAP_BRKPT, TRAP_TRACE, TRAP_HWBKPT, TRAP_PERF = 1, 2, 4, 6
_SIGIO, _SI_KERNEL = 29, 0x80
POLL_IN, _POLL_HUP = 1, 6
_TRAPS: Final = 0xF
_POSITIVE: Final = dr.DR6_BASE
_RTM_BLD: Final = dr.DR6_RTM | dr.DR6_BLD

Why = Literal["no owner", "stopped", "excluded", "not active", "postponed"]
"""Why a slot's hit reached nobody: its register is in nobody's books; its event is stopped; exclude_user or
exclude_kernel; its event is not ACTIVE on a kernel that checks; an execute slot beside BS waits for the next #DB."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A hit that an event counted, and how many overflows that made."""

    slot: int
    event: PerfEvent
    overflows: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A slot that matched, and why nobody counted it."""

    slot: int
    why: Why


@dataclass(frozen=True, slots=True)
class DebugException:
    """What one #DB came to.

    `signals` were put into the `signals` of the tasks they name, which are to be delivered at the return to user mode. `sets_rf`: the handler set RF in the saved
    flags, because an execute slot was served. `kgdb`: the machine stands in kgdb now, until it is told to go on.
    `stop`: an event that was hit asks that the machine stands still.
    """

    fired: tuple[Fired, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    signals: tuple[tuple[Task, Siginfo], ...] = ()
    sets_rf: bool = False
    kgdb: bool = False
    stop: bool = False


class _Handling:
    """One #DB in progress."""

    def __init__(self, kernel: Kernel, cpu: int, dr6: int, regs: Regs) -> None:
        self.kernel = kernel
        self.cpu = cpu
        self.regs = regs
        self.dr6 = dr6
        self.fired: list[Fired] = []
        self.ignored: list[Ignored] = []
        self.signals: list[tuple[Task, Siginfo]] = []
        self.sets_rf = False
        self.kgdb = False
        self.told: dict[PerfEvent, int] = {}

    @property
    def task(self) -> Task | None:
        return self.kernel.current(self.cpu)

    def notify(self) -> bool:
        """notify_debug: the hw-breakpoint layer first, then kgdb. True where nobody else is to see it (NOTIFY_STOP)."""
        if self._hw_breakpoint_handler():
            return True
        if self.kernel.kgdb.notified(self.cpu, self.dr6, self.regs):
            self.kgdb = True
            return True
        return False

    def _hw_breakpoint_handler(self) -> bool:
        original = self.dr6
        if not original & _TRAPS:
            return False
        registers = self.kernel.cpus[self.cpu]
        for slot in range(4):
            if not original >> slot & 1:
                continue
            event = registers.bp_per_reg[slot]
            if event is None:
                self.ignored.append(Ignored(slot, "no owner"))
                continue
            if event.hardware.type == "x" and original & dr.DR6_BS:
                self.ignored.append(Ignored(slot, "postponed"))
                continue
            self.dr6 &= ~(1 << slot)
            self._bp_event(slot, event)
            if event.hardware.type == "x":
                self.sets_rf = True
        task = self.task
        wanted = self.kernel.idle_dr6[self.cpu] if task is None else task.virtual_dr6
        return not (wanted & _TRAPS or original & ~_TRAPS)

    def _bp_event(self, slot: int, event: PerfEvent) -> None:
        """perf_bp_event."""
        if event.stopped:
            self.ignored.append(Ignored(slot, "stopped"))
        elif event.excludes(self.regs.user):
            self.ignored.append(Ignored(slot, "excluded"))
        elif self.kernel.config.swevent_checks_state and not event.state.value > 0:
            self.ignored.append(Ignored(slot, "not active"))
        else:
            period = event.last_period
            number = overflows(event, 1, self.kernel.now())
            self.fired.append(Fired(slot, event, number))
            if event.overflows_always:
                period = 1
            for _ in range(number):
                if self._overflow(event, period):
                    break

    def _overflow(self, event: PerfEvent, period: int) -> bool:
        """__perf_event_overflow; True where the event has just used up its limit and was disabled."""
        event.overflows += 1
        if event.frequency is not None:
            overflowed(event, self.kernel.now())
        original = event.parent or event
        band, last = POLL_IN, False
        if event.limit:
            event.limit -= 1
            if not event.limit:
                band, last = _POLL_HUP, True
        task = self.task
        if event.attr.flag("sigtrap") and task is not None and not event.pending_sigtrap:
            event.pending_sigtrap = True
            task.task_work.append(event)
        if event.handler is not None:
            event.handler(event, self.regs, self.cpu)
        elif original.ring is not None:
            self._output(event, original.ring, period)
        if original.fasync is not None:
            self.told[original] = band
        if last:
            # perf_event_disable_inatomic: an irq_work, after the handler
            self.kernel.pending_disable.append(event)
            event.stopped = self.kernel.config.limit_stops
        return last

    def _output(self, event: PerfEvent, ring: RingBuffer, period: int) -> None:
        """perf_event_output_forward: inherited copies write into their original's buffer."""
        kernel, task, original = self.kernel, self.task, event.parent or event
        now = Now(
            kernel.now(),
            task.tgid if task is not None else 0,
            task.tid if task is not None else 0,
            self.cpu,
            kernel.perf.control.values,
            kernel.user_state(self.cpu),
        )
        data = record(event, self.regs, period, now)
        fits, wakes = ring.output(data, original.id, sample_id(original, now))
        original.lost += not fits
        if wakes:
            original.wake()

    def irq_work(self) -> None:
        """perf_pending_irq, before the next instruction of user mode: one signal for each event that overflowed, however often."""
        for event, band in self.told.items():
            if (signal := io_signal(self.kernel, event, band)) is not None:
                self.signals.append(signal)

    def user(self) -> None:
        """exc_debug_user."""
        task = self.task
        if task is not None:
            task.virtual_dr6 = self.dr6 & dr.DR6_BS
        icebp = not self.dr6
        if self.notify() or task is None:
            return
        self.dr6 |= task.virtual_dr6
        if self.dr6 & (dr.DR6_BS | _TRAPS) or icebp:
            code = TRAP_BRKPT
            if self.dr6 & dr.DR6_BS:
                code = TRAP_TRACE
            elif self.dr6 & _TRAPS:
                code = TRAP_HWBKPT
            self.signals.append((task, Siginfo(SIGTRAP, code, self.regs.ip)))

    def kernel_mode(self) -> None:
        """exc_debug_kernel: DR7 is off for the whole handler, and comes back as it was."""
        registers = self.kernel.cpus[self.cpu]
        saved = registers.save(self.kernel.config.hypervisor, "db")
        if self.dr6:
            self.notify()
        if self.kgdb:
            self.kernel.kgdb.restore_at_exit(self.cpu, saved, "db")
        else:
            registers.restore_saved(saved, "db")

    def result(self) -> DebugException:
        stop = any(fired.event.stop for fired in self.fired)
        return DebugException(
            tuple(self.fired), tuple(self.ignored), tuple(self.signals), self.sets_rf, self.kgdb, stop
        )


def handle(kernel: Kernel, cpu: int, dr6: int, regs: Regs) -> DebugException:
    """exc_debug_user or exc_debug_kernel. `dr6` is the register's value as the exception delivered it."""
    handling = _Handling(kernel, cpu, dr6 ^ _POSITIVE, regs)
    if regs.user:
        handling.user()
    else:
        handling.kernel_mode()
    if handling.told:
        handling.irq_work()
    if not handling.kgdb:
        kernel.run_irq_work()
    for task, signal in handling.signals:
        task.signals.append(signal)
    if regs.user and handling.task is not None:
        task = handling.task
        handling.signals += [(task, signal) for signal in return_to_user(task)]
    return handling.result()


def io_signal(kernel: Kernel, event: PerfEvent, band: int) -> tuple[Task, Siginfo] | None:
    """kill_fasync: who is told that the event has something to say, and by which signal; None where nobody asked or lives."""
    fasync = event.fasync
    target = kernel.tasks.get(fasync.owner) if fasync is not None else None
    if fasync is None or target is None or (target.dead and not fasync.to_process):
        return None
    code = band if fasync.signal else _SI_KERNEL
    return target, Siginfo(fasync.signal or _SIGIO, code, data=fasync.fd, to_process=fasync.to_process)


def return_to_user(task: Task) -> tuple[Siginfo, ...]:
    """task_work_run with perf_pending_task: attr.sigtrap's signals, the last hit first.

    SIGTRAP is a legacy signal: while one is pending for the thread, the next is lost.
    """
    sent: list[Siginfo] = []
    while task.task_work:
        event = task.task_work.pop()
        event.pending_sigtrap = False
        if task.exiting or any(signal.number == SIGTRAP for signal in task.signals):
            continue
        info = Siginfo(SIGTRAP, TRAP_PERF, event.attr.bp_addr, event.attr.sig_data, TYPE_BREAKPOINT)
        task.signals.append(info)
        sent.append(info)
    return tuple(sent)
