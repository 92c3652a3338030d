"""Memory to look at: a window of bytes with holes where nothing can be read, and the object that lies at an address."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape

if TYPE_CHECKING:
    from backends.model import Mapping
    from tui.session.session import Session

__all__ = ["MemoryPage", "ObjectAt", "ObjectPart", "memory_page", "object_at"]

PAGE: Final = 4096
WINDOW: Final = 1024
"""Bytes of an object that are read to show it: of a larger one, those around the address."""
FARTHEST: Final = 1 << 20
MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """`size` bytes from `start` on. `pieces` are (address, bytes) that could be read, in order; the rest could not.

    `problem` says why the first hole is one. `mapping` is the mapping that holds `start`, None where there is none.
    """

    start: int
    size: int
    pieces: tuple[tuple[int, bytes], ...]
    problem: str = ""
    mapping: Mapping | None = None

    def at(self, address: int, size: int) -> bytes | None:
        """Bytes of the window; None unless all of them are known."""
        for start, data in self.pieces:
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        return None


class ObjectPart(NamedTuple):
    """An innermost member: `expr` names it (escaped), `text` is its value, `address` and `length` its bytes."""

    expr: str
    text: str
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class ObjectAt:
    """The variable that holds an address. Texts are escaped.

    `expr` is what an expression calls the innermost member at the address, "" where no variable is known there.
    `type_name` is None where nothing says the type; `parts` are then empty. `problem` says why there is no value.
    """

    address: int
    expr: str
    name: str
    start: int
    length: int | None
    type_name: str | None
    parts: tuple[ObjectPart, ...]
    problem: str = ""


def memory_page(session: Session, start: int, size: int) -> MemoryPage:
    """Read a window of memory, page by page where not all of it can be read at once. Never raises HwbpError."""
    end = min(start + size, MASK + 1)
    mapping = next((m for m in session.view.mappings if m.start <= start < m.end), None)
    try:
        return MemoryPage(start, size, ((start, session.backend.read(start, end - start)),), "", mapping)
    except HwbpError as error:
        problem = error.message
    pieces: list[tuple[int, bytes]] = []
    at = start
    while at < end:
        until = min(end, (at & -PAGE) + PAGE)
        try:
            data = session.backend.read(at, until - at)
        except HwbpError:
            at = until
            continue
        if pieces and pieces[-1][0] + len(pieces[-1][1]) == at:
            pieces[-1] = pieces[-1][0], pieces[-1][1] + data
        else:
            pieces.append((at, data))
        at = until
    return MemoryPage(start, size, tuple(pieces), problem, mapping)


def object_at(session: Session, address: int) -> ObjectAt:
    """What lies at an address, by the symbol table and DWARF. Never raises HwbpError."""
    names = session.names
    place = names.place(address)
    found = names.space.data_name(address)
    if found is None or place.symbol is None or place.symbol_offset is None:
        what = names.describe(address) if place.symbol is not None else ""
        why = f"code: {what}" if what else "no variable is known here"
        return ObjectAt(address, "", "", address, None, None, (), why)
    start = address - place.symbol_offset
    try:
        return _typed(session, address, found, place.symbol, start)
    except HwbpError as error:
        return ObjectAt(address, escape(found), escape(place.symbol), start, None, None, (), error.message)


def _typed(session: Session, address: int, expr: str, symbol: str, start: int) -> ObjectAt:
    from symbols.values import parts
    from tui.session.typed import style

    value = session.names.value(symbol)
    kind, length = value.type, value.length
    if value.address != start or kind is None or not length:
        # Another variable of the same name, or one without debugging information.
        return ObjectAt(
            address,
            escape(expr),
            escape(symbol),
            start,
            length if value.address == start else None,
            None,
            (),
            "no type: compiled without -g",
        )
    offset = address - start
    first = 0 if length <= WINDOW else max(0, offset - WINDOW // 4)
    size = min(length - first, WINDOW)
    about = ObjectAt(address, escape(expr), escape(symbol), start, length, escape(str(kind)), ())
    if first > FARTHEST:
        return replace(about, problem=f"{offset:,} bytes into it: too far to tell its elements apart")
    data = bytes(first) + session.backend.read(start + first, size)
    found = parts(first, size, kind, data, style(session))
    rows = tuple(
        ObjectPart(f"{escape(symbol)}{part.path}", part.text, start + part.at, part.size)
        for part in found
        if first <= part.at and part.at + part.size <= first + size  # what is read in part has no value
    )
    return replace(about, parts=rows)
