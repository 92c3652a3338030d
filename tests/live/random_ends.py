"""How random programs end: by themselves, or by each kind of fault, with what it may not have changed."""

from __future__ import annotations

import random
import struct

from tests.live.random_forms import Forms
from tests.machine.code import CODE, DATA

__all__ = ["end"]

_LAST = DATA + 0x3000
_HALT = b"\xf4"


def end(chance: random.Random, *, stepped: bool) -> bytes:
    """The code of one; `stepped`: no pushf, in which a step shows on silicon."""
    away = b"\x49\xb8" + struct.pack("<Q", chance.choice([0xDEAD000, _LAST - 3, _LAST - 1, _LAST, 1 << 63]))
    runs_out = b"\xb9\x08\0\0\0\x48\xbf" + struct.pack("<Q", _LAST - 24) + b"\x48\x8d\x73\x08"
    leaves = b"\xbf" + struct.pack("<I", chance.randrange(256)) + b"\xb8\x3c\0\0\0\x0f\x05"
    return chance.choice([
        leaves, leaves, leaves, b"\xcc", b"\x0f\x0b", _HALT, b"\xcd\x81", b"\xcd\x03",
        b"\x31\xc9\x48\xf7\xf1",  # div by zero
        b"\x31\xd2\x31\xc0\x80\x63\x08\0\xf6\x73\x08",  # div byte [m], which was made 0
        b"\xba\2\0\0\0\xb9\1\0\0\0\xf7\xf1",  # a quotient that does not fit
        *[_fails(chance, stepped) for _ in range(24)],
        away + b"\x49\x8b\0\xf4", away + b"\x41\xdf\x28\xf4", away + b"\x41\xdb\x28\xf4", away + b"\x41\x0f\x10\0\xf4",
        away + b"\x4c\x89\xc6\xac\xf4", away + b"\x4c\x89\xc6\x48\x8d\x7b\x08\x48\xa5\xf4",
        away + b"\x4c\x89\xc6\x48\x8d\x7b\x08\xa7\xf4", away + b"\x4c\x89\xc7\x48\x8d\x73\x08\xfd\x48\xa7\xf4",
        runs_out + b"\xf3\x48\xa5", runs_out + b"\xf3\x48\xab", runs_out + b"\xf2\x48\xaf\xf4",
    ])  # fmt: skip


def _fails(chance: random.Random, stepped: bool) -> bytes:
    """An access to what is not there, may not be written, is not canonical, or reaches over the last page's end."""
    place = chance.choice(
        [0xDEAD000, CODE + 64, _LAST, 1 << 63, *range(_LAST - 15, _LAST), DATA - 4, DATA - 1, CODE + 65]
    )
    to_r8 = b"\x49\xb8" + struct.pack("<Q", place)
    kind = chance.randrange(6)
    if kind == 0:  # on the stack
        body = chance.choice(
            [
                b"\x50",
                b"\xff\x33",
                b"\x66\x50" if stepped else b"\x9c",
                b"\x6a\x7f",
                b"\xe8\0\0\0\0",
                b"\x8f\x03",
                b"\x58",
                b"\xc3",
                b"\xc8\x08\0\0",
            ]
        )
        return to_r8 + b"\x4c\x89\xc4" + body + _HALT
    if kind == 1:
        return to_r8 + b"\x4c\x89\xc5\xc9" + _HALT  # leave
    if kind == 2:
        return to_r8 + chance.choice([
            b"\x49\x89\0", b"\x41\x0f\x11\0", b"\x41\xdd\x18", b"\x41\xdb\x38", b"\x4c\x89\xc7\xa5", b"\x41\x8f\0", b"\x41\xd9\x30",
            b"\x41\xdd\x30", b"\x41\x0f\xae\0", b"\x41\x0f\xae\x18", b"\x66\x41\x0f\x7f\0", b"\x4c\x89\xc7\x48\xaf",
        ]) + _HALT  # fmt: skip
    return to_r8 + Forms(chance).at_r8() + _HALT
