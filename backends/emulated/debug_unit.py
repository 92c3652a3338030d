"""DR0 to DR7 of one emulated CPU, on an engine that can deny access to single bytes.

A write slot's bytes are made read-only, a read-write slot's bytes inaccessible, so that a quiet slot costs nothing and
every access to its bytes comes back from the engine as DENIED. The unit knows registers and ranges; the CPU's loop
(`backends.emulated.cpu`) finishes the instruction and delivers the #DB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from backends import dr
from backends.emulated.engine import READ, WRITE, Engine

__all__ = ["DataSlot", "DebugUnit", "RegisterUndefined"]


class RegisterUndefined(Exception):
    """#UD: DR4 or DR5 while CR4.DE is set (SDM 17.2.2)."""


class DataSlot:
    """One enabled data slot: bytes [`start`, `end`), `kinds` are the access kinds that hit (2 a write, 3 any).

    `value` is what the bytes hold, None while something may have written them without being seen here.
    """

    __slots__ = ("deny", "end", "index", "kinds", "length", "lift", "start", "value")

    def __init__(self, index: int, start: int, length: int, kinds: int) -> None:
        self.index = index
        self.start = start
        self.end = start + length
        self.length = length
        self.kinds = kinds
        self.value: int | None = None
        self.deny: Callable[[], object] = bool
        self.lift: Callable[[], object] = bool

    def current(self, read: Callable[[int, int], bytes]) -> int:
        """What the bytes hold now, little-endian."""
        return int.from_bytes(read(self.start, self.length), "little")


class DebugUnit:
    """The registers, and what they make the engine deny.

    `writes` counts writes to any of the registers. `data` are the enabled data slots, `execute` maps an address to the
    slots (as bits) that break there. Without an engine (`attach`) they are registers and nothing else.
    """

    def __init__(
        self, engine: Engine | None = None, true_prot: Callable[[int], int] = lambda address: -1
    ) -> None:
        self._engine = engine
        self._true_prot = true_prot
        self.dr = [0, 0, 0, 0]
        self.dr6 = dr.DR6_BASE
        self.dr7 = dr.DR7_BASE
        self.cr4 = 0
        self.writes = 0
        self.data: tuple[DataSlot, ...] = ()
        self.execute: dict[int, int] = {}
        self.overlapping = False
        self.on_arm: Callable[[], None] = lambda: None

    def attach(self, engine: Engine, true_prot: Callable[[int], int]) -> None:
        """The CPU goes on in this address space: what the registers watch is denied there from now on."""
        self._engine, self._true_prot = engine, true_prot
        if self.data:
            self.forget_values()
            self.deny_all()

    def detach(self) -> None:
        """The CPU runs nowhere: nothing is denied anywhere on its behalf."""
        for slot in self.data:
            slot.lift()
            slot.deny = slot.lift = bool
        self._engine = None

    # -- the registers as software sees them

    def read(self, register: int) -> int:
        """MOV from a debug register. Raises RegisterUndefined for DR4 and DR5 with CR4.DE."""
        register = self._alias(register)
        if register < 4:
            return self.dr[register]
        return self.dr6 if register == 6 else self.dr7

    def write(self, register: int, value: int) -> None:
        """MOV to a debug register. The caller has checked CPL and that bits 63:32 of DR6 and DR7 are clear."""
        register = self._alias(register)
        self.writes += 1
        if register == 6:
            self.dr6 = dr.dr6_written(value)
            return
        if register == 7:
            value = dr.dr7_written(value)
            if value == self.dr7:
                return
            self.dr7 = value
        else:
            if value == self.dr[register]:
                return
            self.dr[register] = value
            if not dr.enabled(self.dr7, register):
                return
        self.rearm()

    def _alias(self, register: int) -> int:
        if register in (4, 5):
            if self.cr4 & dr.CR4_DE:
                raise RegisterUndefined(register)
            return register + 2
        return register

    # -- what the engine is told

    def rearm(self) -> None:
        """Make the engine deny exactly the bytes that the registers now ask for."""
        self.lift_all()
        data: list[DataSlot] = []
        execute: dict[int, int] = {}
        for slot in range(4):
            if not dr.enabled(self.dr7, slot):
                continue
            kind = dr.slot_type(self.dr7, slot)
            if kind == "x":
                # LEN other than 00 is undefined with R/W 00: this CPU ignores it.
                execute[self.dr[slot]] = execute.get(self.dr[slot], 0) | 1 << slot
            elif kind != "io":  # without CR4.DE, R/W 10 is undefined: this CPU never matches it
                start, length = dr.slot_range(self.dr7, slot, self.dr[slot])
                data.append(DataSlot(slot, start, length, 2 if kind == "w" else 3))
        self.data = tuple(data)
        self.execute = execute
        self.overlapping = any(
            a.start < b.end and b.start < a.end for n, a in enumerate(data) for b in data[n + 1 :]
        )
        self.deny_all()
        self.on_arm()

    def memory_changed(self, start: int, end: int) -> None:
        """Mappings or permissions in this range changed, or the engine moved: deny again."""
        if any(slot.start < end and start < slot.end for slot in self.data):
            self.deny_all()

    def deny_all(self) -> None:
        """Take the slots' bytes away, the strictest last where slots share bytes."""
        engine = self._engine
        if engine is None:
            return
        for slot in sorted(self.data, key=lambda slot: slot.kinds):
            prot = self._true_prot(slot.start)
            if prot < 0:
                slot.deny = slot.lift = bool  # nothing is mapped there: nothing to deny
                continue
            denied = prot & ~WRITE if slot.kinds == 2 else prot & ~(READ | WRITE)
            slot.deny = engine.prepared_protect(slot.start, slot.length, denied)
            slot.lift = engine.prepared_protect(slot.start, slot.length, prot)
            slot.deny()

    def forget_values(self) -> None:
        """Something other than a seen access may have written memory."""
        for slot in self.data:
            slot.value = None

    def lift_all(self) -> None:
        """Give all slots' bytes back."""
        for slot in self.data:
            slot.lift()

    def touched(self, start: int, end: int) -> tuple[DataSlot, ...]:
        """The data slots that overlap [start, end), whatever the access."""
        return tuple([slot for slot in self.data if slot.start < end and start < slot.end])

    def io_hits(self, port: int, size: int) -> int:
        """The slots (as bits) that an IN or OUT of `size` bytes hits: none without CR4.DE."""
        if not self.cr4 & dr.CR4_DE:
            return 0
        return dr.io_matches(self.dr7, (self.dr[0], self.dr[1], self.dr[2], self.dr[3]), port, size)

    def disabled_matches(self, address: int, size: int, access: Literal["x", "r", "w"]) -> int:
        """The slots (as bits) that would match if they were enabled (SDM 17.2.3: DR6 may show them too)."""
        every = (self.dr[0], self.dr[1], self.dr[2], self.dr[3])
        return dr.matches(self.dr7 | 0xFF, every, address, size, access) & ~dr.matches(
            self.dr7, every, address, size, access
        )

    def db(self, hits: int, *, step: bool = False, general_detect: bool = False) -> None:
        """A #DB with these slots (bits B0 to B3) is delivered: DR6 takes it up, and DR7.GD goes."""
        self.dr6 = dr.dr6_after_db(self.dr6, hits, step=step, general_detect=general_detect)
        self.dr7 = dr.dr7_after_db(self.dr7)
