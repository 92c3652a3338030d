"""Taking back what was done to watches and registers: what changed is found by comparing before and after.

Running cannot be taken back, nor what other owners did: only watches of this session, their enable bits, debug registers
that were written by hand, and what `set` stored, while the program has not stored something else there.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.arming import wanted_text
from tui.session.editing import rearm

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.watches import ArmedWatch

__all__ = ["Changes", "State"]

_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class State:
    """What undo brings back: each armed watch and whether it is enabled, those that are to be armed later; `registers` are
    DR0-DR3, DR6 and DR7 by CPU."""

    armed: tuple[tuple[ArmedWatch, bool], ...]
    waiting: tuple[ArmedWatch, ...]
    registers: dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """A command line, and the state before and after it."""

    line: str
    before: State
    after: State
    by_hand: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A line that stored a value: in memory at `place`, an address, or in the register of task `tid` that `place` names."""

    line: str
    place: int | str
    before: bytes
    after: bytes
    tid: int | None = None


class Changes:
    """What was done, newest last, and what was undone since.

    A watch that comes back has a new number; `_first` leads from it to the number that it had first.
    """

    def __init__(self) -> None:
        self._done: deque[Change | Stored] = deque(maxlen=_KEPT)
        self._undone: deque[Change | Stored] = deque(maxlen=_KEPT)
        self._first: dict[int, int] = {}

    @staticmethod
    def state(session: Session) -> State:
        """The state as the session knows it."""
        view = session.view
        off = {bp.id for bp in view.breakpoints if not bp.enabled}
        return State(
            tuple((watch, off.isdisjoint(watch.breakpoints)) for watch in session.watches.armed),
            session.watches.waiting,
            {cpu.cpu: (*cpu.dr, cpu.dr6, cpu.dr7) for cpu in view.cpus},
        )

    def made(self, line: str, before: State, session: Session, by_hand: bool) -> None:
        """A command has been run. One that changed nothing is not remembered."""
        after = self.state(session)
        same = before.armed == after.armed and before.waiting == after.waiting
        if same and (not by_hand or before.registers == after.registers):
            return
        self._done.append(Change(line.strip(), before, after, by_hand))
        self._undone.clear()

    def stored(
        self, line: str, place: int | str, before: bytes, after: bytes, tid: int | None = None
    ) -> None:
        """A value was stored. One that was there already is not remembered."""
        if before != after:
            self._done.append(Stored(line.strip(), place, before, after, tid))
            self._undone.clear()

    def undo(self, session: Session) -> tuple[str, list[str]]:
        """Take back the newest change that is left; returns its line and what was done. Raises HwbpError."""
        if not self._done:
            raise HwbpError(
                "there is nothing to undo",
                errno="ENOENT",
                remedy="watches and stored values can be taken back; running cannot",
            )
        change = self._done[-1]
        if isinstance(change, Stored):
            said = [_store(session, change, change.after, change.before)]
        else:
            said = self._go(session, change.after, change.before, change.by_hand)
        self._undone.append(self._done.pop())
        return change.line, said

    def redo(self, session: Session) -> tuple[str, list[str]]:
        """Do again what was undone last. Raises HwbpError."""
        if not self._undone:
            raise HwbpError("there is nothing to do again", errno="ENOENT")
        change = self._undone[-1]
        if isinstance(change, Stored):
            said = [_store(session, change, change.before, change.after)]
        else:
            said = self._go(session, change.before, change.after, change.by_hand)
        self._done.append(self._undone.pop())
        return change.line, said

    def _identity(self, watch: ArmedWatch) -> int:
        return self._first.get(watch.index, watch.index)

    def _go(self, session: Session, here: State, there: State, by_hand: bool) -> list[str]:
        """From one state to the other, as far as what makes the difference is still there.

        Raises HwbpError, with the watches as they were.
        """
        with session.queue.held():
            said = self._turn(session, here, there)
        session.look()
        return said + (_write_back(session, here, there) if by_hand else [])

    def _turn(self, session: Session, here: State, there: State) -> list[str]:
        said: list[str] = []
        alive = {self._identity(watch): watch for watch in session.watches.armed}
        old = {self._identity(watch): (watch, on) for watch, on in here.armed}
        new = {self._identity(watch): (watch, on) for watch, on in there.armed}
        waiting, waited, to_wait = (
            {self._identity(watch): watch for watch in watches}
            for watches in (session.watches.waiting, here.waiting, there.waiting)
        )
        # One that waited may be armed by now: its library has come, and that was nobody's command.
        gone = [alive[key] for key in {**old, **waited} if key not in {**new, **to_wait} and key in alive]
        back = [new[key] for key in new if key not in {**old, **alive, **waiting}]
        # What it was armed into is wanted back.
        displaced = [
            alive[key] for key, row in to_wait.items() if back and row.waits == "slot" and key in alive
        ]
        unwanted = [waiting[key] for key in waited if key not in {**new, **to_wait} and key in waiting]
        again = [to_wait[key] for key in to_wait if key not in {**old, **waited, **alive, **waiting}]
        for watch in (*gone, *(watch for watch, _ in back)):
            if watch.owner == "ptrace":
                raise HwbpError(
                    f"watch {watch.index} is ptrace's, and that gives a slot back only when the task execs or exits",
                    errno="EPERM",
                )
        for watch in gone:
            session.backend.disarm(watch.breakpoints)
            session.watches.remove(watch.index)
            said.append(f"watch {watch.index}: {watch.label} is gone again")
        for watch in displaced:
            session.backend.disarm(watch.breakpoints)
            session.queue.put(dataclasses.replace(watch, breakpoints=(), waits="slot"))
            said.append(f"watch {watch.index}: {watch.label} waits again")
        for watch in unwanted:
            session.watches.remove(watch.index)
            session.pending.removed()
            said.append(f"watch {watch.index}: {watch.label} waits no more")
        session.look()
        try:
            for watch, on in back:
                armed = self._again(session, watch, on)
                said.append(f"watch {armed.index}: {armed.label} is armed again, as watch {watch.index} was")
            for watch in again:
                row = self._wait_again(session, watch)
                self._first[row.index] = self._identity(watch)
                said.append(f"watch {row.index}: {row.label} waits again, as watch {watch.index} did")
        except HwbpError:
            for watch in gone:
                self._again(session, watch, old[self._identity(watch)][1])
            raise
        for key, (watch, on) in new.items():
            if key not in old or key not in alive:
                continue
            then = old[key][0]
            if (watch.watch, watch.condition) != (then.watch, then.condition):
                now = alive[key]
                session.backend.restrict(now.breakpoints, watch.condition, watch.watch.limit)
                session.watches.change(dataclasses.replace(now, watch=watch.watch, condition=watch.condition))
                kept = dataclasses.replace(watch.watch, ignore=0)
                said.append(f"watch {now.index}{wanted_text(kept) or ', every hit'}")
            if old[key][1] != on:
                for bp_id in alive[key].breakpoints:
                    session.backend.enable(bp_id, on)
                said.append(f"watch {alive[key].index} is {'enabled' if on else 'disabled'} again")
        session.look()
        return said

    @staticmethod
    def _wait_again(session: Session, watch: ArmedWatch) -> ArmedWatch:
        if watch.waits == "library":
            return session.pending.add(watch.watch, HwbpError(f"{watch.label} means nothing"), watch.stop)
        row = dataclasses.replace(watch, index=session.watches.next_index)
        session.queue.put(row)
        return row

    def _again(self, session: Session, watch: ArmedWatch, enabled: bool) -> ArmedWatch:
        armed = rearm(session, watch, enabled)
        self._first[armed.index] = self._identity(watch)
        return armed


