"""The kgdb owner (arch/x86/kernel/kgdb.c, kernel/debug/gdbstub.c and debug_core.c, 6.17): modelled from source.

At boot kgdb makes four events for each CPU and gives their slots back at once, so that it can later arm one without
memory or locks: from an NMI, with everything stopped. What it sets at a stop reaches the hardware when it goes on, unless
the way out of an exception then puts an older DR7 back: that makes ghosts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.events import Hardware, PerfEvent, Regs, State
from backends.emulated.kernel.slots import SLOTS
from backends.model import Owner, WatchType

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel
    from backends.emulated.kernel.journal import Cause
    from backends.emulated.kernel.registers import CpuRegisters

__all__ = ["Breakinfo", "Kgdb", "KgdbStop"]

_TYPES: Final[dict[int, tuple[WatchType, int]]] = {1: ("x", 0x80), 2: ("w", 0x81), 4: ("rw", 0x83)}
"""Packet type: what it watches, and x86's code for it, which kgdb leaves in the generic attr."""
_LENGTHS: Final = {1: 0x40, 2: 0x44, 4: 0x4C, 8: 0x48}
_DISABLED_PINNED: Final = 1 << FLAGS["disabled"] | 1 << FLAGS["pinned"]
_ERROR: Final = "E01"
_ARCH_INIT: Final = 0xFFFF_FFFF_8100_0000


