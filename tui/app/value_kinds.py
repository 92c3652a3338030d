"""What the watched bytes are by their type, looked up at the desk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.app.shown import shown
from tui.app.value_series import RAW, ValueKind

if TYPE_CHECKING:
    from symbols.ctype import Type
    from tui.session.session import Session

__all__ = ["changes", "value_kind"]

_DEPTH = 32


def value_kind(session: Session, breakpoint_id: int, length: int) -> ValueKind:
    """The type of the window that a breakpoint watches; RAW of its length where nothing says it."""
    found = session.watches.find(breakpoint_id)
    if found is None:
        return RAW._replace(size=length)
    armed, window = found
    kind = session.names.type_of(armed.watch.expr)
    if kind is None or window >= len(armed.windows):
        return RAW._replace(size=length)
    address, length = armed.windows[window]
    leaf = _leaf(kind, address - armed.address, length, "", 0)
    if leaf is None:
        return RAW._replace(size=length, type_name=shown(str(kind)))
    scalar, path = leaf
    plain = scalar.plain
    names = tuple((shown(name), number) for name, number in plain.enumerators[:1000])
    return ValueKind(plain.kind, length, plain.signed, shown(str(scalar)), shown(path.lstrip(".")), names)


def _leaf(kind: Type, offset: int, length: int, path: str, depth: int) -> tuple[Type, str] | None:
    """The scalar that lies exactly there, and how it is reached."""
    from symbols.ctype import RECORDS
    from symbols.value import SCALARS

    plain = kind.plain
    if depth > _DEPTH or offset < 0:
        return None
    if plain.kind in SCALARS:
        return (kind, path) if offset == 0 and plain.size == length else None
    if plain.kind == "array" and (size := plain.target.size):
        inner = plain.target
        return _leaf(inner, offset % size, length, f"{path}[{offset // size}]", depth + 1)
    if plain.kind in RECORDS:
        for member in plain.members:
            if member.bits is None and member.offset <= offset < member.offset + (member.size or 0):
                found = _leaf(member.type, offset - member.offset, length, f"{path}.{member.name}", depth + 1)
                if found is not None:
                    return found
    return None


def changes(
    session: Session, breakpoint_id: int, pairs: tuple[tuple[int, int | None], ...]
) -> dict[tuple[int, int | None], str]:
    """For pairs of (value, old): what changed, by members; what the plain numbers say as well is left out."""
    from tui.session.typed import changed

    found = session.watches.find(breakpoint_id)
    if found is None:
        return {}
    told = {pair: changed(session, *found, *pair) for pair in pairs}
    return {pair: text.replace("\x7f", "\\x7f") for pair, text in told.items() if text is not None}
