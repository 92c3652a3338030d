"""What a list of hits shows: all of them or those that meet a filter, following the newest or frozen, with marks.

Frozen, the list is a picture of that moment: the numbers of its hits, and the newest `HELD` of them as they were, so
that what is being read stays there however fast the ring is overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from tui.app.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from backends.ring_reader import RingReader
    from tui.app.hit_filter import Filter
    from tui.app.hit_index import HitIndex, SceneTexts
    from tui.app.scene import Scene

__all__ = ["HELD", "ORDERS", "HitList"]

HELD: Final = 32_768
"""Hits that a frozen list keeps itself."""

ORDERS: Final = {"": "number", "value": "value", "old": "old value", "insn_ip": "instruction", "tid": "task"}
"""What a frozen list can be sorted by: fields of the ring, and what they are called."""

_SLICE: Final = 16_384


class HitList:
    """`count` and `first` are of the list; positions are from 0, the oldest."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._ring: RingReader | None = None
        self._texts: SceneTexts | None = None
        self._index: HitIndex | None = None
        self._head = 0
        self.filter: Filter | None = None
        self.done = True
        """Everything that the ring has was looked at."""
        self.following = True
        self.order = ""
        self.cursor = -1
        self.top = 0
        self.marks: dict[int, Record] = {}
        self._numbers: range | npt.NDArray[np.int64] = range(0)
        self._held: npt.NDArray[Any] | None = None

    @property
    def texts(self) -> SceneTexts:
        """What filters look names up in."""
        if self._texts is None:
            from tui.app.hit_index import SceneTexts

            self._texts = SceneTexts(self._scene)
        return self._texts

    @property
    def count(self) -> int:
        """Hits in the list."""
        if not self.following:
            return len(self._numbers)
        if self.filter is not None:
            return len(self._index) if self._index is not None else 0
        return self._head - self._first()

    @property
    def looked_at(self) -> int:
        """Hits that the filter has looked at so far."""
        return self._index.looked_at if self._index is not None else 0

    @property
    def newer(self) -> int:
        """Hits that came after the list was frozen."""
        return max(0, self._scene.hits - self._head) if not self.following else 0

    def _first(self) -> int:
        return min(self._ring.first, self._head) if self._ring is not None else 0

    # What time brings

    def advance(self, seconds: float = 0.004) -> None:
        """Look at the ring again, for about so long. A frozen list stays as it is."""
        ring = self._scene.ring
        if ring is not self._ring:
            self._ring, self._texts, self._index = ring, None, None
            self.marks.clear()
            self.follow()
            self.filter_by(self.filter)
        if ring is None:
            return
        if self.following:
            self._head = ring.head
        if self._index is not None:  # frozen too: then following again has nothing to look back for
            self.done = not ring.head or self._index.work(ring, seconds)

    def filter_by(self, wanted: Filter | None) -> None:
        """Another filter, or none. The list follows again: what is frozen was chosen by the one before."""
        self.filter = wanted
        self._index = None
        self.follow()
        self.done = True
        if wanted is not None and self._scene.ring is not None:
            from tui.app.hit_index import HitIndex

            self._index = HitIndex(wanted, self.texts)
            self.done = False

    def follow(self) -> None:
        """Show the newest."""
        self.following = True
        self.order = ""
        self._numbers, self._held = range(0), None

    def freeze(self, rows: int) -> None:
        """Stay where it is; `rows` are on the screen."""
        ring = self._ring
        if not self.following or ring is None or not self.count:
            return
        first, head = self._first(), self._head
        if self._index is None:
            self._numbers = range(first, head)
            self._held = ring.read(max(first, head - HELD), min(HELD, head - first))
        else:
            self._numbers = self._index.all()
            self._held = ring.gather(self._numbers[-HELD:])
        self.following = False
        self.cursor = len(self._numbers) - 1
        self.top = max(0, len(self._numbers) - rows)

    # Where it stands

    def to(self, position: int, rows: int) -> None:
        """The cursor to a position; freezes."""
        self.freeze(rows)
        if self.following:
            return
        self.cursor = max(0, min(position, len(self._numbers) - 1))
        self.top = max(min(self.top, self.cursor), self.cursor - rows + 1)
        self.top = max(0, min(self.top, len(self._numbers) - rows))

    def move(self, by: int, rows: int) -> None:
        """The cursor up or down."""
        at = self.count - 1 if self.following else self.cursor
        self.to(at + by, rows)

    def select(self, number: int, rows: int) -> None:
        """The cursor to a hit, or to the first after it that is in the list."""
        self.freeze(rows)
        if not self.following:
            self.to(self._position(number), rows)

    def _position(self, number: int) -> int:
        import numpy as np

        numbers = self._numbers
        if isinstance(numbers, range):
            return number - numbers.start
        if self.order:
            found = np.flatnonzero(numbers == number)
            return int(found[0]) if len(found) else 0
        return int(np.searchsorted(numbers, number))

    def selected(self) -> Record | None:
        """The hit under the cursor, if it is still known."""
        if self.following:
            found = self.tail(1)
        else:
            found = self.window(self.cursor, 1) if 0 <= self.cursor < len(self._numbers) else []
        return found[0][1] if found else None

    # Rows

    def tail(self, count: int) -> list[tuple[int, Record | None]]:
        """The newest rows, as (number, hit)."""
        if self._ring is None:
            return []
        if self._index is not None:
            return self._rows(self._index.numbers(max(0, len(self._index) - count), count))
        return self._rows(range(max(self._first(), self._head - count), self._head))

    def window(self, first: int, count: int) -> list[tuple[int, Record | None]]:
        """Rows of a frozen list from a position on; None for a hit that nobody has any more."""
        return self._rows(self._numbers[max(0, first) : first + count])

    def _rows(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> list[tuple[int, Record | None]]:
        ring = self._ring
        if ring is None or not len(numbers):
            return []
        import numpy as np

        wanted = np.asarray(numbers, np.int64)
        found = {row[0]: Record._make(row) for row in ring.gather(wanted).tolist()}
        rows = []
        for number in wanted.tolist():
            record = found.get(number) or self._kept(number) or self.marks.get(number)
            rows.append((number, record))
        return rows

    def _kept(self, number: int) -> Record | None:
        held = self._held
        if held is None or not len(held):
            return None
        at = int(held["seq"].searchsorted(number))
        if at < len(held) and int(held["seq"][at]) == number:
            return Record._make(held[at].item())
        return None

    # Marks

    def mark(self) -> None:
        """Mark the hit under the cursor, or take its mark away."""
        record = self.selected()
        if record is not None and self.marks.pop(record.seq, None) is None:
            self.marks[record.seq] = record

    def next_mark(self, rows: int) -> bool:
        """To the next mark after the cursor, around the end. False where there is none."""
        if not self.marks:
            return False
        record = self.selected()
        here = record.seq if record is not None else -1
        later = [number for number in self.marks if number > here]
        self.select(min(later or self.marks), rows)
        return True

    # Sorting and finding

    def sort_job(self, order: str) -> Callable[[], npt.NDArray[np.int64]] | None:
        """What sorts a frozen list by a field of the ring, for a thread that may take its time; None: nothing to sort."""
        ring, numbers = self._ring, self._numbers
        if self.following or ring is None:
            return None

        def sorted_numbers() -> npt.NDArray[np.int64]:
            import numpy as np

            ascending = np.sort(np.asarray(numbers, np.int64))
            if not order:
                return ascending
            ascending = ascending[ascending >= ring.first]
            keys = ring.gather_field(ascending, order)
            if order == "insn_ip":
                keys = np.where(keys != 0, keys, ring.gather_field(ascending, "ip"))
            if order in ("value", "old"):  # what is not known comes last
                unknown = ring.gather_field(ascending, f"{order}_from") == 0
                return ascending[np.lexsort((keys, unknown))]
            return ascending[np.argsort(keys, kind="stable")]

        return sorted_numbers

    def take_order(self, order: str, numbers: npt.NDArray[np.int64]) -> None:
        """What that came to."""
        if not self.following and len(numbers):
            self.order, self._numbers, self.cursor, self.top = order, numbers, 0, 0

    def find(self, wanted: Filter, by: int, seconds: float) -> Iterator[int | None]:
        """Positions of the next hit that meets a filter, after (by 1) or before (by -1) the cursor of a frozen list.

        None for each span of `seconds` in which it was not found; ends after the answer, or where the list ends.
        """
        import numpy as np

        ring, numbers = self._ring, self._numbers
        at = self.cursor + by
        end = time.perf_counter() + seconds
        while ring is not None and 0 <= at < len(numbers):
            low, high = (at, min(len(numbers), at + _SLICE)) if by > 0 else (max(0, at - _SLICE + 1), at + 1)
            part = np.asarray(numbers[low:high], np.int64)
            found = part[self._meets(ring, part, wanted)]
            if len(found):
                number = found[0] if by > 0 else found[-1]
                yield low + int(np.flatnonzero(part == number)[0])
                return
            at = high if by > 0 else low - 1
            if time.perf_counter() >= end:
                yield None
                end = time.perf_counter() + seconds

    def _meets(
        self, ring: RingReader, numbers: npt.NDArray[np.int64], wanted: Filter
    ) -> npt.NDArray[np.bool_]:
        import numpy as np

        columns = {name: ring.gather_field(numbers, name) for name in wanted.columns}
        there = (numbers >= ring.first) & (numbers < ring.head)
        held = self._held
        if held is not None and len(held) and not there.all():
            at = np.minimum(held["seq"].searchsorted(numbers.astype(np.uint64)), len(held) - 1)
            kept = held["seq"][at] == numbers.astype(np.uint64)
            for name, column in columns.items():
                column[kept] = held[name][at[kept]]
            there |= kept
        met: npt.NDArray[np.bool_] = wanted.mask(columns, self.texts) & there
        return met
