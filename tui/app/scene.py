"""What the screen draws from: the newest picture of the machine and what was measured from it. No Textual in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backends import dr
from backends.model import Slot
from tui.app.names import Names
from tui.app.rates import HISTORY, Meter
from tui.app.records import Record
from tui.app.shown import shown

if TYPE_CHECKING:
    from backends.model import Breakpoint, CpuView, MachineView, Owner, Site, TaskView
    from backends.ring_reader import RingReader
    from tui.session.session import Session

__all__ = ["Scene", "SlotRow", "books", "owner_text"]

_TOTAL = -1


class SlotRow(NamedTuple):
    """One debug register as the screen shows it. `owned` is False for an enabled register that no books name.

    `known` is False for a breakpoint of which nobody can say in which register it sits."""

    slot: Slot
    breakpoint: Breakpoint | None
    label: str
    hits: int
    rate: float | None
    history: tuple[int, ...]
    flash: bool
    known: bool = True

    @property
    def enabled(self) -> bool:
        """Ln or Gn is set: the hardware compares."""
        return self.slot.local or self.slot.global_

    @property
    def owned(self) -> bool:
        """Somebody's books name it, or it is off."""
        return self.breakpoint is not None or not self.enabled

    @property
    def free(self) -> bool:
        """Off, and nobody's."""
        return self.breakpoint is None and not self.enabled

    @property
    def bits(self) -> str:
        """`L`, `G`, `LG` or `-`."""
        return ("L" if self.slot.local else "") + ("G" if self.slot.global_ else "") or "-"


_SEARCH = 2048
_WIDE_SEARCH = 65_536
_WIDE_EVERY = 8
"""Hits looked through for each slot's newest one: each time, and every so many times."""


