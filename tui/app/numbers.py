"""How numbers look: always the same width where the eye compares them, always exact where that is possible."""

from __future__ import annotations

__all__ = ["address", "count", "counted", "rate", "value"]


def count(number: int | None) -> str:
    """61204 -> 61,204; None -> ?."""
    return "?" if number is None else f"{number:,}"


def counted(number: int, what: str) -> str:
    """1 -> 1 hit; 61204 -> 61,204 hits."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def rate(per_second: float | None) -> str:
    """At most four signs: 0, 7.5, 812, 4.1k, 204k, 1.2M."""
    if per_second is None:
        return "?"
    if per_second < 0.05:
        return "0"
    if per_second < 9.95:
        return f"{per_second:.1f}"
    if per_second < 999.5:
        return f"{per_second:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        scaled = per_second / size
        if scaled < 9.95:
            return f"{scaled:.1f}{unit}"
        if scaled < 999.5:
            return f"{scaled:.0f}{unit}"
    return ">1T"


def address(number: int) -> str:
    """Sixteen digits, so that addresses line up."""
    return f"{number:016x}"


def value(number: int | None, signed: int = 0) -> str:
    """Small numbers as people count, big ones (pointers, patterns) as the CPU does. `signed`: the bits of a signed integer."""
    if number is None:
        return "?"
    if signed and number >> signed - 1:
        return str(number - (1 << signed))
    return str(number) if number < 1_000_000_000 else f"{number:#x}"
