"""Pieces of random programs that move the instruction pointer, the flags or the stack as compilers hardly do.

Far calls, jumps and returns, IRETQ, branches through memory, operands relative to RIP, words on the stack, strings with 32-bit addresses and
segments, bits far from their operand, shifts by nothing, and a program that single-steps itself.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Final

from tests.machine.code import DATA

__all__ = ["TRANSFERS", "interrupt_return", "linked", "own_steps", "relative"]

_MIDDLE = DATA + 0x1000
_CS, _SS = 0x33, 0x2B
_FREE = (0, 1, 2, 6, 7)
_MARK: Final = 0x5EA5C3 >> 2
"""The upper 22 bits of a displacement that is to become relative to RIP, then the bytes behind it (3), then the offset and 64 (7)."""
_AREA: Final = 0x1100_0000


def relative(offset: int, behind: int) -> int:
    """A displacement that `linked` turns into _MIDDLE + offset relative to RIP; `behind`: bytes of the instruction after it."""
    return _MARK << 10 | behind << 7 | offset + 64


def linked(code: bytes, address: int) -> bytes:
    """The code as it is at its address."""
    out = bytearray(code)
    at = out.find(b"\x5e", 3)
    while at >= 0:
        mark = int.from_bytes(out[at - 3 : at + 1], "little")
        if mark >> 10 == _MARK:
            target = _MIDDLE + (mark & 0x7F) - 64 - (address + at + 1 + (mark >> 7 & 7))
            out[at - 3 : at + 1] = struct.pack("<i", target)
        at = out.find(b"\x5e", at + 1)
    return bytes(out)


def _near(chance: random.Random) -> int:
    return chance.randrange(-20, 44)


def _byte(value: int) -> bytes:
    return struct.pack("b", value)


def _lea_rsp(chance: random.Random) -> bytes:
    """rbp keeps rsp, which becomes a place in the data."""
    return b"\x48\x89\xe5\x48\x8d\x63" + _byte(chance.randrange(24, 72))


_BACK: Final = b"\x48\x89\xec"  # mov rsp, rbp


def _behind(code: bytes) -> bytes:
    """lea rax, [rip + its length]: the address behind `code`, which follows."""
    return b"\x48\x8d\x05" + struct.pack("<i", len(code))


def _rip_store(chance: random.Random) -> bytes:
    offset = _near(chance)
    register = chance.choice(_FREE)
    prefix, opcode = chance.choice([
        (b"\x48", b"\x89"), (b"", b"\x89"), (b"\x66", b"\x89"), (b"", b"\x88"), (b"\x48", b"\x8b"), (b"\x48", b"\x01"), (b"", b"\x33"),
        (b"\x48", b"\x87"), (b"", b"\x0f\x11"), (b"\xf3", b"\x0f\x7f"), (b"\x66", b"\x0f\xd6"), (b"\xf0\x48", b"\x0f\xc1"), (b"\x48", b"\x39"),
        (b"\x67\x48", b"\x89"), (b"\x64", b"\x8d"),
    ])  # fmt: skip
    if opcode == b"\x88":
        register = register % 3
    return prefix + opcode + bytes([register << 3 | 5]) + struct.pack("<I", relative(offset, 0))


def _rip_immediate(chance: random.Random) -> bytes:
    offset = _near(chance)
    head, behind = chance.choice(
        [
            (b"\x48\xc7\x05", 4),
            (b"\xc6\x05", 1),
            (b"\x66\xc7\x05", 2),
            (b"\x48\x83\x05", 1),
            (b"\x81\x35", 4),
            (b"\x80\x3d", 1),
        ]
    )
    return head + struct.pack("<I", relative(offset, behind)) + chance.randbytes(behind)


def _far_return(chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    tail = chance.choice([b"", b"\x90", b"\x90\x90"])
    if kind == 0:  # push cs; push rax; retfq
        code = b"\x50\x48\xcb" + tail
        body = b"\x6a\x33" + _behind(code) + code
    elif kind == 1:  # ... retfq imm16
        code = b"\x50\x48\xca\x08\0" + tail
        body = b"\x6a\x33" + _behind(code) + code
    else:  # sub rsp, 8; dwords; retf
        code = b"\x89\x04\x24" + (b"\xcb" if kind == 2 else b"\xca\x10\0") + tail
        body = b"\x48\x83\xec\x08\xc7\x44\x24\x04\x33\0\0\0" + _behind(code) + code
    return _lea_rsp(chance) + body + _BACK


def _far_pointer(chance: random.Random) -> bytes:
    """jmp or call through a far pointer in the data; REX.W in front is nothing on AMD's."""
    at = _near(chance)
    call = chance.random() < 0.5
    wide = chance.choice([b"", b"", b"\x48"])
    jump = wide + b"\xff" + bytes([(0x5B if call else 0x6B)]) + _byte(at)
    tail = b"\x90" * chance.randrange(3)
    store = b"\x89\x43" + _byte(at)
    segment = b"\x66\xc7\x43" + _byte(at + 4) + struct.pack("<H", chance.choice([_CS, _CS, 0x30, 0x31]))
    over = store + segment + jump + tail
    return _lea_rsp(chance) + _behind(over) + over + _BACK