def _store(session: Session, change: Stored, here: bytes, there: bytes) -> str:
    """Put the one value in the place of the other, if that is what is there. Raises HwbpError."""
    view = session.view
    if view.state == "running":
        raise HwbpError(f"{change.line}: the program is running", errno="EBUSY", remedy="`stop` it first")
    if view.current is None or (change.tid is not None and view.current.tid != change.tid):
        raise HwbpError(
            f"{change.line}: that was task {change.tid}",
            errno="ESRCH",
            remedy=f"`task {change.tid}` looks at it",
        )
    if isinstance(change.place, int):
        now, name = session.backend.read(change.place, len(here)), f"{change.place:#x}"
    else:
        rows = {row.name: row.value for row in session.backend.registers(None)}
        now, name = rows[change.place].to_bytes(8, "little"), f"${change.place}"
    if now != here:
        raise HwbpError(
            f"{change.line}: {name} has another value by now", errno="EBUSY", remedy="`set` stores one"
        )
    if isinstance(change.place, int):
        session.backend.write(change.place, there)
    else:
        session.backend.set_register(None, change.place, int.from_bytes(there, "little"))
    session.look()
    return f"{name} = {int.from_bytes(there, 'little'):#x} again"


def _write_back(session: Session, here: State, there: State) -> list[str]:
    """Only the bits that were changed: the kernel may have written others since."""
    said = []
    for cpu, values in there.registers.items():
        then = here.registers.get(cpu, values)
        for at, register in enumerate((0, 1, 2, 3, 6, 7)):
            mask = values[at] ^ then[at]
            view = next((each for each in session.view.cpus if each.cpu == cpu), None)
            if not mask or view is None:
                continue
            now = (*view.dr, view.dr6, view.dr7)[at]
            value = now & ~mask | values[at] & mask
            session.took(session.backend.write_dr(cpu, register, value))
            said.append(f"DR{register} of CPU {cpu} = {value:#x}")
    return said
