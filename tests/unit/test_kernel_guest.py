"""KVM's guest debug on code: tools/testing/selftests/kvm/x86/debug_regs.c, step by step; modelled from source (6.17)."""

from __future__ import annotations

import pytest

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.guest_code import GuestCode, GuestRun
from backends.emulated.kernel.kvm import DebugExit, Kvm, Vcpu


class Guest:
    """Code at 0x1000 of a virtual CPU, on a host of two CPUs."""

    def __init__(self, code: str) -> None:
        self.kernel = Kernel(2)
        self.kvm: Kvm = self.kernel.kvm
        self.vcpu: Vcpu = self.kvm.create("vcpu0")
        self.code = GuestCode()
        self.code.load(0x1000, bytes.fromhex(code))

    def run(self, cpu: int = 0) -> GuestRun:
        """KVM_RUN; the CPU is out of the guest afterwards, its DR7 off or the host's."""
        done = self.code.run(self.kvm, self.vcpu, cpu)
        assert self.vcpu.cpu is None
        assert self.kernel.cpus[cpu].unit.dr7 == dr.DR7_BASE
        return done

    def exit(self, cpu: int = 0) -> DebugExit:
        """A run that ends in KVM_EXIT_DEBUG."""
        left = self.run(cpu).exit
        assert left is not None
        return left


def test_a_software_breakpoint() -> None:
    guest = Guest("90 cc 90")
    guest.kvm.set_guest_debug(guest.vcpu, ("enable", "use_sw_bp"))
    left = guest.exit()
    assert (left.exception, left.pc) == (3, 0x1001)
    assert guest.run() == GuestRun(None, 0x1003)


@pytest.mark.parametrize("slot", range(4))
def test_execute_before_the_instruction_and_data_behind_it(slot: int) -> None:
    guest = Guest("31c0 90 c7042500300000 01000000")
    registers = [0, 0, 0, 0]
    registers[slot] = 0x1002
    guest.kvm.set_guest_debug(guest.vcpu, ("enable", "use_hw_bp"), (*registers, dr.DR7_BASE | 2 << 2 * slot))
    left = guest.exit()
    assert (left.exception, left.pc, left.dr6) == (1, 0x1002, 0xFFFF0FF0 | 1 << slot)
    registers[slot] = 0x3000
    dr7 = 0x400 | 2 << 2 * slot | 0xD << 16 + 4 * slot
    guest.kvm.set_guest_debug(guest.vcpu, ("enable", "use_hw_bp"), (*registers, dr7))
    left = guest.exit(1)
    assert left == DebugExit(1, 0x100E, 0xFFFF0FF0 | 1 << slot, dr7)


@pytest.mark.parametrize("blocked", [True, False])
def test_single_steps_with_an_interrupt_waiting(blocked: bool) -> None:
    """sti, xor, cpuid, mov, wrmsr, cli: one exit each with BS, and the interrupt held back only by blockirq."""
    guest = Guest("fb 31c0 0fa2 b97b000000 0f30 fa")
    guest.code.pending = True
    words = ("enable", "singlestep", "blockirq") if blocked else ("enable", "singlestep")
    guest.kvm.set_guest_debug(guest.vcpu, words, (0, 0, 0, 0, 0x400))  # type: ignore[arg-type]
    pcs = []
    while (left := (done := guest.run()).exit) is not None:
        assert (left.exception, left.dr6) == (1, 0xFFFF4FF0)
        pcs.append(left.pc)
    steps = [0x1001, 0x1003, 0x1005, 0x100A, 0x100C, 0x100D]
    assert pcs == (steps if blocked else steps[:2])
    assert done.interrupt != blocked
    assert guest.code.pending == blocked


def test_general_detect_and_then_nobody_debugs() -> None:
    guest = Guest("90 0f21c0 90")
    guest.kvm.guest_access(guest.vcpu, 7, 0x2400)
    guest.kvm.set_guest_debug(guest.vcpu, ("enable", "use_hw_bp"), (0, 0, 0, 0, 0x2400))
    left = guest.exit()
    assert (left.exception, left.pc, left.dr6) == (1, 0x1001, 0xFFFF2FF0)
    guest.kvm.set_guest_debug(guest.vcpu, ())
    done = guest.run()
    assert (done.exit, done.pc, done.guest_exceptions) == (None, 0x1005, 1)
    assert guest.vcpu.dr6 & dr.DR6_BD, "the #DB was the guest's own"


def test_a_step_onto_a_watched_store_has_both_bits() -> None:
    guest = Guest("c7042500300000 01000000 90")
    guest.kvm.set_guest_debug(guest.vcpu, ("enable", "singlestep", "use_hw_bp"), (0x3000, 0, 0, 0, 0xD0402))
    assert guest.exit().dr6 == 0xFFFF4FF1


@pytest.mark.parametrize("code", ["eb00", "8803", "c3", "e800000000"])
def test_code_that_cannot_be_walked_through_is_refused(code: str) -> None:
    guest = Guest(code)
    with pytest.raises(HwbpError) as caught:
        guest.run()
    assert caught.value.errno == "EOPNOTSUPP"
    assert guest.vcpu.cpu is None


def test_no_code_and_too_much() -> None:
    guest = Guest("90")
    with pytest.raises(HwbpError, match="has no code"):
        GuestCode().run(guest.kvm, guest.vcpu, 0)
    with pytest.raises(HwbpError, match="bytes of guest code"):
        guest.code.load(0, bytes(5000))
