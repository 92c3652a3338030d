"""The values of a watched object as a person reads them: by its type, over time, and how often each came."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tui.app import numbers

if TYPE_CHECKING:
    import numpy.typing as npt

    Decoded = npt.NDArray[np.int64] | npt.NDArray[np.uint64] | npt.NDArray[np.float64]

__all__ = ["RAW", "Bin", "Series", "Spread", "ValueKind", "decode", "series", "spread"]


class ValueKind(NamedTuple):
    """What the watched bytes are. `kind` is a scalar of C ("int", "char", "bool", "enum", "float", "pointer"), or "raw":
    several members, or bytes without a type. `path` is the member, `names` are an enumeration's. Texts are escaped."""

    kind: str
    size: int
    signed: bool = False
    type_name: str = ""
    path: str = ""
    names: tuple[tuple[str, int], ...] = ()

    def text(self, value: int) -> str:
        """A value of the ring as people write it."""
        bits = 8 * self.size
        value &= (1 << bits) - 1
        if self.kind == "float" and self.size in _FLOATS:
            return f"{struct.unpack(_FLOATS[self.size], value.to_bytes(self.size, 'little'))[0]:.6g}"
        if self.kind == "bool" and value < 2:
            return "true" if value else "false"
        signed = value - (1 << bits) if self.signed and value >> bits - 1 else value
        if self.kind == "enum":
            name = next((name for name, number in self.names if number in (value, signed)), None)
            if name is not None:
                return name
        if self.kind == "char" and 32 <= value < 127:
            return f"{signed} '{chr(value)}'"
        if self.kind == "pointer":
            return f"{value:#x}" if value else "NULL"
        return str(signed) if self.signed else numbers.value(value)

    def number_text(self, value: float) -> str:
        """A decoded value, on an axis."""
        if self.kind == "float":
            return f"{value:.6g}"
        return self.text(round(value))


RAW: Final = ValueKind("raw", 8)
_FLOATS: Final = {4: "<f", 8: "<d"}


class Series(NamedTuple):
    """For each column the lowest, the highest and the last value in it; NaN where none was written.

    `before` is the value before the first column, NaN where that is not known.
    """

    low: list[float]
    high: list[float]
    last: list[float]
    before: float


class Bin(NamedTuple):
    """Values from `low` to `high` (both included; the same for a single value), and how often (`times`) they came."""

    low: int | float
    high: int | float
    times: int


class Spread(NamedTuple):
    """How values are distributed. `distinct` counts different ones."""

    bins: tuple[Bin, ...]
    distinct: int
    lowest: float
    highest: float
    mean: float
    median: float


def decode(values: npt.NDArray[np.unsignedinteger], kind: ValueKind) -> Decoded:
    """The ring's 64-bit values as numbers of the type."""
    whole = values.astype(np.uint64)
    if kind.kind == "float" and kind.size in _FLOATS:
        bits = whole.astype("<u4") if kind.size == 4 else whole
        return bits.view("<f4" if kind.size == 4 else "<f8").astype(np.float64)
    if kind.signed and kind.size < 8:
        shift = np.uint64(64 - 8 * kind.size)
        return (whole << shift).astype(np.int64) >> np.int64(shift)
    return whole.astype(np.int64) if kind.signed else whole


def series(
    times: npt.NDArray[np.unsignedinteger],
    values: Decoded,
    before: float,
    start: int,
    scale: int,
    columns: int,
) -> Series:
    """The values in columns of time; `times` ascends."""
    nothing = [float("nan")] * columns
    low, high, last = list(nothing), list(nothing), list(nothing)
    if len(times):
        at = (times.astype(np.int64) - start) // scale
        inside = (at >= 0) & (at < columns)
        at, chosen = at[inside], values[inside].astype(np.float64)
        if len(at):
            begins = np.flatnonzero(np.diff(at, prepend=-1))
            lows, highs = np.minimum.reduceat(chosen, begins), np.maximum.reduceat(chosen, begins)
            ends = np.append(begins[1:], len(at)) - 1
            for column, lowest, highest, final in zip(
                at[begins].tolist(), lows.tolist(), highs.tolist(), chosen[ends].tolist(), strict=True
            ):
                low[column], high[column], last[column] = lowest, highest, final
    return Series(low, high, last, before)


def spread(values: Decoded, most: int) -> Spread | None:
    """At most `most` bins: one for each value while they suffice, else of equal width. None without any value."""
    finite = values[np.isfinite(values)] if values.dtype == np.float64 else values
    if not len(finite):
        return None
    found, counts = np.unique(finite, return_counts=True)
    as_float = finite.astype(np.float64)
    if len(found) <= most:
        bins = tuple(Bin(v, v, int(c)) for v, c in zip(found.tolist(), counts.tolist(), strict=True))
    elif finite.dtype == np.float64:
        halves = np.linspace(
            float(found[0]) / 2, float(found[-1]) / 2, most + 1
        )  # whole, they could overflow
        heights = np.histogram(as_float / 2, halves)[0]
        edges = (2 * halves).tolist()
        bins = tuple(Bin(edges[n], edges[n + 1], int(heights[n])) for n in range(len(heights)))
    else:
        lowest, highest = int(found[0]), int(found[-1])
        width = -(-(highest - lowest + 1) // most)
        above = finite.astype(np.uint64) - np.uint64(lowest & (1 << 64) - 1)
        heights = np.bincount((above // np.uint64(width)).astype(np.int64), minlength=1)
        bins = tuple(
            Bin(lowest + n * width, lowest + (n + 1) * width - 1, int(times))
            for n, times in enumerate(heights)
        )
    with np.errstate(over="ignore"):
        mean, median = float(as_float.mean()), float(np.median(as_float))
    return Spread(bins, len(found), float(found[0]), float(found[-1]), mean, median)
