"""The KVM owner (arch/x86/kvm/x86.c, vmx/vmx.c, 6.17): modelled from source.

A virtual CPU has a debug-register file of its own. The whole file is swapped when the guest is entered, so no host
slot is reserved; while the host debugs the guest, the guest's settings are kept for it and never reach the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.registers import CpuRegisters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.emulated.kernel.core import Kernel

__all__ = ["DebugExit", "GuestDebug", "GuestDebugException", "Kvm", "Vcpu"]

GuestDebug = Literal["enable", "singlestep", "use_sw_bp", "use_hw_bp", "inject_db", "inject_bp", "blockirq"]
"""KVM_GUESTDBG_*: 1, 2, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000."""
_CONTROL: Final[dict[str, int]] = {
    "enable": 1, "singlestep": 2, "use_sw_bp": 0x10000, "use_hw_bp": 0x20000, "inject_db": 0x40000,
    "inject_bp": 0x80000, "blockirq": 0x100000,
}  # fmt: skip
_ENABLED: Final = 0xFF
_LOW32: Final = 0xFFFF_FFFF


class GuestDebugException(Exception):
    """What a MOV to or from a debug register raises in the guest: "#UD", "#GP(0)" or "#DB"."""


@dataclass(frozen=True, slots=True)
class DebugExit:
    """KVM_EXIT_DEBUG: struct kvm_debug_exit_arch. `pc` is linear; `dr6` in hardware's polarity."""

    exception: int
    pc: int
    dr6: int
    dr7: int


class Vcpu:
    """One virtual CPU: `db`, `dr6`, `dr7` are what the guest sees; `eff_db` and `effective_dr7` what runs it.

    `lazy` is KVM_DEBUGREG_WONT_EXIT: the guest reads and writes the real registers until its next exit. `pending` is
    an exception that waits to be injected. `db_exits` counts exits that a MOV to or from a debug register took.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.db = [0, 0, 0, 0]
        self.eff_db = [0, 0, 0, 0]
        self.dr6 = dr.DR6_BASE
        self.dr7 = dr.DR7_BASE
        self.guest_debug = 0
        self.host_dr7 = 0
        self.cr4_de = False
        self.lazy = False
        self.pending = False
        self.cpu: int | None = None
        self.db_exits = 0
        self.entry_writes = 0
        self.exit_writes = 0

    def flag(self, word: GuestDebug) -> bool:
        """Whether KVM_SET_GUEST_DEBUG asked for this."""
        return bool(self.guest_debug & _CONTROL[word])

    @property
    def host_debugs(self) -> bool:
        """KVM_GUESTDBG_USE_HW_BP: the guest's own settings have no effect."""
        return bool(self.guest_debug & _CONTROL["use_hw_bp"])

    @property
    def effective_dr7(self) -> int:
        """kvm_update_dr7: the host's with USE_HW_BP, else the guest's."""
        return self.host_dr7 if self.host_debugs else self.dr7

    @property
    def bp_enabled(self) -> bool:
        """KVM_DEBUGREG_BP_ENABLED."""
        return bool(self.effective_dr7 & _ENABLED)


