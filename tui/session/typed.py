"""Values of the program by their types: for `print`, for the types of things, and for what a hit changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape, escape_bytes

if TYPE_CHECKING:
    from symbols.ctype import Type
    from symbols.values import Style
    from tui.session.session import Session
    from tui.session.watches import ArmedWatch

__all__ = ["Looked", "changed", "look", "signed_bits", "signed_integer", "style", "type_lines"]

LARGEST = 1 << 16  # bytes that are read to print one value


@dataclass(frozen=True, slots=True)
class Looked:
    """What an expression is now. `data` are its bytes, None for a function or where nothing says how many.

    `number` is the value of a scalar. `address` is None for what is not in memory. `bits` as in a bit-field.
    """

    expr: str
    type: Type | None
    address: int | None
    length: int | None
    data: bytes | None
    number: int | float | None
    bits: tuple[int, int] | None
    code: bool


def look(session: Session, expr: str) -> Looked:
    """Evaluate an expression by C's rules. Raises HwbpError."""
    from symbols.value import SCALARS, decode
    from tui.session.kernel import inside, kernel_value

    in_kernel = inside(expr) is not None
    if in_kernel:
        value, data = kernel_value(session, expr, LARGEST)
        length, number = value.length, value.number
    else:
        value = session.names.value(expr)
        length, data, number = value.length, value.data, value.number
    kind = value.type
    if value.code or (value.address is None and data is None and number is None):
        return Looked(escape(expr), kind, value.address, length, None, None, None, value.code)
    if number is not None and kind is not None:
        if isinstance(number, float):
            return Looked(escape(expr), kind, None, length, None, number, None, False)
        length = kind.size or 8
        data = (number & (1 << 8 * length) - 1).to_bytes(length, "little")
    elif value.address is not None and length and not in_kernel:
        data = session.backend.read(value.address, min(length, LARGEST))
    if data is not None and length and number is None and kind is not None and len(data) >= length:
        number = decode(data[:length], kind, value.bits) if kind.plain.kind in SCALARS else None
    return Looked(escape(expr), kind, value.address, length, data, number, value.bits, False)


def style(session: Session, letter: str | None = None) -> Style:
    """How values of this session's program are written."""
    from symbols.values import Style

    def name(address: int) -> str | None:
        found = session.names.space.name(address)
        return None if found.startswith("0x") else session.names.space.data_name(address) or found

    return Style(letter, name, session.names.code, safe=escape, text=escape_bytes)


def type_lines(session: Session, text: str) -> tuple[str, list[str]]:
    """(name, definition) of a type, or of the type that an expression has. Raises HwbpError."""
    from symbols.expression import parse_type
    from symbols.values import layout
    from tui.session.kernel import inside, kernel_type

    if inside(text) is not None:
        known = kernel_type(session, text)
        return escape(str(known)), [escape(line) for line in layout(known)]
    named = parse_type(text)
    kind: Type | None = None
    problem: HwbpError | None = None
    try:
        if named is None or (len(named.words) == 1 and not named.stars):
            value = session.names.value(text)
            kind = value.type
            if value.code:
                return "function", [f"{escape(text)} is a function"]
            if kind is None:
                problem = HwbpError(f"{escape(text)} is without type information")
    except HwbpError as error:
        problem = error
    if kind is None and named is not None:
        kind = session.names.type_named(named)
    if kind is None:
        raise problem or HwbpError(f"no type {escape(text)}")
    return escape(str(kind)), [escape(line) for line in layout(kind)]


def signed_bits(session: Session, watch: ArmedWatch) -> int:
    """The bits of the signed integer that a watch covers exactly, in one window; 0 for anything else."""
    whole = len(watch.windows) == 1 and signed_integer(session, watch.watch.expr, watch.length)
    return 8 * watch.length if whole else 0


def signed_integer(session: Session, expr: str, length: int) -> bool:
    """Whether an expression is a signed integer of so many bytes."""
    kind = session.names.type_of(expr)
    plain = kind.plain if kind is not None else None
    return (
        plain is not None and plain.kind in ("int", "char", "enum") and plain.signed and plain.size == length
    )


def changed(session: Session, watch: ArmedWatch, window: int, value: int, old: int | None) -> str | None:
    """What a hit changed, by the members that the window holds: `limits[0] 3 -> 4, state OFF -> ON`.

    None where the plain numbers say it as well: there is no type, or a whole integer was watched and none of them is negative.
    """
    from symbols.ctype import RECORDS
    from symbols.values import describe

    kind = session.names.type_of(watch.watch.expr)
    if kind is None or window >= len(watch.windows):
        return None
    plain = kind.plain
    if plain.kind in ("unknown", "void", "function") or not plain.size:
        return None
    address, length = watch.windows[window]
    signed = signed_bits(session, watch)
    if plain.kind == "int" and not (signed and any(n is not None and n >> signed - 1 for n in (value, old))):
        return None
    base = address - watch.address
    if base < 0 or base + length > plain.size + 7:
        return None
    write = style(session)
    after = describe(base, length, kind, bytes(base) + value.to_bytes(length, "little"), write)
    if plain.kind not in (*RECORDS, "array"):
        after = after[:1]
    before = (
        describe(base, length, kind, bytes(base) + old.to_bytes(length, "little"), write)
        if old is not None
        else []
    )
    pieces = []
    for at, (path, text) in enumerate(after):
        was = before[at][1] if at < len(before) else None
        if was == text and len(after) > 1 and any(b != a for b, a in zip(before, after, strict=False)):
            continue  # of several members only those that changed
        name = f"{path.lstrip('.')} " if path else ""
        pieces.append(f"{name}{text}" if was is None else f"{name}{was} -> {text}")
    return ", ".join(pieces) or None
