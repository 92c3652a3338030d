"""Where the panels are that read: code, memory, the stopped task, tasks, the log. Pure functions, as in `plans`."""

from __future__ import annotations

from typing import Final

from textual.geometry import Region

from tui.app.plans import Wants, stacked

__all__ = ["code", "log", "memory", "registers", "tasks"]

_WIDE: Final = 140
"""Columns from which there is room for a second panel beside what a view is about."""


def code(area: Region, _roomy: bool, _wants: Wants) -> dict[str, Region]:
    """Code; beside it, where there is room, which instructions hit."""
    x, top, width, height = area
    if width < _WIDE:
        return {"code": area}
    side = max(44, min(64, width * 30 // 100))
    main = width - side - 1
    return {"code": Region(x, top, main, height), "sites": Region(x + main + 1, top, side, height)}


def memory(area: Region, _roomy: bool, _wants: Wants) -> dict[str, Region]:
    """Memory, and the object under its cursor: beside it, or below."""
    x, top, width, height = area
    if width >= _WIDE:
        main = max(84, width * 58 // 100)
        return {
            "memory": Region(x, top, main, height),
            "object": Region(x + main + 1, top, width - main - 1, height),
        }
    below = max(4, min(height // 3, 14))
    return stacked(area, ("memory", height - below), ("object", below))


def registers(area: Region, _roomy: bool, _wants: Wants) -> dict[str, Region]:
    """Registers over the whole width; below them the call stack, the locals where there is room, and the stack."""
    x, top, width, height = area
    upper = min(8 if width >= 160 else 11, height - 4)
    lower = height - upper
    y = top + upper
    places = {"registers": Region(x, top, width, upper)}
    left = width // 2 if width >= 90 else 36
    frames = lower if lower < 12 else max(5, lower * 45 // 100)
    places["frames"] = Region(x, y, left - 1, frames)
    if lower > frames:
        places["locals"] = Region(x, y + frames, left - 1, lower - frames)
    places["words"] = Region(x + left, y, width - left, lower)
    return places


def tasks(area: Region, _roomy: bool, wants: Wants) -> dict[str, Region]:
    """The list, and the task under its cursor."""
    detail = max(5, min(9, area.height // 2, area.height - 4))
    listed = min(max(area.height - detail, 3), max(wants.tasks, 1) + 2)
    return stacked(area, ("tasks", listed), ("task", area.height - listed))


def log(area: Region, _roomy: bool, _wants: Wants) -> dict[str, Region]:
    """All of it."""
    return {"log": area}
