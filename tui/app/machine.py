"""The app's link to the machine: when to ask it what, and never to wait for it.

Shared memory says for nothing whether anything moved (the ring's head, generation and state); only then is the
machine asked, with at most one question of each kind under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from tui.app.desk import Deliver, Desk
from tui.app.inspection import Inspection, Key, inspect, key_of, look_up, typed_change
from tui.app.records import Record
from tui.app.scene import Scene

if TYPE_CHECKING:
    from backends.model import Breakpoint, Journal, MachineView, Site
    from tui.session.proposal import Proposal
    from tui.session.result import Result
    from tui.session.session import Session

__all__ = ["Machine"]

T = TypeVar("T")

Picture = tuple[
    "MachineView",
    dict[int, str],
    dict[int, str],
    dict[int, int],
    dict[int, int],
    tuple[str, ...],
    tuple["Result", ...],
]
"""A view with the labels of its breakpoints, the names of addresses in registers that nobody's books own, the numbers of their
watches, and the bits of those that hold a signed integer; the watches that wait, and what has happened without a command."""

_KEPT = 512


class Machine:
    """Asks at the desk and fills the scene. `changed` is called for a new picture, `trouble` for a lost machine, `tell`
    for what has happened without a command."""

    def __init__(
        self,
        scene: Scene,
        deliver: Deliver,
        changed: Callable[[], None],
        trouble: Callable[[Exception], None],
        tell: Callable[[Result], None],
    ) -> None:
        self.scene = scene
        self.desk = Desk(deliver)
        self.broken = False
        self.pictures = 0
        self.executed = 0
        """Commands that were run: whatever was read before one may be stale after it."""
        self._deliver = deliver
        self._changed = changed
        self._trouble = trouble
        self._tell = tell
        self.working: deque[str] = deque()
        """Command lines that are not answered yet, the one under way first."""
        self._asking = False
        self._counters_due = False
        self._inspections: dict[Key, Inspection] = {}
        self._inspecting: Key | None = None
        self._typed: dict[tuple[int, ...], str] = {}
        self._typing = False
        self._seen: tuple[int, int] = (-1, -1)
        self._sites_at = -1
        self._proposing = False
        self._to_propose: tuple[str, bool, Callable[[str, Proposal | None], None]] | None = None

    def open(
        self,
        opening: Future[Session],
        then: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Take the session when it is open: at once if it is. Nobody else has it yet, so the desk is not asked."""

        def opened(session: Session) -> None:
            self.scene.session = session
            self.scene.ring = session.ring
            self.broken = False
            *_, news = picture = _picture(session)
            self._show((*picture[:-1], ()))
            self._deliver(then)
            for result in news:
                self._deliver(self._tell, result)

        def done(future: Future[Session]) -> None:
            error = future.exception()
            if error is not None:
                self._deliver(fail, error)
            else:
                self._deliver(opened, future.result())

        if opening.done() and opening.exception() is None:
            opened(opening.result())
        else:
            opening.add_done_callback(done)

    @property
    def idle(self) -> bool:
        """Nothing is being asked."""
        return self.desk.waiting == 0

    def moved(self) -> bool:
        """Whether hits or state changed since the last call: two words of shared memory."""
        ring = self.scene.ring
        if ring is None:
            return False
        now = ring.head, ring.word("generation")
        if now == self._seen:
            return False
        self._seen = now
        return True

    def refresh(self, counters: bool) -> None:
        """Ask for a new picture if there can be one; `counters` also while the program merely runs."""
        session, ring, view = self.scene.session, self.scene.ring, self.scene.view
        self._counters_due = counters = counters or self._counters_due
        if session is None or ring is None or view is None or self._asking or self.broken:
            return
        self._counters_due = False
        stale = ring.word("generation") != view.generation or ring.state != view.state
        if stale or ring.state == "running":
            self._asking = True
            self.desk.ask(lambda: _refreshed(session, counters), self._take, self._lost)

    def check(self) -> None:
        """Ask a quiet machine whether it is still there."""
        session = self.scene.session
        if session is not None and self.idle and not self.broken:
            self._asking = True
            self.desk.ask(lambda: _looked(session), self._take, self._lost)

    def look_up_names(self) -> None:
        """Ask for the names that the panels missed."""
        session = self.scene.session
        if session is None or not (wanted := self.scene.names.take_wanted()):
            return

        def learn(names: object) -> None:
            self.scene.names.learn(names)  # type: ignore[arg-type]
            self._changed()

        self.desk.ask(lambda: look_up(session, wanted), learn, lambda _error: None)

    def count_sites(self) -> None:
        """Ask for the exact totals if anything has hit since."""
        session, hits = self.scene.session, self.scene.hits
        if session is None or self.broken or hits == self._sites_at:
            return
        self._sites_at = hits

        def take(sites: tuple[Site, ...]) -> None:
            self.scene.sites = sites
            self._changed()

        self.desk.ask(session.backend.sites, take, lambda _error: None)

    def ask(
        self, job: Callable[[Session], T], then: Callable[[T], None], fail: Callable[[Exception], None]
    ) -> bool:
        """Look something up at the desk. False, and neither is called, where there is nobody to ask."""
        session = self.scene.session
        if session is None or self.broken:
            return False
        self.desk.ask(lambda: job(session), then, fail)
        return True

    def journal(self, start_ns: int, end_ns: int, then: Callable[[Journal | None], None]) -> bool:
        """Ask what happened to the registers in a span of time; None where that cannot be told. False: nobody to ask."""
        session = self.scene.session
        if session is None or self.broken:
            return False
        self.desk.ask(lambda: session.backend.journal(start_ns, end_ns + 1), then, lambda _error: then(None))
        return True

    def look(self, job: Callable[[Session], T], then: Callable[[T], None]) -> bool:
        """Look something up at the desk; `then` has the answer, and nobody an error. False: nobody to ask."""
        session = self.scene.session
        if session is None or self.broken:
            return False
        self.desk.ask(lambda: job(session), then, lambda _error: None)
        return True

    def inspection(self, record: Record, then: Callable[[], None]) -> Inspection | None:
        """What is known about a hit; if nothing is, it is looked up and `then` called."""
        session, key = self.scene.session, key_of(record)
        found = self._inspections.get(key)
        if found is not None or session is None or self._inspecting is not None:
            return found
        self._inspecting = key

        def take(inspection: Inspection) -> None:
            self._inspecting = None
            if len(self._inspections) >= _KEPT:
                self._inspections.clear()
            self._inspections[key] = inspection
            then()

        def lost(error: Exception) -> None:
            take(Inspection(key, (), (), "", str(error)))

        self.desk.ask(lambda: inspect(session, record), take, lost)
        return None

    def typed(self, record: Record, then: Callable[[], None]) -> str:
        """What a hit changed, by its type; "" where that says no more than numbers, or until it is looked up."""
        key = (self.executed, record.breakpoint, record.access, record.value, record.old)
        found = self._typed.get(key)
        if found is not None or not record.value_from or self._typing:
            return found or ""

        def take(text: str) -> None:
            self._typing = False
            if len(self._typed) >= _KEPT:
                self._typed.clear()
            self._typed[key] = text
            if text:
                then()

        self._typing = self.ask(lambda session: typed_change(session, record), take, lambda _error: take(""))
        return ""

    def execute(self, line: str, then: Callable[[Result], None]) -> bool:
        """Run a command; its result comes with a new picture. False while there is no machine."""
        session = self.scene.session
        if session is None:
            return False

        self.working.append(line)

        def job() -> tuple[Result, Picture]:
            result = session.execute(line)
            return result, _picture(session)

        def take(answer: tuple[Result, Picture]) -> None:
            result, picture = answer
            self.working.popleft()
            self.executed += 1
            self._show(picture)
            then(result)

        def lost(error: Exception) -> None:
            self.working.popleft()
            self._lost(error)

        self.desk.ask(job, take, lost)
        return True

    def interrupt(self) -> bool:
        """End the command that is under way, if it is one that waits; False when nothing is."""
        if self.scene.session is None or self.idle:
            return False
        self.scene.session.interrupt()
        return True

    def complete(self, text: str, then: Callable[[list[str]], None]) -> None:
        """Candidates for a command line."""
        session = self.scene.session
        if session is not None:
            self.desk.ask(lambda: session.complete(text), then, lambda _error: None)

    def propose(self, text: str, typed: bool, then: Callable[[str, Proposal | None], None]) -> None:
        """What a request would take, while it is typed: one question at a time, and the newest text is never left out."""
        self._to_propose = text, typed, then
        if not self._proposing:
            self._propose()

    def _propose(self) -> None:
        session, wanted, self._to_propose = self.scene.session, self._to_propose, None
        if session is None or wanted is None:
            return
        text, typed, then = wanted
        self._proposing = True
        from tui.session.proposal import propose

        def take(proposal: Proposal | None) -> None:
            self._proposing = False
            then(text, proposal)
            self._propose()

        self.desk.ask(lambda: propose(session, text, typed), take, lambda _error: take(None))

    def forget(self) -> None:
        """Another machine comes: nothing that was known holds."""
        self._inspections.clear()
        self._inspecting = None
        self._typed.clear()
        self._typing = False
        self._asking = False
        self._seen = (-1, -1)
        self._sites_at = -1

    def _take(self, picture: Picture | None) -> None:
        self._asking = False
        if picture is not None:
            self._show(picture)

    def _show(self, picture: Picture) -> None:
        view, labels, unowned, numbers, signed, waiting, news = picture
        self.scene.take(view, labels, unowned, numbers, waiting, signed)
        self.pictures += 1
        self._changed()
        for result in news:
            self._tell(result)

    def _lost(self, error: Exception) -> None:
        self._asking = False
        self.broken = True
        self._trouble(error)


