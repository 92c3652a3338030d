"""Typed values as text, in gdb's manner: numbers, names of enumerators, pointers as symbols, strings, members by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from symbols.ctype import DEPTH_LIMIT, RECORDS, Type, Variants
from symbols.dataclass import dataclass
from symbols.value import decode

__all__ = ["Part", "Style", "describe", "layout", "parts", "spell_value"]

ELEMENTS_LIMIT: Final = 200  # gdb's `print elements`
TEXT_LIMIT: Final = 4000
REPEATS: Final = 10  # gdb's `print repeats`
STRING_LIMIT: Final = 200
Read = Callable[[int, int], bytes]


def _spelled(data: bytes) -> str:
    """Bytes as text: printable ASCII as it is, a backslash doubled, the rest as \\xNN."""
    return "".join(
        chr(b) if 32 <= b < 127 and b != 92 else "\\\\" if b == 92 else f"\\x{b:02x}" for b in data
    )


@dataclass(frozen=True, slots=True)
class Style:
    """How to write. `letter` is one of gdb's x, d, u, c, t, o, s, a, or None for the type's own.

    `name` gives `<symbol+4>` for an address, None where nothing lies there; `read` lets `char *` show its string.
    `pretty` puts each member on a line of its own. `safe` makes names of the program fit to show, `text` its
    strings.
    """

    letter: str | None = None
    name: Callable[[int], str | None] | None = None
    read: Read | None = None
    pretty: bool = False
    safe: Callable[[str], str] = str
    text: Callable[[bytes], str] = _spelled


def spell_value(
    data: bytes, kind: Type, style: Style | None = None, bits: tuple[int, int] | None = None
) -> str:
    """The value of a type that these bytes are. Bytes that are missing at the end are said to be."""
    text = _Speller(style or Style()).value(data, kind, bits, 0)
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "..."


def layout(kind: Type) -> list[str]:
    """gdb's `ptype /o`: the definition of a type, with the offset and size of each member."""
    plain = kind.plain
    if plain.kind == "enum":
        inside = ", ".join(f"{name} = {value}" for name, value in plain.enumerators[:ELEMENTS_LIMIT])
        return [f"{plain} {{{inside}}}"]
    if plain.kind not in RECORDS:
        return [str(plain)]
    lines = [f"{plain} {{"]
    _members(plain, lines, 0, 1)
    return [*lines, f"}}  /* {plain.size if plain.size is not None else 'unknown'} bytes */"]


def _members(record: Type, lines: list[str], base: int, depth: int) -> None:
    for member in record.members:
        if len(lines) > 2000:
            return
        at = base + member.offset
        place = f"{at}" if member.bits is None else f"{base + member.bits[0] // 8}:{member.bits[0] % 8}"
        size = member.size if member.size is not None else "?"
        inner = member.type.plain
        note = f"/* {place:>6} {size:>5} */"
        indent = "  " * depth
        if inner.kind in RECORDS and not inner.name and depth < DEPTH_LIMIT:
            lines.append(f"{note} {indent}{inner.kind} {{")
            _members(inner, lines, at, depth + 1)
            lines.append(f"{' ' * len(note)} {indent}}} {member.name};".replace(" ;", ";"))
        else:
            text = declared(member.type, member.name) if not member.base else f"{member.type}  /* base */"
            width = f" : {member.bits[1]}" if member.bits is not None else ""
            lines.append(f"{note} {indent}{text}{width};")
    for _, member in record.variants.cases if record.variants is not None else ():
        lines.append(f"/* {base + member.offset:>6} {member.size or 0:>5} */ {'  ' * depth}| {member.name}")


def declared(kind: Type, name: str) -> str:
    """`long limits[4]`: a declaration as C writes it."""
    counts = ""
    while kind.kind == "array" and not kind.name:
        counts += "".join(f"[{'' if count is None else count}]" for count in kind.counts)
        kind = kind.target
    text = str(kind)
    return f"{text}{'' if text.endswith(('*', '&')) else ' '}{name}{counts}"


class Part(NamedTuple):
    """An innermost member of an object: its `path` from the object (`.limits[3]`), its value as `text`, and the bytes it
    takes, `size` of them from `at` on (from the object's beginning; of a bit-field, its unit's)."""

    path: str
    text: str
    at: int
    size: int


def parts(address: int, length: int, kind: Type, data: bytes, style: Style | None = None) -> list[Part]:
    """Every innermost member that lies in the first `length` bytes from `address` of an object, at most 200.

    `data` are the object's bytes from its beginning to there at least; `address` counts from its beginning.
    """
    found: list[Part] = []
    _inside(address, address + length, kind, data, 0, "", found, style or Style(), 0)
    return found


