"""One line of a panel: text is put at columns, cut with an ellipsis, and becomes a `Strip` of a known width.

Text of the watched program passes `shown` first, so that nothing of it can move the cursor or change a colour.
Strips are made of segments and never of markup, so brackets in a symbol are brackets.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

__all__ = ["Line", "clip", "clip_start", "without_offset"]


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """The text in at most `width` cells, its end replaced by the ellipsis where it was cut."""
    if width <= 0:
        return ""
    if len(text) <= width and text.isascii():
        return text
    if cell_len(text) <= width:
        return text
    if width <= len(ellipsis):
        return ellipsis[:width]
    return set_cell_size(text, width - len(ellipsis)).rstrip() + ellipsis


def clip_start(text: str, width: int, ellipsis: str = "…") -> str:
    """The same, but what is cut is the beginning: for what is told apart by its end (`cfg.limits[3]`, `counter.c:42`)."""
    if cell_len(text) <= width:
        return text
    if width <= len(ellipsis):
        return ellipsis[: max(0, width)]
    kept = text
    while cell_len(kept) > width - len(ellipsis):
        kept = kept[1:]
    return ellipsis + kept


def without_offset(symbol: str, width: int) -> str:
    """A symbol, without its offset where there is no room for both: `worker_step` says as much as `worker_step+0…`."""
    if cell_len(symbol) <= width:
        return symbol
    name, sign, _offset = symbol.rpartition("+0x")
    return name if sign else symbol


class Line:
    """Builds one line from left to right; what does not fit is cut, never wrapped."""

    __slots__ = ("_base", "_ellipsis", "_segments", "_width", "at")

    def __init__(self, width: int, base: Style, ellipsis: str = "…") -> None:
        self._width = width
        self._base = base
        self._ellipsis = ellipsis
        self._segments: list[Segment] = []
        self.at = 0

    @property
    def room(self) -> int:
        """Cells that are left."""
        return self._width - self.at

    def add(
        self, text: str, style: Style | None = None, width: int | None = None, right: bool = False
    ) -> Line:
        """Put text; with a width it takes exactly that many cells, cut or filled."""
        room = self._width - self.at
        if width is None:
            width = 0
        else:
            room = width = min(width, room)
        cells = len(text) if text.isascii() else cell_len(text)
        if cells > room:
            text = clip(text, room, self._ellipsis)
            cells = cell_len(text)
        if cells < width:
            text = " " * (width - cells) + text if right else text + " " * (width - cells)
            cells = width
        if cells:
            self._put(text, self._base if style is None else style)
            self.at += cells
        return self

    def _put(self, text: str, style: Style) -> None:
        """Neighbours of one style are one segment: less to draw, and less to send."""
        segments = self._segments
        if segments and segments[-1].style is style:
            segments[-1] = Segment(segments[-1].text + text, style)
        else:
            segments.append(Segment(text, style))

    def add_end(self, text: str, style: Style | None = None, width: int | None = None) -> Line:
        """Put text of which the end counts: what does not fit is cut at the beginning."""
        room = self.room if width is None else min(width, self.room)
        return self.add(clip_start(text, room, self._ellipsis), style, width)

    def cells(self, cells: Iterable[tuple[str, Style]]) -> Line:
        """Put signs of one cell each, as far as there is room: a chart's row, in as few pieces as it has styles."""
        text, style = "", self._base
        for sign, own in islice(cells, max(0, self.room)):
            if own is not style and text:
                self.add(text, style)
                text = ""
            text, style = text + sign, own
        return self.add(text, style)

    def to(self, column: int, fill: str = " ", style: Style | None = None) -> Line:
        """Fill up to a column."""
        missing = min(column, self._width) - self.at
        if missing > 0:
            self.add(fill * missing, style)
        return self

    def end(self, *pieces: tuple[str, Style | None], fill: str = " ", style: Style | None = None) -> Line:
        """Put pieces against the right edge, dropped as a whole where they would touch what is there."""
        length = sum(cell_len(text) for text, _ in pieces)
        if length > self.room:
            return self
        self.to(self._width - length, fill, style)
        for text, piece_style in pieces:
            self.add(text, piece_style)
        return self

    def strip(self, over: Style | None = None) -> Strip:
        """The finished line; `over` is laid over everything (a cursor)."""
        if self.room > 0:
            self._put(" " * self.room, self._base)
            self.at = self._width
        segments = self._segments
        if over is not None:
            segments = [Segment(s.text, (s.style or self._base) + over) for s in segments]
        return Strip(segments, self._width)