def _refreshed(session: Session, counters: bool) -> Picture | None:
    return _picture(session) if session.refresh(counters=counters) else None


def _looked(session: Session) -> Picture:
    session.look()
    return _picture(session)


def _picture(session: Session) -> Picture:
    view = session.view
    labels = {b.id: session.watch_label(b.id).replace("\x7f", "\\x7f") for b in view.breakpoints}
    unowned = {}
    for slot in (slot for cpu in view.cpus if not cpu.guest for slot in cpu.slots):
        if slot.breakpoint is None and slot.type != "io" and (slot.local or slot.global_):
            name = session.names.describe_data(slot.address).replace("\x7f", "\\x7f")
            unowned[slot.address] = name if name != f"{slot.address:#x}" else ""
    found = {b.id: session.watches.find(b.id) for b in view.breakpoints}
    waiting = tuple(f"{row.index} {row.label}".replace("\x7f", "\\x7f") for row in session.watches.waiting)
    numbers = {id: watch[0].index for id, watch in found.items() if watch is not None}  # noqa: A001
    signed = {
        b.id: 8 * b.length for b in view.breakpoints if view.hits and b.type != "x" and _signed(session, b)
    }
    return view, labels, unowned, numbers, signed, waiting, session.news()


def _signed(session: Session, bp: Breakpoint) -> bool:
    from tui.app.value_kinds import value_kind

    return value_kind(session, bp.id, bp.length).signed
