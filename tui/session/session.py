"""What is open: one machine, its watches, its names, and the one way in for every command.

The app, scripts and demos all call `Session.execute(line)`. A session belongs to one thread; only `interrupt` may be
called from another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backends.base import Backend, HwbpError
from backends.model import Frame, MachineView, Mapping
from backends.ring_reader import RingReader
from tui.session.entry import entry_point
from tui.session.escape import escape, one_line
from tui.session.frames import OF_A_THREAD, chosen_frame
from tui.session.goal import Goal
from tui.session.names import Level, Names, Space, open_space
from tui.session.opening import open_watches
from tui.session.pending import Pending
from tui.session.result import Result, pointer
from tui.session.slot_queue import SlotQueue
from tui.session.undo import Changes
from tui.session.watch import Watch
from tui.session.watches import ArmedWatch, WatchBook

if TYPE_CHECKING:
    from symbols.disasm import Instruction
    from symbols.scope import Context
    from tui.session.frames import ChosenFrame
    from tui.session.hits import HitView

__all__ = ["Entry", "Session"]

_JOURNAL: Final = 1000
_NEWS: Final = 20
_LOOK_EVERY: Final = 0.25
_MOMENT: Final = 0.25
_STACK: Final = 8 << 20  # bytes: a stack pointer farther away is on another stack
_STEPS_AT_ONCE: Final = 10_000
"""Steps that one call asks for: it is not answered before they are done."""


class Entry(NamedTuple):
    """A command that was run, what it answered, and when (seconds since 1970)."""

    line: str
    result: Result
    at: float


class Session:
    """A machine that is open. `view` is always its last known state.

    `patient`: commands that let the machine run answer when it stands still again (scripts); otherwise they answer
    at once, and `refresh` brings the news (the app). `cpu` is the CPU that is looked at.
    """

    def __init__(
        self,
        backend: Backend,
        ring: RingReader,
        *,
        patient: bool = False,
        space: Callable[[tuple[Mapping, ...], str], Space] = open_space,
    ) -> None:
        self.backend = backend
        self.ring = ring
        self.patient = patient
        self.cpu = 0
        self.watches = WatchBook()
        self.pending = Pending(self)
        self.queue = SlotQueue(self)
        self.changes = Changes()
        self.chosen: ChosenFrame | None = None
        """The caller's frame that was chosen (`tui.session.frames`)."""
        self.journal: deque[Entry] = deque(maxlen=_JOURNAL)
        self._news: list[Result] = []
        self._stacks: list[tuple[Frame, ...]] = []
        self._nowhere: set[int] = set()
        self._goal: Goal | None = None
        self._interrupted = threading.Event()
        self.progress: tuple[int, int] | None = None
        """How many of how many steps the command that is under way has done; any thread may look."""
        self.view: MachineView = backend.view()
        self.names = Names(self.view.program, backend.read, space)
        self.names.thread = self._thread
        if self.view.backend == "perf" and self.view.tasks:
            self.names.process = self.view.tasks[0].pid
        self.names.kallsyms = backend.kallsyms
        self._take(self.view)

    def _thread(self) -> Context:
        """What expressions may ask of the stopped task, each part when it is asked for."""
        from symbols.scope import Context

        chosen = chosen_frame(self)
        known: dict[str, int] = {}
        lost: set[str] = set()

        def register(name: str) -> int:
            if not known:
                rows = self.backend.registers(None)
                if chosen is not None:
                    lost.update(row.name for row in rows if row.name not in OF_A_THREAD)
                    known.update(chosen.registers)
                known.update((row.name, row.value) for row in rows if row.name not in lost)
            if chosen is not None and name in lost and name not in known:
                raise ValueError(f"not known in frame {chosen.number}")
            return known[name]

        stands = self.view.state == "stopped" and bool(self.view.tasks)
        return Context(
            self.backend.read, register, stands, self._thread_pointers, chosen.frame.place if chosen else None
        )

    def _thread_pointers(self) -> tuple[int, ...]:
        """The fs base of each task; a live program that runs stands still for that, for a moment. Raises HwbpError."""
        view = self.view
        held = view.state == "running" and view.backend == "perf"
        if held:
            view = self.backend.stop()
        try:
            bases = []
            for number, task in enumerate(view.tasks):
                rows = self.backend.registers(None if number == 0 else task.tid)
                bases += [each.value for each in rows if each.name == "fs_base" and each.value]
            return tuple(dict.fromkeys(bases))
        finally:
            if held:
                self.backend.resume()

    # The state

    def refresh(self, counters: bool = False) -> bool:
        """Ask for a new view if the machine says it has one; True when it had.

        `counters` asks also while it runs, for instruction and hit counts: at the caller's rate. A `continue N` that
        has seen its hits stops the machine here. Raises HwbpError when the machine is gone.
        """
        if self._goal is not None and self._goal.reached(self.ring):
            self._goal = None
            if self.ring.state == "running":
                return self._take(self.backend.stop())
        moved = self.ring.word("generation") != self.view.generation
        if moved or (counters and self.ring.state == "running"):
            return self._take(self.backend.view())
        return False

    def look(self) -> MachineView:
        """Ask for the state now, whatever the ring says."""
        self._take(self.backend.view())
        return self.view

    def took(self, view: MachineView) -> MachineView:
        """A command got this view as its answer."""
        self._take(view)
        return self.view

    def _take(self, view: MachineView) -> bool:
        if view.generation < self.view.generation:
            return False
        if view.mappings != self.view.mappings:
            self._nowhere.clear()
        self.view = view
        self.watches.follow(view.breakpoints)
        self.names.update(view.mappings, view.bits)
        self._leave_frames(view)
        self.pending.follow()
        self.queue.follow()
        return True

    def _leave_frames(self, view: MachineView) -> None:
        """Remove the watches of local variables whose function has returned, as gdb does."""
        sp = view.current.sp if view.current is not None and view.state != "running" else None
        dead = [
            watch
            for watch in self.watches.armed
            if watch.frame is not None and (sp is None or 0 <= sp - watch.frame < _STACK)
        ]
        if not dead or view.state == "running":
            return
        for watch in dead:
            self.watches.remove(watch.index)
        left = {bp.id for bp in view.breakpoints}
        ids = tuple(bp_id for watch in dead for bp_id in watch.breakpoints if bp_id in left)
        if ids:
            self.backend.disarm(ids)
            self._take(self.backend.view())
        for watch in dead:
            text = f"watch {watch.index} is gone: the function of {watch.label} has returned"
            self.happened(f"delete {watch.index}", Result(True, "delete", (text,)))

    # Commands

    def execute(self, line: str) -> Result:
        """Do what a line says. Never raises for what the line asks; the answer tells."""
        from tui.session.commands import find

        word = (line.split() or [""])[0]
        if not word or word.startswith("#"):
            return Result(True, "")
        self._interrupted.clear()
        self.progress = None
        try:
            command, rest = find(line)
            word = command.word
            before = self.changes.state(self) if command.undoable else None
            answer = command.run(self, rest)
            if before is not None:
                self.changes.made(line, before, self, command.undoable == "by hand")
        except HwbpError as error:
            result = Result(
                False,
                escape(word),
                errno=error.errno,
                error=one_line(error.message),
                holders=tuple(one_line(holder) for holder in error.holders),
                remedy=one_line(error.remedy),
                pointer=pointer(error, line),
            )
        else:
            result = Result(True, word, answer.lines, answer.data)
        self.note(line, result)
        return result

    def note(self, line: str, result: Result) -> None:
        """A command for the journal."""
        self.journal.append(Entry(line, result, time.time()))

    def happened(self, line: str, result: Result) -> None:
        """Something that nobody's command did: for the journal, and to be told (`news`)."""
        self.note(line, result)
        self._news = [*self._news[-_NEWS:], result]

    def news(self) -> tuple[Result, ...]:
        """What has happened since the last call, without a command."""
        news, self._news = tuple(self._news), []
        return news

    def complete(self, line: str) -> list[str]:
        """What the last word of a line may become, as whole lines."""
        from tui.session.commands import complete

        return complete(self, line)

    def open_watches(self, watches: tuple[Watch, ...], fitting: bool = False) -> tuple[ArmedWatch, ...]:
        """Arm the -w watches, all or none, or those that fit (`tui.session.opening.open_watches`)."""
        return open_watches(self, watches, fitting)

    @property
    def entry(self) -> int | None:
        """The program's entry point, while its dynamic loader has not run yet; None otherwise."""
        if self.view.state != "loaded" or self.view.current is None:
            return None
        try:
            entry = entry_point(self.backend.read, self.view.mappings, self.view.program)
        except HwbpError:
            return None
        return None if entry == self.view.current.pc else entry

    def run_to_entry(self) -> None:
        """Let the dynamic loader do its work, up to the program's first instruction."""
        if (entry := self.entry) is not None:
            self.took(self.backend.run_to(entry))
            self.wait(Goal())
            self._still_there()

    def run_to_mapping(self, entry: int) -> None:
        """Let the dynamic loader work until it maps one more library, or to the program's entry point."""
        self.took(self.backend.run_to_mapping(entry))
        self._interrupted.clear()
        self.wait(Goal())
        self._still_there()

    def _still_there(self) -> None:
        if self.view.state in ("exited", "failed"):
            raise HwbpError(
                f"the program ended before its libraries were in place: {escape(self.view.stop.text)}"
            )

    # Running

    def resume(self, goal: Goal | None = None, wait: bool = False) -> None:
        """Let the machine run; with a goal `refresh` stops it there. `wait` until it stands still again."""
        self._goal = goal
        self.ring.set_limit(goal.hits if goal is not None and goal.hits is not None else 0)
        self.backend.resume()
        self.look()
        if wait:
            self.wait(Goal())

    def step(self, count: int, over_calls: bool = False) -> None:
        """Run `count` instructions; ends early where anything else stops the machine, or at `interrupt`."""
        wanted = count
        while count > 0 and not self._interrupted.is_set():
            self.progress = wanted - count, wanted
            some = 1 if over_calls else min(count, _STEPS_AT_ONCE)
            self.took(self.backend.step(some, over_calls))
            self.settle()
            count -= some
            if self.view.state != "stopped" or self.view.stop.reason != "step":
                return

    def wait(self, goal: Goal) -> bool:
        """Wait until a goal is reached; False when `interrupt` came first. Raises HwbpError if the machine is gone."""
        pause, since_look = 0.0005, 0.0
        while not self._reached(goal):
            if self._interrupted.wait(pause):
                return False
            if self.ring.word("flow") and self.ring.head - self.ring.word("tail") > self.ring.capacity // 2:
                raise HwbpError("the ring is full of hits that nobody has read, and the machine waits")
            since_look += pause
            pause = min(pause * 2, 0.02)
            if since_look >= _LOOK_EVERY or self._goal is not None:
                self.refresh(counters=since_look >= _LOOK_EVERY)
                since_look = 0.0 if since_look >= _LOOK_EVERY else since_look
        return True

    def _reached(self, goal: Goal) -> bool:
        """Whether a wait is over, with the newest view. A stop where a library was mapped is none: looking ends it."""
        if not goal.reached(self.ring):
            return False
        self.look()
        return goal.reached(self.ring)

    def settle(self) -> None:
        """Wait until what was begun is done: as long as it takes in a script, a moment where a screen waits."""
        if self.ring.state == "running":
            self.wait(Goal() if self.patient else Goal(until=time.monotonic() + _MOMENT, or_still=True))
        self.look()

    def interrupt(self) -> None:
        """End the wait or the long step of the command that another thread is in."""
        self._interrupted.set()

    @property
    def interrupted(self) -> bool:
        """Whether the command that is under way was told to end."""
        return self._interrupted.is_set()

    # Names and history

    def locate(self, address: int) -> None:
        """Make sure that the mappings are new enough to know an address: libraries come while a program runs."""
        if address in self._nowhere or any(m.start <= address < m.end for m in self.view.mappings):
            return
        self.look()
        self._nowhere.add(address)

    def describe(self, ip: int) -> str:
        """`add_limit+0x1c`."""
        self.locate(ip)
        return self.names.describe(ip)

    def source(self, ip: int) -> str | None:
        """`counter.c:42`, or None."""
        return self.names.source(ip)

    def levels(self, ip: int) -> tuple[Level, ...]:
        """What is inlined at an address and the function around it (`Names.levels`)."""
        self.locate(ip)
        return self.names.levels(ip)

    def disassembly(self, ip: int, before: int = 4, after: int = 6) -> tuple[Instruction, ...]:
        """The instructions around an address."""
        return self.names.disassembly(ip, before, after)

    def watch_label(self, bp_id: int) -> str:
        """What a breakpoint watches, in words; also for one that was removed."""
        if found := self.watches.find(bp_id):
            armed, window = found
            return armed.label if len(armed.windows) == 1 else f"{armed.label} [{window}]"
        if stranger := self.watches.stranger(bp_id):
            if stranger.text:
                return escape(stranger.text)
            if stranger.type == "x":
                return self.names.describe(stranger.address)
            return self.names.describe_data(stranger.address)
        return f"breakpoint {bp_id}"

    def hit(self, seq: int) -> HitView | None:
        """A hit by its number (from 0), None where it was overwritten or has not happened."""
        rows = self.ring.read(seq, 1)
        if not len(rows) or int(rows[0]["seq"]) != seq:
            return None
        return self.hit_of(rows[0])

    def hit_of(self, row: Any) -> HitView:
        """Name a row that was read from the ring."""
        from tui.session.hits import hit_view

        bp_id = int(row["breakpoint"])
        known = self.watches.find(bp_id) or self.watches.stranger(bp_id)
        if known is None or int(row["comm"]) >= len(self.view.comms):
            self.look()
        self.locate(int(row["insn_ip"]) or int(row["ip"]))
        return hit_view(row, self.view, self.watches, self.names)

    def stack(self, number: int) -> tuple[Frame, ...]:
        """An interned call stack, innermost frame first. Number 0 is "no stack"."""
        while number >= len(self._stacks):
            more = self.backend.stacks(len(self._stacks))
            if not more:
                return ()
            self._stacks.extend(more)
        return self._stacks[number]

    def close(self) -> None:
        """End the machine."""
        self.backend.close()
