"""The app's views by number and name: what the command `view` takes, and what the app's tabs, keys and palette say."""

from __future__ import annotations

from typing import Final, NamedTuple

from backends.base import HwbpError
from tui.session.escape import one_line

__all__ = ["PLACED", "VIEWS", "ViewName", "find_view"]


class ViewName(NamedTuple):
    """`key` is the digit that opens it, `name` what is typed, `summary` the palette's and the help's line."""

    key: str
    name: str
    summary: str


VIEWS: Final = (
    ViewName("1", "machine", "slots, DR7, DR6, owners and the newest hits"),
    ViewName("2", "hits", "every hit that is kept: filter, find, group, sort, marks, columns"),
    ViewName("3", "sites", "who writes this: each instruction once, with totals, rate, tasks, stacks"),
    ViewName("4", "values", "the watched object over time, by its type, and how often each value came"),
    ViewName("5", "timeline", "all CPUs, all tasks, and who sat in which register when"),
    ViewName("6", "code", "instructions and source together, with what hit in the margin"),
    ViewName("7", "memory", "memory in hexadecimal and by its types, armed and changed bytes marked"),
    ViewName("8", "registers", "registers, call stack, stack and locals of the stopped task"),
    ViewName("9", "tasks", "every task: where it runs, what it waits for, which breakpoints follow it"),
    ViewName("0", "log", "each command and its answer"),
)

PLACED: Final = ("code", "memory")
"""Views that can be opened at a place."""


def find_view(text: str) -> ViewName:
    """The view that a number, a name or the beginning of one means. HwbpError ENOENT where none or several do."""
    word = text.strip().lower()
    exact = [view for view in VIEWS if word in (view.key, view.name)]
    found = exact or [view for view in VIEWS if word and view.name.startswith(word)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{view.key} {view.name}" for view in found or VIEWS)
    what = (
        "which view"
        if not word
        else f"{one_line(text.strip())!r} is {'more than one view' if found else 'no view'}"
    )
    raise HwbpError(f"{what}: {known}", errno="ENOENT")
