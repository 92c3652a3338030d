"""From raw hits, in arrays, to rows of the hit ring, exact totals and interned stacks. Nothing here runs once per hit.

Both ways of capture give the same raw array (`backends.perf.program.Layout`), oldest first. What a hit's place says of it
(`backends.perf.places`) is put in for whole arrays; only hits of places that say too little are looked at by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.model import Frame, Site
from backends.perf.culprits import Culprits
from backends.perf.places import Places
from backends.perf.records import gather
from backends.perf.stacks import StackTable
from backends.perf.totals import Totals
from backends.perf.wanted import Armed, wanted_of
from backends.ring import ACCESS_CODES, FLAG_SEEN, FLAG_UNSEEN, FROM_CODES, NO_SLOT, RECORD
from backends.ring_reader import record_dtype
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from backends.condition import Condition
    from backends.model import BreakpointRequest, WatchType
    from backends.ring_writer import RingWriter

    Array = npt.NDArray[Any]

__all__ = ["AT_ONCE", "Recorder"]

AT_ONCE: Final = 32_768
"""Hits that are worked on together."""
_DECODED = FROM_CODES.index("decoded")
_PREVIOUS = FROM_CODES.index("previous")
_R, _W, _RW = (ACCESS_CODES.index(code) for code in ("r", "w", "rw"))
_ROW: Final = np.dtype((np.void, RECORD.size))
_NONE: Final = np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True)
class _Found:
    """Old values that a register still had: of the rows `at`."""

    at: Array
    old: Array


class Recorder:
    """Turns raw hits into rows. `record` takes them in the order of time, and may be given none.

    `held`: every hit meets its condition and limit already, and says what was there before if it could not be the last one
    that came here. `unmapped` is called where code runs that no mapping explains.
    """

    def __init__(
        self,
        writer: RingWriter,
        culprits: Culprits,
        stacks: StackTable,
        registers: tuple[str, ...],
        unmapped: Callable[[], None],
        *,
        held: bool,
    ) -> None:
        self._held = held
        self._writer = writer
        self._culprits = culprits
        self.stacks = stacks
        self._armed: dict[int, Armed] = {}
        self._places = Places(culprits, registers, self._type_of, unmapped)
        self.totals = Totals()
        self.comms: list[str] = []
        self.seen: dict[int, tuple[int, int]] = {}
        self._comm_numbers: dict[bytes, int] = {}

    def _type_of(self, id_: int) -> WatchType | None:
        armed = self._armed.get(id_)
        return armed.type if armed is not None else None

    # Breakpoints

    def arm(self, id: int, request: BreakpointRequest) -> None:  # noqa: A002 - the model's words
        """A breakpoint whose hits will come, as asked."""
        others = (each for each in self._armed.values() if each.watch == request.watch >= 0)
        passed, ignore = next(((each.passed, each.ignore) for each in others), ([0], [request.ignore]))
        self._armed[id] = Armed(id, request, passed, ignore)
        self.totals.arm(id)

    def move(self, id: int, request: BreakpointRequest) -> None:  # noqa: A002
        """Hits from now on are of another window: totals begin anew."""
        self.totals.arm(id)
        armed = self._armed[id]
        armed.type, armed.length = request.type, request.length
        armed.watch, armed.condition, armed.limit = request.watch, request.condition, request.limit
        self.begin_anew(id)
        self._places.forget()

    def restrict(self, id: int, condition: Condition | None, limit: int | None) -> None:  # noqa: A002
        """What its hits must be like from now on, and how many are wanted still."""
        armed = self._armed[id]
        armed.condition, armed.limit = condition, limit
        self.begin_anew(id)

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        """Of their next hits, so many of all of them together are not wanted."""
        left = [count]
        for id_ in ids:
            armed = self._armed[id_]
            armed.ignore, armed.ignores = left, count > 0
            armed.last.clear()

    def ignoring(self, id: int) -> int:  # noqa: A002
        """How many of the next hits will be ignored, where this is told here."""
        return self._armed[id].ignore[0] if id in self._armed else 0

    def begin_anew(self, id: int) -> None:  # noqa: A002
        """It was not armed for a while: hits are counted towards its limit from 0, and the last value is not known."""
        armed = self._armed[id]
        armed.passed[0] = 0
        armed.last.clear()

    def hits_of(self, id: int) -> int:  # noqa: A002
        """How many hits of a breakpoint have been recorded."""
        return self.totals.hits(id)

    def held_of(self, id: int) -> tuple[int, bool]:  # noqa: A002
        """(hits that did not meet its condition, whether its limit is reached), where this is told here."""
        armed = self._armed.get(id)
        if armed is None:
            return 0, False
        return armed.filtered, armed.limit is not None and armed.passed[0] >= armed.limit

    # Hits

    def record(self, raw: Array) -> None:
        """Write hits into the ring and count them."""
        if not self._held and any(armed.restricted for armed in self._armed.values()):
            for at in range(0, len(raw), AT_ONCE):
                self._record_wanted(raw[at : at + AT_ONCE])
            return
        at = 0
        while at < len(raw):
            rows = self._writer.claim(min(len(raw) - at, AT_ONCE))
            part = raw[at : at + len(rows)]
            places, each = self._fill(part, rows)
            self._count(part, rows, places, each)
            self._writer.publish(len(rows))
            at += len(rows)

    def _record_wanted(self, raw: Array) -> None:
        """Those that meet their condition and limit, which the kernel has not looked at."""
        rows = np.zeros(len(raw), record_dtype())
        places, each = self._fill(raw, rows)
        wanted = wanted_of(list(self._armed.values()), rows)
        if not wanted.any():
            return
        places = np.broadcast_to(places, len(raw))[wanted]
        mask = np.zeros(len(raw), bool)
        mask[each] = True
        rows = rows[wanted]
        self._count(raw[wanted], rows, places, np.flatnonzero(mask[wanted]))
        self._writer.append(rows)

    def _fill(self, raw: Array, rows: Array) -> tuple[Array, Array]:
        """Everything but stacks. Returns the place of each (one where it is the same for all), and which rows were looked
        at by themselves."""
        rows.view(_ROW)[:] = raw["row"]
        rows["comm"] = self._comms_of(raw["name"])
        who, places = raw["who"], self._places
        same = bool((who == who[0]).all())
        numbers = places.of(raw, same=same)
        if len(numbers) == 1:
            only = places.all[int(numbers[0])]
            rows["insn_ip"], rows["stack"] = only.insn_ip, 0
            if not same or raw["access"][0] != only.access:
                rows["access"] = only.access
            each = np.arange(len(rows)) if only.each else self._apart(int(numbers[0]), raw, rows, None)
            if same and not len(each) and only.access == _W and self._plain_olds(rows):
                return numbers, each
        else:
            rows["insn_ip"], rows["access"] = places.insn_ips[numbers], places.accesses[numbers]
            rows["stack"] = 0
            apart = [np.flatnonzero(places.looked_at[numbers])]
            for number in np.flatnonzero(np.bincount(numbers)).tolist():
                place = places.all[number]
                if not place.each and place.operand is not None:
                    apart.append(self._apart(number, raw, rows, np.flatnonzero(numbers == number)))
            each = np.sort(np.concatenate(apart))
        found = self._look_at(raw, rows, each) if len(each) else None
        if same:
            self._old(int(rows["breakpoint"][0]), int(rows["pid"][0]), rows, None, found)
        else:
            self._olds(rows, found)
        return numbers, each

    def _apart(self, number: int, raw: Array, rows: Array, where: Array | None) -> Array:
        """Of the rows of a place (None: all), those whose window its operand does not touch; values that it has are put in."""
        place = self._places.all[number]
        operand = place.operand
        if operand is None:
            return _NONE
        mine: Array | slice = slice(None) if where is None else where
        apart = _NONE
        if operand.base is None and operand.indexed is None:  # the same for all of them
            if not place.touches(raw, slice(1) if where is None else where[:1]).all():
                return np.arange(len(rows)) if where is None else where
        elif not (touching := place.touches(raw, mine)).all():
            every = np.arange(len(rows)) if where is None else where
            apart, mine = every[~touching], every[touching]
        if not self._held and operand.valued:
            values, known = place.values(raw, mine)
            known = known & (rows["value_from"][mine] == 0)
            if isinstance(mine, slice) and bool(known.all()):
                rows["value"], rows["value_from"] = values, _DECODED
            else:
                told = known if isinstance(mine, slice) else mine[known]
                rows["value"][told], rows["value_from"][told] = values[known], _DECODED
        return apart

    def _look_at(self, raw: Array, rows: Array, each: Array) -> _Found | None:
        """The culprit of these hits, one by one in arrays."""
        olds: list[Array] = []
        at: list[Array] = []
        ids = rows["breakpoint"][each]
        for id_ in np.unique(ids).tolist():
            armed = self._armed[id_]
            where = each[ids == id_]
            found = self._culprits.find(gather(raw, where), armed.type, armed.length)
            rows["insn_ip"][where], rows["access"][where] = found.insn_ip, found.access
            told = found.value_known & (rows["value_from"][where] == 0)
            rows["value"][where[told]], rows["value_from"][where[told]] = found.value[told], _DECODED
            kept = found.old_known & (found.access == _W)
            olds.append(found.old[kept])
            at.append(where[kept])
        return _Found(np.concatenate(at), np.concatenate(olds))

    # What was there before

    def _plain_olds(self, rows: Array) -> bool:
        """Stores of one breakpoint in one process, every value known: False where they are not."""
        armed = self._armed[int(rows["breakpoint"][0])]
        if armed.noted or not bool(rows["value_from"].all()):
            return False
        pid = int(rows["pid"][0])
        last = armed.last.get(pid)
        rows["old"][1:], rows["old_from"] = rows["value"][:-1], _PREVIOUS
        rows["old"][0], rows["old_from"][0] = last or 0, _PREVIOUS if last is not None else 0
        armed.last[pid] = int(rows["value"][-1])
        return True

    def _olds(self, rows: Array, found: _Found | None) -> None:
        ids, pids = rows["breakpoint"], rows["pid"]
        pairs = ids.astype(np.uint64) << np.uint64(32) | pids
        for pair in np.unique(pairs).tolist():
            self._old(pair >> 32, pair & 0xFFFFFFFF, rows, np.flatnonzero(pairs == pair), found)

    def _old(self, id_: int, pid: int, rows: Array, where: Array | None, found: _Found | None) -> None:
        """Of one breakpoint in one process: a read leaves what it found, an exchange may have kept it in a register, else it is
        what the hit before left."""
        armed = self._armed.get(id_)
        if armed is None or armed.type == "x":
            return
        some: Any = slice(None) if where is None else where
        value, known, access = rows["value"][some], rows["value_from"][some] != 0, rows["access"][some]
        if self._held and armed.noted:
            before, sure = rows["old"][some].copy(), rows["old_from"][some] != 0
        else:
            before, sure = np.empty(len(value), np.uint64), np.empty(len(value), bool)
            before[1:], sure[1:] = value[:-1], known[:-1]
            before[0], sure[0] = armed.last.get(pid, 0), pid in armed.last
        if known[-1]:
            armed.last[pid] = int(value[-1])
        else:
            armed.last.pop(pid, None)
        if len(armed.last) > _MOST_PROCESSES:
            armed.last = {pid: armed.last[pid]} if pid in armed.last else {}
        old = np.where(sure, before, np.uint64(0))
        old_from = sure.astype(np.uint8) * np.uint8(_PREVIOUS)
        told = (access == _R) & known
        if told.any():
            old = np.where(told, value, old)
            old_from = np.where(told, rows["value_from"][some], old_from)
        if found is not None and len(found.at):
            mine = found.at if where is None else np.searchsorted(where, found.at)
            kept = np.ones(len(mine), bool)
            if where is not None:
                kept = (mine < len(where)) & (where[np.minimum(mine, len(where) - 1)] == found.at)
            old[mine[kept]], old_from[mine[kept]] = found.old[kept], _DECODED
            told[mine[kept]] = True
        rows["old"][some], rows["old_from"][some] = old, old_from
        told &= sure
        if told.any():
            flags = np.where(old != before, FLAG_UNSEEN, FLAG_SEEN) * told
            rows["flags"][some] |= flags.astype(np.uint8)

    # The rest

    def _count(self, raw: Array, rows: Array, places: Array, each: Array) -> None:
        """Stacks, totals, and where each breakpoint sat at its last hit; the newest comes last."""
        if self.stacks.wanted:
            known, space = self._places.all, self._culprits.space
            rows["stack"] = self.stacks.numbers(raw, rows["insn_ip"], known, places, space)
        self.totals.count(rows, self._places.all, places, each)
        last = rows[-1]
        if last["slot"] != NO_SLOT:
            id_ = int(last["breakpoint"])
            self.seen.pop(id_, None)
            self.seen[id_] = int(last["cpu"]), int(last["slot"])

    def _comms_of(self, comms: Array) -> Array | int:
        first = comms[0]
        if bool((comms[:, 0] == first[0]).all()) and bool((comms[:, 1] == first[1]).all()):
            return self.comm_number(_text(first.tobytes()))
        names = np.ascontiguousarray(comms).view("S16").ravel()
        unique, inverse = np.unique(names, return_inverse=True)
        numbers = [self.comm_number(_text(bytes(name))) for name in unique]
        return np.array(numbers, np.uint32)[inverse]

    def comm_number(self, comm: bytes) -> int:
        """The index of a comm in `comms`, made when first seen."""
        number = self._comm_numbers.get(comm)
        if number is None:
            number = self._comm_numbers[comm] = len(self.comms)
            self.comms.append(comm.decode("utf-8", "surrogateescape"))
        return number

    def sites(self, limit: int, dropped: dict[tuple[int, int], int]) -> tuple[Site, ...]:
        """The totals, most hits first; `dropped` are hits that no record tells of, by (breakpoint, ip)."""
        unrecorded: dict[tuple[int, int], int] = {}
        for (low, ip), count in dropped.items():
            for armed in self._armed.values():
                if armed.id & 0xFFFF == low:
                    place = (
                        self._culprits.alone(ip, armed.type) if ip < 1 << 63 and armed.type != "x" else None
                    )
                    insn_ip = ip if armed.type == "x" else place.insn_ip if place is not None else 0
                    unrecorded[armed.id, insn_ip] = unrecorded.get((armed.id, insn_ip), 0) + count
        return self.totals.sites(limit, unrecorded)

    def frames(self, first: int, limit: int) -> tuple[tuple[Frame, ...], ...]:
        """Interned stacks from a number on."""
        return self.stacks.frames(first, limit)


_MOST_PROCESSES: Final = 1 << 16


def _text(comm: bytes) -> bytes:
    """A name up to its end: before Linux 6.3 what an older one left may lie behind it."""
    return comm.split(b"\0", 1)[0]
