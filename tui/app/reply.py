"""What a demo's narrator shows of a command's answer: as much as there is room for, and the line that matters in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symbols.dataclass import dataclass
from tui.app.widgets.message import brief_holder, wrap

if TYPE_CHECKING:
    from tui.session.result import Result

__all__ = ["Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """`lines` are the answer; `first` is the one that the scene is about. `brief` says the same with fewer words."""

    lines: tuple[str, ...] = ()
    first: int = 0
    brief: tuple[str, ...] = ()
    ok: bool = True

    @classmethod
    def of(cls, result: Result, matters: str = "", planned: bool = True) -> Reply:
        """`matters` is a text of the line that the scene is about; `planned` is false where the scene expected another answer."""
        odd = "" if planned else "not as planned: "
        if result.ok:
            lines = tuple(line.strip() for line in result.lines if line.strip()) or ("done",)
            first = next((number for number, line in enumerate(lines) if matters in line), 0)
            return cls((odd + lines[0], *lines[1:]), first, ok=planned)
        why = f"{odd}{result.errno + ': ' if result.errno else ''}{result.error}"
        if not result.holders:
            return cls((why,), ok=False)
        held = "held by " + "; ".join(result.holders)
        short = "held by " + "; ".join(map(brief_holder, result.holders))
        return cls((why, held), brief=(why, short), ok=False)

    def rows(self, width: int, room: int) -> list[str]:
        """At most `room` lines of `width` cells; the last one says how many are missing."""
        rows: list[str] = []
        for lines in (self.lines, self.brief or self.lines[self.first :]):
            rows = [row for line in lines for row in wrap(line, width)]
            if len(rows) <= room:
                return rows
        left = f"(+{len(rows) - room} more)"
        last = rows[room - 1]
        return [*rows[: room - 1], f"{last:<{width - len(left) - 1}.{width - len(left) - 1}} {left}"]
