"""Where in executable bytes an instruction might begin that the engine may not run by itself.

The engine runs some instructions silently wrong, others silently at all, and gives no way to intercept them, so each
place gets a breakpoint. A place inside another instruction is never reached and costs nothing; a place that turns
out to be an ordinary instruction is stepped over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["special_places", "unseen_places"]

_PREFIXES: Final = frozenset(
    [0x26, 0x2E, 0x36, 0x3E, *range(0x40, 0x50), *range(0x64, 0x68), 0xF0, 0xF2, 0xF3]
)
_MOST_PREFIXES = 14  # an instruction has at most 15 bytes


def _marks(*values: int) -> bytes:
    """A translation table that turns these bytes into 1 and all others into 0."""
    return bytes(value in values for value in range(256))


_ONE_BYTE: Final = _marks(
    *(0xE4, 0xE5, 0xE6, 0xE7, 0xEC, 0xED, 0xEE, 0xEF, 0x6C, 0x6D, 0x6E, 0x6F),  # in, out, ins, outs
    *(0xF4, 0xFA, 0xFB, 0x9C, 0x9D, 0xCF),  # hlt, cli, sti, pushf, popf, iret
    *(0xCA, 0xCB),  # retf
    *range(0xD8, 0xE0),  # x87
)
_SEQUENCES: Final = (
    *(b"\x0f\x20", b"\x0f\x21", b"\x0f\x22", b"\x0f\x23"),  # mov from and to control and debug registers
    b"\x0f\xae",  # fxsave and fxrstor, and a few that the engine runs
    *(b"\x0f\xb2", b"\x0f\xb4", b"\x0f\xb5", b"\x0f\xa1", b"\x0f\xa9"),  # lss, lfs, lgs, pop fs, pop gs
    *(b"\x0f\xa2", b"\x0f\x31", b"\x0f\x01"),  # cpuid, rdtsc; xgetbv, rdtscp, smsw, lmsw, clac and others
    *(b"\x0f\x06", b"\x0f\x08", b"\x0f\x09", b"\x0f\x37"),  # clts, invd, wbinvd, getsec
)
_UNSEEN: Final = (b"\x0f\x6d", b"\x0f\x15", b"\x0f\xf4")  # punpckhqdq, unpckhpd, pmuludq
_REPEAT: Final = _marks(0xF2, 0xF3)
_STRING: Final = frozenset([*range(0xA4, 0xA8), *range(0xAA, 0xB0)])
_STRINGS_OF_32_BITS: Final = re.compile(
    rb"\x67(?=[\x26\x2e\x36\x3e\x40-\x4f\x64-\x67\xf2\xf3]*[\xa4-\xa7\xaa-\xaf])"
)
_OF_16_BITS: Final = re.compile(
    rb"\x66(?=[\x26\x2e\x36\x3e\x40-\x4f\x64-\x67\xf2\xf3]*"
    rb"(?:[\xc2\xc3\xc8\xe0-\xe3\xe8\xe9\xeb\x70-\x7f]|\x0f[\x80-\x8f]|\xff[\x10-\x17\x20-\x27\x50-\x57\x60-\x67\x90-\x97\xa0-\xa7\xd0-\xd7\xe0-\xe7]))"
)
"""An operand-size prefix before enter, or before a near branch or return."""
_THROUGH_FAR_POINTER: Final = re.compile(rb"\xff(?=[\x18-\x1f\x28-\x2f\x58-\x5f\x68-\x6f\x98-\x9f\xa8-\xaf])")
"""Far call and jmp through memory."""
_DIVIDE: Final = _marks(0xF6, 0xF7)
_CLEARS_DX: Final = (b"\x31\xd2", b"\x33\xd2")
"""xor edx, edx: what compilers put in front of an unsigned division, which then cannot overflow."""


def _find(code: bytes, what: bytes) -> Iterator[int]:
    at = code.find(what)
    while at >= 0:
        yield at
        at = code.find(what, at + 1)


def _with_prefixes(code: bytes, at: int) -> Iterator[int]:
    """`at`, and each place before it from which only prefixes lead to it."""
    yield at
    for back in range(at - 1, max(at - _MOST_PREFIXES, -1), -1):
        if code[back] not in _PREFIXES:
            return
        yield back


def _special(code: bytes) -> Iterator[int]:
    yield from _find(code.translate(_ONE_BYTE), b"\1")
    for sequence in _SEQUENCES:
        yield from _find(code, sequence)
    for at in _find(code.translate(_DIVIDE), b"\1"):
        if code[at + 1 : at + 2] and code[at + 1] >> 3 & 7 in (6, 7) and not _cannot_overflow(code, at):
            yield at
    yield from _find(code, b"\x8e")  # mov to a segment register
    for pattern in (_STRINGS_OF_32_BITS, _OF_16_BITS, _THROUGH_FAR_POINTER):
        for found in pattern.finditer(code):
            yield found.start()
    for at in _find(code.translate(_REPEAT), b"\1"):
        after = at + 1
        while after < len(code) and code[after] in _PREFIXES:
            after += 1
        if after < len(code) and code[after] in _STRING:
            yield at


def _cannot_overflow(code: bytes, at: int) -> bool:
    """An unsigned division of more than one byte, right behind an instruction that clears the dividend's upper half."""
    start = at - 1 if at and 0x40 <= code[at - 1] < 0x50 else at
    return (
        code[at] == 0xF7
        and code[at + 1] >> 3 & 7 == 6
        and code[start - 2 : start] in _CLEARS_DX
        and start >= 2
    )


def special_places(code: bytes, base: int) -> set[int]:
    """Addresses where a special instruction, or one of its prefixes, may begin in `code` mapped at `base`."""
    return {base + place for at in _special(code) for place in _with_prefixes(code, at)}


def unseen_places(code: bytes, base: int) -> set[int]:
    """The same for the instructions in `backends.emulated.decode.UNSEEN`, with a memory operand."""
    found = [
        at
        for sequence in _UNSEEN
        for at in _find(code, sequence)
        if code[at + 2 : at + 3] and code[at + 2] < 0xC0
    ]
    return {base + place for at in found for place in _with_prefixes(code, at)}
