"""Where each view's panels are: pure functions from the room between title and message line to rectangles by panel id.

What gives way first on the main screen when there is little room: the detail of the hit, then the owners, then lines
of the history. Slots, DR7 and hits never go.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from textual.geometry import Region

__all__ = ["Wants", "hits", "machine", "side_width", "sites", "stacked", "timeline", "values"]

_LEAST_HITS: Final = 4
"""The rule, the heading and two rows."""
_LEAST_SITES: Final = 4


class Wants(NamedTuple):
    """What changes the arrangement besides the size: lines of message, narration and proposal, an open command line, the view,
    and the id of the panel that has it all.

    `cpus` and `tasks` are how many there are, for views that list them; `owners` the lines of that panel.
    """

    message: int = 1
    command: bool = False
    narration: int = 0
    proposal: int = 0
    view: str = "machine"
    alone: str = ""
    cpus: int = 1
    tasks: int = 1
    owners: int = 0


def stacked(area: Region, *lines: tuple[str, int]) -> dict[str, Region]:
    """Panels over the whole width from top to bottom; what has no line is not there."""
    places: dict[str, Region] = {}
    top = area.y
    for name, height in lines:
        if height > 0:
            places[name] = Region(area.x, top, area.width, height)
            top += height
    return places


def machine(area: Region, roomy: bool, wants: Wants) -> dict[str, Region]:
    """The main screen."""
    slots, dr7, dr6 = (7, 5, 2) if roomy else (6, 3, 1)
    registers = ("slots", slots), ("dr7", dr7), ("dr6", dr6)
    above = slots + dr7 + dr6
    middle = area.height - above
    if roomy:
        places = stacked(area, *registers)
        _roomy_middle(places, Region(area.x, area.y + above, area.width, middle), wants.owners)
        return places
    owners = 2 if middle >= _LEAST_HITS + 2 else 0
    middle -= owners
    detail = 0 if middle < _LEAST_HITS + 1 else 1 if middle < 13 else 6 if middle < 20 else 9
    return stacked(area, *registers, ("owners", owners), ("hits", middle - detail), ("detail", detail))


def side_width(width: int) -> int:
    """The width of what stands on the right of the main screen."""
    return max(44, min(64, width * 35 // 100))


def _roomy_middle(places: dict[str, Region], area: Region, lines: int) -> None:
    """History and detail on the left, owners and sites on the right."""
    x, top, width, height = area
    side = side_width(width)
    main = width - side - 1
    detail = 9 if height >= 19 else 6 if height >= 13 else 0
    upper = height - detail
    owners = min(max(8, min(lines, upper - _LEAST_SITES)), upper)
    places["hits"] = Region(x, top, main, upper)
    places["owners"] = Region(x + main + 1, top, side, owners)
    if upper - owners >= 3:
        places["sites"] = Region(x + main + 1, top + owners, side, upper - owners)
    else:
        places["owners"] = Region(x + main + 1, top, side, upper)
    if detail:
        places["detail"] = Region(x, top + upper, main, detail)
        places["stack"] = Region(x + main + 1, top + upper, side, detail)


def hits(area: Region, roomy: bool, _wants: Wants) -> dict[str, Region]:
    """The list over the whole width; below it the hit under the cursor, with its stack beside it where that fits."""
    detail = 9 if area.height >= 26 else 6 if area.height >= 18 else 1 if area.height >= 10 else 0
    places = stacked(area, ("history", area.height - detail), ("detail", detail))
    if roomy and detail > 1:
        side = side_width(area.width)
        x, top, width, height = places["detail"]
        places["detail"] = Region(x, top, width - side - 1, height)
        places["stack"] = Region(x + width - side, top, side, height)
    return places


def sites(area: Region, roomy: bool, _wants: Wants) -> dict[str, Region]:
    """The writers, the stacks of the one under the cursor, and its last hit where there is room."""
    stacks = 8 if area.height >= 22 else 6 if area.height >= 16 else 0
    detail = 9 if area.height >= 40 else 6 if area.height >= 28 else 0
    return stacked(area, ("writers", area.height - stacks - detail), ("stacks", stacks), ("detail", detail))


def values(area: Region, roomy: bool, _wants: Wants) -> dict[str, Region]:
    """The chart over the whole width; below it changes on the left, and how often each value came on the right."""
    lower = area.height * 2 // 5 if area.height >= 14 else 0
    places = stacked(area, ("chart", area.height - lower))
    if lower:
        side = max(36, area.width * 2 // 5)
        top = area.y + area.height - lower
        places["changes"] = Region(area.x, top, area.width - side - 1, lower)
        places["spread"] = Region(area.x + area.width - side, top, side, lower)
    return places


def timeline(area: Region, roomy: bool, wants: Wants) -> dict[str, Region]:
    """CPUs and tasks, side by side where the width allows; hits over time; and the registers, five lines a CPU.

    What gives way first: the tasks and CPUs, then the hits over time. The registers of one CPU never go.
    """
    room = area.height
    if room < 16:
        over = room - 6 if room >= 9 else 0
        return stacked(area, ("over-time", over), ("timeline", room - over))
    matrix = 2 + min(wants.cpus, 10 if roomy else 3)
    least_over = 8 if room >= 32 else 6 if room >= 26 else 4
    lanes = 1 + 5 * wants.cpus
    if area.width >= 160:
        upper = max(matrix, min(2 + wants.tasks, room // 3))
        left = max(area.width * 45 // 100, min(area.width - 81, 128))  # the tasks need 80
        places = {
            "matrix": Region(area.x, area.y, left, upper),
            "tasks": Region(area.x + left + 1, area.y, area.width - left - 1, upper),
        }
    else:
        fewest = 1 + 5 * min(wants.cpus, 2 if roomy else 1)
        tasks = max(3, min(2 + wants.tasks, room - matrix - least_over - fewest))
        upper = matrix + tasks
        places = stacked(area, ("matrix", matrix), ("tasks", tasks))
    lower = Region(area.x, area.y + upper, area.width, room - upper)
    over = max(least_over, min(22, lower.height - lanes))
    if lower.height - over < lanes:  # whole CPUs; what is left over is for the hits
        over += (lower.height - over - 1) % 5
    return places | stacked(lower, ("over-time", over), ("timeline", lower.height - over))
