"""The way of the hits: what the kernel has written, in the order of time, into the hit ring; and what it tells beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backends.perf.culprits import Culprits
from backends.perf.image import Image
from backends.perf.sideband import Mapped, Named, Sideband, Started

if TYPE_CHECKING:
    from backends.perf.capture import Capture, Records
    from backends.perf.opener import Opener
    from backends.perf.target import Target
    from backends.ring_writer import RingWriter

__all__ = ["Flow"]

_SETTLE_NS: Final = 200_000
_MOST_AT_ONCE: Final = 1 << 16
_MOST_PENDING: Final = 1 << 18
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
        from backends.perf.recorder import Recorder
        from backends.perf.stacks import StackTable

        self._target = target
        self._capture = capture
        self._writer = writer
        self._executed = executed
        self._pending: list[Records] = []
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
        self.culprits = Culprits(self.image.code, target.program, capture.layout.registers)
        self.stacks = StackTable(stacks)
        self.recorder = Recorder(writer, self.culprits, self.stacks, held=capture.holds)

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

    # The hits

    @property
    def waits(self) -> bool:
        """Whether hits are under way that the ring has no room for yet."""
        return bool(self._pending) or self._capture.waiting() > 0

    def drain(self, stops: list[int], *, everything: bool = False) -> int:
        """Raw hits to the ring, those of the last moment left for the next time: CPUs write in no common order.

        `stops` are the breakpoints whose hits stop their thread. Returns how many hits went.
        """
        import numpy as np

        horizon = time.monotonic_ns() - _SETTLE_NS
        done = 0
        while True:
            room = self._writer.allowance(_MOST_AT_ONCE)
            waiting = sum(len(part) for part in self._pending)
            fresh = self._capture.take(_MOST_AT_ONCE) if waiting < _MOST_PENDING else None
            if fresh is not None and len(fresh):
                self._pending.append(fresh)
            if not self._pending:
                return done
            rows = np.concatenate(self._pending) if len(self._pending) > 1 else self._pending[0]
            times = rows["time"]
            if len(rows) > 1 and bool((times[1:] < times[:-1]).any()):
                rows = rows[np.argsort(times, kind="stable")]
            ready = len(rows) if everything else int(np.searchsorted(rows["time"], horizon))
            count = min(ready, room)
            if count:
                self._note_places(rows[:count])
                if stops:
                    self._note_stops(rows[:count], stops)
                self.recorder.record(rows[:count])
                done += count
            self._pending = [rows[count:]] if count < len(rows) else []
            if count < ready or (fresh is None or len(fresh) < _MOST_AT_ONCE // 2):
                return done

    def _note_stops(self, rows: Records, stops: list[int]) -> None:
        """The number of the last hit of each thread that was to stop it."""
        import numpy as np

        for at in np.flatnonzero(np.isin(rows["breakpoint"], stops)).tolist():
            self._last_stop[int(rows["tid"][at])] = self._writer.head + at, int(rows["breakpoint"][at])

    def stopping_hit(self, tid: int) -> tuple[int, int] | None:
        """(number of the hit, breakpoint) that has stopped a thread; those before it are forgotten."""
        hit = self._last_stop.pop(tid, None)
        self._last_stop.clear()
        return hit

    def _note_places(self, rows: Records) -> None:
        """Code that no mapping explains: a library came, or code was made."""
        import numpy as np

        ips = np.unique(rows["ip"])
        starts = np.array([m.start for m in self.image.mappings], np.uint64)
        ends = np.array([m.end for m in self.image.mappings], np.uint64)
        if not len(starts):
            return
        place = np.searchsorted(starts, ips, side="right") - 1
        outside = (place < 0) | (ips >= ends[np.maximum(place, 0)])
        outside &= ips < np.uint64(1 << 63)
        if bool(outside.any()):
            self.read_mappings()

    def close(self) -> None:
        """Follow the target no more."""
        self._sideband.close()
