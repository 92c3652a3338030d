"""One hit of the ring, with names instead of numbers."""

from __future__ import annotations

from typing import Any

from backends.model import MachineView, WatchType
from backends.ring import ACCESS_CODES, FLAG_KERNEL, FLAG_SEEN, FLAG_UNSEEN, FROM_CODES, NO_SLOT
from symbols.dataclass import dataclass
from tui.session.escape import escape
from tui.session.names import Names
from tui.session.watches import WatchBook

__all__ = ["HitView", "hit_view", "unseen"]


@dataclass(frozen=True, slots=True)
class HitView:
    """A hit as people read it. Texts are escaped; `value` and `old` are None where they are not known.

    `watch` and `window` are None for a breakpoint that no watch of this session made. `symbol`, `source` and `insn`
    are those of `insn_ip`, or of `ip` where that is not known. `unseen`: the window was changed since the hit before by
    something that made no hit; None where that cannot be told. `stack` is the interned stack's number, 0 for none.
    """

    seq: int
    time: int
    cpu: int
    pid: int
    tid: int
    comm: str
    mode: str
    breakpoint: int
    watch: int | None
    window: int | None
    label: str
    type: WatchType | None
    slot: int | None
    access: str
    address: int
    length: int
    ip: int
    insn_ip: int | None
    symbol: str
    source: str | None
    insn: str | None
    value: int | None
    old: int | None
    value_from: str | None
    old_from: str | None
    unseen: bool | None
    stack: int


def unseen(flags: int) -> bool | None:
    """Whether a record's window had been changed by something that made no hit; None where that cannot be told."""
    return True if flags & FLAG_UNSEEN else False if flags & FLAG_SEEN else None


def hit_view(row: Any, view: MachineView, book: WatchBook, names: Names) -> HitView:
    """Name one record of the ring (a row of `record_dtype`)."""
    seq, bp_id = int(row["seq"]), int(row["breakpoint"])
    insn_ip = int(row["insn_ip"]) or None
    ip = int(row["ip"])
    place = insn_ip or ip
    found = book.find(bp_id, seq)
    stranger = book.stranger(bp_id)
    value_from, old_from = FROM_CODES[row["value_from"]], FROM_CODES[row["old_from"]]
    comm = int(row["comm"])
    address = int(row["address"])
    return HitView(
        seq=seq,
        time=int(row["time"]),
        cpu=int(row["cpu"]),
        pid=int(row["pid"]),
        tid=int(row["tid"]),
        comm=escape(view.comms[comm]) if comm < len(view.comms) else "?",
        mode="kernel" if row["flags"] & FLAG_KERNEL else "user",
        breakpoint=bp_id,
        watch=found[0].index if found else None,
        window=found[1] if found else None,
        label=found[0].label if found else names.describe_data(address),
        type=found[0].type if found else stranger.type if stranger else None,
        slot=None if row["slot"] == NO_SLOT else int(row["slot"]),
        access=ACCESS_CODES[row["access"]],
        address=address,
        length=int(row["length"]),
        ip=ip,
        insn_ip=insn_ip,
        symbol=names.describe(place),
        source=names.source(place),
        insn=names.instruction(insn_ip) if insn_ip is not None else None,
        value=int(row["value"]) if value_from else None,
        old=int(row["old"]) if old_from else None,
        value_from=value_from,
        old_from=old_from,
        unseen=unseen(int(row["flags"])),
        stack=int(row["stack"]),
    )
