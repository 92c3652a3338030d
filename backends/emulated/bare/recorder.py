"""What the current instruction touched of the data slots, and the hits it leaves in the ring."""

from __future__ import annotations

from collections.abc import Callable

from backends.emulated.capture import ACCESS_R, ACCESS_W, ACCESS_X, Capture, HitSink
from backends.emulated.debug_unit import DataSlot, DebugUnit
from backends.ring import FLAG_SAME_DB

__all__ = ["Recorder"]


class Recorder:
    """Notes accesses while an instruction runs, and turns them into Bn when it has finished.

    `sinks[n]` takes the hits of slot n; `stack(pc)` is the number of the call stack of this moment (0: none is kept). `show_disabled`: DR6 also shows slots that match and are not enabled, as the SDM
    allows (3B 17.2.3); their bits are in `also` and raise nothing by themselves.
    """

    def __init__(self, unit: DebugUnit, capture: Capture, read: Callable[[int, int], bytes]) -> None:
        self._unit = unit
        self._capture = capture
        self.read = read
        self.sinks: list[HitSink] = [capture.sink(0)] * 4
        self.stack: Callable[[int], int] = lambda pc: 0
        self.show_disabled = False
        self.also = 0
        self._stack = 0
        self._touched: list[tuple[DataSlot, int, int]] = []
        self._ports = 0
        self._pc = 0

    def begin(self, pc: int) -> None:
        """A new instruction, or a delivery: nothing is touched yet."""
        self._pc = pc
        self._touched.clear()
        self._ports = 0
        self.also = 0

    def note(self, address: int, size: int, kinds: int) -> None:
        """An access of `size` bytes: kinds 1 for a read, 2 for a write, 3 for both. Before it happens, for the old value."""
        for slot in self._unit.data:
            if address < slot.end and slot.start < address + size:
                if not self._touched:
                    self._stack = self.stack(self._pc)
                self._touched.append((slot, kinds, slot.current(self.read)))
        if self.show_disabled:
            self.also |= self._unit.disabled_matches(address, size, "w" if kinds & 2 else "r")

    def note_port(self, hits: int) -> None:
        """An IN or OUT hit these I/O slots."""
        self._ports |= hits

    def execute_hit(self, hits: int, pc: int, time: int) -> None:
        """An execute #DB is about to be delivered."""
        flags, stack = 0, self.stack(pc)
        for slot in range(4):
            if hits >> slot & 1:
                self._capture.hit(self.sinks[slot], time, pc, pc, pc, 1, slot, ACCESS_X, 0, 0, stack, flags)
                flags = FLAG_SAME_DB

    def finish(self, pc: int, ip: int, time: int) -> int:
        """The instruction at `pc` has finished and goes on at `ip`: record its hits; returns their Bn."""
        hits = self._ports
        if self._touched:
            kinds = [0, 0, 0, 0]
            for slot, kind, _ in self._touched:
                kinds[slot.index] |= kind
            done = 0
            for slot, _, old in self._touched:
                index = slot.index
                if done >> index & 1 or not kinds[index] & slot.kinds:
                    continue
                done |= 1 << index
                self._capture.hit(
                    self.sinks[index], time, ip, pc, slot.start, slot.length, index,
                    ACCESS_W if kinds[index] & 2 else ACCESS_R, slot.current(self.read), old, self._stack,
                    FLAG_SAME_DB if done & done - 1 else 0,
                )  # fmt: skip
            hits |= done
        self._touched.clear()
        self._ports = 0
        return hits
