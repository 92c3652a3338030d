"""gdb's words for looking at memory: x and print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from tui.session.commands.table import Command, answer
from tui.session.commands.words import evaluate, symbols
from tui.session.escape import escape, escape_bytes
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_FORMATS: Final = "xducsi"
_MOST_UNITS: Final = 4096
_LONGEST_STRING: Final = 4096
_PRINTED_BYTES: Final = 64


def _format(text: str, grammar: str) -> tuple[int, str | None, int | None, str]:
    """Read `/FMT EXPR`: count, format letter, unit size and EXPR, as far as each is given."""
    match = re.match(r"/([0-9]*)([a-z]*)(?:\s+|$)(.*)", text, re.DOTALL)
    if not match:
        if text.startswith("/"):
            raise UsageError(f"{escape(text.split()[0])!r} is no format", f"usage: {grammar}")
        return 1, None, None, text.strip()
    count = int(match[1] or 1) if len(match[1]) < 9 else _MOST_UNITS + 1
    letter = size = None
    for char in match[2]:
        if char in _SIZES and size is None:
            size = _SIZES[char]
        elif char in _FORMATS and letter is None:
            letter = char
        else:
            raise UsageError(
                f"format letter {char!r} is not one of {_FORMATS}, {''.join(_SIZES)}", f"usage: {grammar}"
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
    address = session.names.resolve(evaluate(session, expr)).address
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
    lines, listed = [], []
    for insn in session.names.instructions(address, count):
        mark = "=>" if session.view.tasks and session.view.tasks[0].pc == insn.address else "  "
        lines.append(f"{mark} {insn.address:#x} <{session.describe(insn.address)}>:  {escape(insn.text)}")
        listed.append({"address": insn.address, "insn": escape(insn.text)})
    if not lines:
        raise HwbpError(f"cannot read memory at {address:#x}", errno="EFAULT")
    return answer(*lines, address=address, instructions=listed)


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
    grammar = "print[/x|/d|/u|/c|/s] EXPR"
    _count, letter, size, expr = _format(text, grammar)
    if not expr:
        raise UsageError("print what?", f"usage: {grammar}")
    shown = escape(expr)
    register = re.fullmatch(r"\$[A-Za-z]\w*", expr)
    if register:
        value = int(evaluate(session, expr), 16)
        spelled = _spell(value, letter if letter in ("x", "d", "u") else "x", 8)
        return answer(f"{shown} = {spelled}", expr=shown, value=value)
    target = session.names.resolve(evaluate(session, expr))
    where = (
        session.describe(target.address)
        if target.kind == "code"
        else session.names.describe_data(target.address)
    )
    if target.kind == "code" or (not target.size and size is None):
        return answer(f"{shown} is at {target.address:#x} <{where}>", expr=shown, address=target.address)
    length = size or target.size or 8
    data = session.backend.read(
        target.address, min(length, _PRINTED_BYTES if letter != "s" else _LONGEST_STRING)
    )
    base = {
        "expr": shown,
        "address": target.address,
        "length": length,
        "type": escape(target.type_name or "") or None,
    }
    name = target.type_name or ""
    if letter == "s" or (letter is None and length > 1 and "char" in name and "[" in name):
        string = escape_bytes(data.partition(b"\0")[0])
        return answer(f'{shown} = "{string}"', **base, string=string)
    if length in (1, 2, 4, 8):
        value = int.from_bytes(data, "little")
        unsigned = name.startswith(("unsigned", "uint", "size_t", "u8", "u16", "u32", "u64", "_Bool", "bool"))
        letter = letter or ("x" if name.endswith("*") else "u" if unsigned else "d")
        return answer(f"{shown} = {_spell(value, letter, length)}", **base, value=value)
    more = "..." if length > len(data) else ""
    return answer(f"{shown} = {length} bytes: {data.hex(' ')}{more}", **base, bytes=data.hex())


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
        "print",
        "looking",
        "print[/x|/d|/u|/c|/s] EXPR",
        "the value of a variable",
        "Reads as many bytes as the object has. Example: print cfg.limits[3]   p/x lock",
        _print,
        aliases=("p", "inspect"),
        key="p",
        asks=True,
        complete=symbols,
    ),
)
