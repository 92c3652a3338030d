"""Hits as lines: aligned text, and the JSON objects of docs/cli.md.

Almost everything about a hit is the same each time its instruction hits its window, so those parts are made once and
kept. Rows come as tuples in the order of `backends.ring.RECORD_FIELDS`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from backends.ring import ACCESS_CODES, FLAG_KERNEL, FROM_CODES, NO_SLOT, RECORD_FIELDS
from tui.session.escape import escape
from tui.session.hits import unseen
from tui.session.session import Session
from tui.session.typed import signed_bits

__all__ = ["HitLines", "JsonLines", "TextLines", "dump"]

Row = tuple[int, ...]
Fixed = tuple[str, str, str, int]

_NAMES: Final = tuple(name for name, _ in RECORD_FIELDS)
_TIME, _IP, _VALUE, _OLD, _STACK = (_NAMES.index(name) for name in ("time", "ip", "value", "old", "stack"))
_BREAKPOINT, _ACCESS, _VALUE_FROM, _OLD_FROM = (
    _NAMES.index(name) for name in ("breakpoint", "access", "value_from", "old_from")
)
_MOST_KEPT: Final = 1 << 17

dump: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False).encode


class HitLines(ABC):
    """Makes one line of each hit. `line` takes a row and the hit's number from 1."""

    def __init__(self, session: Session, stack: bool) -> None:
        self.session = session
        self.stack = stack
        self._fixed: dict[Row, Fixed] = {}
        self._stacks: dict[int, str] = {}

    def header(self) -> str | None:
        """The first line, None for none."""
        return None

    def line(self, row: Row, number: int) -> str:
        """One hit."""
        key = row[_IP:_VALUE] + row[_BREAKPOINT:_STACK] + row[_STACK + 1 :]
        fixed = self._fixed.get(key)
        if fixed is None:
            if len(self._fixed) >= _MOST_KEPT:
                self._fixed.clear()
            fixed = self._fixed[key] = self.fixed(dict(zip(_NAMES, row, strict=True)))
        return self.join(row, number, fixed)

    @abstractmethod
    def fixed(self, hit: dict[str, int]) -> Fixed:
        """The parts that stay the same: before the value, between value and old, and after both."""

    @abstractmethod
    def join(self, row: Row, number: int, fixed: Fixed) -> str:
        """The whole line."""

    @abstractmethod
    def summary(self, facts: dict[str, Any]) -> str:
        """The last line."""

    def names(self, hit: dict[str, int]) -> dict[str, Any]:
        """The fields of a JSON line (docs/cli.md) that do not change between hits of one kind."""
        session, names = self.session, self.session.names
        bp_id, comm, seq = hit["breakpoint"], hit["comm"], hit["seq"]
        if comm >= len(session.view.comms) or not (
            session.watches.find(bp_id) or session.watches.stranger(bp_id)
        ):
            session.look()
        ip, insn_ip = hit["ip"], hit["insn_ip"] or None
        session.locate(insn_ip or ip)
        found = session.watches.find(bp_id, seq)
        place = names.place(ip)
        insn_place = names.place(insn_ip) if insn_ip else None
        comms = session.view.comms
        return {
            "cpu": hit["cpu"],
            "pid": hit["pid"],
            "tid": hit["tid"],
            "comm": escape(comms[comm]) if comm < len(comms) else "",
            "mode": "kernel" if hit["flags"] & FLAG_KERNEL else "user",
            "watch": found[0].index if found else None,
            "window": found[1] if found else None,
            "slot": None if hit["slot"] == NO_SLOT else hit["slot"],
            "access": ACCESS_CODES[hit["access"]],
            "address": hit["address"],
            "length": hit["length"],
            "ip": ip,
            "module": escape(place.module) if place.module else None,
            "module_offset": place.module_offset,
            "insn_ip": insn_ip,
            "insn_module": escape(insn_place.module) if insn_place and insn_place.module else None,
            "insn_module_offset": insn_place.module_offset if insn_place else None,
            "insn": names.instruction(insn_ip) if insn_ip else None,
            "symbol": self.symbol(insn_ip or ip),
            "source": names.source(insn_ip or ip),
        }

    def symbol(self, address: int) -> str:
        """`name+0x1c`, with its offset also where that is 0."""
        name = self.session.describe(address)
        return (
            f"{name}+0x0"
            if self.session.names.place(address).symbol_offset == 0 and "+0x" not in name
            else name
        )

    def frames(self, number: int) -> list[tuple[int, str]]:
        """An interned stack: the first address is where its symbol is, the others return to theirs."""
        frames = self.session.stack(number) if number else ()
        return [(frame.ip, self.symbol(frame.ip - bool(depth))) for depth, frame in enumerate(frames)]

    def calls(self, number: int) -> list[str]:
        """The functions of an interned stack, innermost first, with those that were inlined."""
        names: list[str] = []
        for depth, (ip, symbol) in enumerate(self.frames(number)):
            names += [level.text for level in self.session.levels(ip - bool(depth))[:-1]]
            names.append(symbol)
        return names


