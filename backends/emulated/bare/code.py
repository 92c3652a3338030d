"""Decoded instructions by address, and how far from an address the engine may run by itself.

Nothing runs that was not decoded: what the engine would run silently or wrongly is recognised here. Pages that code was
decoded from are made read-only for the program, so that a program that rewrites its own code is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import iced_x86 as ic

from backends.emulated.bare.faults import GP, PF, UD, GuestFault
from backends.emulated.decode import Decoded, decode
from backends.emulated.division import DIVISIONS
from backends.emulated.engine import EXEC, READ, WRITE, Engine, EngineError
from backends.emulated.x87.instructions import MNEMONICS

__all__ = ["CodeCache", "Stretch"]

_M = ic.Mnemonic
_OURS: Final = frozenset({
    *(_M.INT, _M.INT1, _M.INT3, _M.INTO, _M.IRET, _M.IRETD, _M.IRETQ, _M.RETF, _M.SYSCALL, _M.SYSRET),
    *(_M.SYSRETQ, _M.SYSENTER, _M.SYSEXIT, _M.SYSEXITQ, _M.PUSHF, _M.PUSHFQ, _M.POPF, _M.POPFQ, _M.CLI, _M.STI),
    *(_M.HLT, _M.IN, _M.OUT, _M.INSB, _M.INSW, _M.INSD, _M.OUTSB, _M.OUTSW, _M.OUTSD, _M.LGDT, _M.LIDT, _M.SGDT),
    *(_M.SIDT, _M.LLDT, _M.SLDT, _M.LTR, _M.STR, _M.LMSW, _M.SMSW, _M.CLTS, _M.INVD, _M.WBINVD, _M.INVLPG),
    *(_M.RDMSR, _M.WRMSR, _M.RDPMC, _M.SWAPGS, _M.XSETBV, _M.XGETBV, _M.CPUID, _M.RDTSC, _M.RDTSCP, _M.MONITOR),
    *(_M.MWAIT, _M.LAR, _M.LSL, _M.VERR, _M.VERW, _M.CLAC, _M.STAC, _M.LSS, _M.LFS, _M.LGS, _M.UD0, _M.UD1, _M.UD2),
    *(_M.INVALID, _M.RDFSBASE, _M.RDGSBASE, _M.WRFSBASE, _M.WRGSBASE, _M.CLFLUSH, _M.CLFLUSHOPT, _M.CLWB, _M.INVPCID),
    *(_M.RSM, _M.GETSEC, _M.VMCALL, _M.VMMCALL, _M.SMSW, *DIVISIONS),
})  # fmt: skip
"""Never left to the engine (besides moves of segment, control and debug registers, far branches and string instructions)."""
_FAR: Final = {
    code
    for name in dir(ic.Code)
    if name.startswith(("JMP_PTR", "CALL_PTR", "JMP_M16", "CALL_M16"))
    and isinstance(code := getattr(ic.Code, name), int)
}
_ENDS: Final = {
    ic.FlowControl.UNCONDITIONAL_BRANCH,
    ic.FlowControl.CONDITIONAL_BRANCH,
    ic.FlowControl.INDIRECT_BRANCH,
    ic.FlowControl.CALL,
    ic.FlowControl.INDIRECT_CALL,
    ic.FlowControl.RETURN,
}
_LONGEST_STRETCH: Final = 64
_MOST_DECODED: Final = 1 << 18
_PAGE: Final = 4096


class Stretch:
    """What follows an address: `plain` instructions that the engine may run in one go, up to and with a branch, of which
    the first `quiet` touch no memory. `addresses` are those of the plain ones."""

    __slots__ = ("addresses", "plain", "quiet")

    def __init__(self, addresses: list[int], quiet: int) -> None:
        self.addresses = addresses
        self.plain = len(addresses)
        self.quiet = quiet


class Instruction(Decoded):
    """A decoded instruction, and whether it is `ours` to run."""

    __slots__ = ("fault", "ours")

    def __init__(
        self, instruction: ic.Instruction, accesses: Callable[[], tuple[tuple[int, int, int], ...]]
    ) -> None:
        super().__init__(instruction, accesses)
        self.fault: GuestFault | None = None
        self.ours = (
            self.mnemonic in _OURS
            or self.touches_system_register
            or _touches_segment(instruction)
            or instruction.code in _FAR
            or self.is_string
            or self.mnemonic in MNEMONICS
            or (self.mnemonic == _M.POP and instruction.op0_kind == ic.OpKind.MEMORY)
            or instruction.encoding != ic.EncodingKind.LEGACY
        )


def _touches_segment(instruction: ic.Instruction) -> bool:
    return instruction.mnemonic in (_M.MOV, _M.PUSH, _M.POP) and any(
        ic.RegisterExt.is_segment_register(register)
        for register in (instruction.op0_register, instruction.op1_register)
    )


class CodeCache:
    """Instructions by address. `pages` are those that code was decoded from."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._instructions: dict[int, Instruction] = {}
        self._stretches: dict[int, Stretch] = {}
        self._stops: Collection[int] = ()
        self.pages: set[int] = set()

    def stop_before(self, addresses: Collection[int]) -> None:
        """No stretch goes past these: execute slots, and where a debugger's step ends."""
        if self._stops or addresses:
            self._stretches.clear()
        self._stops = addresses

    def at(self, pc: int) -> Instruction:
        """The instruction at pc. Raises GuestFault where none can be fetched."""
        found = self._instructions.get(pc)
        if found is None:
            found = self._decode(pc)
        return found

    def stretch(self, pc: int) -> Stretch:
        """How far the engine may run from here. An instruction that cannot be fetched ends it."""
        found = self._stretches.get(pc)
        if found is None:
            found = self._stretches[pc] = self._measure(pc)
        return found

    def _measure(self, pc: int) -> Stretch:
        addresses: list[int] = []
        quiet, counting = 0, True
        at = pc
        while len(addresses) < _LONGEST_STRETCH and at not in self._stops:
            try:
                instruction = self.at(at)
            except GuestFault:
                break
            if instruction.ours:
                break
            addresses.append(at)
            counting = counting and not instruction.touches_memory
            quiet += counting
            if instruction.instruction.flow_control in _ENDS:
                break
            at += instruction.length
        return Stretch(addresses, quiet)

    def _decode(self, pc: int) -> Instruction:
        data = self._fetch(pc)
        if len(self._instructions) >= _MOST_DECODED:
            self._instructions.clear()
            self._stretches.clear()
        found = decode(data, pc, lambda name: self._engine.read_register(name), Instruction)
        if found.mnemonic == _M.INVALID:
            # Fifteen bytes that are prefixes and no end: too long (SDM 2A 2.3.11). Fewer: the rest is not there.
            if len(data) < 15 and _unfinished(data, pc):
                raise GuestFault(
                    PF, 0x10, address=pc + len(data), why=f"nothing is mapped at {pc + len(data):#x}"
                )
            too_long = found.length == 15  # the decoder gives up there
            found.fault = (
                GuestFault(GP, 0, why="longer than 15 bytes") if too_long else GuestFault(UD, why="undefined")
            )
        self._instructions[pc] = found
        for page in {pc & -_PAGE, pc + max(found.length, 1) - 1 & -_PAGE} - self.pages:
            self.pages.add(page)
            self._engine.protect(page, _PAGE, READ | EXEC)
        return found

    def _fetch(self, pc: int) -> bytes:
        if pc >> 47 not in (0, 0x1FFFF):
            raise GuestFault(GP, 0, why=f"{pc:#x} is not canonical")
        for size in (15, _PAGE - pc % _PAGE):
            try:
                return self._engine.read(pc, min(size, 15))
            except EngineError:
                continue
        raise GuestFault(PF, 0x10, address=pc, why=f"nothing is mapped at {pc:#x}")

    def overlaps(self, address: int, size: int) -> bool:
        """Whether a decoded instruction has one of these bytes."""
        known = self._instructions
        return any(
            at in known and at + max(known[at].length, 1) > address
            for at in range(address - 14, address + size)
        )

    def open_pages(self, address: int, size: int) -> list[int]:
        """Let these bytes be written, code in the same page or not; returns what `close_pages` closes again."""
        pages = [page for page in {address & -_PAGE, address + size - 1 & -_PAGE} if page in self.pages]
        for page in pages:
            self._engine.protect(page, _PAGE, READ | WRITE | EXEC)
        return pages

    def close_pages(self, pages: list[int]) -> None:
        """Take that back."""
        for page in pages:
            self._engine.protect(page, _PAGE, READ | EXEC)


def _unfinished(data: bytes, pc: int) -> bool:
    decoder = ic.Decoder(64, data, ip=pc)
    decoder.decode()
    return bool(decoder.last_error == ic.DecoderError.NO_MORE_BYTES)