def _through_memory(chance: random.Random) -> bytes:
    """call or jmp [m], jmp register."""
    at = _byte(_near(chance))
    kind = chance.randrange(3)
    go = (b"\xff\x53" + at, b"\xff\x63" + at, b"\xff\xe0")[kind]
    over = b"\x48\x89\x43" + at + go + b"\x90" * chance.randrange(2)
    return _lea_rsp(chance) + _behind(over) + over + _BACK


def interrupt_return(chance: random.Random) -> bytes:
    """IRETQ to what follows, with other flags; RF keeps an execute slot there quiet."""
    flags = chance.getrandbits(12) & 0xCD5 | 0x202 | chance.choice([0, 0, 0x10000])
    code = b"\x50\x48\xcf"
    behind = _behind(code)
    # push ss; push rsp + 8; push flags; push cs; lea rax; push rax; iretq
    frame = b"\x6a\x2b\x54\x68" + struct.pack("<I", flags) + b"\x6a\x33"
    return _lea_rsp(chance) + frame + behind + code + chance.choice([b"\x90", b"\x89\x43\x08", b""]) + _BACK


def _words_frame(chance: random.Random) -> bytes:
    """enter and leave of 16 bits, away from rsp; r14 keeps rsp, and rbp's upper half is the data's."""
    stack = b"\x48\x8d\x63" + _byte(chance.randrange(0, 48))
    frame = b"\x48\x8d\x6b" + _byte(chance.randrange(-100, -60))
    body = b"\x66\xc8" + struct.pack("<HB", chance.randrange(0, 24), chance.choice([0, 0, 1, 2, 3, 7]))
    return b"\x49\x89\xe6" + stack + frame + chance.choice([body, body, b"\x66\xc9"]) + b"\x4c\x89\xf4"


def _segment_words(chance: random.Random) -> bytes:
    return (
        _lea_rsp(chance)
        + chance.choice(
            [b"\x0f\xa0", b"\x0f\xa8", b"\x66\x0f\xa0", b"\x48\x0f\xa8", b"\x66\x6a\x80", b"\x66\x50"]
        )
        + _BACK
    )


def _stack_words(chance: random.Random) -> bytes:
    """Pushes and pops of rsp, and through it."""
    return _lea_rsp(chance) + chance.choice([
        b"\x54", b"\x5c", b"\x8f\x04\x24", b"\x8f\x44\x24\xf8", b"\xff\x74\x24\x08", b"\xff\x34\x24", b"\x66\x54", b"\x66\x5a\x66\x52",
        b"\x68\x78\x56\x34\x92", b"\x66\xff\x34\x24", b"\x66\x8f\x44\x24\x02", b"\x48\x83\xc4\x08\x41\x57\x41\x5e", b"\xff\x33\x8f\x43\x03",
    ]) + _BACK  # fmt: skip


