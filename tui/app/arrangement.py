"""Where everything is: one pure function from the terminal's size to rectangles, and the Textual layout that obeys it.

Title, message line, command line and footer are always there; what is between them is the view's.
"""

from __future__ import annotations

from typing import Final

from textual.geometry import Offset, Region, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

from tui.app.plans import Wants
from tui.app.views import VIEWS
from tui.app.widgets.message import MOST

__all__ = ["MIN_HEIGHT", "MIN_WIDTH", "Arrangement", "Wants", "plan"]

MIN_WIDTH: Final = 80
MIN_HEIGHT: Final = 24

_NO_OFFSET: Final = Offset(0, 0)
_NO_SPACING: Final = Spacing(0, 0, 0, 0)
_PLAIN: Final = Wants()
_BY_NAME: Final = {view.name: view for view in VIEWS}


def plan(width: int, height: int, wants: Wants = _PLAIN) -> dict[str, Region]:
    """Rectangles by widget id. What is not named is not shown.

    Below 80x24 only `small` remains, which says what is missing.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return {"small": Region(0, 0, width, height)}
    roomy = width >= 112 and height >= 34
    view = _BY_NAME[wants.view]
    places = {"title": Region(0, 0, width, 1)}
    top = 1
    if roomy or not wants.narration:
        places["tabs"] = Region(0, top, width, 1)
        top += 1
    command = 1 if wants.command or roomy else 0
    room = height - top - 1 - command - wants.narration
    proposal = min(wants.proposal, max(0, room - view.least[roomy] - 1))
    message = min(wants.message, MOST, max(1, room - view.least[roomy] - proposal))
    bottom = height
    for name, lines in (
        ("footer", 1),
        ("command", command),
        ("proposal", proposal),
        ("message", message),
        ("narration", wants.narration),
    ):
        if lines:
            bottom -= lines
            places[name] = Region(0, bottom, width, lines)
    area = Region(0, top, width, bottom - top)
    shown = view.plan(area, roomy, wants)
    return places | ({wants.alone: area} if wants.alone in shown else shown)


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
