"""Code to read: the instructions of a function with the source lines they were made from, in the order of addresses.

Nothing in here says what hit or where the program stands: that moves, and is drawn over these rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape

if TYPE_CHECKING:
    from symbols.disasm import Instruction
    from symbols.source_files import Source
    from tui.session.session import Session

__all__ = ["CodePage", "CodeRow", "Function", "code_page", "source_text"]

MOST: Final = 4000
"""Instructions of one page; of a longer function, those around the address."""
ENOUGH: Final = 60
"""Instructions after which no further function is added to a page."""
LOOSE: Final = 64
"""Instructions that are shown where no function's bounds are known."""
RUN: Final = 6
"""Lines between two that have code (declarations, braces, comments) which are shown with the second."""
WIDEST: Final = 400
"""Characters of a source line."""
TAB: Final = 4


class CodeRow(NamedTuple):
    """One row of a page: the `text` of a "name" row is the function that begins there.

    An instruction has its `address`, `size` in bytes, `raw` bytes, `text` in Intel syntax, and what its operands
    `refers` to by name. A source row has the `line` (from 1) and its `text`; `address` is that of the first instruction
    below it. Texts are escaped. `file` numbers the page's files.
    """

    kind: Literal["insn", "source", "name"]
    address: int
    text: str
    line: int = 0
    file: int = -1
    size: int = 0
    raw: bytes = b""
    refers: str = ""


class Function(NamedTuple):
    """`name` is escaped; `end` is the address behind its last byte."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CodePage:
    """A function and, if it is short, those that follow it; or what lies from an address on.

    `functions` are those on the page, none where no bounds are known; `start` to `end` are the bytes that the rows cover.
    `files` are the source files in the order in which rows number them. `cut` is True where the first function goes
    on before or after the rows. `problem` says why there are no rows.
    """

    asked: int
    start: int
    end: int
    rows: tuple[CodeRow, ...]
    functions: tuple[Function, ...] = ()
    files: tuple[Source, ...] = ()
    cut: bool = False
    problem: str = ""

    @property
    def name(self) -> str:
        """The first function's."""
        return self.functions[0].name if self.functions else ""

    def function_of(self, address: int) -> Function | None:
        """The function on the page that holds an address."""
        return next((each for each in self.functions if each.start <= address < each.end), None)

    def row_of(self, address: int) -> int:
        """The number of the instruction row that covers an address; -1 where none does."""
        for number, row in enumerate(self.rows):
            if row.kind == "insn" and row.address <= address < row.address + row.size:
                return number
        return -1


def code_page(session: Session, address: int) -> CodePage:
    """The function around an address with its source. Never raises HwbpError: `problem` says what is wrong."""
    session.locate(address)
    names = session.names
    try:
        listed = names.function(address)
        if not listed:
            return _loose(session, address)
        cut = len(listed) > MOST
        if cut:
            at = next((n for n, insn in enumerate(listed) if insn.address + insn.size > address), 0)
            first = max(0, min(at - MOST // 2, len(listed) - MOST))
            listed = listed[first : first + MOST]
        bodies = [listed]
        while sum(map(len, bodies)) < ENOUGH and (more := _following(session, bodies[-1])):
            bodies.append(more)
    except HwbpError as error:
        return CodePage(address, address, address, (), problem=error.message)
    functions = tuple(_function(session, body) for body in bodies)
    rows, files = _rows(session, bodies, functions)
    return CodePage(address, functions[0].start, functions[-1].end, rows, functions, files, cut)


def _loose(session: Session, address: int) -> CodePage:
    """What lies from an address on, where no function's bounds are known."""
    listed = session.names.instructions(address, LOOSE)
    if not listed:
        where = "nothing is mapped there" if not _mapped(session, address) else "its memory cannot be read"
        return CodePage(address, address, address, (), problem=f"no code at {address:#x}: {where}")
    rows, files = _rows(session, [listed], ())
    return CodePage(address, address, listed[-1].address + listed[-1].size, rows, files=files)


def _function(session: Session, body: list[Instruction]) -> Function:
    start, last = body[0].address, body[-1]
    return Function(
        escape(session.names.place(start).symbol or "") or session.names.describe(start),
        start,
        last.address + last.size,
    )


def _following(session: Session, body: list[Instruction]) -> list[Instruction]:
    """The function behind this one, over the padding between; nothing where none is known."""
    end = body[-1].address + body[-1].size
    for address in dict.fromkeys((end, (end + 15) & ~15)):
        found = session.names.function(address)
        if found and found[0].address >= end and len(found) <= MOST:
            return found
    return []


def source_text(source: Source, line: int) -> str | None:
    """One line of a source file, fit to be shown: tabs spread, cut at `WIDEST`, escaped. None where there is none."""
    text = source.line(line)
    return None if text is None else escape(text[:WIDEST].expandtabs(TAB))


def _mapped(session: Session, address: int) -> bool:
    return any(m.start <= address < m.end for m in session.view.mappings)


def _rows(
    session: Session, bodies: list[list[Instruction]], functions: tuple[Function, ...]
) -> tuple[tuple[CodeRow, ...], tuple[Source, ...]]:
    rows: list[CodeRow] = []
    files: dict[tuple[str, str], int] = {}
    sources: list[Source] = []
    for place, body in enumerate(bodies):
        if functions:
            rows.append(CodeRow("name", body[0].address, functions[place].name))
        before: tuple[int, int] | None = None
        highest: dict[int, int] = {}
        for insn in body:
            here = None
            if (found := session.names.source_file(insn.address)) is not None:
                source, line = found
                number = files.setdefault((source.name, source.path), len(files))
                if number == len(sources):
                    sources.append(source)
                here = number, line
                if here != before:
                    rows += _source_rows(source, number, line, highest, insn.address)
                before = here
                highest[number] = max(line, highest.get(number, 0))
            rows.append(
                CodeRow(
                    "insn",
                    insn.address,
                    escape(insn.text),
                    line=here[1] if here else 0,
                    file=here[0] if here else -1,
                    size=insn.size,
                    raw=insn.bytes,
                    refers=session.names.refers(insn),
                )
            )
    return tuple(rows), tuple(sources)


def _source_rows(
    source: Source, number: int, line: int, highest: dict[int, int], address: int
) -> list[CodeRow]:
    """The line, and those before it that have no code where the function goes on a little further down than ever.

    `highest` is the highest line of each file so far. Above the first of all stands the function's head: the lines up to
    a blank one, or to the end of something else.
    """
    first = line
    if not highest:
        first = _head(source, line)
    elif 0 < line - highest.get(number, line) <= RUN:
        first = highest[number] + 1
    found = []
    for each in range(first, line + 1):
        text = source_text(source, each)
        if text is None and each < line:
            continue
        found.append(CodeRow("source", address, text if text is not None else "", each, number))
    return found


def _head(source: Source, line: int) -> int:
    first = line
    while line - first < RUN and (text := (source.line(first - 1) or "").rstrip()):
        if text.endswith(("}", ";")):
            break
        first -= 1
    return first
