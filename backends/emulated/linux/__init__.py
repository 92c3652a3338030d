"""Linux's system calls for an emulated program: ordinary single-threaded programs run to their end."""

from __future__ import annotations

from backends.emulated.linux.calls import Linux
from backends.emulated.linux.state import Unsupported

__all__ = ["Linux", "Unsupported"]
