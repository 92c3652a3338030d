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

__all__ = ["CodePage", "CodeRow", "code_page", "source_text"]

MOST: Final = 4000
"""Instructions of one page; of a longer function, those around the address."""
LOOSE: Final = 64
"""Instructions that are shown where no function's bounds are known."""
RUN: Final = 6
"""Lines between two that have code (declarations, braces, comments) which are shown with the second."""
WIDEST: Final = 400
"""Characters of a source line."""
TAB: Final = 4


class CodeRow(NamedTuple):
    """One row of a page.

    An instruction has its `address`, `size` in bytes, `raw` bytes, `text` in Intel syntax, and what its operands
    `refers` to by name. A source row has the `line` (from 1) and its `text`; `address` is that of the first instruction
    below it. Texts are escaped. `file` numbers the page's files.
    """

    kind: Literal["insn", "source"]
    address: int
    text: str
    line: int = 0
    file: int = -1
    size: int = 0
    raw: bytes = b""
    refers: str = ""


@dataclass(frozen=True, slots=True)
class CodePage:
    """A function, or what lies from an address on.

    `name` is the function's (escaped), "" where no bounds are known; `start` to `end` are the bytes that the rows cover.
    `files` are the source files in the order in which rows number them. `cut` is True where the function goes on
    before or after the rows. `problem` says why there are no rows.
    """

    asked: int
    name: str
    start: int
    end: int
    rows: tuple[CodeRow, ...]
    files: tuple[Source, ...] = ()
    cut: bool = False
    problem: str = ""

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
        found = names.function(address)
        listed = found or names.instructions(address, LOOSE)
    except HwbpError as error:
        return CodePage(address, "", address, address, (), problem=error.message)
    if not listed:
        where = "nothing is mapped there" if not _mapped(session, address) else "its memory cannot be read"
        return CodePage(address, "", address, address, (), problem=f"no code at {address:#x}: {where}")
    name = escape(names.place(listed[0].address).symbol or names.describe(listed[0].address)) if found else ""
    cut = len(listed) > MOST
    if cut:
        at = next((n for n, insn in enumerate(listed) if insn.address + insn.size > address), 0)
        first = max(0, min(at - MOST // 2, len(listed) - MOST))
        listed = listed[first : first + MOST]
    rows, files = _rows(session, listed)
    end = listed[-1].address + listed[-1].size
    return CodePage(address, name, listed[0].address, end, rows, files, cut)


def source_text(source: Source, line: int) -> str | None:
    """One line of a source file, fit to be shown: tabs spread, cut at `WIDEST`, escaped. None where there is none."""
    text = source.line(line)
    return None if text is None else escape(text[:WIDEST].expandtabs(TAB))


def _mapped(session: Session, address: int) -> bool:
    return any(m.start <= address < m.end for m in session.view.mappings)


def _rows(session: Session, listed: list[Instruction]) -> tuple[tuple[CodeRow, ...], tuple[Source, ...]]:
    rows: list[CodeRow] = []
    files: dict[tuple[str, str], int] = {}
    sources: list[Source] = []
    before: tuple[int, int] | None = None
    for insn in listed:
        found = session.names.source_file(insn.address)
        here = None
        if found is not None:
            source, line = found
            number = files.setdefault((source.name, source.path), len(files))
            if number == len(sources):
                sources.append(source)
            here = number, line
            if here != before:
                rows += _source_rows(source, number, line, before, insn.address)
        before = here if here is not None else before
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
    source: Source, number: int, line: int, before: tuple[int, int] | None, address: int
) -> list[CodeRow]:
    """The line, and those since the last one where the code goes on a little further down in the same file.

    Above the first line of all stands its function's head: the lines up to a blank one or to the end of another.
    """
    first = line if before is not None else _head(source, line)
    if before is not None and before[0] == number and 0 < line - before[1] <= RUN:
        first = before[1] + 1
    found = []
    for each in range(first, line + 1):
        text = source_text(source, each)
        if text is None and each < line:
            continue
        found.append(CodeRow("source", address, text if text is not None else "", each, number))
    return found


def _head(source: Source, line: int) -> int:
    first = line
    while (
        line - first < RUN and (text := source.line(first - 1)) and text.strip() and not text.startswith("}")
    ):
        first -= 1
    return first