class JsonLines(HitLines):
    """One JSON object a line."""

    def header(self) -> str:
        return dump({"schema": 1, "kind": "trace"})

    def fixed(self, hit: dict[str, int]) -> Fixed:
        value_from, old_from = FROM_CODES[hit["value_from"]], FROM_CODES[hit["old_from"]]
        before = dump(self.names(hit))[1:-1] + (', "value": ' if value_from else ', "value": null')
        facts: dict[str, Any] = {"value_from": value_from, "old_from": old_from}
        if unseen(hit["flags"]):
            facts["unseen"] = True
        origins = dump(facts)[1:-1]
        return before, (', "old": ' if old_from else ', "old": null'), ", " + origins, 0

    def join(self, row: Row, number: int, fixed: Fixed) -> str:
        before, between, after, _signed = fixed
        value = row[_VALUE] if row[_VALUE_FROM] else ""
        old = row[_OLD] if row[_OLD_FROM] else ""
        end = ""
        if self.stack:
            stack = self._stacks.get(row[_STACK])
            if stack is None:
                stack = self._stacks[row[_STACK]] = dump(self.frames(row[_STACK]))
            end = f', "stack": {stack}'
        return f'{{"hit": {number}, "time_ns": {row[_TIME]}, {before}{value}{between}{old}{after}{end}}}'

    def summary(self, facts: dict[str, Any]) -> str:
        return dump({"summary": facts})


class TextLines(HitLines):
    """One aligned line a hit."""

    def __init__(self, session: Session, stack: bool) -> None:
        super().__init__(session, stack)
        labels = [len(watch.label) + 3 * (len(watch.windows) > 1) for watch in session.watches.all]
        self._wide = min(max([5, *labels]), 32)

    def header(self) -> str:
        return (
            f"{'hit':>8} {'time':>12} DR {'tid':>6} {'comm':<15} acc {'watch':<{self._wide}} "
            f"{'old -> new':<26} {'done by':<28} {'source':<18} instruction"
        )

    def fixed(self, hit: dict[str, int]) -> Fixed:
        names = self.names(hit)
        slot = "?" if names["slot"] is None else names["slot"]
        known = self.session.watches
        if known.find(hit["breakpoint"]) or known.stranger(hit["breakpoint"]):
            label = self.session.watch_label(hit["breakpoint"])
        else:  # gone before anybody asked: a bare program re-arms its registers as it likes
            label = self.session.names.describe_data(hit["address"])
        before = f"{slot:>2} {names['tid']:>6} {names['comm']:<15} {names['access']:<3} {label:<{self._wide}}"
        after = f"{names['symbol']:<28} {names['source'] or '-':<18} {names['insn'] or ''}".rstrip()
        after += "  changed unseen before" if unseen(hit["flags"]) else ""
        return before, names["access"], after, self._signed(hit["breakpoint"], hit["seq"])

    def _signed(self, bp_id: int, seq: int) -> int:
        found = self.session.watches.find(bp_id, seq)
        return signed_bits(self.session, found[0]) if found is not None else 0

    def join(self, row: Row, number: int, fixed: Fixed) -> str:
        before, access, after, signed = fixed
        value, old = row[_VALUE], row[_OLD]
        if signed:
            value -= value >> signed - 1 << signed
            old -= old >> signed - 1 << signed
        change = "" if access == "x" else str(value) if row[_VALUE_FROM] else "?"
        if access in ("w", "rw") and row[_OLD_FROM]:
            change = f"{old} -> {change}"
        end = ""
        if self.stack and row[_STACK]:
            stack = self._stacks.get(row[_STACK])
            if stack is None:
                stack = self._stacks[row[_STACK]] = " < ".join(self.calls(row[_STACK]))
            end = f" | {stack}"
        return f"{number:>8} {row[_TIME]:>12} {before} {change:<26} {after}{end}".rstrip()

    def summary(self, facts: dict[str, Any]) -> str:
        status = facts["exit_status"]
        if status is None:
            ended = (
                "how the program ended is not known"
                if self.session.view.state == "exited"
                else "the program had not ended"
            )
        elif status < 0:
            ended = f"the program died by signal {-status}"
        else:
            ended = f"exit status {status}"
        lost = "unknown lost" if facts["lost"] is None else f"{facts['lost']} lost"
        if "filtered" in facts:
            lost += f", {facts['filtered']} filtered"
        ran = f", {facts['instructions']} instructions" if facts.get("instructions") is not None else ""
        blind = f", {facts['blind_s']} s of it unwatched: at least" if "blind_s" in facts else ""
        return f"{facts['hits']} hits, {lost}, {facts['duration_s']:.3f} s{blind}, {ended}{ran}"
