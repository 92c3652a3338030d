"""Guest code that a virtual CPU runs under guest debug: what KVM's own selftest does (selftests/kvm/x86/debug_regs.c).

Instructions are walked through, not executed: what matters is where each begins and ends, which debug register it
matches, and who gets the #DB. General registers are not kept, so memory operands are absolute or relative to RIP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends import dr
from backends.base import HwbpError
from backends.emulated.decode import Decoded, decode
from backends.emulated.kernel.kvm import DebugExit, GuestDebugException

if TYPE_CHECKING:
    from backends.emulated.kernel.kvm import Kvm, Vcpu

__all__ = ["GuestCode", "GuestRun"]

_M = ic.Mnemonic
_LONGEST: Final = 15
_MOST_CODE: Final = 4096
_MOST_STEPS: Final = 100_000
_KINDS: Final = {1: ("r",), 2: ("w",), 3: ("w",)}
_JUMPS: Final = frozenset(
    {
        ic.FlowControl.UNCONDITIONAL_BRANCH,
        ic.FlowControl.CONDITIONAL_BRANCH,
        ic.FlowControl.INDIRECT_BRANCH,
        ic.FlowControl.CALL,
        ic.FlowControl.INDIRECT_CALL,
        ic.FlowControl.RETURN,
    }
)


@dataclass(frozen=True, slots=True)
class GuestRun:
    """Why KVM_RUN came back: a debug exit, an interrupt that the guest takes at `pc`, or the end of its code."""

    exit: DebugExit | None
    pc: int
    interrupt: bool = False
    guest_exceptions: int = 0
    """#DB and #BP that the guest got for itself on the way."""


@dataclass(slots=True)
class GuestCode:
    """What a virtual CPU will run: `code` from `start`. `pending` is an interrupt that waits; `enabled` is RFLAGS.IF."""

    start: int = 0
    code: bytes = b""
    pc: int = 0
    pending: bool = False
    enabled: bool = False
    resume: int = -1
    shadow: bool = False

    def load(self, start: int, code: bytes) -> None:
        """Put code there, and stand before it (EINVAL for none, or too much)."""
        if not 0 < len(code) <= _MOST_CODE or not 0 <= start < (1 << 64) - _MOST_CODE:
            raise HwbpError(f"{len(code)} bytes of guest code: between 1 and {_MOST_CODE}", errno="EINVAL")
        self.start, self.code, self.pc = start, bytes(code), start
        self.resume, self.shadow = -1, False

    def _decode(self) -> Decoded | None:
        at = self.pc - self.start
        if not 0 <= at < len(self.code):
            return None
        decoded = decode(self.code[at : at + _LONGEST], self.pc, lambda _register: 0)
        instruction = decoded.instruction
        if instruction.flow_control in _JUMPS:
            raise HwbpError(f"{instruction}: guest code here goes straight on", errno="EOPNOTSUPP")
        for memory in range(instruction.op_count):
            if instruction.op_kind(memory) == ic.OpKind.MEMORY and (
                instruction.memory_base not in (ic.Register.NONE, ic.Register.RIP)
                or instruction.memory_index != ic.Register.NONE
            ):
                raise HwbpError(
                    f"{instruction}: a guest's general registers are not kept", errno="EOPNOTSUPP"
                )
        return decoded

    def run(self, kvm: Kvm, vcpu: Vcpu, cpu: int) -> GuestRun:
        """KVM_RUN on a host CPU, up to the next exit to user space (EBUSY; EOPNOTSUPP for code that cannot be walked through)."""
        if not self.code:
            raise HwbpError(f"{vcpu.name} has no code", errno="EFAULT", remedy="`kvm code` gives it some")
        self._decode()
        kvm.enter(vcpu, cpu)
        guests_own = 0
        try:
            for _ in range(_MOST_STEPS):
                decoded = self._decode()
                if decoded is None:
                    return GuestRun(None, self.pc, guest_exceptions=guests_own)
                if self.pending and self.enabled and not self.shadow and not vcpu.flag("blockirq"):
                    self.pending = False
                    return GuestRun(None, self.pc, True, guests_own)
                left, own = self._one(kvm, vcpu, decoded)
                guests_own += own
                if left is not None:
                    return GuestRun(left, left.pc, guest_exceptions=guests_own)
            raise HwbpError("the guest does not end", errno="ELOOP")
        finally:
            kvm.kick(cpu)

    def _one(self, kvm: Kvm, vcpu: Vcpu, decoded: Decoded) -> tuple[DebugExit | None, int]:
        """One instruction: an exit, or none; and how many exceptions the guest got for itself."""
        pc, instruction = self.pc, decoded.instruction
        hits = _matches(vcpu, pc, 1, "x") if self.resume != pc else 0
        if hits:
            self.resume = pc  # whoever handles it sets RF
            left = kvm.debug_exception(vcpu, dr.DR6_BASE | hits, pc)
            if left is not None:
                return left, 0
            return None, 1
        self.resume = -1
        own = 0
        if decoded.mnemonic == _M.INT3:
            if vcpu.flag("use_sw_bp"):
                self.pc += decoded.length  # the debugger goes on behind it
                return DebugExit(3, pc, 0, 0), 0
            own = 1
        if instruction.op_count == 2 and (register := _debug_register(instruction)) is not None:
            try:
                answer = kvm.guest_access(vcpu, register, None if _reads(instruction) else 0)
            except GuestDebugException:
                return None, 1  # #DB by general detect: its handler lets the MOV run, GD is clear
            if isinstance(answer, DebugExit):
                return DebugExit(1, pc, answer.dr6, answer.dr7), 0
        data = 0
        for address, size, kind in decoded.accesses():
            for word in _KINDS[kind]:
                data |= _matches(vcpu, address, size, word)
        self.shadow = decoded.mnemonic == _M.STI and not self.enabled
        if decoded.mnemonic in (_M.STI, _M.CLI):
            self.enabled = decoded.mnemonic == _M.STI
        self.pc = pc + decoded.length
        step = dr.DR6_BS if vcpu.flag("singlestep") else 0
        if step or data:
            left = kvm.debug_exception(vcpu, dr.DR6_BASE | data | step, self.pc)
            if left is not None:
                return left, own
            own += 1
        return None, own


def _reads(instruction: ic.Instruction) -> bool:
    """mov register, DRn."""
    return ic.Register.DR0 <= instruction.op1_register <= ic.Register.DR7


def _debug_register(instruction: ic.Instruction) -> int | None:
    """The number of the debug register that a MOV names."""
    if instruction.mnemonic != _M.MOV:
        return None
    for register in (instruction.op0_register, instruction.op1_register):
        if ic.Register.DR0 <= register <= ic.Register.DR7:
            number: int = register - ic.Register.DR0
            return number
    return None


def _matches(vcpu: Vcpu, address: int, size: int, kind: str) -> int:
    addresses = (vcpu.eff_db[0], vcpu.eff_db[1], vcpu.eff_db[2], vcpu.eff_db[3])
    return dr.matches(vcpu.effective_dr7 & 0xFFFF_FFFF, addresses, address, size, kind)  # type: ignore[arg-type]
