"""Which instruction made a hit, and whether it read or wrote: worked out once for each reported ip, then looked up.

A data hit is reported at the next instruction (a trap, SDM 3B 17.2.4), or at a `rep` itself while elements remain.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from backends.model import Mapping
from backends.ring import ACCESS_CODES
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from symbols.space import AddressSpace

__all__ = ["UNKNOWN", "Culprit", "Culprits"]

_X, _R, _W, _RW = (ACCESS_CODES.index(code) for code in ("x", "r", "w", "rw"))
_LONGEST: Final = 15
_MOST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Culprit:
    """The instruction behind a reported ip; `insn_ip` is 0 where it cannot be known.

    `access` is an index into ACCESS_CODES. With `elements` the instruction at the ip is a `rep` that may have made the hit
    itself: it did if the element that a register has just passed lies in the watched window. They are (index into
    `backends.perf.program.REGISTERS`, access), each element being `size` bytes.
    """

    insn_ip: int
    access: int
    elements: tuple[tuple[int, int], ...] = ()
    size: int = 0


UNKNOWN: Final = Culprit(0, _RW)


class Culprits:
    """Answers by (ip, type of the breakpoint). `read(address, size)` may raise anything, or give less."""

    def __init__(self, read: Callable[[int, int], bytes], program: str) -> None:
        self._read = read
        self._program = program
        self._mappings: tuple[Mapping, ...] = ()
        self._known: dict[tuple[int, str], Culprit] = {}
        self._space: AddressSpace | None = None

    def update(self, mappings: tuple[Mapping, ...]) -> None:
        """Follow the mappings: what was found stays, for code that is still where it was."""
        if mappings == self._mappings:
            return
        old = set(self._mappings)
        self._mappings = mappings
        if self._space is not None:
            self._space.update(mappings)
        if old - set(mappings):
            self._known.clear()
        else:  # something is mapped that was not: only what could not be known may be known now
            self._known = {key: culprit for key, culprit in self._known.items() if culprit.insn_ip}

    @property
    def space(self) -> AddressSpace:
        """The names of what is mapped."""
        if self._space is None:
            from symbols.space import AddressSpace

            self._space = AddressSpace(self._mappings, self._program)
        return self._space

    def find(self, ip: int, kind: str) -> Culprit:
        """Who made a hit that was reported at `ip` for a breakpoint of this type."""
        if kind == "x":
            return Culprit(ip, _X)
        key = ip, kind
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[key] = self._decoder.culprit(ip, kind, self.space, self._code)
        return found

    def _code(self, address: int, size: int) -> bytes:
        for end in (address + size, (address + size) & ~0xFFF):
            if end <= address:
                return b""
            try:
                return self._read(address, end - address)
            except Exception:  # whatever the reader's own error is: less of it, or nothing
                continue
        return b""

    @cached_property
    def _decoder(self) -> _Decoder:
        return _Decoder()


class _Decoder:
    """iced-x86, imported when the first hit is looked at."""

    def __init__(self) -> None:
        import iced_x86

        self._iced: Any = iced_x86
        self._info = iced_x86.InstructionInfoFactory()
        kinds = iced_x86.OpAccess
        self._reads = {kinds.READ, kinds.COND_READ}
        self._writes = {
            *(kinds.WRITE, kinds.COND_WRITE, kinds.READ_WRITE),
            kinds.READ_COND_WRITE,  # cmpxchg: the hardware writes the old value back when it fails
        }

    def culprit(self, ip: int, kind: str, space: AddressSpace, read: Callable[[int, int], bytes]) -> Culprit:
        from symbols.boundaries import previous

        repeated = self._rep(ip, kind, read)
        before = previous(space, read, ip)
        if before is None:
            return Culprit(0, _W if kind == "w" else _RW, *repeated)
        access = self._access(before, kind, read)
        if access is None:  # it touches no memory: the hit came from elsewhere, by a jump
            return Culprit(0, _W if kind == "w" else _RW, *repeated)
        return Culprit(before, access, *repeated)

    def _decode(self, address: int, read: Callable[[int, int], bytes]) -> Any:
        code = read(address, _LONGEST)
        return next(iter(self._iced.Decoder(64, code, ip=address)), None) if code else None

    def _access(self, address: int, kind: str, read: Callable[[int, int], bytes]) -> int | None:
        """Whether the instruction reads or writes memory, as far as a slot of this type can have seen it."""
        insn = self._decode(address, read)
        if insn is None or insn.is_invalid:
            return None
        used = [memory.access for memory in self._info.info(insn).used_memory()]
        writes = any(access in self._writes for access in used)
        reads = any(access in self._reads for access in used)
        if kind == "w":
            return _W if writes else None
        if writes and reads:  # one of its two operands; which one lies in the window is not told
            return _RW
        return _W if writes else _R if reads else None

    def _rep(
        self, ip: int, kind: str, read: Callable[[int, int], bytes]
    ) -> tuple[tuple[tuple[int, int], ...], int]:
        from backends.perf.program import REGISTERS

        insn = self._decode(ip, read)
        if insn is None or not insn.is_string_instruction:
            return (), 0
        if not (insn.has_rep_prefix or insn.has_repne_prefix):
            return (), 0
        registers = {self._iced.Register.RSI: "rsi", self._iced.Register.RDI: "rdi"}
        elements = []
        for memory in self._info.info(insn).used_memory():
            writes, reads = memory.access in self._writes, memory.access in self._reads
            if memory.base in registers and (writes or (reads and kind == "rw")):
                elements.append((REGISTERS.index(registers[memory.base]), _W if writes else _R))
        return tuple(elements), int(self._iced.MemorySizeExt.size(insn.memory_size))
