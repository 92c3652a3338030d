"""What can have led to an address other than the instruction before it: calls, returns, jumps through memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import iced_x86 as ic
import numpy as np
from numpy.typing import NDArray

from symbols.analysis import Analysis
from symbols.code import Code, Unsettled
from symbols.paths import way_to
from symbols.region import Region, region_of, stub
from symbols.verdict import Hits

__all__ = ["Against", "Arrival", "Arrivals"]

_FLOW = ic.FlowControl
_CALLS: Final = frozenset({_FLOW.CALL, _FLOW.INDIRECT_CALL})
_MOST_RETURNS: Final = 64
_KEPT: Final = 1 << 14
_MOST: Final = 256
"""Jumps through memory in one function: one that has more has all of them looked at as far as that."""


class Against(Protocol):
    """What may rule an arrival out."""

    def contradicted(self, hits: Hits, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Where the registers of these hits say that it was not so."""


class Arrival(NamedTuple):
    """An instruction by number of `code`, and what may rule it out."""

    number: int
    against: Against | None = None


class Both(NamedTuple):
    """Either of two may rule it out."""

    one: Against | None
    other: Against

    def contradicted(self, hits: Hits, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Where the registers of these hits say that it was not so."""
        out = np.zeros(len(rows), bool) if self.one is None else self.one.contradicted(hits, rows)
        rest = np.flatnonzero(~out)
        out[rest] = self.other.contradicted(hits, rows[rest])
        return out


class Arrivals:
    """Candidates by number of `code`, to be forgotten with it."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self.forget()

    def forget(self) -> None:
        """The mappings changed."""
        self._regions: dict[int, Region | None] = {}
        self._returns: dict[int, tuple[Arrival, ...]] = {}
        self._facts: dict[tuple[int, int], tuple[Arrival, ...]] = {}
        self._loose: set[int] = set()  # entries whose regions are not settled in this batch
        self._weak: set[tuple[int, int]] = set()
        self._analysis = Analysis(self._code, self.region)

    def begin(self) -> None:
        """Begin a batch: what was not settled may be now."""
        self._loose.clear()
        for key in self._weak:
            self._facts.pop(key, None)
        self._weak.clear()

    def weak(self, entry: int, ip: int) -> bool:
        """Whether `surer` may say more at the next batch."""
        return (entry, ip) in self._weak

    def calls(self, top: int, ip: int) -> tuple[Arrival, ...]:
        """The call that returns to `top`, or the jump of the stub it calls, that can have led to `ip`."""
        at = self.before(top)
        call = self._code.decode(at) if at is not None else None
        if at is None or call is None or call.flow_control not in _CALLS or call.next_ip != top:
            return ()
        if call.flow_control == _FLOW.INDIRECT_CALL or call.near_branch_target == ip:
            return self._numbers(at)
        jump = stub(self._code, call.near_branch_target)
        return self._numbers(jump.ip) if jump is not None else ()

    def called(self, ip: int) -> int | None:
        """What the direct call that ends at `ip` calls."""
        at = self.before(ip)
        call = self._code.decode(at) if at is not None else None
        if call is None or call.flow_control != _FLOW.CALL or call.mnemonic == ic.Mnemonic.SYSCALL:
            return None
        return int(call.near_branch_target)

    def returns_of(self, entry: int) -> tuple[Arrival, ...]:
        """Every `ret` of the function at `entry`, and of those that it jumps to; none where not all are known, as in code of
        32 bits."""
        if self._code.bits == 32:
            return ()
        found = self._returns.get(entry)
        if found is None:
            self._bound()
            region = self.region(entry)
            found = self._returns[entry] = self._arrivals(
                {at: way_to(region, at) if len(region.returns) > 1 else None for at in region.returns}
                if region is not None
                else {}
            )
        return found

    def surer(self, entry: int, ip: int) -> tuple[Arrival, ...]:
        """The same for the call that ends at `ip`, with what all its code says (`symbols.analysis`): dearer."""
        if self._code.bits == 32:
            return ()
        found = self._facts.get((entry, ip))
        if found is None:
            self._bound()
            told = self._analysis.facts(entry, self.before(ip))
            if self._analysis.weak:
                self._weak.add((entry, ip))
            ways = self.returns_of(entry)
            found = tuple(
                Arrival(way.number, Both(way.against, fact))
                for way, fact in zip(ways, told.values(), strict=False)
            )
            found = self._facts[entry, ip] = found if len(told) == len(ways) else ways
        return found

    def _bound(self) -> None:
        if len(self._returns) + len(self._facts) + len(self._regions) >= _KEPT:
            self.forget()

    def region(self, entry: int) -> Region | None:
        """The code that a call of `entry` can run; None where not all of it is known. Raises Unsettled."""
        if entry in self._loose:
            raise Unsettled
        if entry not in self._regions:
            try:
                region = region_of(self._code, entry)
            except Unsettled:
                self._loose.add(entry)
                raise
            few = region is not None and len(region.returns) <= _MOST_RETURNS
            self._regions[entry] = region if few else None
        return self._regions[entry]

    def _arrivals(self, found: Mapping[int, Against | None]) -> tuple[Arrival, ...]:
        arrivals = tuple(Arrival(self._code.number(at), against) for at, against in found.items())
        return arrivals if all(each.number >= 0 for each in arrivals) else ()

    def jumps(self, ip: int) -> tuple[Arrival, ...]:
        """The jumps through memory of the function around `ip`."""
        function = self._code.function(ip)
        return self._numbers(*function.jumps[:_MOST]) if function is not None else ()

    def before(self, ip: int) -> int | None:
        """The instruction that ends at `ip`."""
        function = self._code.function(ip - 1)
        found = function.before(ip) if function is not None else None
        return found if found is not None else self._code.guess(ip)

    def _numbers(self, *addresses: int) -> tuple[Arrival, ...]:
        return tuple(Arrival(number) for address in addresses if (number := self._code.number(address)) >= 0)
