"""From raw hits, in arrays, to rows of the hit ring, exact totals and interned stacks. Nothing here runs once per hit.

Both ways of capture give the same raw array (`backends.perf.program.Layout`), oldest first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.condition import Condition, matching
from backends.model import BreakpointRequest, Frame, Site, WatchType
from backends.perf.culprits import Culprits
from backends.perf.stacks import StackTable
from backends.ring import ACCESS_CODES, FLAG_KERNEL, FLAG_SEEN, FLAG_UNSEEN, FROM_CODES, NO_SLOT
from backends.ring_reader import record_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    from backends.condition import Subject
    from backends.ring_writer import RingWriter

    Array = npt.NDArray[Any]

__all__ = ["Armed", "Recorder"]

_MOST_SITES: Final = 65_536
_DECODED = FROM_CODES.index("decoded")
_PREVIOUS = FROM_CODES.index("previous")
_X, _R, _W, _RW = (ACCESS_CODES.index(code) for code in ("x", "r", "w", "rw"))
_COUNT, _FIRST, _LAST, _VALUE, _OLD, _STACK = range(6)


@dataclass(slots=True)
class Armed:
    """What the recorder must know of a breakpoint, and its totals: `sites` by instruction are
    [count, first time, last time, value, old, stack]; `last` is the last value seen in each process.

    Where hits were not held against `condition` and `limit` when they happened, that is done here: `filtered` did not meet it.
    The breakpoints of one watch have one `passed`, of hits towards the limit.
    """

    id: int
    type: WatchType
    length: int
    condition: Condition | None
    limit: int | None
    passed: list[int]
    hits: int = 0
    filtered: int = 0
    sites: dict[int, list[Any]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)


class Recorder:
    """Turns raw hits into rows. `record` takes them in the order of time, and may be given none.

    `held`: every hit meets its condition and limit already, and says what was there before if it could not be the last one
    that came here.
    """

    def __init__(self, writer: RingWriter, culprits: Culprits, stacks: StackTable, *, held: bool) -> None:
        self._held = held
        self._writer = writer
        self._culprits = culprits
        self.stacks = stacks
        self._armed: dict[int, Armed] = {}
        self._watches: dict[int, tuple[Armed, int]] = {}
        self.site_count = 0
        self.comms: list[str] = []
        self.seen: dict[int, tuple[int, int]] = {}
        self._comm_numbers: dict[bytes, int] = {}

    def arm(self, id: int, request: BreakpointRequest) -> None:  # noqa: A002 - the model's words
        """A breakpoint whose hits will come, as asked."""
        passed = next(
            (each.passed for each, watch in self._watches.values() if watch == request.watch >= 0), [0]
        )
        armed = Armed(id, request.type, request.length, request.condition, request.limit, passed)
        self._armed[id] = armed
        self._watches[id] = armed, request.watch

    def restrict(self, id: int, condition: Condition | None, limit: int | None) -> None:  # noqa: A002
        """What its hits must be like from now on, and how many are wanted still."""
        armed = self._armed[id]
        armed.condition, armed.limit = condition, limit
        self.begin_anew(id)

    def begin_anew(self, id: int) -> None:  # noqa: A002
        """It was not armed for a while: hits are counted towards its limit from 0, and the last value is not known."""
        armed = self._armed[id]
        armed.passed[0] = 0
        armed.last.clear()

    def hits_of(self, id: int) -> int:  # noqa: A002
        """How many hits of a breakpoint have been recorded."""
        armed = self._armed.get(id)
        return armed.hits if armed else 0

    def held_of(self, id: int) -> tuple[int, bool]:  # noqa: A002
        """(hits that did not meet its condition, whether its limit is reached), where this is told here."""
        armed = self._armed.get(id)
        if armed is None:
            return 0, False
        return armed.filtered, armed.limit is not None and armed.passed[0] >= armed.limit

    def record(self, raw: Array) -> None:
        """Write hits into the ring and count them in their sites."""
        count = len(raw)
        if not count:
            return
        rows = np.zeros(count, dtype=record_dtype())
        rows[:] = raw["row"]
        rows["insn_ip"] = rows["stack"] = 0
        rows["comm"] = self._comms_of(raw["comm"])
        ids = raw["breakpoint"]
        same = len(raw) == 1 or bool((ids == ids[0]).all())
        unwanted: list[Array] = []
        for id_ in [int(ids[0])] if same else np.unique(ids).tolist():
            armed = self._armed.get(id_)
            if armed is None:
                continue
            where = slice(None) if same else np.flatnonzero(ids == id_)
            part, source = rows[where], raw[where]
            self._one(armed, part, source)
            if not same:
                rows[where] = part
            if not self._held and (armed.condition is not None or armed.limit is not None):
                refused = np.flatnonzero(~self._wanted(armed, part))
                unwanted.append(refused if same else where[refused])  # type: ignore[index]
        if unwanted:
            keep = np.ones(count, bool)
            keep[np.concatenate(unwanted)] = False
            rows, raw = rows[keep], raw[keep]
            if not len(rows):
                return
        if self.stacks.wanted:
            rows["stack"] = self.stacks.numbers(raw, rows["insn_ip"], self._culprits.space)
        self._count_sites(rows)
        self._note_slots(rows)
        self._writer.append(rows)

    @staticmethod
    def _wanted(armed: Armed, rows: Array) -> npt.NDArray[np.bool_]:
        """Which of them meet the condition, and come before the limit is reached."""
        wanted = np.ones(len(rows), bool)
        if armed.condition is not None:
            columns: dict[Subject, Array] = {
                "value": rows["value"], "thread": rows["tid"], "process": rows["pid"], "ip": rows["ip"], "cpu": rows["cpu"],
            }  # fmt: skip
            wanted = matching(armed.condition, columns, rows["value_from"] != 0)
            armed.filtered += len(rows) - int(wanted.sum())
        if armed.limit is not None:
            passed = armed.passed[0] + np.cumsum(wanted)
            armed.passed[0] = int(passed[-1])
            wanted &= passed <= armed.limit
        return wanted

    def _note_slots(self, rows: Array) -> None:
        """Where each breakpoint sat at its last hit; the newest comes last."""
        last = rows[-1]
        if last["slot"] != NO_SLOT:
            id_ = int(last["breakpoint"])
            self.seen.pop(id_, None)
            self.seen[id_] = int(last["cpu"]), int(last["slot"])

    def _one(self, armed: Armed, rows: Array, raw: Array) -> None:
        """What depends on the breakpoint: length, culprit, access, and values that are not in memory's own word."""
        if armed.type == "x":
            rows["insn_ip"], rows["access"] = rows["ip"], _X
            return
        rows["access"] = _W if armed.type == "w" else _RW
        user = np.flatnonzero(raw["flags"] & FLAG_KERNEL == 0)
        found = self._culprits.find(raw[user], armed.type, armed.length) if len(user) else None
        if found is not None:
            rows["insn_ip"][user], rows["access"][user] = found.insn_ip, found.access
            told = found.value_known & (rows["value_from"][user] == 0)
            rows["value"][user[told]], rows["value_from"][user[told]] = found.value[told], _DECODED
        before = self._before(armed, rows)
        read = (rows["access"] == _R) & (rows["value_from"] != 0)
        rows["old"] = np.where(read, rows["value"], before[0])
        rows["old_from"] = np.where(read, rows["value_from"], np.where(before[1], _PREVIOUS, 0))
        told = read
        if found is not None:  # what an exchange left in a register is surer than the hit before
            kept = user[found.old_known & (found.access == _W)]
            rows["old"][kept], rows["old_from"][kept] = (
                found.old[found.old_known & (found.access == _W)],
                _DECODED,
            )
            told[kept] = True
        told &= before[1]
        changed = rows["old"] != before[0]
        rows["flags"] |= np.where(told, np.where(changed, FLAG_UNSEEN, FLAG_SEEN), 0).astype(np.uint8)

    def _before(self, armed: Armed, rows: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """What the hit before left in the window, in the same process, and whether that is known."""
        if self._held and armed.condition is not None:
            return rows["old"].copy(), rows["old_from"] != 0
        before, sure = np.zeros(len(rows), np.uint64), np.zeros(len(rows), bool)
        pids = rows["pid"]
        one = bool((pids == pids[0]).all())
        for pid in [int(pids[0])] if one else np.unique(pids).tolist():
            where = np.arange(len(rows)) if one else np.flatnonzero(pids == pid)
            values, known = rows["value"][where], rows["value_from"][where] != 0
            last = armed.last.get(pid)
            sure[where] = np.concatenate((np.array([last is not None]), known[:-1]))
            values_before = np.concatenate((np.array([last or 0], np.uint64), values[:-1]))
            before[where] = np.where(sure[where], values_before, 0)
            if known[-1]:
                armed.last[pid] = int(values[-1])
            else:
                armed.last.pop(pid, None)
        return before, sure

    def _comms_of(self, comms: Array) -> Array:
        names = np.ascontiguousarray(comms).view("S16").ravel()
        if bool((comms == comms[0]).all()):
            return np.full(len(comms), self.comm_number(bytes(names[0])), np.uint32)
        unique, inverse = np.unique(names, return_inverse=True)
        numbers = [self.comm_number(bytes(name)) for name in unique]
        return np.array(numbers, np.uint32)[inverse]

    def comm_number(self, comm: bytes) -> int:
        """The index of a comm in `comms`, made when first seen."""
        number = self._comm_numbers.get(comm)
        if number is None:
            number = self._comm_numbers[comm] = len(self.comms)
            self.comms.append(comm.decode("utf-8", "surrogateescape"))
        return number

    def _count_sites(self, rows: Array) -> None:
        ids = rows["breakpoint"]
        for id_ in np.unique(ids).tolist():
            armed = self._armed.get(id_)
            if armed is None:
                continue
            mine = rows[ids == id_]
            armed.hits += len(mine)
            ips, first, inverse, counts = np.unique(
                mine["insn_ip"], return_index=True, return_inverse=True, return_counts=True
            )
            last = np.zeros(len(ips), np.intp)
            np.maximum.at(last, inverse, np.arange(len(mine)))
            for ip, begin, end, count in zip(
                ips.tolist(), first.tolist(), last.tolist(), counts.tolist(), strict=True
            ):
                self._site(armed, ip, count, mine[begin], mine[end])

    def _site(self, armed: Armed, ip: int, count: int, first: Any, last: Any) -> None:
        site = armed.sites.get(ip)
        if site is None:
            if self.site_count >= _MOST_SITES and ip:  # further instructions share one total
                self._site(armed, 0, count, first, last)
                return
            self.site_count += 1
            site = armed.sites[ip] = [0, int(first["time"]), 0, None, None, 0]
        site[_COUNT] += count
        site[_LAST] = int(last["time"])
        site[_VALUE] = int(last["value"]) if last["value_from"] else None
        site[_OLD] = int(last["old"]) if last["old_from"] else None
        site[_STACK] = int(last["stack"])

    def sites(self, limit: int) -> tuple[Site, ...]:
        """The totals, most hits first."""
        rows = [
            Site(armed.id, ip, *site) for armed in self._armed.values() for ip, site in armed.sites.items()
        ]
        rows.sort(key=lambda site: -site.count)
        return tuple(rows[:limit])

    def frames(self, first: int, limit: int) -> tuple[tuple[Frame, ...], ...]:
        """Interned stacks from a number on."""
        return self.stacks.frames(first, limit)