@dataclass(slots=True)
class Breakinfo:
    """breakinfo[i]: what kgdb has set, and its event on each CPU."""

    enabled: bool = False
    address: int = 0
    length: int = 1
    type: WatchType = "w"
    code: int = 0x81
    events: list[PerfEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KgdbStop:
    """The machine stands in kgdb. `why`: "breakpoint" (sysrq-g, kgdb_breakpoint), "nmi", or "hit" (a #DB)."""

    cpu: int
    why: Literal["breakpoint", "nmi", "hit"]
    ip: int = 0


class Kgdb:
    """kgdb and its stub. `connected` after `connect`; `stopped` while all CPUs stand still in it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.breakinfo = tuple(Breakinfo() for _ in range(SLOTS))
        self.connected = False
        self.stopped: KgdbStop | None = None
        self.log: list[str] = []
        self._at_exit: list[tuple[CpuRegisters, int, Cause]] = []

    # -- setup

    def connect(self) -> None:
        """kgdboc is set up: kgdb_arch_late makes its events, which needs one free slot on each CPU for a moment (ENOSPC)."""
        if self.connected:
            raise HwbpError("kgdb is set up already", errno="EBUSY")
        kernel = self._kernel
        made: list[PerfEvent] = []
        try:
            for index, info in enumerate(self.breakinfo):
                for registers in kernel.cpus:
                    event = self._premade(index, registers.cpu)
                    kernel.layer.register(event, None)
                    made.append(event)
                    info.events.append(event)
                for event in info.events:
                    kernel.layer.release(event)
        except HwbpError as error:
            for event in made:
                kernel.layer.destroy(event)
            for info in self.breakinfo:
                info.events.clear()
            raise HwbpError(
                f"kgdb: could not allocate hw breakpoints: {error.message}",
                errno=error.errno,
                holders=error.holders,
            ) from error
        for event in made:
            kernel.scheduler.join(event, kernel.scheduler.contexts[event.cpu])
        self.connected = True

    def _premade(self, index: int, cpu: int) -> PerfEvent:
        attr = Attr(sample_period=1, flags=_DISABLED_PINNED, bp_type=2, bp_addr=_ARCH_INIT, bp_len=1)
        return PerfEvent(
            self._kernel.new_id(),
            attr,
            Owner("kgdb", comm="kgdb"),
            Hardware(_ARCH_INIT, 1, "w"),
            None,
            cpu,
            State.OFF,
            index=index,
            handler=self._hit,
            period=1,
            last_period=1,
            period_left=1,
        )

    def _need(self, stopped: bool) -> None:
        if not self.connected:
            raise HwbpError("kgdb is not set up", errno="ENODEV", remedy="`kgdb connect` first")
        if stopped and self.stopped is None:
            raise HwbpError("the machine does not stand in kgdb", errno="EAGAIN", remedy="`kgdb enter` first")
        if not stopped and self.stopped is not None:
            raise HwbpError(
                "the machine stands in kgdb already", errno="EBUSY", remedy="`kgdb continue` goes on"
            )

    # -- stopping and going on

    def enter(self, cpu: int, why: Literal["breakpoint", "nmi"] = "breakpoint", ip: int = 0) -> KgdbStop:
        """Enter kgdb on a CPU: by a breakpoint exception (sysrq-g), or from the NMI that it is in. The others are
        rounded up by NMI (ENODEV, EBUSY)."""
        self._need(stopped=False)
        if cpu not in range(len(self._kernel.cpus)):
            raise HwbpError(f"no CPU {cpu}", errno="ENXIO")
        if why == "nmi" and not self._kernel.in_nmi(cpu):
            raise HwbpError(f"CPU {cpu} is in no NMI", errno="EINVAL")
        return self._enter(KgdbStop(cpu, why, ip))

    def _enter(self, stop: KgdbStop) -> KgdbStop:
        kernel = self._kernel
        self.stopped = stop
        self._disable(kernel.cpus[stop.cpu])
        for registers in kernel.cpus:
            if registers.cpu != stop.cpu:
                if not kernel.in_nmi(registers.cpu):
                    self.restore_at_exit(
                        registers.cpu, registers.save(kernel.config.hypervisor, "nmi"), "nmi"
                    )
                self._disable(registers)
            kernel.journal.mark(registers.cpu, "kgdb stop")
        return stop

    def restore_at_exit(self, cpu: int, saved: int, cause: Cause) -> None:
        """The exception that a CPU is in saved this DR7 at its entry, and will put it back."""
        self._at_exit.append((self._kernel.cpus[cpu], saved, cause))

    def _disable(self, registers: CpuRegisters) -> None:
        """kgdb_disable_hw_debug. Uninstalling one writes DR7 from the kernel's copy, so others' bits come back on."""
        registers.leave_guest(registers.cpu)
        registers.write(7, dr.DR7_BASE, "kgdb")
        with registers.because("kgdb"):
            for info in self.breakinfo:
                if info.enabled and not (event := info.events[registers.cpu]).attr.disabled:
                    registers.uninstall(event)
                    event.set_disabled(True)
        registers.on_change(registers)

    def _correct(self, registers: CpuRegisters) -> None:
        """kgdb_correct_hw_break: what is set and not in a register goes into one; then everybody's are reloaded."""
        with registers.because("kgdb"):
            for info in self.breakinfo:
                if not info.enabled or not (event := info.events[registers.cpu]).attr.disabled:
                    continue
                event.hardware = Hardware(info.address, info.length, info.type)
                event.attr = event.attr.changed(
                    bp_addr=info.address, bp_len=_LENGTHS[info.length], bp_type=info.code
                )
                if registers.install(event):
                    event.set_disabled(False)
        registers.restore("restore")

    def resume(self) -> None:
        """`c`: every CPU goes on, and leaves the exception that it was stopped in (EAGAIN)."""
        self._need(stopped=True)
        for registers in self._kernel.cpus:
            self._correct(registers)
        at_exit, self._at_exit = self._at_exit, []
        for registers, saved, cause in at_exit:
            registers.restore_saved(saved, cause)
        self.stopped = None
        self._kernel.run_irq_work()
        for registers in self._kernel.cpus:
            self._kernel.journal.mark(registers.cpu, "kgdb resume")

    # -- hits

    def _hit(self, event: PerfEvent, regs: Regs, cpu: int) -> None:
        """kgdb_hw_overflow_handler: a bit of virtual DR6 for each breakpoint that is set, hit or not."""
        bits = sum(1 << index for index, info in enumerate(self.breakinfo) if info.enabled)
        task = self._kernel.current(cpu)
        if task is None:
            self._kernel.idle_dr6[cpu] |= bits
        else:
            task.virtual_dr6 |= bits

    def notified(self, cpu: int, dr6: int, regs: Regs) -> bool:
        """__kgdb_notify for DIE_DEBUG: user mode is none of its business; in the kernel it stops the machine."""
        if not self.connected or regs.user or self.stopped is not None:
            return False
        self._enter(KgdbStop(cpu, "hit", regs.ip))
        return True

    # -- the stub's packets

    def packet(self, text: str) -> str:
        """One packet of gdb's, and the stub's answer; "" is "not supported", as in the protocol (ENODEV, EAGAIN).

        Zt,ADDR,LEN and zt,ADDR,LEN (t: 1 execute, 2 write, 3 read, 4 access; hexadecimal); ? (which removes every
        breakpoint), c, D and k.
        """
        self._need(stopped=True)
        kind = text[:1]
        if kind in ("Z", "z"):
            return self._break(text)
        if kind == "?":
            self.remove_all()
            return "S05"
        if text == "c":
            self.resume()
            return ""
        if text in ("D", "k"):
            self.remove_all()
            self.resume()
            return "OK" if text == "D" else ""
        return ""

    def _break(self, text: str) -> str:
        """gdb_cmd_break."""
        fields = text[1:].split(",")
        if fields[0] not in ("0", "1", "2", "3", "4"):
            return ""
        if len(fields) != 3:
            return "E22"
        try:
            address, length = int(fields[1], 16), int(fields[2], 16)
        except ValueError:
            return "E22"
        if not 0 <= address < 1 << 64 or fields[0] == "0":
            return "E22" if fields[0] != "0" else ""
        kind = int(fields[0])
        done = self.set(kind, address, length) if text[0] == "Z" else self.remove(address)
        return "OK" if done else _ERROR

    def set(self, kind: int, address: int, length: int) -> bool:
        """kgdb_set_hw_break: no alignment is asked for, no address refused. False is -1, whatever the reason; `log` says it."""
        info = next((each for each in self.breakinfo if not each.enabled), None)
        if info is None:
            return self._refuse("all four breakinfo are in use")
        if kind not in _TYPES:
            return self._refuse("x86 has no read watchpoint")
        if kind == 1:
            length = 1
        if length not in _LENGTHS:
            return self._refuse(f"length {length} is not 1, 2, 4 or 8")
        layer = self._kernel.layer
        reserved: list[PerfEvent] = []
        for event in info.events:
            tightest = layer.accounting.tightest(event.cpu, None)
            if not layer.try_reserve(event):
                for each in reserved:
                    layer.try_release(each)
                return self._refuse(
                    f"{layer.lock} is held by {layer.locked_by}" if layer.locked_by else f"ENOSPC: {tightest}"
                )
            reserved.append(event)
        info.enabled, info.address, info.length = True, address, length
        info.type, info.code = _TYPES[kind]
        for event in info.events:
            if event.hardware.address not in (_ARCH_INIT, address):
                layer.renumber(event, self._kernel.new_id())
            event.hardware = Hardware(address, length, info.type)
            event.text = self._kernel.symbol_at(address)
        return True

    def remove(self, address: int) -> bool:
        """kgdb_remove_hw_break: by address alone; length and type do not matter."""
        for info in self.breakinfo:
            if info.enabled and info.address == address:
                if not self._release(info):
                    return self._refuse(
                        f"{self._kernel.layer.lock} is held by {self._kernel.layer.locked_by}"
                    )
                info.enabled = False
                return True
        return self._refuse(f"nothing is set at {address:#x}")

    def _release(self, info: Breakinfo) -> bool:
        """hw_break_release_slot."""
        return all(self._kernel.layer.try_release(event) for event in info.events)

    def remove_all(self) -> None:
        """kgdb_remove_all_hw_break: one that is in a register is only disabled, and stays enabled in breakinfo."""
        assert self.stopped is not None
        registers = self._kernel.cpus[self.stopped.cpu]
        for info in self.breakinfo:
            if not info.enabled:
                continue
            event = info.events[registers.cpu]
            if not event.attr.disabled:
                with registers.because("kgdb"):
                    registers.uninstall(event)
                event.set_disabled(True)
                continue
            if not self._release(info):
                self.log.append(f"KGDB: hw bpt remove failed {info.address:x}")
            info.enabled = False

    def _refuse(self, why: str) -> bool:
        self.log.append(why)
        return False
