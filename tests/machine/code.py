"""Small pieces of machine code as a program: an ELF file made here, so that no compiler is needed."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["BASE", "CODE", "DATA", "EXIT", "START", "program"]

BASE = 0x400000
CODE = BASE + 0x1000
DATA = BASE + 0x2000
"""A zeroed, writable page: what the tests watch. The one before and after it are writable too."""
EXIT = bytes.fromhex("31ffb83c0000000f05")  # xor edi, edi; mov eax, 60; syscall


def program(path: Path, code: bytes, *, ends: bool = True) -> str:
    """Write a static program that runs `code` from CODE with rbx = DATA, and then exits."""
    text = b"\x48\xbb" + struct.pack("<Q", DATA) + code + (EXIT if ends else b"")
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1" + bytes(9), 2, 62, 1, CODE, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0x1000, CODE, CODE, len(text), len(text), 0x1000)
    segments += struct.pack("<IIQQQQQQ", 1, 6, 0x2000, DATA, DATA, 0, 0x3000, 0x1000)
    path.write_bytes((header + segments).ljust(0x1000, b"\0") + text)
    path.chmod(0o755)
    path.chmod(0o755)
    return str(path)


START = CODE + 10
"""The address of the first instruction of `code`."""
