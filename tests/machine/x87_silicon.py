"""One x87 instruction on this machine's own processor: from a whole state to a whole state."""

from __future__ import annotations

import ctypes
import mmap
from typing import NamedTuple

__all__ = ["STATE", "After", "run"]

STATE = 108
"""Bytes of FNSAVE's image in 64-bit mode."""


class After(NamedTuple):
    """FNSAVE's image, 128 bytes of memory from the operand's address on, flags and rax."""

    image: bytes
    memory: bytes
    flags: int
    rax: int


def run(code: bytes, image: bytes, memory: bytes, flags: int) -> After:
    """Run `code`, whose memory operand is [rdx], with this state. Exceptions must be masked in it."""
    state, operand = ctypes.create_string_buffer(image, STATE), ctypes.create_string_buffer(memory, 128)
    numbers = (ctypes.c_uint64 * 2)(flags)
    text = b"".join(
        (
            b"\x57\x56\x51",  # push rdi; push rsi; push rcx (state, operand; numbers in rcx)
            b"\x49\x89\xc8\x49\x89\xf9",  # mov r8, rcx (numbers); mov r9, rdi (state)
            b"\x48\x89\xf2",  # mov rdx, rsi (operand)
            b"\x41\xdd\x21",  # frstor [r9]
            b"\x41\xff\x30\x9d",  # push [r8]; popf
            b"\xb8\0\0\0\0",  # mov eax, 0
            code,
            b"\x9c\x41\x8f\x00",  # pushf; pop [r8]
            b"\x49\x89\x40\x08",  # mov [r8+8], rax
            b"\x41\xdd\x31",  # fnsave [r9]
            b"\xdb\xe3\x6a\x02\x9d",  # fninit; push 2; popf
            b"\x59\x5e\x5f\xc3",
        )
    )
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(text)
        anchor = ctypes.c_char.from_buffer(page)
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(ctypes.addressof(anchor))
        call(ctypes.addressof(state), ctypes.addressof(operand), 0, ctypes.addressof(numbers))
        del call, anchor
    return After(state.raw, operand.raw, numbers[0], numbers[1])
