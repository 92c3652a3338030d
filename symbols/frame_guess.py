"""A caller's frame where no unwind rule says anything: what the function's code has done to the stack so far.

As gdb's prologue analysis (amd64-tdep.c) goes, but a guess counts only if the word found is a return address: it lies
in executable memory, right behind a call.
"""

from __future__ import annotations

from collections.abc import Callable

from iced_x86 import Code, Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

from symbols.dataclass import dataclass
from symbols.space import AddressSpace

__all__ = ["Guesser", "Shape"]

FUNCTION_LIMIT = 1 << 16  # bytes of a function that are looked at
CACHE_LIMIT = 1 << 16
_TRAMPOLINES = (b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05", b"\xb8\x0f\0\0\0\x0f\x05")
"""mov rax, 15; syscall: rt_sigreturn, where the kernel makes a signal handler return to."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The stack of a function at one pc: the return address is at `base` + `offset`.

    `saved_bp` is where the caller's rbp is, counted from the same register; None: still in rbp.
    """

    by_bp: bool
    offset: int
    saved_bp: int | None


class Guesser:
    """Shapes by pc and return addresses, cached. `code(address, size)` gives fewer bytes where memory ends."""

    def __init__(self, space: AddressSpace, code: Callable[[int, int], bytes]) -> None:
        self._space = space
        self._code = code
        self._returns: dict[int, bool] = {}
        self._shapes: dict[int, Shape | None] = {}

    def returns_to(self, address: int) -> bool:
        """Whether an address lies in executable memory right behind a call, or is a signal trampoline."""
        known = self._returns.get(address)
        if known is None:
            if len(self._returns) >= CACHE_LIMIT:
                self._returns.clear()
            known = self._space.executable(address) and (
                _after_call(self._code(address - 7, 7)) or self._code(address, 9).startswith(_TRAMPOLINES)
            )
            self._returns[address] = known
        return known

    def shape(self, pc: int, function: int | None) -> Shape | None:
        """What the code from the function's start to pc has done; None where the start is unknown or too far."""
        if pc not in self._shapes:
            if len(self._shapes) >= CACHE_LIMIT:
                self._shapes.clear()
            self._shapes[pc] = self._analyse(pc, function)
        return self._shapes[pc]

    def _analyse(self, pc: int, function: int | None) -> Shape | None:
        if self._code(pc, 1) == b"\xc3":
            return Shape(False, 0, None)
        if function is None or not 0 <= pc - function <= FUNCTION_LIMIT:
            return None
        code = self._code(function, pc - function)
        if len(code) != pc - function:
            return None
        depth = deepest = 0
        saved: int | None = None  # depth at which the caller's rbp lies
        frame: int | None = None  # depth at which rbp points
        for insn in Decoder(64, code, ip=function):
            if insn.code == Code.INVALID:
                return None
            if insn.mnemonic == Mnemonic.LEAVE:
                depth, frame = (frame if frame is not None else depth) - 8, None
            elif insn.mnemonic == Mnemonic.PUSH:
                depth += 8
                if insn.op0_kind == OpKind.REGISTER and insn.op0_register == Register.RBP and saved is None:
                    saved = depth
            elif insn.mnemonic == Mnemonic.POP:
                depth -= 8
                if insn.op0_register == Register.RBP:
                    frame = None
            elif insn.mnemonic == Mnemonic.MOV and insn.op0_register == Register.RBP:
                frame = (
                    depth if insn.op1_register == Register.RSP and insn.op1_kind == OpKind.REGISTER else None
                )
            elif (
                insn.op_count == 2 and insn.op0_kind == OpKind.REGISTER and insn.op0_register == Register.RSP
            ):
                depth += _moved(insn)
            elif insn.flow_control in (FlowControl.RETURN, FlowControl.UNCONDITIONAL_BRANCH):
                depth, frame = (
                    deepest,
                    (saved if frame is None and saved is not None and deepest == saved else frame),
                )
            deepest = max(depth, deepest)
        if frame is not None:
            return Shape(True, frame, frame - saved if saved is not None else None)
        return Shape(False, depth, depth - saved if saved is not None and saved <= depth else None)


def _moved(insn: Instruction) -> int:
    """How far an instruction on rsp itself lowers it, where it says so."""
    mnemonic = insn.mnemonic
    immediate = insn.op1_kind in (OpKind.IMMEDIATE8TO64, OpKind.IMMEDIATE32TO64)
    if immediate and mnemonic in (Mnemonic.SUB, Mnemonic.ADD):
        value = int(insn.immediate(1))
        value -= (1 << 64) if value >> 63 else 0
        return value if mnemonic == Mnemonic.SUB else -value
    return 0


def _after_call(before: bytes) -> bool:
    """Whether these bytes end in a call: E8 rel32, or FF /2 with any of its address forms."""
    if len(before) >= 5 and before[-5] == 0xE8:
        return True
    for size in (2, 3, 4, 6, 7):
        if len(before) >= size and before[-size] == 0xFF and before[1 - size] & 0x38 == 0x10:
            mod, rm = before[1 - size] >> 6, before[1 - size] & 7
            sib = 1 if mod != 3 and rm == 4 else 0
            base5 = bool(sib) and size > 2 and before[2 - size] & 7 == 5
            shift = {0: 4 if rm == 5 or base5 else 0, 1: 1, 2: 4, 3: 0}[mod]
            if 2 + sib + shift == size:
                return True
    return False
