"""A hit as it lies in the ring, as plain Python numbers: what the screen needs many times a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backends.ring import ACCESS_CODES, FLAG_UNSEEN, NO_SLOT, RECORD_FIELDS

if TYPE_CHECKING:
    from backends.model import Site
    from backends.ring_reader import RingReader

__all__ = ["Record", "read", "record_of_site"]


class Record(NamedTuple):
    """`backends.ring.RECORD_FIELDS`, in their order."""

    seq: int
    time: int
    ip: int
    insn_ip: int
    address: int
    value: int
    old: int
    breakpoint: int
    pid: int
    tid: int
    stack: int
    comm: int
    cpu: int
    length: int
    slot: int
    access: int
    value_from: int
    old_from: int
    flags: int

    @property
    def place(self) -> int:
        """The instruction that did it; what the CPU reported where that is not known."""
        return self.insn_ip or self.ip

    @property
    def unseen(self) -> bool:
        """Whether the window is known to have been changed, since the hit before, by something that made no hit."""
        return bool(self.flags & FLAG_UNSEEN)

    @property
    def slot_text(self) -> str:
        """0 to 3, or ? where the kernel does not tell."""
        return "?" if self.slot == NO_SLOT else str(self.slot)

    @property
    def access_text(self) -> str:
        """x, r, w or rw."""
        return ACCESS_CODES[self.access]


assert Record._fields == tuple(name for name, _ in RECORD_FIELDS)


def read(ring: RingReader, first: int, count: int) -> list[Record]:
    """Up to `count` hits from number `first` on; what was overwritten is missing at the front."""
    if ring.head <= max(first, 0):
        return []  # before the first hit nothing is worth numpy's import
    return [Record._make(row) for row in ring.read(first, count).tolist()]


def record_of_site(site: Site) -> Record:
    """The last hit of a site, as far as its totals tell it."""
    return Record(
        seq=0, time=site.last_ns, ip=site.insn_ip, insn_ip=site.insn_ip, address=0, value=site.value or 0,
        old=site.old or 0, breakpoint=site.breakpoint, pid=0, tid=0, stack=site.stack, comm=0, cpu=0, length=8, slot=0,
        access=2, value_from=int(site.value is not None), old_from=int(site.old is not None), flags=0,
    )  # fmt: skip
