"""What stands under a cursor, and what can be done with it: one set of actions for every panel that shows a place.

A panel only says what its cursor is on (`Spot`). What follows from that (`choices`) is drawn by the menu *from here*, and
does the same from a hit, an address, a symbol, a byte, an instruction or a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from backends.model import Breakpoint, MachineView
    from tui.app.records import Record
    from tui.app.scene import Scene

__all__ = ["Choice", "Spot", "choices", "covering", "spot_of_hit"]


_INTEGERS: Final = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long"}


class Spot(NamedTuple):
    """What a cursor is on.

    `what` is what people call it (escaped). `data` is the address of `length` bytes that can be watched or shown, None
    where there are none; `expr` is what a command calls them. `code` is the address of an instruction. `hit` is the hit
    that led here, `tid` a task.
    """

    what: str
    expr: str = ""
    data: int | None = None
    length: int | None = None
    code: int | None = None
    insn: str = ""
    hit: Record | None = None
    tid: int | None = None
    whole: str = ""
    """The member that these bytes are a part of, as a command reads it."""
    register: str = ""
    """The register that holds the number, where it is one."""

    def stored(self) -> str:
        """The left side of a `set` of it, "" for what cannot be stored into."""
        if self.register:
            return f"${self.register}"
        if self.data is None:
            return ""
        if self.expr and not self.expr.startswith("0x") and "\\" not in self.expr:
            return f"var {self.expr}"
        kind = _INTEGERS.get(self.length or 1)
        return f"*({kind} *){self.data:#x}" if kind else ""

    def watch(self, kind: str = "") -> str:
        """The argument of a watch of these bytes: `cfg.limits[2]`, `0x403031/1:rw`."""
        plain = self.expr if self.expr and not self.expr.startswith("0x") and "\\" not in self.expr else ""
        text = plain or f"{self.data or 0:#x}/{self.length or 1}"
        return f"{text}:{kind}" if kind else text


class Choice(NamedTuple):
    """One line of the menu. `key` does it; `does` is "type" (a command line to be completed), "run" (a command), or the
    name of one of the app's own moves, with `argument`."""

    key: str
    text: str
    does: str
    argument: str | int = ""


def covering(view: MachineView | None, address: int, length: int = 1, code: bool = False) -> list[Breakpoint]:
    """The breakpoints whose bytes overlap these."""
    if view is None:
        return []
    return [
        b
        for b in view.breakpoints
        if (b.type == "x") == code and b.address < address + max(1, length) and address < b.address + b.length
    ]


def spot_of_hit(scene: Scene, record: Record) -> Spot:
    """A hit: the bytes that were watched, and the instruction that did it."""
    label = scene.label_of_hit(record.breakpoint, record.address)
    data = None if record.access_text == "x" else record.address
    name = label if label.isidentifier() else ""
    return Spot(
        what=f"hit {record.seq + 1:,}: {label}",
        expr=name,
        data=data,
        length=record.length,
        code=record.place,
        hit=record,
    )


def choices(scene: Scene, spot: Spot, chosen: int | None = None) -> list[Choice]:
    """What can be done with a place now, in the order in which the menu shows it. `chosen` is the breakpoint that is
    selected in the slots."""
    out: list[Choice] = []
    view = scene.view
    alive = view is not None and not scene.over and not scene.problem
    armed: list[Breakpoint] = []
    if spot.data is not None:
        armed = covering(view, spot.data, spot.length or 1)
    if spot.code is not None:
        armed += covering(view, spot.code, 1, code=True)
    if alive:
        if spot.data is not None:
            out.append(Choice("w", "watch writes to it", "type", f"watch {spot.watch()}"))
            out.append(Choice("r", "watch reads and writes of it", "type", f"watch {spot.watch('rw')}"))
        if spot.whole:
            out.append(Choice("a", "watch all of the member that it is in", "type", f"watch {spot.whole}"))
        if spot.code is not None:
            out.append(Choice("x", "watch its execution", "type", f"hbreak {spot.code:#x}"))
        out += _moves(scene, spot, chosen)
        if spot.stored() and not scene.running:
            out.append(Choice("=", "store another value in it", "type", f"set {spot.stored()} = "))
        for number in dict.fromkeys(scene.watches[b.id] for b in armed if b.id in scene.watches):
            label = next(scene.label(b) for b in armed if scene.watches.get(b.id) == number)
            out.append(Choice("d", f"remove watch {number} {label}", "run", f"delete {number}"))
    if spot.code is not None:
        out.append(Choice("c", f"go to its code ({spot.code:#x})", "go_code", spot.code))
    if spot.data is not None:
        out.append(Choice("m", f"go to its memory ({spot.data:#x})", "go_memory", spot.data))
    if spot.data is not None:
        before = f" before {spot.hit.seq + 1}" if spot.hit is not None else ""
        text = "who wrote it before this hit" if before else "who wrote it last"
        out.append(Choice("o", text, "run", f"who {spot.watch()}{before}"))
    if spot.hit is not None:
        out.append(Choice("h", "go to the hits of this instruction", "go_hits", f"at={spot.code:#x}"))
        out.append(Choice("b", "go to the hits of this watch", "go_hits", f"bp={spot.hit.breakpoint}"))
    elif spot.data is not None or spot.code is not None:
        out.append(Choice("h", "go to its hits", "go_hits", _hits_of(spot)))
    if spot.tid is not None:
        out += _task(spot.tid)
    return list({each.key: each for each in reversed(out)}.values())[::-1]


def _hits_of(spot: Spot) -> str:
    """The filter of the hits view: windows are aligned and 8 bytes at most, so they begin in the aligned bytes before."""
    if spot.data is None:
        return f"at={spot.code:#x}"
    return f"addr>={spot.data & ~7:#x} addr<{spot.data + (spot.length or 1):#x}"


def _moves(scene: Scene, spot: Spot, chosen: int | None) -> list[Choice]:
    """The watch that would come here: the one that is selected in the slots, else the newest."""
    view = scene.view
    mine = [b for b in view.breakpoints if b.id in scene.watches and b.owner.kind == "perf"] if view else []
    if not mine:
        return []
    if spot.data is None and spot.code is None:
        return []
    moved = next((b for b in mine if b.id == chosen), mine[-1])
    number = scene.watches[moved.id]
    target = spot.watch() if spot.data is not None else f"{spot.code:#x}:x"
    return [Choice("v", f"move watch {number} {scene.label(moved)} here", "type", f"edit {number} {target}")]


def _task(tid: int) -> list[Choice]:
    return [
        Choice("l", "look at this task", "run", f"task {tid}"),
        Choice("g", "its registers and stack", "go_standing", tid),
        Choice("p", "say where it may run", "type", f"pin {tid} "),
        Choice("s", "hold it back", "run", f"sleep {tid}"),
        Choice("u", "let it run again", "run", f"wake {tid}"),
    ]
