"""Where everything is: one pure function from the terminal's size to rectangles, and the Textual layout that obeys it.

What gives way first when there is little room: the detail of the hit, then the owners, then lines of the history.
Slots, DR7, hits and the message line never go.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from textual.geometry import Offset, Region, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

__all__ = ["MIN_HEIGHT", "MIN_WIDTH", "Arrangement", "Wants", "plan"]

MIN_WIDTH: Final = 80
MIN_HEIGHT: Final = 24

_LEAST_HITS: Final = 4
"""The rule, the heading and two rows."""

_NO_OFFSET: Final = Offset(0, 0)
_NO_SPACING: Final = Spacing(0, 0, 0, 0)


class Wants(NamedTuple):
    """What changes the arrangement besides the size: lines of message and narration, an open command line."""

    message: int = 1
    command: bool = False
    narration: int = 0


_PLAIN: Final = Wants()


def plan(width: int, height: int, wants: Wants = _PLAIN) -> dict[str, Region]:
    """Rectangles by widget id. What is not named is not shown.

    Below 80x24 only `small` remains, which says what is missing.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return {"small": Region(0, 0, width, height)}
    roomy = width >= 112 and height >= 34
    places: dict[str, Region] = {}
    top = 0

    def put(name: str, lines: int) -> None:
        nonlocal top
        places[name] = Region(0, top, width, lines)
        top += lines

    command = 1 if wants.command or roomy else 0
    above = 15 if roomy else 11
    message = min(wants.message, 5, max(1, height - above - _LEAST_HITS - 1 - command - wants.narration))
    bottom = height
    for name, lines in (
        ("footer", 1),
        ("command", command),
        ("message", message),
        ("narration", wants.narration),
    ):
        if lines:
            bottom -= lines
            places[name] = Region(0, bottom, width, lines)

    put("title", 1)
    put("slots", 7 if roomy else 6)
    put("dr7", 5 if roomy else 3)
    put("dr6", 2 if roomy else 1)
    if roomy:
        _roomy_middle(places, Region(0, top, width, bottom - top))
        return places

    middle = bottom - top
    if middle >= 7:
        put("owners", 2)
        middle -= 2
    detail = 0 if middle < _LEAST_HITS + 1 else 1 if middle < 13 else 6 if middle < 20 else 9
    places["hits"] = Region(0, top, width, middle - detail)
    if detail:
        places["detail"] = Region(0, bottom - detail, width, detail)
    return places


def _roomy_middle(places: dict[str, Region], area: Region) -> None:
    """History and detail on the left, owners and sites on the right."""
    x, top, width, height = area
    side = max(44, min(64, width * 35 // 100))
    main = width - side - 1
    detail = 9 if height >= 19 else 6 if height >= 13 else 0
    upper = height - detail
    owners = min(8, upper)
    places["hits"] = Region(x, top, main, upper)
    places["owners"] = Region(x + main + 1, top, side, owners)
    if upper - owners >= 3:
        places["sites"] = Region(x + main + 1, top + owners, side, upper - owners)
    else:
        places["owners"] = Region(x + main + 1, top, side, upper)
    if detail:
        places["detail"] = Region(x, top + upper, main, detail)
        places["stack"] = Region(x + main + 1, top + upper, side, detail)


class Arrangement(Layout):
    """Puts the main screen's widgets where `plan` says."""

    name = "arrangement"

    def __init__(self) -> None:
        self.wants = Wants()

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        """One placement for each widget that has a place."""
        places = plan(size.width, size.height, self.wants)
        return [
            WidgetPlacement(places[child.id], _NO_OFFSET, _NO_SPACING, child)
            for child in children
            if child.id in places
        ]
