"""Instructions as people read them: capstone, Intel syntax."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from symbols.boundaries import LONGEST, boundaries, function_at
from symbols.dataclass import dataclass
from symbols.space import AddressSpace

__all__ = ["Instruction", "around", "disassemble", "one"]

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. A byte that is none has the mnemonic "(bad)" and size 1."""

    address: int
    size: int
    bytes: bytes
    mnemonic: str
    operands: str

    @property
    def text(self) -> str:
        """`add qword ptr [rdi + 0x18], 1`."""
        return f"{self.mnemonic} {self.operands}" if self.operands else self.mnemonic


@cache
def _capstone(bits: int) -> Any:
    from capstone import CS_ARCH_X86, CS_MODE_32, CS_MODE_64, Cs

    return Cs(CS_ARCH_X86, CS_MODE_64 if bits == 64 else CS_MODE_32)  # Intel syntax is its default


def disassemble(data: bytes, address: int, count: int, bits: int = 64) -> list[Instruction]:
    """At most `count` instructions, of 64 or 32 bits, from the beginning of `data`, which lies at `address`; stops at a
    cut-off one."""
    found: list[Instruction] = []
    at = 0
    while at < len(data) and len(found) < count:
        for start, size, mnemonic, operands in _capstone(bits).disasm_lite(
            data[at:], address + at, count - len(found)
        ):
            found.append(
                Instruction(start, size, data[start - address : start - address + size], mnemonic, operands)
            )
            at = start - address + size
        if at < len(data) and len(found) < count:
            if len(data) - at < LONGEST and found:
                break
            found.append(Instruction(address + at, 1, data[at : at + 1], "(bad)", ""))
            at += 1
    return found


@lru_cache(maxsize=65536)
def one(data: bytes, address: int, bits: int = 64) -> str:
    """The text of the instruction that `data` begins with, "" where it is none. Kept, so give 15 bytes at most."""
    found = disassemble(data, address, 1, bits)
    return found[0].text if found and found[0].mnemonic != "(bad)" else ""


def around(space: AddressSpace, read: Read, address: int, before: int, after: int) -> list[Instruction]:
    """Up to `before` instructions of the same function ahead of `address`, the one at it, and `after` behind it.

    Empty where the address cannot be read; nothing ahead of it where the function's start is not known.
    """
    start = address
    function = function_at(space, address) if before else None
    if function is not None:
        starts = boundaries(_read(read, function[0], address - function[0]), function[0], space.bits)
        place = bisect_right(starts, address) - 1
        if starts[place] == address:
            start = starts[max(0, place - before)]
    code = _read(read, start, address - start + (after + 1) * LONGEST)
    found = disassemble(code, start, before + 1 + after, space.bits)
    ahead = sum(insn.address < address for insn in found)
    return found[: ahead + 1 + after]


def _read(read: Read, address: int, size: int) -> bytes:
    """What can be read, up to the end of a page where memory ends within."""
    for end in (address + size, (address + size) & -4096, (address + 4096) & -4096):
        if address < end <= address + size:
            try:
                if data := read(address, end - address):
                    return bytes(data)
            except Exception:  # whatever the reader's own error is
                continue
    return b""
