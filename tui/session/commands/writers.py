"""`who`: from a variable or a byte to its last writer in the history."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends.base import HwbpError
from tui.session.commands.info import hit_data, hit_line, hit_typed
from tui.session.commands.table import Command, answer
from tui.session.commands.words import number, symbols
from tui.session.escape import escape
from tui.session.result import Answer, UsageError
from tui.session.watch import Watch

if TYPE_CHECKING:
    from tui.session.last_write import LastWrite
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_GRAMMAR = "who EXPR[/LEN] [before HIT]"
_BEFORE = re.compile(r"(?P<what>.*\S)\s+before\s+(?P<hit>\S+)", re.DOTALL)


def _who(session: Session, text: str) -> Answer:
    from tui.session.last_write import last_write

    before = None
    if (match := _BEFORE.fullmatch(text.strip())) is not None:
        text, before = match["what"], number(match["hit"], "a hit's number", _GRAMMAR) - 1
    if not text.strip():
        raise UsageError("who wrote what?", f"usage: {_GRAMMAR}")
    watch = Watch.parse(text)
    if str(watch) != watch.place or watch.type not in (None, "w"):
        raise UsageError("only a place and its length are asked for", f"usage: {_GRAMMAR}")
    target = session.names.resolve(watch.expr, typed=False)
    if target.kind == "code":
        raise HwbpError(
            f"{escape(watch.expr)} is code: nobody writes it here",
            errno="EINVAL",
            remedy=f"`hbreak {escape(watch.expr)}` tells who runs it",
        )
    length = watch.length or target.size or (1 if target.address % 8 else 8)
    found = last_write(session, target.address, length, before)
    if session.interrupted:
        raise HwbpError("given up", errno="EINTR")
    if found.hit is None and found.site is None:
        raise _nobody(session, escape(watch.place), target.address, length, found)
    return _answer(session, escape(watch.place), found, target.address, length)


def _answer(session: Session, label: str, found: LastWrite, address: int, length: int) -> Answer:
    lines: list[str] = []
    rows: dict[str, Any] = {}
    last = "last written by" if found.changed == found.hit else "last write into its window:"
    for name, seq, said in (("hit", found.hit, last), ("changed", found.changed, "last known change:")):
        hit = session.hit(seq) if seq is not None else None
        rows[name] = hit_data(hit) if hit is not None else None
        if hit is not None and not (name == "changed" and found.changed == found.hit):
            lines.append(f"{said} hit {hit_line(hit, hit_typed(session, hit))}")
    if found.hit is not None and found.changed is None:
        lines.append("none of the history's hits is known to have changed it")
    if found.site is not None:
        where, source = session.describe(found.site.insn_ip), session.source(found.site.insn_ip)
        lines.append(
            f"last written by {where}{f' at {source}' if source else ''}, at time {found.site.last_ns}, before the history's "
            f"oldest hit, {found.first + 1}"
        )
        rows["site"] = {
            "insn_ip": found.site.insn_ip,
            "symbol": where,
            "source": source,
            "time": found.site.last_ns,
        }
    if found.since:
        at, then, now = found.since[0]
        more = f", and {len(found.since) - 1} more" if len(found.since) > 1 else ""
        lines.append(f"changed since, by no recorded hit: {at:#x} was {then:#04x} and is {now:#04x}{more}")
    return answer(
        *lines,
        expr=label,
        address=address,
        length=length,
        changed_since=[{"address": at, "then": then, "now": now} for at, then, now in found.since],
        **rows,
    )


def _nobody(session: Session, label: str, address: int, length: int, found: LastWrite) -> HwbpError:
    """Why nobody is known."""
    armed = any(
        bp.type != "x" and bp.address < address + length and bp.address + bp.length > address
        for bp in session.view.breakpoints
    )
    if not armed:
        return HwbpError(
            f"nobody is known to have written {label}: it is not watched, and no hit of the history is of it",
            errno="ENOENT",
            remedy=f"`watch {label}` shows who writes it from now on",
        )
    last = found.last
    kept = (
        f"no hit from {found.first + 1} to {last} wrote it" if last > found.first else "nothing has hit yet"
    )
    return HwbpError(f"{label} is watched, and {kept}", errno="ENOENT")


COMMANDS = (
    Command(
        "who",
        "looking",
        _GRAMMAR,
        "who wrote a variable or a byte last",
        "The newest recorded write of it, and where that left it as it was, the newest that is known to have changed it. A hit tells that\n"
        "its window was written, so a byte beside the one that was meant may be in it: the change tells. Where it has changed\n"
        "since by no recorded hit (a system call, another mapping, hits left out by a condition), a line says so. With `before HIT`\n"
        "as of that hit, so that one can walk back from write to write. In the app it goes to that hit.\n"
        "Example: who cfg.limits[3]   who 0x403038/1   who counter before 1000",
        _who,
        complete=symbols,
    ),
)
