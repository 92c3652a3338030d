"""The way of the hits: what the kernel has written, in the order of time, into the hit ring; and what it tells beside them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from backends.perf.culprits import Culprits
from backends.perf.image import Image
from backends.perf.recorder import AT_ONCE, Recorder
from backends.perf.records import gather
from backends.perf.sideband import Mapped, Named, Sideband, Started
from backends.perf.stacks import StackTable

if TYPE_CHECKING:
    import numpy.typing as npt

    from backends.perf.capture import Capture, Records
    from backends.perf.opener import Opener
    from backends.perf.target import Target
    from backends.ring_writer import RingWriter

__all__ = ["Flow"]

_SETTLE_NS: Final = 200_000
_AHEAD: Final = 256
"""Hits that are looked at further on: CPUs are out of step by a few."""
_MOST_KEPT: Final = 1 << 18
_MOST_BIRTHS: Final = 1 << 16
_MOST_FOLLOWED: Final = 128


class Flow:
    """The hits of one target on their way. `executed` is called when the target has begun another program.

    `recorder`, `stacks`, `culprits` and `image` are what the hits meet on it; `images` counts how often the mappings have
    changed.
    """

    def __init__(
        self,
        opener: Opener,
        target: Target,
        capture: Capture,
        writer: RingWriter,
        executed: Callable[[Named], None],
        *,
        children: bool,
        stacks: bool,
    ) -> None:
        self._target = target
        self._capture = capture
        self._writer = writer
        self._executed = executed
        self._kept: deque[Records] = deque()
        self._sorted: Records = np.empty(0, capture.layout.dtype)
        self._births: dict[int, Started] = {}
        self._last_stop: dict[int, tuple[int, int]] = {}
        self.image = Image(target)
        self.images = 0
        self._sideband = Sideband(opener, children=children)
        threads = target.threads()
        # With very many threads the descriptors are for the watches: what the others map is read from /proc then.
        self._sideband.follow(threads if len(threads) <= _MOST_FOLLOWED else (target.pid,))
        for tid in threads:
            capture.named(tid, target.comm(tid))
        capture.bits = target.bits
        self.culprits = Culprits(self.image.code, target.program, capture.layout.registers, target.bits)
        self.stacks = StackTable(stacks, target.bits)
        self.recorder = Recorder(
            writer,
            self.culprits,
            self.stacks,
            capture.layout.registers,
            self.read_mappings,
            held=capture.holds,
        )

    # What is told beside the hits

    def hear(self) -> None:
        """Mappings and execs, before the hits that came after them."""
        for news in self._sideband.take():
            if isinstance(news, Mapped):
                if news.pid == self._target.pid:
                    self.image.mapped(news.mapping)
            elif isinstance(news, Started):
                if len(self._births) >= _MOST_BIRTHS:
                    self._births.clear()
                self._births[news.tid] = news
                self._capture.born(news.tid, news.ptid)
            elif isinstance(news, Named):
                self._capture.named(news.tid, news.comm)
                if news.exec and news.pid == self._target.pid:
                    self._executed(news)
        if self.image.stale:
            self.read_mappings()

    def born(self, tid: int) -> Started | None:
        """Who began a thread, where the kernel has told."""
        self.hear()
        return self._births.get(tid)

    def read_mappings(self) -> None:
        """Ask what the target has mapped now."""
        if self.image.refresh():
            self.culprits.update(self.image.mappings)
            self.stacks.forget()
            self.images += 1

    def begin_anew(self) -> None:
        """The target has begun another program, which may be one of another width."""
        bits = self._target.bits
        if bits != self._capture.bits:
            self._capture.bits = self.stacks.bits = bits
            self.culprits.executed(bits)
            self.stacks.forget()

    # The hits

    @property
    def waits(self) -> bool:
        """Whether hits are under way that the ring has no room for yet."""
        return bool(self._kept) or self._capture.waiting() > 0

    def drain(self, stops: list[int], *, everything: bool = False) -> int:
        """Raw hits to the ring, those of the last moment left for the next time: CPUs write in no common order.

        `stops` are the breakpoints whose hits stop their thread. Returns how many hits went.
        """
        horizon = (1 << 63) - 1 if everything else time.monotonic_ns() - _SETTLE_NS
        done = 0
        while True:
            room = self._writer.allowance(AT_ONCE)
            if not room:
                self._keep()
                return done
            rows, taken = self._next(room, horizon)
            if not len(rows):
                return done
            if stops:
                self._note_stops(rows, stops)
            self.recorder.record(rows)
            done += len(rows)
            if taken:
                self._capture.free(taken)
                if len(rows) < min(room, AT_ONCE) and not everything:
                    return done  # those behind are of the last moment

    def drain_all(self, stops: list[int]) -> None:
        """All that has come up to now."""
        self.drain(stops, everything=True)

    def _next(self, room: int, horizon: int) -> tuple[Records, int]:
        """The next hits in the order of time, at most `room`; how many of the capture's own that were."""
        if self._kept:
            first = self._kept[0]
            rows, rest = first[:room], first[room:]
            self._kept[0] = rest
            if not len(rest):
                self._kept.popleft()
            return rows, 0
        rows = self._capture.peek(AT_ONCE + _AHEAD)
        count, ordered = _ripe(rows["time"], min(room, AT_ONCE), horizon)
        if ordered is not None:
            if len(self._sorted) < count:
                self._sorted = np.empty(AT_ONCE + _AHEAD, rows.dtype)
            return gather(rows, ordered, self._sorted), count
        return rows[:count], count

    def _keep(self) -> None:
        """The reader is behind: take hits out of the kernel's ring before it is full."""
        while self._capture.crowded and sum(map(len, self._kept)) < _MOST_KEPT:
            rows = self._capture.peek(AT_ONCE)
            if not len(rows):
                return
            self._kept.append(gather(rows, np.argsort(rows["time"], kind="stable")))
            self._capture.free(len(rows))

    def _note_stops(self, rows: Records, stops: list[int]) -> None:
        """The number of the last hit of each thread that was to stop it."""
        for at in np.flatnonzero(np.isin(rows["breakpoint"], stops)).tolist():
            self._last_stop[int(rows["tid"][at])] = self._writer.head + at, int(rows["breakpoint"][at])

    def stopping_hit(self, tid: int) -> tuple[int, int] | None:
        """(number of the hit, breakpoint) that has stopped a thread; those before it are forgotten."""
        hit = self._last_stop.pop(tid, None)
        self._last_stop.clear()
        return hit

    def close(self) -> None:
        """Follow the target no more."""
        self._sideband.close()


def _ripe(times: npt.NDArray[np.uint64], most: int, horizon: int) -> tuple[int, npt.NDArray[np.intp] | None]:
    """How many of the first hits are older than the horizon and than every one behind them, at most `most`; and their order
    where it is not the one in which they lie."""
    count = len(times)
    if not count:
        return 0, None
    times = np.ascontiguousarray(times)
    if bool((times[1:] >= times[:-1]).all()):
        return min(int(np.searchsorted(times, np.uint64(horizon))), most), None
    newest = np.maximum.accumulate(times)
    oldest_behind = np.append(np.minimum.accumulate(times[::-1])[-2::-1], np.uint64((1 << 64) - 1))
    cuts = np.flatnonzero((newest <= oldest_behind) & (newest < np.uint64(horizon)))
    cuts = cuts[cuts < most]
    if len(cuts):
        count = int(cuts[-1]) + 1
    elif newest[0] >= horizon or count < most:
        return 0, None
    else:
        count = most  # so much disorder is no order at all
    return count, np.argsort(times[:count], kind="stable")
