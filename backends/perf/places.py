"""What a (breakpoint, ip) means, worked out once: which instruction made its hits, and whether that can be said of all of
them without looking at each one's registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.model import WatchType
from backends.perf.culprits import Culprits
from backends.perf.program import MOST_IDS, REGISTERS
from backends.ring import ACCESS_CODES
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from symbols.culprit import Alone

    Array = npt.NDArray[Any]
    Bools = npt.NDArray[np.bool_]

__all__ = ["Place", "Places"]

_X, _W, _RW = (ACCESS_CODES.index(code) for code in ("x", "w", "rw"))
_KERNEL: Final = 1 << 63
_MOST: Final = 1 << 16
_ALL: Final = (1 << 64) - 1
_ID_SHIFT: Final = np.uint64(48)
_FIELDS: Final = {("rflags" if name == "eflags" else name): name for name in REGISTERS}


@dataclass(frozen=True, slots=True)
class Place:
    """The hits of one breakpoint at one ip. `each`: every one of them has to be looked at by itself; else `insn_ip` and
    `access` are theirs, where `operand` touches the window (None: nothing is to be held against it)."""

    breakpoint: int
    ip: int
    insn_ip: int
    access: int
    each: bool
    operand: Alone | None = None

    def touches(self, raw: Array, where: Array | slice) -> Bools:
        """Which of these hits (those of `raw` at `where`) have their window under the operand."""
        address = raw["address"][where]
        operand = self.operand
        if operand is None:
            return np.ones(len(address), bool)
        with np.errstate(over="ignore"):
            start = _start(operand, raw, where)
            touching: Bools = (address - start < np.uint64(operand.size)) | (
                start - address < raw["length"][where]
            )
        return touching

    def values(self, raw: Array, where: Array | slice) -> tuple[Array, Bools]:
        """The window's value out of the register or the instruction that has it, and where it is known."""
        operand = self.operand
        address, lengths = raw["address"][where], raw["length"][where]
        if operand is None or not operand.valued or operand.size > 8 or not len(address):
            return np.zeros(len(address), np.uint64), np.zeros(len(address), bool)
        fixed = operand.base is None and operand.indexed is None
        if fixed and bool((address == address[0]).all()) and bool((lengths == lengths[0]).all()):
            address, lengths = address[:1], lengths[:1]  # what holds for one holds for all
        with np.errstate(over="ignore"):
            before = address - _start(operand, raw, where)
            length = lengths.astype(np.uint64)
            known: Bools = (before < np.uint64(operand.size)) & (length <= np.uint64(operand.size) - before)
            word: Array = np.full(1, operand.immediate, np.uint64)
            if operand.register is not None:
                column = raw[_FIELDS[operand.register]][where]
                word = (column >> np.uint64(operand.shift) if operand.shift else column) + word
        bits = np.where(known, before, np.uint64(0)) << np.uint64(3)
        mask = np.uint64(_ALL) >> (np.uint64(64) - (length << np.uint64(3)))
        count = len(raw["address"][where])
        return np.broadcast_to(word >> bits & mask, count), np.broadcast_to(known, count)


def _start(operand: Alone, raw: Array, where: Array | slice) -> Array:
    """Where the operand begins: for each hit, or for all of them."""
    start: Array = np.full(1, operand.displacement, np.uint64)
    for name, scale in ((operand.base, 1), (operand.indexed, operand.scale)):
        if name is not None:
            column = raw[_FIELDS[name]][where]
            start = start + (column if scale == 1 else column * np.uint64(scale))
    return start


class Places:
    """The places that were met. `type_of(breakpoint)` is what it watches, None for one that is not known; `unmapped(ip)` is
    called where code runs that no mapping explains. `registers` are those that come with a hit."""

    def __init__(
        self,
        culprits: Culprits,
        registers: tuple[str, ...],
        type_of: Callable[[int], WatchType | None],
        unmapped: Callable[[], None],
    ) -> None:
        self._culprits = culprits
        self._registers = frozenset("rflags" if name == "eflags" else name for name in registers)
        self._type_of = type_of
        self._unmapped = unmapped
        self._changes = culprits.changes
        self.forget()

    def forget(self) -> None:
        """What was said may be wrong now: everything is asked again."""
        self.all: list[Place] = []
        self._numbers: dict[int, int] = {}
        self._keys = np.zeros(0, np.uint64)
        self._order = np.zeros(0, np.intp)
        self.insn_ips = np.zeros(0, np.uint64)
        self.accesses = np.zeros(0, np.uint8)
        self.looked_at = np.zeros(0, bool)
        self._numbered = np.zeros(MOST_IDS, np.uint32)

    def of(self, raw: Array, *, same: bool) -> Array:
        """The number in `all` of each hit's place: an array of one where it is the same for every hit. `same`: they are
        all of one breakpoint."""
        if self._culprits.changes != self._changes or len(self.all) > _MOST:
            self._changes = self._culprits.changes
            self.forget()
        ips = raw["ip"]
        if same and bool((ips == ips[0]).all()):
            raw = raw[:1]
        ids = raw["breakpoint"] & np.uint32(MOST_IDS - 1)
        if not bool((self._numbered[ids] == raw["breakpoint"]).all()):
            self._number(ids, raw["breakpoint"])
        keys = raw["ip"] ^ ids.astype(np.uint64) << _ID_SHIFT
        found = self._find(keys)
        if found is None:
            for key in np.unique(keys).tolist():
                if key not in self._numbers:
                    self._meet(key)
            if self._culprits.changes != self._changes:  # a mapping came to light on the way
                return self.of(raw, same=same)
            self._index()
            found = self._find(keys)
            assert found is not None
        return found

    def _number(self, ids: Array, breakpoints: Array) -> None:
        """Breakpoints that were not met yet; where one has the place of another, that one is gone."""
        before = self._numbered[ids]
        if bool(((before != 0) & (before != breakpoints)).any()):
            self.forget()
        self._numbered[ids] = breakpoints

    def _find(self, keys: Array) -> Array | None:
        if not len(self._keys):
            return None
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if not bool((self._keys[at] == keys).all()):
            return None
        return self._order[at]

    def _index(self) -> None:
        keys = np.array(list(self._numbers), np.uint64)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        self.insn_ips = np.array([place.insn_ip for place in self.all], np.uint64)
        self.accesses = np.array([place.access for place in self.all], np.uint8)
        self.looked_at = np.array([place.each for place in self.all], bool)

    def _meet(self, key: int) -> None:
        high = 0xFFFF if key >> 47 & 1 else 0
        ip = key & (1 << 48) - 1 | high << 48
        id_ = int(self._numbered[key >> 48 ^ high])
        if ip < _KERNEL and not self._culprits.maps(ip):
            self._unmapped()
        self._numbers[key] = len(self.all)
        self.all.append(self._place(id_, ip))

    def _place(self, id_: int, ip: int) -> Place:
        kind = self._type_of(id_)
        if kind is None:
            return Place(id_, ip, 0, _X, False)
        if kind == "x":
            return Place(id_, ip, ip, _X, False)
        if ip >= _KERNEL:
            return Place(id_, ip, 0, _W if kind == "w" else _RW, False)
        alone = self._culprits.alone(ip, kind)
        if alone is None or not alone.keeps:
            return Place(id_, ip, 0, _W, True)
        registers = {name for name in (alone.base, alone.indexed, alone.register) if name is not None}
        if not registers <= self._registers:
            return Place(id_, ip, 0, _W, True)
        return Place(id_, ip, alone.insn_ip, alone.access, False, alone if alone.known else None)