def _narrow_string(chance: random.Random) -> bytes:
    """With 32-bit addresses and dirt above them, or with fs, gs or another segment."""
    opcode = chance.choice([0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF])
    reads = opcode in (0xA4, 0xA5, 0xA6, 0xA7, 0xAC, 0xAD)
    segment = chance.choice([b"", b"", b"\x64", b"\x65", b"\x2e"]) if reads else b""
    narrow = chance.choice([b"\x67", b"\x67", b""])
    repeat = chance.choice([b"", b"\xf3", b"\xf3", b"\xf2"])
    wide = chance.choice([b"", b"\x48"]) if opcode & 1 else b""
    setup = b"\x48\x8d\x7b" + _byte(_near(chance))
    if segment in (b"\x64", b"\x65"):
        setup += b"\xbe" + struct.pack("<I", chance.randrange(24))
    else:
        setup += b"\x48\x8d\x73" + _byte(_near(chance))
    setup += b"\xb9" + struct.pack("<I", chance.randrange(5))
    for register in (7, 6, 1):
        if narrow and chance.random() < 0.4:  # bts r, 40
            setup += b"\x48\x0f\xba" + bytes([0xE8 | register, 40])
    down = chance.random() < 0.3
    code = narrow + segment + repeat + wide + bytes([opcode])
    return setup + (b"\xfd" if down else b"") + code + (b"\xfc" if down else b"") + b"\x48\x39\xc0"


def _narrow_count(chance: random.Random) -> bytes:
    """loop and jrcxz with a 32-bit count and dirt above it."""
    kind = chance.choice([0xE0, 0xE1, 0xE2, 0xE3])
    count = b"\xb9" + struct.pack("<I", chance.randrange(kind != 0xE3, 3)) + b"\x48\x0f\xba\xe9\x28"
    body = b"\xff\x43" + _byte(_near(chance))
    if kind == 0xE3:
        return count + b"\x67\xe3" + bytes([len(body)]) + body
    return count + b"\x48\x39\xc0" + body + b"\x67" + bytes([kind, -len(body) - 3 & 0xFF])


def _far_bits(chance: random.Random) -> bytes:
    """A bit that lies before or far behind its operand."""
    size = chance.choice([b"", b"\x48", b"\x66"])
    digit = chance.randrange(4, 8)
    register = chance.choice(_FREE)
    lock = b"\xf0" if digit != 4 and chance.random() < 0.3 else b""
    number = b"\x48\xc7" + bytes([0xC0 | register]) + struct.pack("<i", chance.randrange(-300, 300))
    legacy, rex = (size, b"") if size == b"\x66" else (b"", size)
    tested = (
        lock
        + legacy
        + rex
        + b"\x0f"
        + bytes([0x83 | digit << 3, 0x43 | register << 3])
        + _byte(chance.randrange(0, 16))
    )
    return number + tested + b"\x0f\x92\x43" + _byte(_near(chance)) + b"\x48\x39\xc0"


def _shift_by_nothing(chance: random.Random) -> bytes:
    """Flags stay, and memory is written: the count is 0, also behind the mask."""
    digit = chance.choice([0, 1, 2, 3, 4, 5, 7])
    size = chance.choice([b"", b"\x48", b"\x66"])
    count = 0x40 if size == b"\x48" else 0x20
    compare = b"\x48\x39\xd0"
    where = chance.choice(
        [
            bytes([0x43 | digit << 3]) + _byte(_near(chance)),
            bytes([0xC0 | digit << 3 | chance.choice((0, 2, 6))]),
        ]
    )
    if chance.random() < 0.5:
        code = compare + size + b"\xc1" + where + bytes([chance.choice([0, count])])
    else:
        code = b"\xb1" + bytes([chance.choice([0, count])]) + compare + size + b"\xd3" + where
    return code + b"\x9f\x0f\x90\xc1"  # lahf; seto cl