def describe(
    address: int, length: int, kind: Type, data: bytes, style: Style | None = None
) -> list[tuple[str, str]]:
    """(path, value) of each of these `parts`."""
    return [(part.path, part.text) for part in parts(address, length, kind, data, style)]


def _inside(
    low: int,
    high: int,
    kind: Type,
    data: bytes,
    base: int,
    path: str,
    found: list[Part],
    style: Style,
    depth: int,
) -> None:
    plain = kind.plain
    if depth > DEPTH_LIMIT or len(found) >= ELEMENTS_LIMIT:
        return
    if plain.kind in RECORDS and plain.members:
        for member in plain.members:
            at, size = base + member.offset, member.size or 0
            if at < high and low < at + size:
                here = f"{path}.{style.safe(member.name)}" if member.name else path
                if member.bits is not None:
                    bits = (member.bits[0] - member.offset * 8, member.bits[1])
                    text = spell_value(data[at : at + size], member.type, style, bits)
                    found.append(Part(here, text, at, size))
                else:
                    _inside(low, high, member.type, data, at, here, found, style, depth + 1)
    elif plain.kind == "array" and plain.element.size and not _is_text(plain):
        size = plain.element.size
        for index in range(max(0, (low - base) // size), max(0, -(-(high - base) // size))):
            if len(found) >= ELEMENTS_LIMIT or (plain.counts[0] is not None and index >= plain.counts[0]):
                return
            _inside(
                low,
                high,
                plain.element,
                data,
                base + index * size,
                f"{path}[{index}]",
                found,
                style,
                depth + 1,
            )
    else:
        size = plain.size or 0
        found.append(Part(path, spell_value(data[base : base + size], kind, style), base, size))


class _Speller:
    def __init__(self, style: Style) -> None:
        self.style = style
        self.left = ELEMENTS_LIMIT * 4

    def value(self, data: bytes, kind: Type, bits: tuple[int, int] | None, depth: int) -> str:
        plain = kind.plain
        self.left -= 1
        if depth > DEPTH_LIMIT or self.left < 0:
            return "..."
        if plain.kind in RECORDS:
            return self._record(data, plain, depth)
        if plain.kind == "array":
            return self._array(data, plain, depth)
        size = plain.size if bits is None else (bits[0] + bits[1] + 7) // 8
        if plain.kind == "function" or not size:
            return f"<{self.style.safe(str(kind))}>"
        if len(data) < size:
            return "<unreadable>"
        return self._scalar(data[:size], kind, bits)

    def _scalar(self, data: bytes, kind: Type, bits: tuple[int, int] | None) -> str:
        plain = kind.plain
        number = decode(data, kind, bits)
        width = bits[1] if bits is not None else 8 * len(data)
        letter = self.style.letter
        if letter and letter != "s":
            return _formatted(number, letter, width, self.style)
        if isinstance(number, float):
            return _real(number, len(data))
        if plain.kind in ("pointer", "reference"):
            return self._pointer(number, plain)
        if plain.kind == "bool" and number in (0, 1):
            return "true" if number else "false"
        if plain.kind == "char":
            return (
                f"{number} '{self.style.text(bytes([number & 0xFF]))}'" if len(data) == 1 else _wide(number)
            )
        if plain.kind == "enum":
            return self.style.safe(_enumerator(number, plain))
        return str(number)

    def _pointer(self, number: int, plain: Type) -> str:
        target = plain.target.plain
        text = f"{number:#x}"
        name = self.style.name(number) if self.style.name is not None and number else None
        if name:
            text += f" <{self.style.safe(name)}>"
        read = self.style.read if target.kind == "char" and target.size == 1 and number else None
        string = _string_at(number, read, self.style) if read is not None else None
        return f"{text} {string}" if string is not None else text

    def _array(self, data: bytes, plain: Type, depth: int) -> str:
        element, count = plain.element, plain.counts[0] if plain.counts else None
        size = element.size
        if not size:
            return "<unknown>"
        count = len(data) // size if count is None else count
        if _is_text(plain) and self.style.letter in (None, "s"):
            return _text(data[:count], self.style)
        parts: list[str] = []
        index = 0
        while index < count and index < ELEMENTS_LIMIT and self.left > 0:
            piece = data[index * size : index * size + size]
            same = 1
            while (
                index + same < count
                and data[(index + same) * size : (index + same + 1) * size] == piece
                and piece
            ):
                same += 1
            text = self.value(piece, element, None, depth + 1)
            if same > REPEATS:
                parts.append(f"{text} <repeats {same} times>")
                index += same
            else:
                parts.append(text)
                index += 1
        return "{" + ", ".join(parts) + (", ..." if index < count else "") + "}"

    def _record(self, data: bytes, plain: Type, depth: int) -> str:
        variants = plain.variants
        if variants is not None and variants.cases:
            return self._variant(data, plain, variants, depth)
        parts = []
        for member in plain.members:
            size = member.size or 0
            bits = (member.bits[0] - member.offset * 8, member.bits[1]) if member.bits is not None else None
            text = self.value(data[member.offset : member.offset + size], member.type, bits, depth + 1)
            name = self.style.safe(f"<{member.type}>" if member.base else member.name)
            parts.append(f"{name} = {text}" if name else text)
        if plain.declared and not plain.members:
            return "<incomplete type>"
        if self.style.pretty and parts:
            indent = "  " * (depth + 1)
            return "{\n" + ",\n".join(indent + part for part in parts) + "\n" + "  " * depth + "}"
        return "{" + ", ".join(parts) + "}"

    def _variant(self, data: bytes, plain: Type, variants: Variants, depth: int) -> str:
        """A Rust enum: the case that its tag says, as Rust writes it."""
        chosen = None
        if variants.tag is not None:
            size = variants.tag.size or 0
            piece = data[variants.tag.offset : variants.tag.offset + size]
            value = int.from_bytes(piece, "little")
            for values, member in variants.cases:
                if values is None or value in [each & (1 << 8 * size) - 1 for each in values]:
                    if values is not None or chosen is None:
                        chosen = member
                    if values is not None:
                        break
        elif len(variants.cases) == 1:
            chosen = variants.cases[0][1]
        if chosen is None:
            return "<unknown variant>"
        inner = chosen.type.plain
        fields = []
        for member in inner.members:
            text = self.value(data[chosen.offset + member.offset :], member.type, None, depth + 1)
            fields.append(
                text if member.name.startswith("__") else f"{self.style.safe(member.name)} = {text}"
            )
        name = self.style.safe(chosen.name)
        return f"{name}({', '.join(fields)})" if fields else name


def _is_text(array: Type) -> bool:
    return len(array.counts) == 1 and array.target.plain.kind == "char" and array.target.plain.size == 1


def _formatted(number: int | float, letter: str, width: int, style: Style) -> str:
    if isinstance(number, float):
        if letter in "f":
            return _real(number, width // 8)
        number = int(number) if math.isfinite(number) else 0
    unsigned = number & (1 << width) - 1
    if letter == "x":
        return f"{unsigned:#x}"
    if letter == "u":
        return str(unsigned)
    if letter == "o":
        return f"0{unsigned:o}" if unsigned else "0"
    if letter == "t":
        return f"{unsigned:b}"
    if letter == "z":
        return f"{unsigned:#0{2 + width // 4}x}"
    if letter == "c":
        low = unsigned & 0xFF
        return f"{low - 256 if low > 127 else low} '{style.text(bytes([low]))}'"
    if letter == "a":
        name = style.name(unsigned) if style.name is not None else None
        return f"{unsigned:#x} <{style.safe(name)}>" if name else f"{unsigned:#x}"
    signed = unsigned - (1 << width) if unsigned >> width - 1 else unsigned
    return str(signed)


def _real(number: float, size: int) -> str:
    if math.isnan(number):
        return "nan"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return f"{number:.{9 if size == 4 else 17}g}"


def _enumerator(number: int, plain: Type) -> str:
    by_value: dict[int, str] = {}
    for name, value in plain.enumerators:
        by_value.setdefault(value, name)
    if number in by_value:
        return by_value[number]
    rest, parts = number, []
    for value, name in sorted(by_value.items()):
        if value > 0 and value & value - 1 == 0 and number & value:
            parts.append(name)
            rest &= ~value
    flags = sum(1 for value in by_value if value > 0) == sum(1 for v in by_value if v > 0 and v & v - 1 == 0)
    if parts and flags:
        return f"({' | '.join(parts)}{f' | unknown: {rest:#x}' if rest else ''})"
    return str(number)


def _wide(number: int) -> str:
    code = number & 0xFFFFFFFF
    shown = chr(code) if 32 <= code < 0xD800 and chr(code).isprintable() else f"\\x{code:x}"
    return f"{number} '{shown}'"


def _text(data: bytes, style: Style) -> str:
    """An array of characters: up to its zero bytes at the end, as gdb shows it."""
    body = data.rstrip(b"\0")
    tail = "..." if len(body) > STRING_LIMIT else ""
    return f'"{style.text(body[:STRING_LIMIT])}"{tail}'


def _string_at(address: int, read: Read, style: Style) -> str | None:
    for size in (STRING_LIMIT + 1, 4096 - address % 4096, 1):
        if size > STRING_LIMIT + 1:
            continue
        try:
            data = bytes(read(address, size))
        except Exception:  # whatever the reader's own error is
            continue
        if data:
            text, end, _ = data.partition(b"\0")
            shown = style.text(text[:STRING_LIMIT])
            return f'"{shown}"{"" if end and len(text) <= STRING_LIMIT else "..."}'
    return None
