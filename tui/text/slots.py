"""`hwbp-tui slots`: who holds the debug registers of this machine (docs/cli.md)."""

from __future__ import annotations

from backends.base import HwbpError

__all__ = ["slots"]


def slots() -> int:
    """Not built: says so in one line (HwbpError)."""
    raise HwbpError(
        "reading the running kernel's slots is not built yet",
        remedy="`hwbp-tui doctor` says what this machine allows; the emulated machine shows its own slots",
    )
