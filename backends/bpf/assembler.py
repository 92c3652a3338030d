"""An assembler of BPF instructions: as many of them as the programs of this project use.

The encoding is the kernel's (Documentation/bpf/standardization/instruction-set.rst): 8 bytes an instruction, opcode,
destination in the low and source in the high half of the second byte, a 16-bit offset, a 32-bit immediate. Registers are
numbers from 0 to 10: r0 is the return value, r1 to r5 are arguments and lost over a call, r6 to r9 are kept, r10 is the
read-only frame pointer with 512 bytes of stack below it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, Self

__all__ = ["Assembler", "Helper"]


class Helper(IntEnum):
    """Numbers of helper functions (include/uapi/linux/bpf.h, ___BPF_FUNC_MAPPER)."""

    MAP_LOOKUP_ELEM = 1
    KTIME_GET_NS = 5
    GET_SMP_PROCESSOR_ID = 8
    GET_CURRENT_PID_TGID = 14
    GET_CURRENT_COMM = 16
    GET_CURRENT_TASK = 35
    PROBE_READ_USER = 112
    PROBE_READ_KERNEL = 113
    SEND_SIGNAL_THREAD = 117
    GET_NS_CURRENT_PID_TGID = 120
    RINGBUF_RESERVE = 131
    RINGBUF_SUBMIT = 132


_PSEUDO_MAP_FD: Final = 1
_PSEUDO_MAP_VALUE: Final = 2
_PSEUDO_KFUNC_CALL: Final = 2
_SIZES: Final = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_JUMPS: Final = {
    "==": 0x10,
    "!=": 0x50,
    ">": 0x20,
    ">=": 0x30,
    "<": 0xA0,
    "<=": 0xB0,
    "&": 0x40,
    "s>": 0x60,
    "s>=": 0x70,
    "s<": 0xC0,
    "s<=": 0xD0,
}
_ALU: Final = {
    "+=": 0x00,
    "-=": 0x10,
    "*=": 0x20,
    "/=": 0x30,
    "|=": 0x40,
    "&=": 0x50,
    "<<=": 0x60,
    ">>=": 0x70,
    "%=": 0x90,
    "^=": 0xA0,
    "=": 0xB0,
    "s>>=": 0xC0,
}


class Assembler:
    """Collects instructions and labels; `code()` is what BPF_PROG_LOAD takes.

    Methods return the assembler itself, so short sequences read as one line. A jump may go to a label that is placed
    later; a name may be placed once.
    """

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, int, int, int, str | None]] = []
        self._labels: dict[str, int] = {}
        self._fresh = 0

    def __len__(self) -> int:
        return len(self._instructions)

    def _emit(
        self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0, label: str | None = None
    ) -> Self:
        if not (0 <= dst <= 10 and 0 <= src <= 10):
            raise ValueError(f"no register r{dst if not 0 <= dst <= 10 else src}")
        if not -(1 << 31) <= imm < 1 << 32:
            raise ValueError(f"immediate {imm:#x} does not fit 32 bits")
        self._instructions.append((opcode, dst, src, off, imm, label))
        return self

    def fresh(self, stem: str) -> str:
        """A label's name that nothing else uses."""
        self._fresh += 1
        return f"{stem}.{self._fresh}"

    def label(self, name: str) -> Self:
        """Place a label before the next instruction."""
        if name in self._labels:
            raise ValueError(f"label {name!r} is placed twice")
        self._labels[name] = len(self._instructions)
        return self

    # Registers

    def move(self, dst: int, src: int) -> Self:
        """rDST = rSRC."""
        return self._emit(0xBF, dst, src)

    def set(self, dst: int, value: int) -> Self:
        """rDST = value; any 64-bit value, signed or not. Values that fit 32 signed bits take one instruction."""
        if -(1 << 31) <= value < 1 << 31:
            return self._emit(0xB7, dst, imm=value)
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"{value:#x} does not fit 64 bits")
        return self._wide(dst, 0, value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)

    def _wide(self, dst: int, src: int, low: int, high: int) -> Self:
        self._emit(0x18, dst, src, imm=low)
        return self._emit(0, imm=high)

    def alu(self, dst: int, operator: str, value: int) -> Self:
        """rDST OPERATOR value, in 64 bits; `value` is sign-extended from 32 (`alu(1, "+=", -8)`)."""
        return self._emit(0x07 | _ALU[operator], dst, imm=value)

    def alu_register(self, dst: int, operator: str, src: int) -> Self:
        """rDST OPERATOR rSRC, in 64 bits."""
        return self._emit(0x0F | _ALU[operator], dst, src)

    def map_fd(self, dst: int, fd: int) -> Self:
        """rDST = the map behind a descriptor."""
        return self._wide(dst, _PSEUDO_MAP_FD, fd, 0)

    def map_value(self, dst: int, fd: int, offset: int = 0) -> Self:
        """rDST = address of byte `offset` in the first value of an array map."""
        return self._wide(dst, _PSEUDO_MAP_VALUE, fd, offset)

    # Memory

    def load(self, dst: int, base: int, offset: int, size: int = 8) -> Self:
        """rDST = `size` bytes at rBASE+offset, zero-extended."""
        return self._emit(0x61 | _SIZES[size], dst, base, offset)

    def store(self, base: int, offset: int, src: int, size: int = 8) -> Self:
        """`size` bytes at rBASE+offset = rSRC."""
        return self._emit(0x63 | _SIZES[size], base, src, offset)

    def store_value(self, base: int, offset: int, value: int, size: int = 8) -> Self:
        """`size` bytes at rBASE+offset = value, which is sign-extended from 32 bits."""
        return self._emit(0x62 | _SIZES[size], base, off=offset, imm=value)

    def atomic_add(self, base: int, offset: int, src: int) -> Self:
        """The 64-bit word at rBASE+offset += rSRC, atomically."""
        return self._emit(0xDB, base, src, offset, 0x00)

    def fetch_add(self, base: int, offset: int, src: int) -> Self:
        """rSRC = the 64-bit word at rBASE+offset, to which the old rSRC is added, atomically."""
        return self._emit(0xDB, base, src, offset, 0x01)

    def exchange(self, base: int, offset: int, src: int) -> Self:
        """rSRC = the 64-bit word at rBASE+offset, where the old rSRC is now, atomically."""
        return self._emit(0xDB, base, src, offset, 0xE1)

    def compare_exchange(self, base: int, offset: int, src: int) -> Self:
        """If the 64-bit word at rBASE+offset equals r0 it becomes rSRC; r0 = what it was; atomically."""
        return self._emit(0xDB, base, src, offset, 0xF1)

    # Flow

    def jump(self, label: str) -> Self:
        """Go to a label."""
        return self._emit(0x05, label=label)

    def jump_if(self, dst: int, condition: str, value: int, label: str) -> Self:
        """Go to a label if rDST CONDITION value (64 bits; the value is sign-extended from 32)."""
        return self._emit(0x05 | _JUMPS[condition], dst, imm=value, label=label)

    def jump_if_register(self, dst: int, condition: str, src: int, label: str) -> Self:
        """Go to a label if rDST CONDITION rSRC, in 64 bits."""
        return self._emit(0x0D | _JUMPS[condition], dst, src, label=label)

    def call(self, helper: Helper) -> Self:
        """Call a helper."""
        return self._emit(0x85, imm=int(helper))

    def call_kfunc(self, btf_id: int) -> Self:
        """Call a kernel function by its id in the kernel's BTF."""
        return self._emit(0x85, 0, _PSEUDO_KFUNC_CALL, imm=btf_id)

    def leave(self, value: int | None = None) -> Self:
        """Exit; with a value, return it."""
        if value is not None:
            self.set(0, value)
        return self._emit(0x95)

    def code(self) -> bytes:
        """The program. Raises ValueError for a jump to a label that is not placed or too far."""
        out = bytearray()
        for at, (opcode, dst, src, off, imm, label) in enumerate(self._instructions):
            if label is not None:
                if label not in self._labels:
                    raise ValueError(f"label {label!r} is not placed")
                off = self._labels[label] - at - 1
            if not -(1 << 15) <= off < 1 << 15:
                raise ValueError(f"offset {off} does not fit 16 bits")
            out += struct.pack("<BBhI", opcode, dst | src << 4, off, imm & 0xFFFFFFFF)
        return bytes(out)
