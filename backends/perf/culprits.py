"""Which instruction made a hit, whether it read or wrote, and what: `symbols.culprit` over raw hits, following the mappings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from backends.model import Mapping, WatchType
from backends.perf.program import REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from symbols.culprit import Alone, Found
    from symbols.culprit import Culprits as Decoder
    from symbols.space import AddressSpace

__all__ = ["Culprits"]

_KINDS: Final[dict[WatchType, int]] = {"x": 0, "w": 1, "rw": 3}


class Culprits:
    """The watched process's code. `read(address, size)` may raise anything, or give less; `registers` are those that come
    with a hit, `bits` what the program is one of."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        program: str,
        registers: tuple[str, ...] = REGISTERS,
        bits: Literal[32, 64] = 64,
    ) -> None:
        self._bits: Literal[32, 64] = bits
        self._registers = registers
        self._read = read
        self._program = program
        self._mappings: tuple[Mapping, ...] = ()
        self._space: AddressSpace | None = None
        self._decoder: Decoder | None = None
        self.changes = 0
        """How often code has gone or come: what was said of it before may be wrong now."""

    def update(self, mappings: tuple[Mapping, ...]) -> None:
        """Follow the mappings: what was found is forgotten where code has gone or come."""
        if mappings == self._mappings:
            return
        moved = {row for row in mappings if "x" in row.perms} != {
            row for row in self._mappings if "x" in row.perms
        }
        self._mappings = mappings
        if self._space is not None:
            self._space.update(mappings)
        if moved:
            self.changes += 1
            if self._decoder is not None:
                self._decoder.forget()

    def executed(self, bits: Literal[32, 64]) -> None:
        """The process has begun another program, one of so many bits: nothing that was said of the old one holds."""
        self._bits = bits
        self._decoder = None
        self.changes += 1
        if self._space is not None:
            self._space.bits = bits

    @property
    def space(self) -> AddressSpace:
        """The names of what is mapped."""
        if self._space is None:
            from symbols.space import AddressSpace

            self._space = AddressSpace(self._mappings, self._program)
            self._space.bits = self._bits
        return self._space

    @property
    def _decode(self) -> Decoder:
        if self._decoder is None:  # iced-x86 is imported when the first hit is looked at
            from symbols.boundaries import function_at
            from symbols.culprit import Culprits as Decoder
            from symbols.pointers import Pointers

            pointers = Pointers(self.space) if self._bits == 64 else None
            self._decoder = Decoder(self._read, partial(function_at, self.space), pointers, self._bits)
        return self._decoder

    def alone(self, ip: int, kind: WatchType) -> Alone | None:
        """Who made every data hit at this ip whose window its operand touches; None where more has to be looked at."""
        return self._decode.alone(ip, _KINDS[kind])

    def maps(self, ip: int) -> bool:
        """Whether something is known to be mapped there."""
        return any(row.start <= ip < row.end for row in self._mappings)

    def find(self, raw: npt.NDArray[Any], kind: WatchType, length: int) -> Found:
        """Who made these user-mode hits (`backends.perf.program.Layout`) of one breakpoint."""
        registers = {"rflags" if name == "eflags" else name: raw[name] for name in self._registers}
        top = raw["top"][:, 0]
        return self._decode.find(
            *(raw["ip"], raw["address"], length, _KINDS[kind], registers, top),
            top_known=top != 0,
            thread=raw["tid"],
            below=raw["below"][:, ::-1] if "below" in (raw.dtype.names or ()) else None,
        )