class Scene:
    """Filled by the app, read by the panels."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.ring: RingReader | None = None
        self.view: MachineView | None = None
        self.names = Names()
        self.meter = Meter()
        self.sites: tuple[Site, ...] = ()
        self.fps = 15
        self.still = False
        self.problem = ""
        self.watches: dict[int, int] = {}
        self.waiting: tuple[str, ...] = ()
        self._labels: dict[int, str] = {}
        self._unowned: dict[int, str] = {}
        self._places: dict[int, dict[int, str]] = {}
        """What each breakpoint watched, by address: one that is moved keeps its number, and its hits keep their names."""
        self.longest_label = 0
        """Letters of the longest name that a watch had."""
        self._signed: dict[tuple[int, int | None], int] = {}
        self._newest: dict[int, Record] = {}
        self._sampled = 0
        self._searches = 0
        self._last_hits = 0
        self._quiet = 0

    def reset(self) -> None:
        """Another machine comes."""
        self.ring = self.view = None
        self.names.forget()
        self.meter = Meter()
        self.sites = ()
        self.problem = ""
        self.waiting = ()
        self._labels.clear()
        self._places.clear()
        self._signed.clear()
        self.longest_label = 0
        self._newest.clear()
        self._sampled = 0
        self._searches = 0
        self._quiet = 0

    @property
    def cpu(self) -> CpuView | None:
        """The CPU whose registers are shown."""
        number = self.session.cpu if self.session is not None else 0
        return self.view.cpus[number] if self.view and number < len(self.view.cpus) else None

    @property
    def hits(self) -> int:
        """Hits written into the ring so far."""
        return self.ring.head if self.ring else 0

    @property
    def state(self) -> str:
        """The run state, from shared memory, so it is true even while the machine is busy."""
        if self.ring is not None:
            return self.ring.state
        return "starting"

    @property
    def over(self) -> bool:
        """The program can run no further: it has ended, or runs on by itself."""
        return self.view is not None and self.view.state in ("exited", "failed", "detached")

    @property
    def running(self) -> bool:
        """The program runs now."""
        return self.state == "running"

    def take(
        self,
        view: MachineView,
        labels: dict[int, str],
        unowned: dict[int, str],
        watches: dict[int, int],
        waiting: tuple[str, ...],
        signed: dict[int, int],
    ) -> None:
        """A newer picture of the machine, with the labels (escaped) and watch numbers of its breakpoints, the names (escaped)
        of the addresses in registers that nobody's books own, and the watches that are to be armed later. `signed` has the
        bits of those breakpoints that hold a signed integer."""
        if self.view is not None and view.mappings != self.view.mappings:
            self.names.forget()
        self.view = view
        self._labels.update(labels)
        self._unowned = unowned
        self.longest_label = max(self.longest_label, *map(len, labels.values()), 0)
        for bp in view.breakpoints:
            if bp.id in labels:
                self._places.setdefault(bp.id, {})[bp.address] = labels[bp.id]
            self._signed[bp.id, None] = self._signed[bp.id, bp.address] = signed.get(bp.id, 0)
        self.watches = watches
        self.waiting = waiting

    def sample(self, now: float) -> bool:
        """Measure: called four times a second. Whether there is anything new to show."""
        counts = {_TOTAL: self.hits}
        if self.view is not None:
            counts |= {b.id: b.hits for b in self.view.breakpoints}
        self.meter.sample(now, counts)
        self._find_newest()
        quiet = self.hits == self._last_hits and not self.running
        self._last_hits = self.hits
        self._quiet = self._quiet + 1 if quiet else 0
        return self._quiet <= HISTORY + 1  # until the last hit has left rates and sparklines

    def total_rate(self) -> float | None:
        """All hits per second."""
        return self.meter.rate(_TOTAL)

    def newest(self, bp: int) -> Record | None:
        """The newest hit (a ring record) that was seen of a breakpoint."""
        return self._newest.get(bp)

    def slots(self) -> list[SlotRow]:
        """The four registers of the CPU."""
        cpu, view = self.cpu, self.view
        if view is None:
            return []
        if cpu is None:
            return [self._unplaced(b, index) for index, b in enumerate(view.breakpoints[:4])]
        by_id = {b.id: b for b in view.breakpoints}
        rows = []
        found_slots = {slot.index: slot for slot in cpu.slots}
        for index in range(4):
            slot = found_slots.get(index) or _bare_slot(cpu, index)
            found = by_id.get(slot.breakpoint) if slot.breakpoint is not None else None
            key = found.id if found else -2
            rows.append(
                SlotRow(
                    slot=slot,
                    breakpoint=found,
                    label=self.label(found) if found else self._unowned.get(slot.address, ""),
                    hits=found.hits if found else 0,
                    rate=self.meter.rate(key) if found else None,
                    history=tuple(self.meter.increments(key)) if found else (),
                    flash=found is not None and not self.still and self.meter.moved(key),
                )
            )
        return rows

    def _unplaced(self, bp: Breakpoint, index: int) -> SlotRow:
        """A breakpoint of a machine that does not say which register holds it."""
        return SlotRow(
            slot=Slot(index, bp.address, bp.length, bp.type, False, bp.enabled, bp.id),
            breakpoint=bp,
            label=self.label(bp),
            hits=bp.hits,
            rate=self.meter.rate(bp.id),
            history=tuple(self.meter.increments(bp.id)),
            flash=not self.still and self.meter.moved(bp.id),
            known=False,
        )

    def label(self, bp: Breakpoint) -> str:
        """What a breakpoint watches, in the user's words where there are any."""
        known = self._labels.get(bp.id)
        return known or shown(bp.text) or (self.names.of(bp.address).symbol if bp.address else "0x0")

    def label_of(self, bp: int) -> str:
        """The same by id; it may be gone."""
        return self._labels.get(bp, "(removed)")

    def label_of_hit(self, bp: int, address: int) -> str:
        """What a hit's breakpoint watched then: it may watch something else by now."""
        return self._places.get(bp, {}).get(address) or self.label_of(bp)

    def follows(self, bp: Breakpoint, task: TaskView) -> bool:
        """Whether a breakpoint is for this task: a watch of ours through perf is for all threads of its process."""
        ours = bp.owner.kind == "perf" and bp.id in self.watches
        return bp.tid == task.tid or (ours and bp.tid == task.pid)

    def signed(self, bp: int, address: int | None = None) -> int:
        """The bits of the signed integer that a breakpoint watches, or watched at that address; 0 for anything else."""
        return self._signed.get((bp, address), 0)

    def moved(self) -> list[tuple[int, dict[int, str]]]:
        """The breakpoints that have watched several places, with what those are called."""
        return [(bp, places) for bp, places in self._places.items() if len(places) > 1]

    def numbered(self, bp: Breakpoint) -> str:
        """`watch 0 counter`; the bare label of what belongs to no watch."""
        number = self.watches.get(bp.id)
        return self.label(bp) if number is None else f"watch {number} {self.label(bp)}"

    def comm(self, index: int) -> str:
        """The name of the task of a hit."""
        comms = self.view.comms if self.view else ()
        return shown(comms[index]) if index < len(comms) else ""

    def _find_newest(self) -> None:
        if self.ring is None:
            return
        head = self.ring.head
        if head == self._sampled:
            return
        # Rows are copied to be searched: usually a few, and now and then enough for a slot that seldom hits.
        self._searches += 1
        span = _WIDE_SEARCH if self._searches % _WIDE_EVERY == 0 else _SEARCH
        rows = self.ring.read(max(0, head - span), span)
        self._sampled = head
        if not len(rows):
            return
        ids = rows["breakpoint"]
        view = self.view
        for bp in {b.id for b in view.breakpoints} if view else ():
            found = (ids == bp).nonzero()[0]
            if len(found):
                self._newest[bp] = Record._make(rows[found[-1]].item())


def _bare_slot(cpu: CpuView, index: int) -> Slot:
    """A register that the view does not list, read off the registers themselves."""
    on = cpu.dr7 >> 2 * index
    return Slot(
        index,
        cpu.dr[index],
        dr.slot_length(cpu.dr7, index),
        dr.slot_type(cpu.dr7, index),
        bool(on & 1),
        bool(on & 2),
        None,
    )


def owner_text(owner: Owner) -> str:
    """`perf`, `ptrace gdb 812`, `perf 3` (its descriptor): as much as is known."""
    words: list[str] = [owner.kind]
    if owner.comm and owner.comm != owner.kind:
        words.append(shown(owner.comm))
    if owner.pid is not None:
        words.append(str(owner.pid))
    return " ".join(words)


def books(view: MachineView, cpu: CpuView) -> str:
    """The accounting in one line: `2 pinned + 2 of task 1000 = 4/4` (the rule of kernel/events/hw_breakpoint.c)."""
    pinned = sum(1 for b in view.breakpoints if b.tid is None and b.cpu in (None, cpu.cpu))
    tasks: dict[int, int] = {}
    for b in view.breakpoints:
        if b.tid is not None and b.cpu in (None, cpu.cpu):
            tasks[b.tid] = tasks.get(b.tid, 0) + 1
    if not tasks:
        return f"{pinned} pinned = {pinned}/4"
    greediest = max(tasks, key=lambda tid: tasks[tid])
    return f"{pinned} pinned + {tasks[greediest]} of task {greediest} = {pinned + tasks[greediest]}/4"
