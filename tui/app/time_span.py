"""A span of the machine's time as columns of a chart: what scrolls, zooms and follows."""

from __future__ import annotations

from typing import Final

__all__ = ["TimeSpan", "span_text"]

_FINEST: Final = 1
_COARSEST: Final = 1 << 50


class TimeSpan:
    """`scale` is how long a column is, in ticks of the machine's clock, `end` where the right edge lies."""

    def __init__(self) -> None:
        self.scale = 1000
        self.end = 0
        self.following = True
        self.fitted = False
        """Somebody chose a scale, or all of it was shown once."""

    def of(self, columns: int, now: int) -> tuple[int, int]:
        """(start, end) of so many columns."""
        end = now if self.following else self.end
        end = max(end, columns * self.scale)
        return end - columns * self.scale, end

    def scroll(self, by: int, columns: int, now: int) -> None:
        """Half a window earlier or later; at the newest moment it follows again."""
        start, end = self.of(columns, now)
        self.fitted = True
        self.end = max(end - start, min(now, end + by * (end - start) // 2))
        self.following = self.end >= now

    def zoom(self, by: int, columns: int, now: int) -> None:
        """Finer (negative) or coarser, around the right edge."""
        _, self.end = self.of(columns, now)
        self.fitted = True
        self.scale = max(_FINEST, min(_COARSEST, self.scale >> 1 if by < 0 else self.scale << 1))

    def fit(self, columns: int, first: int, now: int) -> None:
        """From a moment until now, and follow."""
        self.scale = max(_FINEST, -(-max(1, now - first) // max(1, columns)))
        self.following = True
        self.fitted = True


def span_text(ticks: int, clock: str) -> str:
    """How long a span is: instructions as they are counted, nanoseconds in the unit that suits them."""
    if clock == "instructions":
        return f"{ticks:,} insns"
    for size, unit in ((1000, "ns"), (1_000_000, "us"), (1_000_000_000, "ms")):
        if ticks < 10 * size:
            return (
                f"{ticks * 1000 / size:,.0f} {unit}"
                if ticks * 1000 % size == 0
                else f"{ticks * 1000 / size:,.1f} {unit}"
            )
    return f"{ticks / 1e9:,.1f} s"
