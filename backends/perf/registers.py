"""The debug registers of this machine beside our requests: what the kernel's books say, as the view of a live machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.model import Breakpoint, CpuView, Slot
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backends.kernelview.books import Books, CpuBook, Holding
    from backends.perf.capture import Carrier
    from backends.perf.opener import Opener

__all__ = ["BookedRegisters", "Registers"]

_AGE: Final = 0.5
"""Seconds that a scan is good for."""
_STRANGERS: Final = 1 << 20
"""Breakpoints of others are numbered from here."""


@dataclass(frozen=True, slots=True)
class BookedRegisters:
    """`slots` are the registers of our own breakpoints at the scan, `strangers` everybody else's; `disagreements` say where
    the books do not have what we asked for."""

    cpus: tuple[CpuView, ...] = ()
    slots: tuple[tuple[int, int], ...] = ()
    strangers: tuple[Breakpoint, ...] = ()
    disagreements: tuple[str, ...] = ()


class Registers:
    """Scans now and then; nothing where the books are closed to us."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._closed = False
        self._books: Books | None = None
        self._taken = 0.0
        self._numbers: dict[int, int] = {}
        self._asked: dict[int, int] = {}

    def view(self, carriers: Iterable[Carrier], seen: Mapping[int, tuple[int, int]]) -> BookedRegisters:
        """`seen` has (CPU, register) of the last hit of each breakpoint. The CPU of the last hit comes first."""
        from backends.perf.agreement import disagreements

        carriers = tuple(carriers)
        ours = {fd: carrier for carrier in carriers for fd in carrier.each()}
        books = self._scan(ours)
        if books is None:
            return BookedRegisters()
        slots: dict[int, int] = {}
        strangers: dict[int, Breakpoint] = {}
        me = os.getpid()

        def number(holding: Holding) -> int:
            carrier = ours.get(holding.owner.fd or -1) if holding.owner.pid == me else None
            if carrier is not None:
                if holding.slot is not None:
                    slots[carrier.id] = holding.slot
                return carrier.id
            id_ = self._numbers.setdefault(holding.event, _STRANGERS + len(self._numbers))
            strangers[id_] = _stranger(id_, holding)
            return id_

        cpus = [self._cpu(book, number) for book in books.cpus]
        for holding in books.reserved:
            number(holding)
        for id_, (cpu, slot) in seen.items():
            cpus = [_with_seen(view, id_, slot, ours) if view.cpu == cpu else view for view in cpus]
        first = list(seen.values())[-1][0] if seen else None
        cpus.sort(key=lambda view: view.cpu != first)
        said = disagreements(books, carriers, self._asked, me)
        return BookedRegisters(tuple(cpus), tuple(slots.items()), tuple(strangers.values()), said)

    def look_again(self) -> None:
        """Somebody has changed what is held: the next view scans."""
        self._taken = 0.0

    def _scan(self, ours: Mapping[int, Carrier]) -> Books | None:
        if self._closed:
            return None
        now = time.monotonic()
        if self._books is None or now - self._taken > _AGE:
            try:
                self._asked = {fd: carrier.id for fd, carrier in ours.items()}
                self._books = self._opener.books()
                self._taken = time.monotonic()
            except (HwbpError, OSError):
                self.close()
        return self._books

    @staticmethod
    def _cpu(book: CpuBook, number: Callable[[Holding], int]) -> CpuView:
        dr = [0, 0, 0, 0]
        slots = []
        for holding in book.slots:
            if holding.slot is None:
                continue
            dr[holding.slot] = holding.address
            slots.append(
                Slot(
                    holding.slot,
                    holding.address,
                    holding.length,
                    holding.type,
                    False,
                    bool(book.dr7 >> 2 * holding.slot & 3),
                    number(holding),
                )
            )
        task = next((holding.target.tid for holding in book.slots if holding.target), None)
        return CpuView(
            cpu=book.cpu,
            tid=task,
            dr=(dr[0], dr[1], dr[2], dr[3]),
            dr6=0,
            dr7=book.dr7,
            cpu_dr7=book.dr7,
            changed_dr7=0,
            changed_by="",
            db_count=0,
            dr_writes=0,
            last_db="",
            free=book.free,
            slots=tuple(slots),
            readable=False,
        )

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._books = None


def _with_seen(view: CpuView, id_: int, slot: int, ours: Mapping[int, Carrier]) -> CpuView:
    """Where our breakpoint sat at its last hit there, if its task is not running now and nobody else sits there."""
    carrier = next((carrier for carrier in ours.values() if carrier.id == id_), None)
    if carrier is None or any(other.breakpoint == id_ or other.index == slot for other in view.slots):
        return view
    request = carrier.request
    row = Slot(slot, request.address, request.length, request.type, False, False, id_)
    return replace(view, slots=tuple(sorted((*view.slots, row), key=lambda other: other.index)))


def _where(holding: Holding) -> str:
    if holding.target is None:
        return ""
    pid = "" if holding.target.pid is None else f" {holding.target.pid}"  # of another PID namespace
    return f"{holding.address:#x} of {holding.target.comm}{pid}"


def _stranger(id_: int, holding: Holding) -> Breakpoint:
    return Breakpoint(
        id=id_,
        address=holding.address,
        length=holding.length,
        type="rw" if holding.type == "io" else holding.type,
        owner=holding.owner,
        enabled=holding.enabled,
        tid=holding.target.tid if holding.target else None,
        cpu=holding.cpu,
        slot=holding.slot,
        index=holding.index,
        watch=-1,
        window=0,
        text=_where(holding),
        stop=False,
        hits=holding.hits or 0,
    )
