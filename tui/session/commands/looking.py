"""gdb's words for looking at memory: x and print."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from backends.base import HwbpError
from symbols.ctype import basic
from tui.session.commands.table import Command, answer
from tui.session.commands.words import symbols
from tui.session.escape import escape, escape_bytes
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from symbols.disasm import Instruction
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_FORMATS: Final = "xducsi"
_PRINT_FORMATS: Final = "xduotcafsz"
_MOST_UNITS: Final = 4096
_LONGEST_STRING: Final = 4096
_PRINTED_BYTES: Final = 64
_MOST_LISTED: Final = 2000
_PLAIN: Final = {size: basic("int", "", size, True) for size in (1, 2, 4, 8)}
"""What a symbol without a type is shown as."""


def _format(text: str, grammar: str, formats: str = _FORMATS) -> tuple[int, str | None, int | None, str]:
    """Read `/FMT EXPR`: count, format letter, unit size and EXPR, as far as each is given."""
    match = re.match(r"/([0-9]*)([a-z]*)(?:\s+|$)(.*)", text, re.DOTALL)
    if not match:
        if text.startswith("/"):
            raise UsageError(f"'{escape(text.split()[0])}' is no format", f"usage: {grammar}")
        return 1, None, None, text.strip()
    count = int(match[1] or 1) if len(match[1]) < 9 else _MOST_UNITS + 1
    letter = size = None
    for char in match[2]:
        if char in _SIZES and size is None:
            size = _SIZES[char]
        elif char in formats and letter is None:
            letter = char
        else:
            raise UsageError(
                f"format letter '{escape(char)}' is not one of {formats}, {''.join(_SIZES)}",
                f"usage: {grammar}",
            )
    if not 1 <= count <= _MOST_UNITS:
        raise UsageError(f"a count from 1 to {_MOST_UNITS} expected", f"usage: {grammar}")
    return count, letter, size, match[3].strip()


def _spell(value: int, letter: str, size: int, pad: bool = False) -> str:
    """One unit in gdb's manner; `value` is unsigned. `pad` writes all of a unit's digits."""
    signed = value - (1 << 8 * size) if value >> 8 * size - 1 else value
    if letter == "x":
        return f"{value:#0{2 + 2 * size}x}" if pad else f"{value:#x}"
    if letter == "u":
        return str(value)
    if letter == "c":
        return f"{signed} '{escape_bytes(bytes([value & 0xFF]))}'"
    return str(signed)


def _x(session: Session, text: str) -> Answer:
    grammar = "x/[COUNT][x|d|u|c|s|i][b|h|w|g] EXPR"
    count, letter, size, expr = _format(text, grammar)
    if not expr:
        raise UsageError("which address?", f"usage: {grammar}")
    address = session.names.resolve(expr).address
    if letter == "i":
        return _instructions(session, address, count)
    if letter == "s":
        return _strings(session, address, count)
    letter = letter or "x"
    size = size or (1 if letter == "c" else 4)
    data = session.backend.read(address, count * size)
    values = [int.from_bytes(data[at : at + size], "little") for at in range(0, count * size, size)]
    per_line = {1: 8, 2: 8, 4: 4, 8: 2}[size]
    lines = []
    for first in range(0, count, per_line):
        where = address + first * size
        units = "  ".join(_spell(value, letter, size, True) for value in values[first : first + per_line])
        lines.append(f"{where:#x} <{session.names.describe_data(where)}>:  {units}")
    return answer(*lines, address=address, size=size, values=values)


def _instructions(session: Session, address: int, count: int) -> Answer:
    listed = session.names.instructions(address, count)
    if not listed:
        raise HwbpError(f"cannot read memory at {address:#x}", errno="EFAULT")
    lines, rows = _listing(session, listed, {}, sources=False)
    return answer(*lines, address=address, instructions=rows)


def _listing(
    session: Session, listed: list[Instruction], hits: dict[int, int], *, sources: bool
) -> tuple[list[str], list[dict[str, Any]]]:
    """Lines for people and rows: `=>` marks $rip, `*` an armed execute watch, `<` what made hits."""
    armed = {each.address for each in session.view.breakpoints if each.type == "x" and each.enabled}
    pc = session.view.current.pc if session.view.current else None
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    before = None
    for insn in listed:
        source = session.names.source(insn.address) if sources else None
        if source != before and source is not None:
            lines.append(source)
        before = source
        mark = ("=>" if pc == insn.address else "  ") + ("*" if insn.address in armed else "")
        refers = session.names.refers(insn)
        text = escape(insn.text) + (f"  # {refers}" if refers else "")
        if count := hits.get(insn.address, 0):
            text += f"  <- {count:,} hit{'s' * (count != 1)}"
        lines.append(f"{mark:<2} {insn.address:#x} <{session.describe(insn.address)}>:  {text}")
        row: dict[str, Any] = {"address": insn.address, "insn": escape(insn.text)}
        if refers:
            row["refers"] = refers
        if sources:
            row |= {"source": source, "hits": count, "armed": insn.address in armed}
        rows.append(row)
    return lines, rows


def _disassemble(session: Session, text: str) -> Answer:
    address = session.names.resolve(text.strip() or "$rip").address
    listed = session.names.function(address)
    if not listed:
        raise HwbpError(
            f"no function is known around {address:#x}",
            remedy=f"x/8i {address:#x} shows instructions from there",
        )
    hits: Counter[int] = Counter()
    for site in session.backend.sites():
        hits[site.insn_ip] += site.count
    if len(listed) > _MOST_LISTED:
        at = next((n for n, insn in enumerate(listed) if insn.address >= address), 0)
        first = max(0, at - _MOST_LISTED // 2)
        listed = listed[first : first + _MOST_LISTED]
    lines, rows = _listing(session, listed, hits, sources=True)
    return answer(*lines, address=listed[0].address, instructions=rows)


def _strings(session: Session, address: int, count: int) -> Answer:
    lines, texts = [], []
    start = address
    for _ in range(count):
        data = session.names.code(address, _LONGEST_STRING)
        if not data:
            raise HwbpError(f"cannot read memory at {address:#x}", errno="EFAULT")
        string, end, _rest = data.partition(b"\0")
        shown = escape_bytes(string)
        lines.append(
            f'{address:#x} <{session.names.describe_data(address)}>:  "{shown}"{"" if end else "..."}'
        )
        texts.append(shown)
        address += len(string) + len(end)
    return answer(*lines, address=start, strings=texts)


def _print(session: Session, text: str) -> Answer:
    from symbols.values import spell_value
    from tui.session.typed import look, style

    grammar = "print[/x|/d|/u|/o|/t|/c|/a|/f|/s] EXPR"
    _count, letter, _size, expr = _format(text, grammar, _PRINT_FORMATS)
    if not expr:
        raise UsageError("print what?", f"usage: {grammar}")
    found = look(session, expr)
    shown, address = found.expr, found.address
    if found.data is None or (found.type is None and not found.length):
        if address is None:
            raise HwbpError(f"{shown} has no value")
        where = session.describe(address) if found.code else session.names.describe_data(address)
        return answer(f"{shown} is at {address:#x} <{where}>", expr=shown, address=address)
    base = {
        "expr": shown,
        "address": address,
        "length": found.length,
        "type": escape(str(found.type)) if found.type is not None else None,
    }
    data = found.data
    if letter == "s" and (found.type is None or found.type.plain.kind not in ("pointer", "array")):
        string = escape_bytes(data.partition(b"\0")[0])
        return answer(f'{shown} = "{string}"', **base, string=string)
    if found.type is None and found.length not in (1, 2, 4, 8):
        more = "..." if (found.length or 0) > _PRINTED_BYTES else ""
        return answer(
            f"{shown} = {found.length} bytes: {data[:_PRINTED_BYTES].hex(' ')}{more}",
            **base,
            bytes=data.hex(),
        )
    kind = found.type or _PLAIN[len(data)]
    number = found.number if found.type is not None else int.from_bytes(data, "little")
    if letter is None and "$" in expr and re.fullmatch(r"\$\w+", expr.strip()):
        letter = "x"  # registers hold addresses more often than counts
    spelled = spell_value(data, kind, style(session, letter), found.bits)
    if number is not None:
        return answer(f"{shown} = {spelled}", **base, value=number, text=spelled)
    return answer(f"{shown} = {spelled}", **base, text=spelled, bytes=data[:_PRINTED_BYTES].hex())


def _ptype(session: Session, text: str) -> Answer:
    from tui.session.typed import type_lines

    if not text.strip():
        raise UsageError("which type?", "usage: ptype EXPR | TYPE")
    name, lines = type_lines(session, text.strip())
    return answer(*lines, type=name)


def _whatis(session: Session, text: str) -> Answer:
    from tui.session.typed import type_lines

    if not text.strip():
        raise UsageError("the type of what?", "usage: whatis EXPR")
    name, _lines = type_lines(session, text.strip())
    return answer(f"{escape(text.strip())} is {name}", type=name)


COMMANDS = (
    Command(
        "x",
        "looking",
        "x/[COUNT][x|d|u|c|s|i][b|h|w|g] EXPR",
        "examine memory at an address",
        "gdb's x: COUNT units of 1 (b), 2 (h), 4 (w) or 8 (g) bytes as hexadecimal, signed, unsigned or characters;\n"
        "s for strings, i for instructions. Registers are $rip, $rsp, ... The debugger's own reads hit no slot.\n"
        "Example: x/4xg cfg   x/5i $rip",
        _x,
        complete=symbols,
    ),
    Command(
        "disassemble",
        "looking",
        "disassemble [EXPR]",
        "the function around an address, with its source lines and what hit",
        "gdb's disassemble: the whole function around EXPR, else around $rip. `=>` marks $rip and `*` an execute watch;\n"
        "instructions that made hits say how many, names stand behind what operands refer to.\n"
        "Example: disassemble add_limit   disassemble",
        _disassemble,
        complete=symbols,
    ),
    Command(
        "print",
        "looking",
        "print[/x|/d|/u|/o|/t|/c|/a|/f|/s] EXPR",
        "the value of an expression, as its type is written",
        "C expressions: members, elements, pointers, casts, arithmetic, sizeof, registers, array@COUNT. Structs are\n"
        "printed by member, enumerators by name, pointers with the symbol they point to.\n"
        "Example: print cfg.limits[3]   p/x seed   print *&cfg   print (unsigned char)counter + 1",
        _print,
        aliases=("p", "inspect"),
        key="p",
        asks=True,
        complete=symbols,
    ),
    Command(
        "ptype",
        "looking",
        "ptype EXPR | TYPE",
        "the definition of a type, with offsets and sizes",
        "Each member has its offset and size in bytes in front, so it shows what a window covers.\n"
        "Example: ptype cfg   ptype struct cfg",
        _ptype,
        complete=symbols,
    ),
    Command(
        "whatis",
        "looking",
        "whatis EXPR",
        "the type of an expression, by name",
        "Example: whatis cfg.limits",
        _whatis,
        complete=symbols,
    ),
)