def _wide_exchange(chance: random.Random) -> bytes:
    """cmpxchg8b and cmpxchg16b that are equal or not, near a page's end."""
    if chance.random() < 0.5:
        at = _byte(_near(chance))
        equal = b"\x8b\x43" + at + b"\x8b\x53" + struct.pack("b", at[0] - (256 if at[0] > 127 else 0) + 4)
        return (
            (equal if chance.random() < 0.5 else b"") + chance.choice([b"", b"\xf0"]) + b"\x0f\xc7\x4b" + at
        )
    place = chance.choice([-16, 0, 16, 32])
    at = _byte(place)
    equal = b"\x48\x8b\x43" + at + b"\x48\x8b\x53" + _byte(place + 8)
    return (
        (equal if chance.random() < 0.5 else b"") + chance.choice([b"", b"\xf0"]) + b"\x48\x0f\xc7\x4b" + at
    )


def _image(chance: random.Random) -> bytes:
    """fxsave and fxrstor across what is watched."""
    at = struct.pack("<i", chance.choice([-512, -400 & -16, -160, -64, -16, 0, 16, 512]))
    save = chance.choice([b"\x0f\xae\x83", b"\x48\x0f\xae\x83"]) + at
    if chance.random() < 0.4:
        return save + chance.choice([b"\x0f\xae\x8b", b"\x48\x0f\xae\x8b"]) + at
    return save


def own_steps(body: bytes) -> bytes:
    """The program steps through `body` by itself: TF set with popf, a handler that counts, on a stack of its own, and TF taken back."""
    handler = b"\x48\xff\x04\x25" + struct.pack("<I", _AREA + 32) + b"\xc3"
    restorer = b"\xb8\x0f\0\0\0\x0f\x05"
    tail = handler + restorer
    code = b"\xbf" + struct.pack("<I", _AREA)
    code += b"\xbe\0\0\1\0\xba\3\0\0\0\x41\xba\x32\0\0\0\x41\xb8\xff\xff\xff\xff\x45\x31\xc9\xb8\x09\0\0\0\x0f\x05"  # mmap
    code += b"\xe9" + struct.pack("<i", len(tail)) + tail
    code += b"\x48\x8d\x05" + struct.pack("<i", -len(tail) - 7) + b"\x48\xa3" + struct.pack("<Q", _AREA)
    code += b"\x48\x05" + struct.pack("<i", len(handler)) + b"\x48\xa3" + struct.pack("<Q", _AREA + 16)
    code += b"\xb8\x04\0\0\x0c\x48\xa3" + struct.pack("<Q", _AREA + 8)  # SA_SIGINFO, SA_RESTORER, SA_ONSTACK
    code += (
        b"\xbf\5\0\0\0\xbe" + struct.pack("<I", _AREA) + b"\x31\xd2\x41\xba\x08\0\0\0\xb8\x0d\0\0\0\x0f\x05"
    )
    code += b"\xb8" + struct.pack("<I", _AREA + 0x2000) + b"\x48\xa3" + struct.pack("<Q", _AREA + 64)
    code += b"\xb8\0\xc0\0\0\x48\xa3" + struct.pack("<Q", _AREA + 80)
    code += b"\xbf" + struct.pack("<I", _AREA + 64) + b"\x31\xf6\xb8\x83\0\0\0\x0f\x05"  # sigaltstack
    on, off = b"\x9c\x81\x0c\x24\0\1\0\0\x9d", b"\x9c\x81\x24\x24\xff\xfe\xff\xff\x9d"
    count = b"\x48\x8b\x04\x25" + struct.pack("<I", _AREA + 32) + b"\x48\x89\x43\x10"
    return code + on + body + off + count


TRANSFERS: Final[tuple[Callable[[random.Random], bytes], ...]] = (
    _rip_store, _rip_store, _rip_immediate, _far_return, _far_pointer, _through_memory, interrupt_return, _words_frame, _segment_words, _stack_words,
    _narrow_string, _narrow_string, _narrow_count, _far_bits, _shift_by_nothing, _wide_exchange, _image,
)  # fmt: skip
