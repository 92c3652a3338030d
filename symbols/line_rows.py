"""Line-number programs of many units at once, as arrays: the state machine of DWARF 5 section 6.2.5 without a step for each opcode.

Where opcodes begin is found block by block: of every byte, where an opcode there would lead out of its block; then the blocks
are walked from the start of each program, and each is marked from where it was entered. What the opcodes do are sums and
last values over those places. Nothing in a program is believed: one that does not end where its unit does has no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from symbols.arrays import np

__all__ = ["END", "IS_STMT", "Program", "Rows", "run"]

IS_STMT, END = 1, 2
"""Flags of a row."""
BYTES_LIMIT: Final = 1 << 24
"""Of one program; a longer one has no rows."""
_TOGETHER: Final = 1 << 18
"""Bytes of programs that are run at once, and stay in a CPU's cache."""
_BLOCK: Final = 32
_LONGEST: Final = 10
"""Bytes of a LEB128 number of 64 bits."""
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _SET_COLUMN, _NEGATE, _CONST_ADD, _FIXED_ADVANCE = (
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    9,
)
_END_SEQUENCE, _SET_ADDRESS = 1, 2
_ARGUMENTS: Final = (0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)  # LEB128 numbers behind the standard opcodes
_MOST: Final = 0xFFFF_FFFF


class Program(NamedTuple):
    """One unit's program: bytes `start` to `end` of .debug_line, and what its header says. `lengths`: of opcodes 1, 2, ..."""

    start: int
    end: int
    minimum: int
    default_is_stmt: bool
    line_base: int
    line_range: int
    opcode_base: int
    lengths: tuple[int, ...]


class Rows(NamedTuple):
    """The rows of programs, in their order; `unit` is a program's number. Sequences that begin at address 0 (the linker dropped
    their function) or do not end are left out."""

    unit: Any
    address: Any
    line: Any
    file: Any
    column: Any
    flags: Any