class Kvm:
    """Virtual CPUs, and what entering and leaving them does to the real registers."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.vcpus: dict[str, Vcpu] = {}

    def create(self, name: str) -> Vcpu:
        """KVM_CREATE_VCPU (EEXIST)."""
        if name in self.vcpus:
            raise HwbpError(f"there is a virtual CPU {name} already", errno="EEXIST")
        vcpu = self.vcpus[name] = Vcpu(name)
        return vcpu

    def find(self, name: str) -> Vcpu:
        """By name (ENOENT)."""
        if name not in self.vcpus:
            raise HwbpError(f"no virtual CPU '{name}'", errno="ENOENT", remedy="`kvm create NAME` makes one")
        return self.vcpus[name]

    def set_guest_debug(self, vcpu: Vcpu, words: Sequence[GuestDebug], debugreg: Sequence[int] = ()) -> None:
        """KVM_SET_GUEST_DEBUG: `words` make the control, `debugreg` are DR0-DR3 and then DR7 (EBUSY, EINVAL).

        Nothing is asked of the host's users, and no host slot is taken. Without "enable" everything is off. The ioctl waits
        until the virtual CPU is out of the guest.
        """
        unknown = [word for word in words if word not in _CONTROL]
        if unknown or len(debugreg) not in (0, 5):
            raise HwbpError(
                f"KVM_SET_GUEST_DEBUG: '{unknown[0]}' is no control"
                if unknown
                else "DR0-DR3 and DR7 are expected",
                errno="EINVAL",
            )
        control = sum(_CONTROL[word] for word in set(words))
        if control & (_CONTROL["inject_db"] | _CONTROL["inject_bp"]):
            if vcpu.pending:
                raise HwbpError("an exception waits to be injected already", errno="EBUSY")
            vcpu.pending = True
        if vcpu.cpu is not None:
            self.leave(vcpu)
        vcpu.guest_debug = control if control & _CONTROL["enable"] else 0
        registers = tuple(debugreg) or (0, 0, 0, 0, 0)
        if vcpu.host_debugs:
            vcpu.eff_db = list(registers[:4])
            vcpu.host_dr7 = registers[4]
        else:
            vcpu.eff_db = list(vcpu.db)

    # -- the guest's MOV to and from debug registers

    def guest_access(
        self, vcpu: Vcpu, register: int, value: int | None = None, cpl: int = 0
    ) -> int | DebugExit:
        """handle_dr: MOV to (`value`) or from DR `register` in the guest: the value, or an exit to user space.

        Any other access of a running guest is an exit, and what it changed is loaded at the entry that follows.

        In the guest it raises #UD (DR4, DR5 with CR4.DE), #GP(0) (CPL above 0; upper half of DR6 or DR7), or #DB (DR7.GD).
        Where nobody debugs it, the first access makes the guest own the real registers until its next exit.
        """
        if register in (4, 5) and vcpu.cr4_de:
            raise GuestDebugException("#UD")
        register += 2 * (register in (4, 5))
        if cpl > 0:
            raise GuestDebugException("#GP(0)")
        if vcpu.dr7 & dr.DR7_GD:
            if vcpu.host_debugs:
                return DebugExit(1, 0, dr.DR6_BASE | dr.DR6_BD, vcpu.dr7)
            vcpu.dr6 |= dr.DR6_BD
            vcpu.dr7 &= ~dr.DR7_GD
            self._enter_with_dr7(vcpu)
            raise GuestDebugException("#DB")
        if not vcpu.lazy:
            vcpu.db_exits += 1
            if not vcpu.guest_debug and vcpu.cpu is not None:
                vcpu.lazy = True
                self._load(vcpu, self._kernel.cpus[vcpu.cpu])
                self._enter_with_dr7(vcpu)
        if value is None:
            return vcpu.db[register] if register < 4 else (vcpu.dr6 if register == 6 else vcpu.dr7)
        if register >= 6 and value >> 32:
            raise GuestDebugException("#GP(0)")
        cpu = vcpu.cpu
        if cpu is not None and not vcpu.lazy:
            self.leave(vcpu)
            self._set(vcpu, register, value)
            self.enter(vcpu, cpu)
            return value
        self._set(vcpu, register, value)
        if cpu is not None:  # its own MOV, on the real register
            self._kernel.cpus[cpu].unit.write(register, value & _LOW32 if register > 3 else value)
        return value

    def _set(self, vcpu: Vcpu, register: int, value: int) -> None:
        """kvm_set_dr: the guest always sees what it wrote; it has an effect only without USE_HW_BP."""
        if register < 4:
            vcpu.db[register] = value
            if not vcpu.host_debugs:
                vcpu.eff_db[register] = value
        elif register == 6:
            vcpu.dr6 = dr.dr6_written(value & _LOW32)
        else:
            vcpu.dr7 = dr.dr7_written(value & _LOW32)

    def debug_exception(self, vcpu: Vcpu, dr6: int, pc: int) -> DebugExit | None:
        """A #DB in the guest: user space's with singlestep or use_hw_bp, else the guest's own (None)."""
        if vcpu.guest_debug & (_CONTROL["singlestep"] | _CONTROL["use_hw_bp"]):
            return DebugExit(1, pc, dr6 | dr.DR6_BASE, vcpu.effective_dr7)
        vcpu.dr6 = vcpu.dr6 & ~0xF | dr6 & ~dr.DR6_BASE | dr.DR6_BASE
        vcpu.dr7 &= ~dr.DR7_GD
        self._enter_with_dr7(vcpu)
        return None

    # -- entering and leaving

    def _load(self, vcpu: Vcpu, registers: CpuRegisters) -> None:
        registers.write(7, dr.DR7_BASE, "guest", "kvm")
        for slot, address in enumerate(vcpu.eff_db):
            registers.write(slot, address, "guest", "kvm")
        if vcpu.lazy:
            registers.write(6, vcpu.dr6, "guest", "kvm")

    def _enter_with_dr7(self, vcpu: Vcpu) -> None:
        """The entry itself loads DR7 from the VMCS: no MOV, so nothing is counted."""
        if vcpu.cpu is not None:
            registers = self._kernel.cpus[vcpu.cpu]
            registers.unit.dr7 = dr.dr7_written(vcpu.effective_dr7 & _LOW32)
            registers.on_change(registers)

    def enter(self, vcpu: Vcpu, cpu: int) -> int:
        """vcpu_enter_guest up to the entry. Returns the register writes that it took (EBUSY).

        With breakpoints of the guest's or of its debugger, five; else one where the host has any, so that those stay
        silent in the guest; else none. The guest's DR7 itself is in the VMCS, and the entry loads it.
        """
        if vcpu.cpu is not None or self.guest_on(cpu) is not None:
            raise HwbpError(f"{vcpu.name} or CPU {cpu} is in a guest already", errno="EBUSY")
        registers = self._kernel.cpus[cpu]
        before = registers.writes
        if vcpu.bp_enabled or vcpu.lazy:
            self._load(vcpu, registers)
        elif registers.active:
            registers.write(7, dr.DR7_BASE, "guest", "kvm")
        vcpu.cpu = cpu
        self._enter_with_dr7(vcpu)
        vcpu.entry_writes = registers.writes - before
        self._kernel.journal.mark(cpu, "guest entry")
        return vcpu.entry_writes

    def leave(self, vcpu: Vcpu) -> int:
        """The exit: DR7 is off by itself; the guest's changes are kept; the host's registers come back only if it has any.

        Returns the register writes (EINVAL outside of the guest). A host without breakpoints keeps the guest's
        addresses in DR0-DR3, which nothing enables.
        """
        if vcpu.cpu is None:
            raise HwbpError(f"{vcpu.name} is not in the guest", errno="EINVAL")
        registers = self._kernel.cpus[vcpu.cpu]
        before = registers.writes
        registers.unit.dr7 = dr.DR7_BASE
        vcpu.lazy = False
        if registers.active:
            registers.restore("restore")
        else:
            registers.on_change(registers)
        self._kernel.journal.mark(vcpu.cpu, "guest exit")
        vcpu.cpu = None
        vcpu.exit_writes = registers.writes - before
        return vcpu.exit_writes

    def kick(self, cpu: int) -> None:
        """An IPI, an NMI or a context switch takes a CPU out of its guest; `enter` goes back."""
        vcpu = self.guest_on(cpu)
        if vcpu is not None:
            self.leave(vcpu)

    def guest_on(self, cpu: int) -> Vcpu | None:
        """The virtual CPU that runs on a CPU now."""
        return next((vcpu for vcpu in self.vcpus.values() if vcpu.cpu == cpu), None)
