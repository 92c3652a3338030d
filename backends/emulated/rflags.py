"""Bits of RFLAGS (SDM 1 3.4.3)."""

from __future__ import annotations

__all__ = ["AC", "ID", "IF", "IOPL", "NT", "RF", "TF"]

TF, IF, IOPL, NT, RF, AC, ID = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 21
