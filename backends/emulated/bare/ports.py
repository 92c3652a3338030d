"""The machine's few I/O ports: output, and its end."""

from __future__ import annotations

from typing import Final

from backends.emulated.bare.faults import MachineEnds
from backends.emulated.linux.output import Output

__all__ = ["Ports"]

DEBUG_CONSOLE: Final = 0xE9
"""Bytes written are output, as QEMU's and Bochs's debug console have it; reads give the port's own number."""
SERIAL: Final = 0x3F8
SERIAL_STATUS: Final = 0x3FD
EXIT: Final = 0xF4
"""A byte written ends the machine with that status (QEMU's isa-debug-exit)."""


class Ports:
    """Ports that nothing is behind read as all ones and swallow writes."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def read(self, port: int, size: int) -> int:
        """IN: `size` bytes, little-endian."""
        if port == DEBUG_CONSOLE:
            return DEBUG_CONSOLE
        if port == SERIAL_STATUS:
            return 0x60  # the transmitter is empty
        return (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """OUT. Raises MachineEnds at the exit port."""
        if port in (DEBUG_CONSOLE, SERIAL):
            self._output.write(1, bytes([value & 0xFF]))
        elif port == EXIT:
            raise MachineEnds(f"the program has ended: exit status {value & 0xFF}", value & 0xFF)
