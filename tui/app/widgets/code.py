"""Code: instructions and the source they were made from, with what hit in the margin as a count and a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual.strip import Strip

from tui.app import numbers
from tui.app.highlight import Piece, instruction_pieces, source_pieces
from tui.app.line import Line
from tui.app.listing import ListPanel
from tui.app.places import Spot
from tui.app.shown import shown, without_del
from tui.app.widgets.message import wrap
from tui.session.code import CodePage, code_page
from tui.session.escape import one_line

if TYPE_CHECKING:
    from backends.model import Site
    from tui.session.session import Session

__all__ = ["CodePanel"]

_COUNT: Final = 9
_BYTES: Final = 24
_ABOVE: Final = 3
"""Rows above an instruction that say what it belongs to: its function's name, its source line."""
_MODES: Final = ("source and instructions", "instructions", "instructions and bytes")


class CodePanel(ListPanel, inherit_bindings=False):
    """One function at a time. Following, it goes where the stopped program stands."""

    where = "code"
    title = "CODE"
    help: ClassVar[
        str
    ] = """The function around an address: its instructions, and above them the source lines they were made from.

hits        what each instruction did, over all watches, and as a bar: the highest is the busiest
=>          where the stopped program stands; while it runs nobody knows
*           an execute watch sits here
# name      what an operand refers to

Following, the view goes where the program stops. Any other place stays until f follows again.
Where a source file is not found, the first lines say where it was looked for: `directory DIR` adds a place."""

    following = True
    mode = 0

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.listing: CodePage | None = None
        self._pieces: tuple[tuple[Piece, ...], ...] = ()
        self._rows: tuple[int, ...] = ()
        self._asking = False
        self._next: int | None = None
        self._read_for: tuple[int, int] = (-1, -1)
        self._sites: tuple[Site, ...] = ()
        self._counts: dict[int, int] = {}
        self._back: list[int] = []
        self._followed: int | None = None
        self._unplaced = False

    # Where it is

    def go(self, address: int, *, follow: bool = False) -> None:
        """Show the code at an address, with the cursor on it."""
        if not follow and self.following:
            self.following = False
        here = self.address
        if not follow and here is not None and here != address:
            self._back = [*self._back[-50:], here]
        self._show(address)

    def _show(self, address: int) -> None:
        page = self.listing
        if page is not None and (row := page.row_of(address)) >= 0 and not self._stale():
            self._place(row)
            self.redraw()
        else:
            self._ask(address)

    def back(self) -> bool:
        """Where it was before."""
        if self._back:
            self._show(self._back.pop())
        return True

    @property
    def address(self) -> int | None:
        """The instruction under the cursor."""
        page = self.listing
        return page.rows[self._rows[self.cursor]].address if page and self._rows else None

    def _ask(self, address: int | None) -> None:
        if self._asking:
            self._next = address
            return
        machine = self.desk_app.machine

        def job(session: Session) -> tuple[CodePage, tuple[tuple[Piece, ...], ...]]:
            page = code_page(session, _start(session) if address is None else address)
            return page, _pieces(page)

        def take(answer: tuple[CodePage, tuple[tuple[Piece, ...], ...]]) -> None:
            self._asking = False
            if (waiting := self._next) is not None:
                self._next = None
                self._ask(waiting)
                return
            self._take(*answer)

        def fail(error: Exception) -> None:
            self._asking = False
            self._take(CodePage(address or 0, 0, 0, (), problem=one_line(str(error))), ())

        view = self.scene.view
        self._read_for = (view.generation if view else -1, machine.executed)
        self._asking = machine.ask(job, take, fail)

    def _take(self, page: CodePage, pieces: tuple[tuple[Piece, ...], ...]) -> None:
        self.listing, self._pieces = page, pieces
        self._rows = self._shown_rows()
        self._place(page.row_of(page.asked))
        self.redraw()

    def _place(self, row: int) -> None:
        """The cursor on a row of the page, in the upper third if it was not on the screen with what it belongs to."""
        self.cursor = at = self._rows.index(row) if row in self._rows else 0
        self._unplaced = not self.size.height
        if not (self.top + _ABOVE if self.top else 0) <= at < self.top + self.room:
            self.top = max(0, at - self.room // 3)

    def lines(self, width: int, height: int) -> list[Strip]:
        """The listing; placed anew where the panel had no size yet when the page came."""
        if self._unplaced and self._rows:
            self.top = 0
            self._place(self._rows[self.cursor])
        return super().lines(width, height)

    def _shown_rows(self) -> tuple[int, ...]:
        rows = self.listing.rows if self.listing else ()
        return tuple(n for n, row in enumerate(rows) if not self.mode or row.kind != "source")

    def _stale(self) -> bool:
        view = self.scene.view
        return view is not None and (view.generation, self.desk_app.machine.executed) != self._read_for

    def sampled(self) -> None:
        """Count what hit; go where the program stopped; read again what may have changed."""
        self.desk_app.machine.count_sites()
        self.advance()

    def advance(self) -> None:
        """The same as soon as the machine moved."""
        view = self.scene.view
        if self._asking or view is None or self.scene.session is None:
            return
        pc = self.pc
        if self.scene.running:
            self._followed = None
        if self.following and pc is not None and pc != self._followed:
            self._followed = pc
            self._ask(pc)
        elif self.listing is None:
            hit = self.desk_app.selected_hit() or self.desk_app.hits.selected_hit()
            self._ask(hit.place if hit is not None else None)
        elif self._stale() and view.state != "running":
            self._ask(self.address if self.address is not None else self.listing.asked)

    @property
    def pc(self) -> int | None:
        """Where the program stands, None while that is not known."""
        view = self.scene.view
        if view is None or self.scene.state == "running" or view.state == "detached":
            return None
        return view.current.pc if view.current is not None else None

    # Keys

    def toggle_follow(self) -> bool:
        """Follow where the program stops, or stay."""
        self.following = not self.following
        if self.following and self.pc is not None:
            self.go(self.pc, follow=True)
        self.redraw()
        return True

    def open(self) -> bool:
        """What can be done from here."""
        self.desk_app.action_from_here()
        return True

    def other(self) -> bool:
        """With source, without, or with the bytes of the instructions."""
        row = self._rows[self.cursor] if self._rows else 0
        address = self.address
        self.mode = (self.mode + 1) % len(_MODES)
        self._rows = self._shown_rows()
        if self.listing is not None and address is not None:
            self._place(row if row in self._rows else self.listing.row_of(address))
        self.redraw()
        return True

    def neighbour(self, by: int) -> bool:
        """The function before or after."""
        page, address = self.listing, self.address
        if page is not None and page.rows and address is not None:
            here = page.function_of(address)
            start, end = (here.start, here.end) if here is not None else (page.start, page.end)
            self.go(end if by > 0 else start - 1)
        return True

    def spot(self) -> Spot | None:
        """The instruction under the cursor; of a source line the first one below it."""
        page, address = self.listing, self.address
        if page is None or address is None:
            return None
        row = page.rows[max(0, page.row_of(address))]
        return Spot(
            what=self.scene.names.of(address).symbol,
            expr=f"{address:#x}",
            code=address,
            insn=row.text,
            length=row.size,
        )

    # The picture

    def count(self) -> int:
        """Rows of the mode."""
        return len(self._rows)

    def heading(self, width: int) -> Strip:
        """Which function, how many hits it made, and whether it follows."""
        page = self.listing
        ink = self.ink
        if page is None:
            return self.rule(width, self.title)
        self._count()
        here = page.function_of(self.address or 0)
        start, end = (here.start, here.end) if here is not None else (page.start, page.end)
        total = sum(n for address, n in self._counts.items() if start <= address < end)
        after = without_del(here.name) if here is not None else f"{start:#x}" if page.rows else ""
        if here is not None and width >= 100:
            after += f"  {start:#x}-{end:#x}"
        if total:
            after += f"  {numbers.count(total)} hit{'s' * (total != 1)}"
        right, style = "follows where it stops", None
        if self.scene.problem:
            right, style = self.scene.problem, ink.warn
        elif self.scene.running:
            right = "runs: where it is, nobody knows" if width >= 100 else "runs"
        elif not self.following:
            right, style = "staying: f follows", ink.warn
        elif self.pc is None:
            right = "the program has ended" if self.scene.state == "exited" else ""
        return self.rule(width, self.title, after=after, right=right, right_style=style)

    def notes(self, width: int, height: int) -> list[Line]:
        """Why there is nothing, or no source."""
        page, ink = self.listing, self.ink
        if page is None:
            text = "reading" if self.scene.session is not None else "the machine is being opened"
            return [self.line(width).add(f"  {text}", ink.muted)]
        texts: list[tuple[str, Style]] = []
        if page.problem:
            texts.append((f"{without_del(one_line(page.problem))}; o goes elsewhere", ink.warn))
        elif self.mode == 0:
            missing = [source for source in page.files if not source.path]
            if not page.files:
                texts.append(("no source: no line is known for this code (compiled without -g?)", ink.muted))
            for source in missing[:1]:
                where = "; ".join(shown(each) for each in source.looked)
                texts.append(
                    (
                        f"no source: {shown(source.name)} was looked for at {where}. `directory DIR` adds a place",
                        ink.muted,
                    )
                )
            newer = next((source for source in page.files if source.newer), None)
            if newer is not None:
                texts.append(
                    (
                        f"{shown(newer.name)} is newer than the program: other lines may have been compiled",
                        ink.warn,
                    )
                )
        if page.rows and not page.name:
            texts.append(("no function is known around here: instructions from this address on", ink.muted))
        if page.cut:
            texts.append((f"a long function: {len(page.rows):,} rows around this place", ink.muted))
        most = max(1, height // 4)
        broken = [(part, style) for text, style in texts for part in wrap(text, max(20, width - 4))]
        return [self.line(width).add(f"  {part}", style) for part, style in broken[:most]]

    def row(self, number: int, width: int) -> Line:
        """One instruction, or one source line."""
        assert self.listing is not None
        index = self._rows[number]
        row = self.listing.rows[index]
        ink, glyphs = self.ink, self.glyphs
        line = self.line(width).add(glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        if row.kind == "name":
            return line.add("", None, _COUNT + 6).add(without_del(row.text), ink.title)
        if row.kind == "source":
            line.add("", None, 3)
            self._margin(line, self._line_hits(index))
            line.add(str(row.line), ink.accent, 5, right=True).add(f" {glyphs.side} ", ink.rule)
            return self._put(line, self._pieces[index])
        here = row.address == self.pc
        armed = row.address in self._armed()
        line.add("=>" if here else "", ink.changed, 2).add("*" if armed else "", ink.warn, 1)
        self._margin(line, self._counts.get(row.address, 0))
        digits = len(f"{self.listing.end:x}")
        line.add(f" {row.address:{digits}x}  ", ink.changed if here else ink.muted)
        if self.mode == 2 and width >= 80:
            line.add(row.raw.hex(" ")[: _BYTES - 1], ink.muted, _BYTES)
        refers = (("type", f"  # {without_del(row.refers)}"),) if row.refers else ()
        return self._put(line, self._pieces[index] + refers)

    def _put(self, line: Line, pieces: tuple[Piece, ...]) -> Line:
        """The pieces; cut as one text is, wherever one of them ends."""
        ink, ellipsis = self.ink, self.glyphs.ellipsis
        over = sum(cell_len(text) for _, text in pieces) > line.room
        room = line.room - (len(ellipsis) if over else 0)
        for kind, text in pieces:
            cells = cell_len(text)
            line.add(text if cells <= room else set_cell_size(text, max(0, room)), _style(ink, kind))
            room -= cells
            if room <= 0 and over:
                return line.add(ellipsis, ink.muted)
        return line

    def _margin(self, line: Line, hits: int) -> None:
        ink = self.ink
        if not hits:
            line.add("", None, _COUNT + 2)
            return
        text = numbers.count(hits)
        most = max(self._counts.values(), default=1)
        bars = self.glyphs.bars
        level = max(1, round(hits / most * (len(bars) - 1))) if most else 1
        style = ink.changed if level > len(bars) // 2 else ink.value
        line.add(text if len(text) <= _COUNT else numbers.rate(hits), style, _COUNT, right=True)
        line.add(f" {bars[min(level, len(bars) - 1)]}", style)

    def _line_hits(self, index: int) -> int:
        """What the instructions below a source line did: those up to the next source line."""
        assert self.listing is not None
        rows, total = self.listing.rows, 0
        for row in rows[index + 1 :]:
            if row.kind != "insn":
                break
            total += self._counts.get(row.address, 0)
        return total

    def _count(self) -> None:
        if self._sites is not self.scene.sites:
            self._sites = self.scene.sites
            self._counts = {}
            for site in self._sites:
                self._counts[site.insn_ip] = self._counts.get(site.insn_ip, 0) + site.count

    def _armed(self) -> frozenset[int]:
        view = self.scene.view
        return (
            frozenset(b.address for b in view.breakpoints if b.type == "x" and b.enabled)
            if view
            else frozenset()
        )


def _style(ink: object, kind: str) -> Style | None:
    names = {
        "keyword": "accent", "type": "symbol", "function": "strong", "number": "value", "string": "value", "comment": "muted",
        "register": "base",
    }  # fmt: skip
    name = names.get(kind)
    return getattr(ink, name) if name else None


def _start(session: Session) -> int:
    """Where to begin: the program's stop, its main, or its first code."""
    from backends.base import HwbpError

    view = session.view
    if view.state != "running" and view.current is not None and view.current.pc is not None:
        return view.current.pc
    try:
        return session.names.resolve("main").address
    except HwbpError:
        mapping = next((m for m in view.mappings if "x" in m.perms), None)
        return mapping.start if mapping is not None else 0


def _pieces(page: CodePage) -> tuple[tuple[Piece, ...], ...]:
    """Each row's text in colours."""
    wanted: dict[int, tuple[int, int]] = {}
    for row in page.rows:
        if row.kind == "source":
            low, high = wanted.get(row.file, (row.line, row.line))
            wanted[row.file] = min(low, row.line), max(high, row.line)
    lexed = {file: source_pieces(page.files[file], low, high) for file, (low, high) in wanted.items()}
    return tuple(
        lexed[row.file].get(row.line, (("", without_del(row.text)),))
        if row.kind == "source"
        else ()
        if row.kind == "name"
        else instruction_pieces(without_del(row.text))
        for row in page.rows
    )
