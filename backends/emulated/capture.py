"""Where hits go: one record each into the shared ring, and exact totals per (breakpoint, instruction)."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from backends.condition import Condition
from backends.model import Site
from backends.ring import (
    ACCESS_CODES,
    FLAG_SEEN,
    FLAG_UNSEEN,
    FROM_CODES,
    HEADER,
    NO_SLOT,
    PUBLISH_EVERY,
    RECORD,
    RUN_STATES,
    RingMemory,
)

__all__ = ["ACCESS_R", "ACCESS_W", "ACCESS_X", "EXACT", "Capture", "HitSink"]

ACCESS_X: Final = ACCESS_CODES.index("x")
ACCESS_R: Final = ACCESS_CODES.index("r")
ACCESS_W: Final = ACCESS_CODES.index("w")
EXACT: Final = FROM_CODES.index("exact")
_MOST_SITES: Final = 65_536


class HitSink:
    """What one armed breakpoint adds to its records, and its totals.

    `sites` maps the address of an instruction to [count, first time, last time, value, old, stack]. `last` is what the
    last hit left in the window, in process `last_pid` (-1: no hit yet). Hits that do not meet `condition` are `filtered`;
    `limit` is how many more are wanted, in a list that the windows of one watch share, None for all; `ignore` how many are left out
    before that, in such a list too, and `filtered` then.
    """

    __slots__ = (
        *("breakpoint", "condition", "filtered", "hits", "ignore"),
        *("last", "last_pid", "limit", "sites"),
    )

    def __init__(self, breakpoint_id: int) -> None:
        self.breakpoint = breakpoint_id
        self.hits = 0
        self.filtered = 0
        self.condition: Condition | None = None
        self.limit: list[int] | None = None
        self.ignore = [0]
        self.last, self.last_pid = 0, -1
        self.sites: dict[int, list[int]] = {}


class Capture:
    """The one writer of the ring. Before it writes, whoever runs the program asks `allowance`."""

    def __init__(self, memory: RingMemory) -> None:
        self.words = memory.words
        self.records = memory.records
        self.mask = memory.capacity - 1
        self._room = memory.capacity - 4 * PUBLISH_EVERY
        self._size = RECORD.size
        self._pack = RECORD.pack_into
        self.head = 0
        self.sinks: dict[int, HitSink] = {}
        self.site_count = 0
        self.pid = self.tid = self.comm = self.cpu = 0

    def allowance(self, most: int) -> int:
        """How many hits may be written now.

        Fewer than `most` up to the reader's limit, and for a reader that must miss none and is behind.
        """
        if limit := self.words[HEADER["limit"]]:
            most = min(most, limit - self.head)
        if not self.words[HEADER["flow"]]:
            return most
        return min(most, self.words[HEADER["tail"]] + self._room - self.head)

    @property
    def at_limit(self) -> bool:
        """Whether the reader wants no more hits."""
        return 0 < self.words[HEADER["limit"]] <= self.head

    def sink(self, breakpoint_id: int) -> HitSink:
        """The sink of a breakpoint, made when first asked for and kept after the breakpoint is gone."""
        sink = self.sinks.get(breakpoint_id)
        if sink is None:
            sink = self.sinks[breakpoint_id] = HitSink(breakpoint_id)
        return sink

    def refuses(self, sink: HitSink, value: int | None, ip: int) -> bool:
        """Whether a hit is one that the sink does not want: it is counted here, and must not be written."""
        met = sink.condition is None or sink.condition.holds(value, self.tid, self.pid, ip, self.cpu)
        if not met or sink.ignore[0]:
            sink.ignore[0] -= met
            sink.filtered += 1
            if value is not None:
                sink.last, sink.last_pid = value, self.pid
            return True
        if sink.limit is not None:
            sink.limit[0] -= 1
            return sink.limit[0] < 0
        return False

    def hit(
        self,
        sink: HitSink,
        time: int,
        ip: int,
        insn_ip: int,
        address: int,
        length: int,
        slot: int,
        access: int,
        value: int,
        old: int,
        stack: int,
        flags: int = 0,
        *,
        known: int = EXACT,
    ) -> None:
        """Write one hit. `access` is one of ACCESS_*, `flags` of FLAG_*, `known` says where the values are from (0: there are none).
        Execute hits have none."""
        head = self.head
        if access == ACCESS_X:
            known = 0
        elif known:
            if sink.last_pid == self.pid:
                flags |= FLAG_SEEN if sink.last == old else FLAG_UNSEEN
            sink.last, sink.last_pid = value, self.pid
        self._pack(
            self.records, (head & self.mask) * self._size,
            head, time, ip, insn_ip, address, value, old,
            sink.breakpoint, self.pid, self.tid, stack, self.comm, self.cpu, length, slot, access, known, known, flags,
        )  # fmt: skip
        self.head = head = head + 1
        if not head % PUBLISH_EVERY:
            self.words[2] = head
        sink.hits += 1
        site = sink.sites.get(insn_ip)
        if site is None:
            self.new_site(sink, insn_ip, time, value, old, stack)
        else:
            site[0] += 1
            site[2] = time
            site[3] = value
            site[4] = old
            site[5] = stack

    def new_site(self, sink: HitSink, insn_ip: int, time: int, value: int, old: int, stack: int) -> None:
        """The first hit of an instruction."""
        if self.site_count >= _MOST_SITES:
            insn_ip = 0  # further instructions share one total
            if insn_ip in sink.sites:
                sink.sites[insn_ip][0] += 1
                return
        self.site_count += 1
        sink.sites[insn_ip] = [1, time, time, value, old, stack]

    def begin_anew(self, sink: HitSink) -> None:
        """Its breakpoint watches something else now: totals from 0, and no last value."""
        self.site_count -= len(sink.sites)
        sink.sites = {}
        sink.hits = sink.filtered = 0
        sink.last_pid = -1

    def publish(self) -> None:
        """Let readers see all hits up to now."""
        self.words[HEADER["head"]] = self.head

    def header(self, **words: int) -> None:
        """Set header words by name."""
        for name, value in words.items():
            self.words[HEADER[name]] = value

    def set_state(self, state: str) -> None:
        """Publish the run state."""
        self.words[HEADER["state"]] = RUN_STATES.index(state)

    def sites(self, limit: int, without_value: Container[int]) -> tuple[Site, ...]:
        """The totals, most hits first. Breakpoints in `without_value` have none (execute)."""
        rows = [
            Site(
                sink.breakpoint, insn_ip, row[0], row[1], row[2],
                None if sink.breakpoint in without_value else row[3],
                None if sink.breakpoint in without_value else row[4],
                row[5],
            )
            for sink in self.sinks.values()
            for insn_ip, row in sink.sites.items()
        ]  # fmt: skip
        rows.sort(key=lambda site: -site.count)
        return tuple(rows[:limit])


assert HEADER["head"] == 2
assert NO_SLOT == 0xFF
