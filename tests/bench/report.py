"""What a bench says: figures with their spread, a ratio, a goal; and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

__all__ = ["Report", "Row", "Spread", "percentile", "skipped"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of one figure."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From at least one run."""
        return cls(tuple(values))

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)

    def over(self, other: Spread) -> Spread:
        """Run by run, each against the peer's run beside it."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def text(self, unit: str) -> str:
        """`min/median/max unit`."""
        numbers: tuple[float, ...] = (min(self.values), self.middle, max(self.values))
        if len(self.values) == 1:
            numbers = numbers[:1]
        return f"{'/'.join(_short(number) for number in numbers)} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `met` is None where there is no goal, or nothing to measure it by."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one bench found. `notes` are printed below the table."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(self.rows + other.rows, self.notes + other.notes)


def skipped(what: str, why: str) -> Report:
    """A bench that cannot run here."""
    return Report((Row(what, f"skipped: {why}"),))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _short(number: float) -> str:
    if number >= 10_000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def machine() -> str:
    """Name, processor, load and date, in one line."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.*)", info.read_text())):
        model = found[1]
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    when = datetime.now().strftime("%Y-%m-%d %H:%M")
    python = f"Python {platform.python_version()}"
    return f"{platform.node()}: {os.cpu_count()} x {model}, {python}, load {load}, {when}"


def print_table(rows: Sequence[Row], show: Callable[[str], None]) -> None:
    """All rows, columns as wide as they need to be."""
    yes_no = {True: "yes", False: "NO", None: "-"}
    heading = ("what", "ours", "peer", "ratio", "goal", "met?")
    cells = [heading, *((r.what, r.ours, r.peer, r.ratio, r.goal, yes_no[r.met]) for r in rows)]
    rest = [row for row in cells if not row[1].startswith("skipped")]
    widths = [max(len(row[n]) for row in (cells if n == 0 else rest)) for n in range(len(heading))]
    for number, row in enumerate(cells):
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            show("  ".join("-" * width for width in widths))
