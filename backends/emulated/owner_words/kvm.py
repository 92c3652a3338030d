"""KVM's words."""

from __future__ import annotations

import re
from collections.abc import Callable

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.guest_code import GuestCode
from backends.emulated.kernel.kvm import DebugExit, GuestDebugException
from backends.emulated.kernel.tasks import Task
from backends.emulated.owner_words.reading import Lines, Reading, number

__all__ = ["KvmWords"]


class KvmWords(Reading):
    """Virtual CPUs. `_codes` is what each will run."""

    def __init__(self, kernel: Kernel, opener: Task, first: Callable[[], Task]) -> None:
        super().__init__(kernel, opener, first)
        self._codes: dict[str, GuestCode] = {}

    def _code(self, name: str) -> GuestCode:
        self._kernel.kvm.find(name)
        return self._codes.setdefault(name, GuestCode())

    def do_code(self, name: str, address: str, *text: str) -> Lines:
        digits = "".join(text)
        if len(digits) % 2 or not re.fullmatch(r"[0-9a-fA-F]+", digits):
            raise HwbpError(f"'{' '.join(text)}': bytes in hexadecimal are expected", errno="EINVAL")
        start = self._address(address)
        self._code(name).load(start, bytes.fromhex(digits))
        yield f"{name} stands at {start:#x}, before {len(digits) // 2} bytes of code"

    def do_interrupt(self, name: str) -> Lines:
        self._code(name).pending = True
        yield f"an interrupt waits for {name}"

    def do_run(self, name: str, cpu: str = "0") -> Lines:
        vcpu = self._kernel.kvm.find(name)
        done = self._code(name).run(self._kernel.kvm, vcpu, self._cpu(cpu))
        if done.guest_exceptions:
            yield f"{name}: {done.guest_exceptions} exception{'s' * (done.guest_exceptions != 1)} of its own, DR6 {vcpu.dr6:#x}"
        if done.exit is not None:
            left = done.exit
            yield f"KVM_EXIT_DEBUG exception {left.exception}, pc {left.pc:#x}, dr6 {left.dr6:#x}, dr7 {left.dr7:#x}"
        else:
            yield f"{name} {'takes its interrupt' if done.interrupt else 'is through its code'} at {done.pc:#x}"

    def do_create(self, name: str) -> Lines:
        self._kernel.kvm.create(name)
        yield f"virtual CPU {name}: DR7 {dr.DR7_BASE:#x}, DR6 {dr.DR6_BASE:#x}"

    def do_guest_debug(self, name: str, *words: str) -> Lines:
        vcpu = self._kernel.kvm.find(name)
        controls = [word for word in words if not word[:1].isdigit() and word not in self._kernel.symbols]
        registers = [self._address(word) for word in words if word not in controls]
        self._kernel.kvm.set_guest_debug(vcpu, controls, registers)  # type: ignore[arg-type]
        yield from self.do_info(name)

    def do_enter(self, name: str, cpu: str = "0") -> Lines:
        where = self._cpu(cpu)
        writes = self._kernel.kvm.enter(self._kernel.kvm.find(name), where)
        yield f"CPU {where} runs {name}: {writes} register write{'s' * (writes != 1)} to enter"
        yield from self._file(where)

    def do_exit(self, name: str) -> Lines:
        vcpu = self._kernel.kvm.find(name)
        cpu = vcpu.cpu
        writes = self._kernel.kvm.leave(vcpu)
        yield f"{name} has left CPU {cpu}: {writes} register write{'s' * (writes != 1)} to come back"
        assert cpu is not None
        yield from self._file(cpu)

    def _file(self, cpu: int) -> Lines:
        unit = self._kernel.cpus[cpu].unit
        addresses = "  ".join(f"DR{n} {value:#x}" for n, value in enumerate(unit.dr))
        yield f"CPU {cpu}: {addresses}  DR7 {unit.dr7:#x}"

    def do_mov(self, name: str, register: str, value: str = "") -> Lines:
        index = number(register.lower().removeprefix("dr"), "a debug register", 7)
        vcpu = self._kernel.kvm.find(name)
        wanted = self._address(value) if value else None
        try:
            result = self._kernel.kvm.guest_access(vcpu, index, wanted)
        except GuestDebugException as error:
            yield f"{name}: DR{index}: {error} in the guest"
            return
        if isinstance(result, DebugExit):
            yield f"{name}: KVM_EXIT_DEBUG exception {result.exception}, dr6 {result.dr6:#x}, dr7 {result.dr7:#x}"
        else:
            yield f"{name}: DR{index} {'=' if value else 'reads'} {result:#x}"

    def do_info(self, name: str = "") -> Lines:
        kvm = self._kernel.kvm
        for vcpu in [kvm.find(name)] if name else list(kvm.vcpus.values()):
            where = f"on CPU {vcpu.cpu}" if vcpu.cpu is not None else "not in the guest"
            whose = "the host's debugger's" if vcpu.host_debugs else "the guest's own"
            guest = " ".join(f"{value:#x}" for value in vcpu.db)
            effective = " ".join(f"{value:#x}" for value in vcpu.eff_db)
            yield f"{vcpu.name}: {where}; in effect: {whose}"
            yield f"  the guest sees  DR0-3 {guest}  DR6 {vcpu.dr6:#x}  DR7 {vcpu.dr7:#x}"
            yield f"  the CPU gets    DR0-3 {effective}  DR7 {vcpu.effective_dr7:#x}"