def run(data: bytes, programs: Sequence[Program], *, brief: bool = False) -> Rows:
    """Run programs; one that is broken or too long has no rows. `brief`: without columns, flags say END only, and of several
    rows of one sequence for one address only the last is there."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, program in enumerate(programs):
        if program.start < program.end <= min(len(data), program.start + BYTES_LIMIT):
            alike.setdefault((program.minimum, *program[4:]), []).append(number)
    parts: list[Rows] = []
    for numbers in alike.values():
        together: list[int] = []
        size = 0
        for number in numbers:
            if together and size + programs[number].end - programs[number].start > _TOGETHER:
                parts.append(_together(data, programs, together, brief))
                together, size = [], 0
            together.append(number)
            size += programs[number].end - programs[number].start
        parts.append(_together(data, programs, together, brief))
    if len(parts) == 1:
        return parts[0]
    kinds = ("u4", "u8", "u4", "u4", "u4", "u1")
    return Rows(
        *(
            np.concatenate([np.zeros(0, kind), *each])
            for kind, each in zip(kinds, zip(*parts, strict=True) if parts else [()] * 6, strict=True)
        )
    )


def _together(data: bytes, programs: Sequence[Program], numbers: list[int], brief: bool) -> Rows:
    """The rows of programs whose headers say the same."""
    pieces: list[bytes] = []
    starts, ends = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
    at = 0
    for place, number in enumerate(numbers):
        program = programs[number]
        size = program.end - program.start
        pad = _BLOCK - size % _BLOCK  # at least one byte, so that a program that runs over is seen
        pieces += (data[program.start : program.end], b"\1" * pad)
        starts[place], ends[place] = at, at + size
        at += size + pad
    code = np.frombuffer(b"".join((*pieces, b"\1" * 2 * _BLOCK)), np.uint8)
    machine = _Machine(code, programs[numbers[0]])
    places = machine.opcodes(starts, ends)
    stmt = np.array([programs[number].default_is_stmt for number in numbers], bool)
    rows = machine.rows(places, starts, ends, stmt, brief)
    return rows._replace(unit=np.array(numbers, "u4")[rows.unit])


class _Machine:
    """Code of programs with the same header, laid behind each other in whole blocks."""

    def __init__(self, code: Any, header: Program) -> None:
        self.code = code
        self.header = header
        base, span = header.opcode_base, header.line_range
        self.arguments = np.zeros(256, np.uint8)
        self.advance, self.lines = np.zeros(256, np.uint64), np.zeros(256, np.int64)
        self.emits = np.zeros(256, bool)
        for opcode in range(1, min(base, 256)):
            known = opcode < len(_ARGUMENTS)
            told = header.lengths[opcode - 1] if opcode <= len(header.lengths) else 0
            self.arguments[opcode] = _ARGUMENTS[opcode] if known else told
        self.emits[_COPY] = base > _COPY
        if base > _CONST_ADD:
            self.advance[_CONST_ADD] = (255 - base) // span * header.minimum
        special = np.arange(base, 256)
        self.advance[base:] = (special - base) // span * header.minimum
        self.lines[base:] = header.line_base + (special - base) % span
        self.emits[base:] = True
        # The length of the number that begins at each byte.
        more = code >= 0x80
        self.length = np.ones(len(code), np.uint8)
        still, far = more.copy(), 1
        while far <= _LONGEST and still.any():
            self.length += still
            still[:-far] &= more[far:]
            still[-far:] = False
            far += 1

    def opcodes(self, starts: Any, ends: Any) -> Any:
        """Where the opcodes of the programs begin, in order; none of a program that runs over its end."""
        code, count = self.code, len(self.code) - 2 * _BLOCK
        follows = self._follows()[:count]
        # Column by column of the blocks, the last one first, so that what a column leads to is known.
        blocks = count // _BLOCK
        leaves = follows.reshape(-1, _BLOCK).T.copy()  # laid out by columns
        column = np.arange(_BLOCK, dtype=np.int32)[:, None]
        edge = np.arange(_BLOCK, count + 1, _BLOCK, dtype=np.int32)
        ahead = np.where(leaves < edge, leaves & _BLOCK - 1, column).astype(np.intp)
        ahead *= blocks
        ahead += np.arange(blocks)
        for each in range(_BLOCK - 2, -1, -1):
            leaves.take(ahead[each], out=leaves[each], mode="clip")
        entered: list[int] = []
        counts: list[int] = []
        walk = memoryview(leaves.T.tobytes()).cast("i")
        for at, end in zip(starts.tolist(), ends.tolist(), strict=True):
            before = len(entered)
            while at < end:
                entered.append(at)
                at = walk[at]
            counts.append(len(entered) - before)
        begins = np.zeros(count, bool)
        here = np.array(entered, np.int32)
        limit = np.minimum(here // _BLOCK * _BLOCK + _BLOCK, np.repeat(ends, counts).astype(np.int32))
        while len(here):
            begins[here] = True
            here = follows.take(here)
            keep = np.flatnonzero(here < limit)
            here, limit = here.take(keep), limit.take(keep)
        places = np.flatnonzero(begins)
        last = np.searchsorted(places, ends) - 1
        fine = follows[places[last]] == ends
        if self.length.max() > _LONGEST:
            opcode = code[places]
            left, at = np.where(opcode == 0, 1, self.arguments[opcode]), places + 1
            for number in range(int(left.max(initial=0))):
                endless = places[(self.length[at] > _LONGEST) & (left > number)]
                fine[np.searchsorted(starts, endless, "right") - 1] = False
                at = np.minimum(at + self.length[at], len(code) - 1)
        if not fine.all():
            places = places[np.repeat(fine, np.diff(np.append(np.searchsorted(places, starts), len(places))))]
        return places

    def _follows(self) -> Any:
        """Of every byte, where the next opcode would begin if one began there."""
        code, base = self.code, self.header.opcode_base
        size = np.ones_like(self.length)
        size[:-1] += self.length[1:] * (self.arguments > 0).take(code[:-1])
        size[-1:] += self.arguments[code[-1:]] > 0
        if base > _FIXED_ADVANCE:
            size[code == _FIXED_ADVANCE] = 3
        follows = np.arange(len(code), dtype=np.int32)
        follows += size
        for opcode in np.flatnonzero(self.arguments > 1).tolist():
            at = np.flatnonzero(code == opcode)
            for _ in range(int(self.arguments[opcode]) - 1):
                follows[at] += self.length[np.minimum(follows[at], len(code) - 1)]
        at = np.flatnonzero(code[:-1] == 0)
        extent, inside = self._extended(at)
        follows[at] = np.minimum(
            inside + np.minimum(extent, np.uint64(BYTES_LIMIT)).astype(np.int64), len(code) - 1
        )
        return np.minimum(follows, len(code) - 1)

    def _extended(self, at: Any) -> tuple[Any, Any]:
        """Of extended opcodes: how many bytes they have, and where those begin."""
        extent = self.code[at + 1].astype(np.uint64)
        long = np.flatnonzero(extent >= 0x80)
        extent[long] = self._numbers(at[long] + 1)
        return extent, at + 1 + self.length[at + 1]

    def _numbers(self, at: Any, *, signed: bool = False) -> Any:
        """The LEB128 numbers that begin at these bytes, as 64 bits."""
        length = self.length.take(at)
        value = (self.code.take(at) & 0x7F).astype(np.uint64)
        there = np.flatnonzero(length > 1)
        for place in range(1, int(length.max(initial=0))):
            there = there[length[there] > place]
            byte = self.code[np.minimum(at[there] + place, len(self.code) - 1)].astype(np.uint64)
            value[there] |= (byte & np.uint64(0x7F)) << np.uint64(min(7 * place, 63))
        if not signed:
            return value
        bits = np.minimum(7 * length.astype(np.uint64), np.uint64(64))
        sign = np.uint64(1) << bits - np.uint64(1)
        return ((value ^ sign) - sign).astype(np.int64)

    def rows(self, places: Any, starts: Any, ends: Any, stmt: Any, brief: bool) -> Rows:
        """What the opcodes at these places append."""
        opcode = self.code[places]
        count, minimum, base = len(places), np.uint64(self.header.minimum), self.header.opcode_base
        index = opcode.astype(np.intp)
        advance, lines = self.advance.take(index), self.lines.take(index)

        def those(number: int) -> Any:
            return np.flatnonzero(opcode == number) if number < base else np.zeros(0, np.intp)

        at = those(_ADVANCE_PC)
        advance[at] = self._numbers(places[at] + 1) * minimum
        at = those(_ADVANCE_LINE)
        lines[at] = self._numbers(places[at] + 1, signed=True)
        at = those(_FIXED_ADVANCE)
        advance[at] = self.code[places[at] + 1].astype(np.uint64) + (
            self.code[places[at] + 2].astype(np.uint64) << np.uint64(8)
        )
        extended = np.flatnonzero(opcode == 0)
        extent, inside = self._extended(places[extended])
        kind = np.where(extent > 0, self.code[inside], 0)
        over = extended[kind == _END_SEQUENCE]
        set_here = kind == _SET_ADDRESS
        set_at = extended[set_here]
        address = self._words(inside[set_here] + 1, extent[set_here])
        emits = self.emits.take(index)
        emits[over] = True
        row = np.flatnonzero(emits)
        # A sequence begins with each program, and behind each end.
        first = np.searchsorted(places, starts)
        filled = np.flatnonzero(np.searchsorted(places, ends) > first)
        begin = np.union1d(first[filled], over[over + 1 < count] + 1).astype(np.intp)
        passed, went = advance.cumsum(), lines.cumsum()
        told = np.concatenate([np.uint64(0) - (passed[begin] - advance[begin]), address - passed[set_at]])
        where = passed[row] + _last(np.concatenate([begin, set_at]), told, row)
        if brief and len(row):
            ending = np.zeros(len(row) + 1, bool)
            ending[np.searchsorted(row, over)] = True
            keep = np.flatnonzero(np.append(where[1:] != where[:-1], True) | ending[1:] | ending[:-1])
            row, where = row.take(keep), where.take(keep)
        line = (went[row] + _last(begin, 1 - (went[begin] - lines[begin]), row) & _MOST).astype("u4")
        file = self._latest(begin, 1, those(_SET_FILE), places, row)
        unit = _last(first[filled], filled, row)
        final = np.searchsorted(row, over)
        if brief:
            column, flags = np.zeros(len(row), "u4"), np.zeros(len(row), "u1")
        else:
            column = self._latest(begin, 0, those(_SET_COLUMN), places, row)
            turned = np.zeros(count, np.uint32)
            turned[those(_NEGATE)] = 1
            turns = turned.cumsum(dtype=np.uint32)
            odd = (turns[row] - _last(begin, turns[begin] - turned[begin], row)) & 1
            flags = np.where(stmt[unit] ^ (odd != 0), IS_STMT, 0).astype("u1")
        flags[final], column[final] = END, 0
        # Sequences that do not end, and those whose first row is at address 0.
        heads = np.searchsorted(row, begin)
        ends_in = np.searchsorted(over, begin)
        good = (ends_in < len(over)) & (heads < len(row))
        nexts = np.append(begin[1:], count)
        good &= over[np.minimum(ends_in, len(over) - 1)] < nexts if len(over) else False
        good[good] = where[heads[good]] != 0
        found = Rows(unit, where, line, file, column, flags)
        if good.all():
            return found
        keep = np.repeat(good, np.diff(np.append(heads, len(row))))
        return Rows(*(each[keep] for each in found))

    def _words(self, at: Any, extent: Any) -> Any:
        """The addresses that extended opcodes of so many bytes set: at most 8 bytes each."""
        value = np.zeros(len(at), np.uint64)
        for place in range(8):
            byte = self.code[np.minimum(at + place, len(self.code) - 1)].astype(np.uint64)
            value |= np.where(extent > place + 1, byte, 0).astype(np.uint64) << np.uint64(8 * place)
        return value

    def _latest(self, begin: Any, initial: int, at: Any, places: Any, row: Any) -> Any:
        """What a register that opcodes at `at` set holds at each row."""
        values = np.minimum(self._numbers(places[at] + 1), np.uint64(_MOST)).astype("u4")
        return _last(
            np.concatenate([begin, at]), np.concatenate([np.full(len(begin), initial, "u4"), values]), row
        )


def _last(points: Any, values: Any, row: Any) -> Any:
    """At each row the value of the last point that is not behind it, of two at one place of the later one in `points`.

    There is a point at or before the first row; rows are in order.
    """
    order = np.argsort(points, kind="stable")
    counts = np.diff(np.append(np.searchsorted(row, points[order]), len(row)))
    return np.repeat(values[order], counts)
