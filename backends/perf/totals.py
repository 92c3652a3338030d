"""Exact totals of live hits for each (breakpoint, instruction), kept from whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.model import Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from backends.perf.places import Place

    Array = npt.NDArray[Any]

__all__ = ["Totals"]

_MOST: Final = 65_536
_COUNT, _FIRST, _LAST, _VALUE, _OLD, _STACK = range(6)


class Totals:
    """[count, first time, last time, value, old, stack] by breakpoint and instruction. `site_count` is how many there are."""

    def __init__(self) -> None:
        self._sites: dict[int, dict[int, list[Any]]] = {}
        self._hits: dict[int, int] = {}
        self.site_count = 0

    def arm(self, id: int) -> None:  # noqa: A002 - the model's word
        """A breakpoint whose hits will come, from 0 on."""
        self.site_count -= len(self._sites.get(id, ()))
        self._sites[id] = {}
        self._hits[id] = 0

    def hits(self, id: int) -> int:  # noqa: A002
        """How many of a breakpoint's hits were counted."""
        return self._hits.get(id, 0)

    def count(self, rows: Array, places: Sequence[Place], numbers: Array, each: Array) -> None:
        """Add rows of the hit ring. `numbers` says at which place each was, or all were; the rows `each` were looked at
        by themselves: their instruction is their own."""
        if len(each):
            self._by_instruction(rows[each])
            if len(each) == len(rows):
                return
            others = np.ones(len(rows), bool)
            others[each] = False
            rest = np.flatnonzero(others)
            numbers = numbers if len(numbers) == 1 else numbers[rest]
        else:
            rest = None
        if len(numbers) == 1:
            place = places[int(numbers[0])]
            first, last = (0, len(rows) - 1) if rest is None else (int(rest[0]), int(rest[-1]))
            count = len(rows) if rest is None else len(rest)
            self._add(place.breakpoint, place.insn_ip, count, rows[first], rows[last])
            return
        counts = np.bincount(numbers)
        lasts, firsts = np.zeros(len(counts), np.intp), np.zeros(len(counts), np.intp)
        order = np.arange(len(rows)) if rest is None else rest
        lasts[numbers] = order  # of several, the last one stays
        firsts[numbers[::-1]] = order[::-1]
        for number in np.flatnonzero(counts).tolist():
            place = places[number]
            first, last = rows[int(firsts[number])], rows[int(lasts[number])]
            self._add(place.breakpoint, place.insn_ip, int(counts[number]), first, last)

    def _by_instruction(self, rows: Array) -> None:
        ids = rows["breakpoint"]
        for id_ in np.unique(ids).tolist():
            mine = rows[ids == id_]
            ips, first, inverse, counts = np.unique(
                mine["insn_ip"], return_index=True, return_inverse=True, return_counts=True
            )
            last = np.zeros(len(ips), np.intp)
            last[inverse] = np.arange(len(mine))
            for ip, begin, end, count in zip(
                ips.tolist(), first.tolist(), last.tolist(), counts.tolist(), strict=True
            ):
                self._add(id_, ip, count, mine[begin], mine[end])

    def _add(self, id_: int, insn_ip: int, count: int, first: Any, last: Any) -> None:
        sites = self._sites.get(id_)
        if sites is None:
            return
        self._hits[id_] += count
        site = sites.get(insn_ip)
        if site is None:
            if self.site_count >= _MOST:
                insn_ip = 0  # further instructions share one total
            site = sites.get(insn_ip)
            if site is None:
                self.site_count += 1
                site = sites[insn_ip] = [0, int(first["time"]), 0, None, None, 0]
        site[_COUNT] += count
        site[_LAST] = int(last["time"])
        site[_VALUE] = int(last["value"]) if last["value_from"] else None
        site[_OLD] = int(last["old"]) if last["old_from"] else None
        site[_STACK] = int(last["stack"])

    def sites(self, limit: int, unrecorded: Mapping[tuple[int, int], int]) -> tuple[Site, ...]:
        """The totals, most hits first, with those added that no record told of: by (breakpoint, instruction)."""
        rows = []
        more = dict(unrecorded)
        for id_, sites in self._sites.items():
            for ip, (count, *facts) in sites.items():
                rows.append(Site(id_, ip, count + more.pop((id_, ip), 0), *facts))
        rows += [Site(id_, ip, count, 0, 0, None, None, 0) for (id_, ip), count in more.items()]
        rows.sort(key=lambda site: -site.count)
        return tuple(rows[:limit])
