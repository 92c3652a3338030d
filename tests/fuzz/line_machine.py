"""Random line-number programs, and the state machine of DWARF 5 section 6.2.5 as it is written: opcode by opcode, to compare with."""

from __future__ import annotations

import random

from symbols.line_rows import END, IS_STMT, Program

__all__ = ["line_programs", "stepped"]

_MASK, _MOST = (1 << 64) - 1, 0xFFFF_FFFF
Row = tuple[int, int, int, int, int]
"""Address, line, file, column, flags."""


def line_programs(chance: random.Random) -> tuple[bytes, list[Program]]:
    """Some programs with few kinds of headers; half of them end as they should."""
    data = bytearray(chance.randbytes(chance.randrange(5)))
    programs = []
    for _ in range(chance.randrange(1, 8)):
        base = chance.choice((1, 4, 10, 13, 13, 13, 14, 20, 255))
        lengths = [0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, *(chance.randrange(3) for _ in range(base))][
            : base - 1
        ]
        code = b"".join(_opcode(chance, base) for _ in range(chance.choice((0, 1, 5, 40, 200))))
        code += chance.choice((b"\0\1\1", b""))
        if chance.random() < 0.2:
            code = code[: chance.randrange(len(code) + 1)]
        start = len(data)
        data += code
        header = (chance.choice((1, 1, 4)), chance.random() < 0.5, chance.choice((-5, -3, 0)))
        programs.append(
            Program(start, len(data), *header, chance.choice((14, 14, 10, 1)), base, tuple(lengths))
        )
    return bytes(data), programs


def _number(chance: random.Random) -> bytes:
    """A LEB128 number, seldom an endless one."""
    size = chance.choice((0, 0, 0, 0, 1, 1, 2, 4, 9, 9, chance.choice((10, 30))))
    return bytes(chance.randrange(0x80, 0x100) for _ in range(size)) + bytes([chance.randrange(0x80)])


def _opcode(chance: random.Random, base: int) -> bytes:
    kind = chance.randrange(12)
    if kind < 5:
        return bytes([chance.randrange(min(base, 255), 256)])
    if kind < 9:
        opcode = chance.randrange(1, 13)
        more = 2 if opcode == 9 else 0
        return bytes([opcode]) + (chance.randbytes(more) if more else _number(chance))
    if kind == 9:
        return b"\0\x09\2" + chance.choice((bytes(8), chance.randbytes(8), chance.randbytes(3) + bytes(5)))
    if kind == 10:
        return chance.choice((b"\0\1\1", b"\0\1\1", b"\0\0", b"\0\3\4ab", b"\0\x03\2\5\5", b"\0\x81\0\1"))
    return chance.randbytes(chance.randrange(4))


class _Over(Exception):
    """The program runs over its end."""


class _Code:
    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def take(self, size: int) -> int:
        self.at += size
        if self.at > self.end:
            raise _Over
        return int.from_bytes(self.data[self.at - size : self.at], "little")

    def leb(self, *, signed: bool = False) -> int:
        value = bits = 0
        while True:
            byte = self.take(1)
            value |= (byte & 0x7F) << bits
            bits += 7
            if byte < 0x80:
                return value - (1 << bits) if signed and byte & 0x40 else value
            if bits == 70:
                raise _Over  # no number of 64 bits is that long


def stepped(data: bytes, program: Program) -> list[Row]:
    """The rows of one program."""
    rows: list[Row] = []
    try:
        _steps(program, _Code(data, program.start, program.end), rows)
    except _Over:
        return []
    return rows


def _steps(program: Program, code: _Code, rows: list[Row]) -> None:
    base, span = program.opcode_base, program.line_range
    default = IS_STMT if program.default_is_stmt else 0
    address, line, file, column, statement = 0, 1, 1, 0, default
    sequence: list[Row] = []
    while code.at < code.end:
        opcode = code.take(1)
        if opcode >= base:
            address += (opcode - base) // span * program.minimum
            line += program.line_base + (opcode - base) % span
        if opcode >= base or opcode == 1:
            sequence.append((address & _MASK, line & _MOST, file, column, statement))
        elif opcode == 0:
            size = code.leb()
            end = code.at + size
            kind = code.take(1) if size else 0
            if kind == 1:
                sequence.append((address & _MASK, line & _MOST, file, 0, END))
                if sequence[0][0]:
                    rows += sequence
                sequence = []
                address, line, file, column, statement = 0, 1, 1, 0, default
            elif kind == 2:
                address = int.from_bytes(data_of(code, min(size - 1, 8)), "little")
            code.at = end
            code.take(0)
        elif opcode == 2:
            address += code.leb() * program.minimum
        elif opcode == 3:
            line += code.leb(signed=True)
        elif opcode == 4:
            file = min(code.leb() & _MASK, _MOST)
        elif opcode == 5:
            column = min(code.leb() & _MASK, _MOST)
        elif opcode == 6:
            statement ^= IS_STMT
        elif opcode == 8:
            address += (255 - base) // span * program.minimum
        elif opcode == 9:
            address += code.take(2)
        elif opcode not in (7, 10, 11):
            for _ in range(program.lengths[opcode - 1]):
                code.leb()


def data_of(code: _Code, size: int) -> bytes:
    """The bytes that are read next."""
    return code.data[code.at : min(code.at + size, code.end)]
