"""Memory as the instructions see it that are run here: with faults, hits, and code that must not change."""

from __future__ import annotations

from backends.emulated.bare.code import CodeCache
from backends.emulated.bare.faults import GP, PF, GuestFault
from backends.emulated.bare.recorder import Recorder
from backends.emulated.bare.state import SystemState
from backends.emulated.engine import Engine, EngineError, Unsupported

__all__ = ["CANONICAL", "GuestMemory"]

CANONICAL = (0, 0x1FFFF)
"""Bits 63:47 of a linear address, all alike."""


class GuestMemory:
    """The CPU's view of memory; `BareCpu` is one."""

    engine: Engine
    state: SystemState
    code: CodeCache
    recorder: Recorder

    def peek(self, address: int, size: int) -> bytes:
        """What lies there, zeros where nothing is."""
        try:
            return self.engine.read(address, size)
        except EngineError:
            return bytes(size)  # a slot over nothing: the access to it is about to fault

    def check(self, address: int, size: int, prot: int) -> None:
        """OSError where the access would fault (what `backends.emulated.division` asks)."""
        try:
            self.engine.read(address, size)
        except EngineError as error:
            raise OSError(14, "fault") from error

    def fault_at(self, address: int, write: bool) -> GuestFault:
        """The exception of an access to where nothing is mapped."""
        if address >> 47 not in CANONICAL:
            return GuestFault(GP, 0, why=f"{address:#x} is not canonical")
        error = (2 if write else 0) | (4 if self.state.cpl == 3 else 0)
        return GuestFault(PF, error, address=address, why=f"nothing is mapped at {address:#x}")

    def load(self, address: int, size: int) -> int:
        """A data read: hits slots, and faults."""
        try:
            data = self.engine.read(address, size)
        except (EngineError, OverflowError) as error:
            raise self.fault_at(address, False) from error
        self.recorder.note(address, size, 1)
        return int.from_bytes(data, "little")

    def store(self, address: int, size: int, value: int) -> None:
        """A data write: hits slots, and faults."""
        try:
            self.engine.read(address, size)
        except (EngineError, OverflowError) as error:
            raise self.fault_at(address, True) from error
        self.recorder.note(address, size, 2)
        self.system_write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def system_read(self, address: int, size: int) -> bytes:
        """A descriptor table or the TSS: no data slot sees that."""
        try:
            return self.engine.read(address, size)
        except (EngineError, OverflowError) as error:
            raise self.fault_at(address, False) from error

    def system_write(self, address: int, data: bytes) -> None:
        """Write without a hit. Raises Unsupported over code that has run."""
        pages = self.code.open_pages(address, len(data))
        try:
            if pages and self.code.overlaps(address, len(data)):
                raise Unsupported(f"code that has already run is being rewritten, at {address:#x}")
            self.engine.write(address, data)
        except EngineError as error:
            raise Unsupported(f"code that has already run is being rewritten, at {address:#x}") from error
        finally:
            self.code.close_pages(pages)

    def mapped(self, address: int, size: int) -> bool:
        """Whether all of these bytes exist."""
        try:
            self.engine.read(address, size)
        except EngineError:
            return False
        return True
