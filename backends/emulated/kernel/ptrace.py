"""The ptrace owner: u_debugreg of a traced thread (arch/x86/kernel/ptrace.c), and attaching to it (kernel/ptrace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.events import Hardware, PerfEvent, Regs, State
from backends.emulated.kernel.slots import SLOTS, bp_len, bp_type
from backends.emulated.kernel.tasks import Task
from backends.model import Owner, WatchType

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["Ptrace"]

_IGNORED: Final = 0xFFFF_FFFF_0000_FC00
"""Bits 10-15 (GD among them) and the upper half: ignored without an error (ptrace_write_dr7)."""
_FLAGS: Final = 1 << FLAGS["pinned"] | 1 << FLAGS["exclude_kernel"]
_MASK64: Final = (1 << 64) - 1


class Ptrace:
    """What tracers do to threads. `tracee` methods take the thread itself; `attach` and the rest check who asks."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    # -- who traces whom

    def may_access(self, caller: Task, target: Task, *, attach: bool) -> bool:
        """ptrace_may_access with real credentials: the same process, or the same user and dumpable, or CAP_SYS_PTRACE."""
        if caller.tgid == target.tgid or caller.capable("sys_ptrace"):
            return True
        return caller.uid == target.uid and target.dumpable and target.capabilities <= caller.capabilities

    def attach(self, tracer: Task, target: Task, *, seize: bool = False) -> None:
        """PTRACE_ATTACH, or PTRACE_SEIZE (EPERM: a kernel thread, the own process, not permitted, traced already)."""
        if target.dead:
            raise HwbpError(f"task {target.tid} has ended: nobody can trace it", errno="EPERM")
        if target.kind == "kernel" or target.tgid == tracer.tgid:
            raise HwbpError(f"task {target.tid} cannot be traced by {tracer.tid}", errno="EPERM")
        if not self.may_access(tracer, target, attach=True):
            raise HwbpError(f"task {target.tid} may not be traced by {tracer.tid}", errno="EPERM")
        if target.tracer is not None:
            raise HwbpError(f"task {target.tid} is traced by {target.tracer.tid} already", errno="EPERM")
        target.tracer = tracer
        target.stopped = not seize

    def check(self, tracer: Task, target: Task) -> None:
        """ptrace_check_attach: ESRCH unless it is this tracer's, alive and stopped."""
        if target.tracer is not tracer or not target.stopped or target.dead:
            raise HwbpError(f"task {target.tid} is not a stopped tracee of {tracer.tid}", errno="ESRCH")

    def detach(self, tracer: Task, target: Task) -> None:
        """PTRACE_DETACH: single stepping ends; **breakpoints stay armed**, and a later hit's SIGTRAP kills (ESRCH)."""
        self.check(tracer, target)
        target.tracer, target.stopped, target.single_step = None, False, False

    def cont(self, tracer: Task, target: Task, *, single_step: bool = False) -> None:
        """PTRACE_CONT or PTRACE_SINGLESTEP (ESRCH)."""
        self.check(tracer, target)
        target.stopped, target.single_step = False, single_step

    # -- u_debugreg

    def peek(self, task: Task, register: int) -> int:
        """PTRACE_PEEKUSER. DR4 and DR5 read 0; DR7 is what was written, not a re-encoding (EIO)."""
        if register not in range(8):
            raise HwbpError(f"u_debugreg has no register {register}", errno="EIO")
        if register < SLOTS:
            event = task.ptrace_bps[register]
            return event.address if event is not None else 0
        if register == 6:
            return task.virtual_dr6 ^ dr.DR6_BASE
        return task.ptrace_dr7 if register == 7 else 0

    def poke(self, task: Task, register: int, value: int, *, caller: Task | None = None) -> None:
        """PTRACE_POKEUSER (EIO, EINVAL, ENOSPC, ESRCH for a task that is ending).

        Writing 0 to 3 takes a slot when it is written first. Nothing gives it back but exec and exit.
        """
        if register not in range(8) or register in (4, 5):
            raise HwbpError(f"u_debugreg[{register}] cannot be written", errno="EIO")
        value &= _MASK64
        if register == 6:
            task.virtual_dr6 = value ^ dr.DR6_BASE
        elif register == 7:
            self._write_dr7(task, value, caller)
        else:
            self._write_address(task, register, value, caller)

    def _write_address(self, task: Task, index: int, address: int, caller: Task | None) -> None:
        """ptrace_set_breakpoint_addr."""
        event = task.ptrace_bps[index]
        if event is None:
            self._create(task, index, address, 1, "w", enabled=False, caller=caller)
        else:
            attr = event.attr.changed(bp_addr=address)
            self._kernel.perf.control.modify_breakpoint(event, attr, caller, check=False)

    def _create(
        self,
        task: Task,
        index: int,
        address: int,
        length: int,
        kind: WatchType,
        *,
        enabled: bool,
        caller: Task | None,
    ) -> None:
        """ptrace_register_breakpoint: a fresh event takes a slot even while it is disabled."""
        kernel = self._kernel
        tracer = caller or task.tracer
        attr = Attr(
            sample_period=1,
            flags=_FLAGS | (not enabled),
            bp_type=bp_type(kind),
            bp_addr=address,
            bp_len=bp_len(kind, length),
        )
        owner = Owner(
            "ptrace",
            tracer.tgid if tracer is not None else None,
            tracer.comm if tracer is not None else "tracer",
        )
        event = PerfEvent(
            kernel.new_id(),
            attr,
            owner,
            Hardware(address, length, kind),
            task,
            -1,
            State.INACTIVE if enabled else State.OFF,
            index=index,
            handler=self._triggered,
            period=1,
            last_period=1,
            period_left=1,
            stop=True,
        )
        kernel.layer.register(event, caller)
        if task.exiting:
            kernel.layer.destroy(event)
            raise HwbpError(f"task {task.tid} is ending", errno="ESRCH")
        kernel.scheduler.add(event)
        task.ptrace_bps[index] = event

    def _triggered(self, event: PerfEvent, regs: Regs, cpu: int) -> None:
        """ptrace_triggered: the virtual DR6 shows ptrace's index, whichever register it sat in."""
        task = self._kernel.current(cpu)
        if task is not None:
            index = next((n for n, each in enumerate(task.ptrace_bps) if each is event), SLOTS)
            task.virtual_dr6 |= 1 << index

    def _write_dr7(self, task: Task, value: int, caller: Task | None) -> None:
        """ptrace_write_dr7: two passes; the second puts the old settings back when the first fails."""
        old = self._encoded(task)
        try:
            self._pass(task, value & ~_IGNORED, caller)
        except HwbpError:
            self._pass(task, old, caller)
            raise
        task.ptrace_dr7 = value

    def _encoded(self, task: Task) -> int:
        """ptrace_get_dr7."""
        return sum(
            dr.dr7_encode(index, event.length, event.type) & ~dr.DR7_GE
            for index, event in enumerate(task.ptrace_bps)
            if event is not None and not event.attr.disabled
        )

    def _pass(self, task: Task, value: int, caller: Task | None) -> None:
        for index in range(SLOTS):
            enabled = dr.enabled(value, index)
            event = task.ptrace_bps[index]
            if event is None and not enabled:
                continue
            length, kind = self._decode(value, index)
            if event is None:
                self._create(task, index, 0, length, kind, enabled=enabled, caller=caller)
                continue
            attr = event.attr.changed(
                bp_type=bp_type(kind),
                bp_len=bp_len(kind, length),
                flags=event.attr.flags & ~1 | (not enabled),
            )
            self._kernel.perf.control.modify_breakpoint(event, attr, caller, check=False)

    @staticmethod
    def _decode(value: int, index: int) -> tuple[int, WatchType]:
        """arch_bp_generic_fields: I/O, and execute with a length, are refused."""
        kind, length = dr.slot_type(value, index), dr.slot_length(value, index)
        if kind == "io":
            raise HwbpError(f"R/W{index} is 10: I/O breakpoints cannot be had through Linux", errno="EINVAL")
        if kind == "x" and length != 1:
            raise HwbpError(f"LEN{index} must be 00 for an execute breakpoint", errno="EINVAL")
        return length, kind

    def flush(self, task: Task) -> None:
        """flush_ptrace_hw_breakpoint: exec and exit clear everything."""
        for event in task.ptrace_bps:
            if event is not None:
                self._kernel.destroy(event)
        task.ptrace_bps = [None] * SLOTS
        task.ptrace_dr7 = task.virtual_dr6 = 0

    # -- what a debugger makes of it

    def watch(self, task: Task, address: int, length: int, kind: WatchType, text: str = "") -> PerfEvent:
        """What gdb does: the first index not enabled, its address, then DR7. Nothing new stays behind on failure."""
        kernel = self._kernel
        bps = task.ptrace_bps
        index = next((n for n, event in enumerate(bps) if event is None or event.attr.disabled), None)
        if index is None:
            raise HwbpError(
                "all four u_debugreg of the task are in use", errno="ENOSPC", holders=kernel.layer.holders()
            )
        wish = Attr(
            flags=_FLAGS,
            bp_type=bp_type(kind),
            bp_addr=address,
            bp_len=8 if (kind, length) == ("x", 1) else length,
        )
        hardware = kernel.layer.parse(wish, None)
        fresh = bps[index] is None
        bits = dr.dr7_encode(index, hardware.length, kind) & ~dr.DR7_GE & ~dr.DR7_GLOBALS | 1 << 2 * index
        others = task.ptrace_dr7 & ~(0xF << 16 + 4 * index | 3 << 2 * index)
        try:
            if not fresh:
                # an execute event at any address, so that the next write cannot be refused
                self.poke(task, 7, others)
            self.poke(task, index, address)
            self.poke(task, 7, others | bits)
        except HwbpError:
            if fresh:
                self.forget(task, index)
            raise
        event = bps[index]
        assert event is not None
        event.text = text
        return event

    def drop(self, event: PerfEvent) -> None:
        """Disable one by DR7, as a debugger's delete does: the slot stays taken."""
        assert event.index is not None
        assert event.target is not None
        task, index = event.target, event.index
        self.poke(task, 7, task.ptrace_dr7 & ~(0xF << 16 + 4 * index | 3 << 2 * index))

    def forget(self, task: Task, index: int) -> None:
        """Undo `watch` of a request that was refused in part: what no real tracer can do."""
        event = task.ptrace_bps[index]
        if event is not None:
            task.ptrace_bps[index] = None
            task.ptrace_dr7 &= ~(0xF << 16 + 4 * index | 3 << 2 * index)
            self._kernel.destroy(event)
