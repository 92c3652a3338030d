"""Linux's system calls for the programs of the emulated machine: processes, threads, signals, files, time."""

from __future__ import annotations

from backends.emulated.linux.calls import Linux
from backends.emulated.linux.state import Process, Task, Unsupported

__all__ = ["Linux", "Process", "Task", "Unsupported"]
