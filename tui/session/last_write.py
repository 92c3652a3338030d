"""Who wrote these bytes last: the newest write in the history that can have been it, and the newest that changed them.

A hit says that its instruction wrote into a window, not into which of its bytes. Where the window was another after it than before, the
bytes that differ were written for certain; the others may have been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from backends.base import HwbpError
from backends.ring import ACCESS_CODES
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from backends.model import Site
    from tui.session.session import Session

__all__ = ["LastWrite", "last_write"]

_SLICE: Final = 65_536
"""Rows of the ring that are looked at in one go."""
_WRITES: Final = tuple(ACCESS_CODES.index(code) for code in ("w", "rw"))
_COLUMNS: Final = ("access", "address", "length", "pid", "value", "old", "value_from", "old_from")


@dataclass(frozen=True, slots=True)
class LastWrite:
    """What the history says of some bytes. Hits are numbered from 0.

    `hit` is the newest write into a window that holds any of them, `changed` the newest that is known to have changed one; None where there
    is none. Looked at were the hits from `first` on, before `last`. `since` are those of the bytes that are others in memory now than `hit` left
    them, as (address, byte then, byte now), where that can be told. `site`: where the history has no write, what the totals know of the last one.
    """

    hit: int | None
    changed: int | None
    first: int
    last: int
    since: tuple[tuple[int, int, int], ...] = ()
    site: Site | None = None


def last_write(session: Session, address: int, length: int, before: int | None = None) -> LastWrite:
    """Look for the last write of `length` bytes from `address` on by the process that is looked at, in the hits before number `before`
    (None: all). What other processes wrote into memory that they share with it is not among these.
    """
    ring = session.ring
    view = session.look()
    head = ring.head
    end = head if before is None else max(0, min(before, head))
    pid = view.current.pid if view.current is not None else None
    hit = changed = None
    at = end
    while at > ring.first and changed is None and not session.interrupted:
        start, columns = ring.columns(max(at - _SLICE, ring.first), min(_SLICE, at - ring.first), _COLUMNS)
        touched, differs = _meets(columns, address, length, pid)
        if hit is None and len(found := touched.nonzero()[0]):
            hit = start + int(found[-1])
        if len(found := (touched & differs).nonzero()[0]):
            changed = start + int(found[-1])
        at = start
    since: tuple[tuple[int, int, int], ...] = ()
    if hit is not None and end == head:
        since = _since(session, address, length, hit)
    site = _site(session, address, length) if hit is None and before is None else None
    return LastWrite(hit, changed, min(at, end), end, since, site)


def _meets(
    columns: dict[str, Any], address: int, length: int, pid: int | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows wrote into a window that holds any of the bytes, and which left one of the bytes different."""
    import numpy as np

    start, size = columns["address"], columns["length"].astype(np.uint64)
    touched = np.isin(columns["access"], _WRITES)
    touched &= (start < np.uint64(address + length)) & (start + size > np.uint64(address))
    if pid is not None:
        touched &= columns["pid"] == pid
    differs = np.zeros(len(touched), bool)
    rows = touched.nonzero()[0]
    if len(rows):
        known = (columns["value_from"][rows] != 0) & (columns["old_from"][rows] != 0)
        low = start[rows].astype(np.int64)
        first = np.maximum(address - low, 0).astype(np.uint64) * np.uint64(8)
        last = np.minimum(address + length - low, size[rows].astype(np.int64)).astype(np.uint64) * np.uint64(
            8
        )
        every = np.uint64((1 << 64) - 1)
        mask = (every >> (np.uint64(64) - last)) & (every << first)
        differs[rows] = known & (((columns["value"][rows] ^ columns["old"][rows]) & mask) != 0)
    return touched, differs


def _since(session: Session, address: int, length: int, hit: int) -> tuple[tuple[int, int, int], ...]:
    """Bytes that a program that stands still has otherwise by now."""
    if session.view.state not in ("stopped", "exited", "failed"):
        return ()
    found = session.hit(hit)
    if found is None or found.value is None:
        return ()
    low, high = max(address, found.address), min(address + length, found.address + found.length)
    then = found.value.to_bytes(8, "little")
    try:
        now = session.backend.read(low, high - low)
    except HwbpError:
        return ()
    return tuple(
        (at, then[at - found.address], now[at - low])
        for at in range(low, high)
        if then[at - found.address] != now[at - low]
    )


def _site(session: Session, address: int, length: int) -> Site | None:
    """The newest site of a watch of writes alone that holds any of the bytes: totals outlive the history."""
    ids = {
        bp.id
        for bp in session.view.breakpoints
        if bp.type == "w" and bp.address < address + length and bp.address + bp.length > address
    }
    found = [site for site in session.backend.sites() if site.breakpoint in ids] if ids else []
    return max(found, key=lambda site: site.last_ns, default=None)
