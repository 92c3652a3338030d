"""Which hits a watch wants: what is known of each breakpoint, and which rows meet its condition, are not ignored and lie before
its limit. For captures that do not hold hits against these when they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backends.condition import matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from backends.condition import Subject
    from backends.model import BreakpointRequest, WatchType

    Array = npt.NDArray[Any]
    Bools = npt.NDArray[np.bool_]

__all__ = ["Armed", "wanted_of"]


class Armed:
    """What the recorder must know of a breakpoint. `last` is the last value seen in each process.

    Where hits were not held against `condition` and `limit` when they happened, that is done here: `filtered` did not meet it, or were
    ignored. The breakpoints of one watch have one `passed`, of hits towards the limit, and one `ignore`, of hits that are ignored before.
    `noted`: hits may be left out before they come here, and say themselves what was there before.
    """

    __slots__ = (
        *("condition", "filtered", "id", "ignore", "ignores", "last", "length", "limit", "passed"),
        *("type", "watch"),
    )

    def __init__(
        self,
        id: int,  # noqa: A002
        request: BreakpointRequest,
        passed: list[int],
        ignore: list[int],
    ) -> None:
        self.id = id
        self.watch = request.watch
        self.type: WatchType = request.type
        self.length = request.length
        self.condition = request.condition
        self.limit = request.limit
        self.passed = passed
        self.ignore = ignore
        self.ignores = request.ignore > 0
        self.filtered = 0
        self.last: dict[int, int] = {}

    @property
    def restricted(self) -> bool:
        """Whether not every hit is wanted."""
        return self.condition is not None or self.limit is not None or self.ignore[0] > 0

    @property
    def noted(self) -> bool:
        return self.condition is not None or self.ignores


def wanted_of(every: Sequence[Armed], rows: Array) -> Bools:
    """Which rows of these breakpoints, in the order of time, are wanted. The others are counted in `filtered`, except those
    behind a limit."""
    wanted = np.ones(len(rows), bool)
    for armed in every:
        if armed.restricted and len(mine := np.flatnonzero(rows["breakpoint"] == armed.id)):
            wanted[mine] = _met(armed, rows[mine])
    for group in _groups(every):
        _leave_out(group, rows["breakpoint"], wanted)
    return wanted


def _groups(every: Sequence[Armed]) -> list[list[Armed]]:
    """The breakpoints by their watch; what belongs to none is by itself."""
    found: dict[tuple[int, int], list[Armed]] = {}
    for armed in every:
        key = (armed.watch, 0) if armed.watch >= 0 else (-1, armed.id)
        found.setdefault(key, []).append(armed)
    return list(found.values())


def _met(armed: Armed, rows: Array) -> Bools:
    """Which of a breakpoint's rows meet its condition."""
    if armed.condition is None:
        return np.ones(len(rows), bool)
    columns: dict[Subject, Array] = {
        "value": rows["value"], "thread": rows["tid"], "process": rows["pid"], "ip": rows["ip"], "cpu": rows["cpu"],
    }  # fmt: skip
    wanted = matching(armed.condition, columns, rows["value_from"] != 0)
    armed.filtered += len(rows) - int(wanted.sum())
    return wanted


def _leave_out(group: list[Armed], ids: Array, wanted: Bools) -> None:
    """Of the rows of one watch's breakpoints that are wanted so far: those that are to be ignored, and those behind the limit."""
    first = group[0]
    if first.limit is None and not first.ignore[0]:
        return
    mine = np.flatnonzero(wanted & np.isin(ids, [armed.id for armed in group]))
    ignored, rest = mine[: first.ignore[0]], mine[first.ignore[0] :]
    first.ignore[0] -= len(ignored)
    wanted[ignored] = False
    for armed in group:
        armed.filtered += int((ids[ignored] == armed.id).sum())
    if first.limit is not None:
        wanted[rest[max(0, first.limit - first.passed[0]) :]] = False
        first.passed[0] += len(rest)
