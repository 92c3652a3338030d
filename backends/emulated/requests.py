"""What the session asks of the layer by itself: its own breakpoints, opened, changed and closed as perf or ptrace would.

All or none: a request that is refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.base import HwbpError
from backends.condition import Condition
from backends.emulated.breakpoints import Breakpoints
from backends.emulated.capture import Capture
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.events import PerfEvent, State
from backends.emulated.kernel.inherit import follow_too
from backends.emulated.kernel.slots import bp_len, bp_type
from backends.emulated.kernel.tasks import Task as Tracked
from backends.emulated.linux import Task
from backends.emulated.views import breakpoint_view
from backends.model import Breakpoint, BreakpointRequest, Owner

__all__ = ["Requests"]

_SESSION_FLAGS = sum(1 << FLAGS[name] for name in ("pinned", "exclude_kernel", "exclude_hv"))


class Requests:
    """The session's breakpoints. `opener` has their descriptors, `task_of` finds a task by number (None: the one that is
    looked at). `follow_children`: a watch of the whole program follows its children too, not only its threads.
    """

    def __init__(
        self,
        breakpoints: Breakpoints,
        capture: Capture,
        opener: Tracked,
        task_of: Callable[[int | None], Task],
        *,
        follow_children: bool,
    ) -> None:
        self._breakpoints = breakpoints
        self._kernel = breakpoints.kernel
        self._capture = capture
        self._opener = opener
        self._task = task_of
        self._follow_children = follow_children
        self._limits: dict[int, tuple[int, int | None]] = {}

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        """See `Backend.arm`. Raises HwbpError, whose holders say which windows were this request's own."""
        made: list[PerfEvent] = []
        try:
            made.extend(self._arm_one(request) for request in requests)
        except HwbpError as error:
            ours = {event.described(): event.described(asked=True) for event in made}
            error.holders = tuple(ours.get(line, line) for line in error.holders)
            for event in made:
                self._remove(event)
            raise
        self._ignore_first(made, requests)
        return tuple(self.shown(event) for event in made)

    def _arm_one(self, request: BreakpointRequest) -> PerfEvent:
        if request.owner == "perf":
            event = self._perf_open(request)
        elif request.owner == "ptrace":
            task = self._breakpoints.tracked(self._task(request.tid).tid)
            event = self._kernel.ptrace.watch(
                task, request.address, request.length, request.type, request.text
            )
            event.watch, event.window = request.watch, request.window
        else:
            raise HwbpError(f"{request.owner} is not an owner of this machine yet", errno="EOPNOTSUPP")
        if event.type == "x":
            self._breakpoints.execute_ids.add(event.id)
        self._breakpoints.refresh()
        return event

    def _perf_open(self, request: BreakpointRequest) -> PerfEvent:
        """perf_event_open of the session's own: pinned, without the kernel, every hit a sample."""
        length = request.length
        if request.type == "x" and length != 1:
            raise HwbpError(
                "an execute breakpoint covers the first byte of an instruction only", errno="EINVAL"
            )
        attr = Attr(
            sample_period=1,
            flags=_SESSION_FLAGS | self._inherited(request) | (not request.enabled),
            bp_type=bp_type(request.type),
            bp_addr=request.address,
            bp_len=bp_len(request.type, length),
        )
        everyone = request.tid is None and request.cpu is not None
        pid = -1 if everyone else self._task(request.tid).tid
        cpu = -1 if request.cpu is None else request.cpu
        perf = self._kernel.perf
        fd = perf.open(self._opener, attr, pid, cpu, owner=Owner("perf", comm="hwbp-tui"))
        event = perf.event(self._opener, fd)
        event.watch, event.window, event.text = request.watch, request.window, request.text
        event.stop = request.stop
        self._hold(event, request.condition, request.limit)
        if event.attr.flag("inherit"):
            assert event.target is not None
            threads = self._kernel.tasks.threads(event.target.tgid)
            try:
                for thread in threads:
                    if thread is not event.target:
                        follow_too(self._kernel, event, thread)
            except HwbpError:
                perf.close(self._opener, fd)
                raise
        return event

    def _hold(self, event: PerfEvent, condition: Condition | None, limit: int | None) -> None:
        """What its hits must be like, and how many are wanted of all windows of its watch, counted from now."""
        sink = self._capture.sink(event.id)
        sink.condition = condition
        self._limits[event.id] = event.watch, limit
        sink.limit = None if limit is None else [limit]
        if limit is not None and event.watch >= 0:
            others = [
                id_ for id_, (watch, _) in self._limits.items() if watch == event.watch and id_ != event.id
            ]
            shared = next(
                (taken for id_ in others if (taken := self._capture.sink(id_).limit) is not None), None
            )
            if shared is not None:
                shared[0] = limit
                sink.limit = shared

    def _inherited(self, request: BreakpointRequest) -> int:
        """Whom a watch follows that names no task: all threads, those to come too; and children where that was asked for."""
        if request.tid is not None or request.cpu is not None:
            return 0
        follow = ("inherit",) if self._follow_children else ("inherit", "inherit_thread")
        return sum(1 << FLAGS[name] for name in (*follow, "remove_on_exec"))

    def _remove(self, event: PerfEvent) -> None:
        if event.owner.kind == "ptrace":
            assert event.index is not None
            assert event.target is not None
            self._kernel.ptrace.forget(event.target, event.index)
        else:
            assert event.owner.fd is not None
            self._kernel.perf.close(self._opener, event.owner.fd)
        self._breakpoints.refresh()

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        """See `Backend.restrict`."""
        for event in [self.find(id_) for id_ in ids]:
            self._hold(event, condition, limit)

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        """See `Backend.ignore`."""
        left = [count]
        for event in [self.find(id_) for id_ in ids]:
            self._capture.sink(event.id).ignore = left

    def _ignore_first(self, events: list[PerfEvent], requests: tuple[BreakpointRequest, ...]) -> None:
        """What is asked of these events; the windows of one watch leave out their hits together."""
        left: dict[int, list[int]] = {}
        for event, request in zip(events, requests, strict=True):
            own = [request.ignore]
            together = request.watch >= 0
            self._capture.sink(event.id).ignore = left.setdefault(request.watch, own) if together else own

    def look_for_limits(self) -> bool:
        """Disable those that have had as many hits as were wanted; whether there was one."""
        found = False
        for id_, (_, limit) in list(self._limits.items()):
            left = self._capture.sink(id_).limit
            if limit is None or left is None or left[0] > 0:
                continue
            try:
                event = self.find(id_)
            except HwbpError:  # it is gone
                del self._limits[id_]
                continue
            if event.enabled:
                self.enable(id_, False)
                found = True
        return found

    def end_with_image(self) -> str | None:
        """Close the watches of a program that has executed another, as on live Linux: their addresses mean nothing in it. The
        new program's name if there were any."""
        executed, self._breakpoints.executed = self._breakpoints.executed, {}
        ended: str | None = None
        for event in tuple(self._kernel.layer.events) if executed else ():
            if (
                event.target is not None
                and event.target.tgid in executed
                and event.state is State.EXIT
                and event.attr.flag("remove_on_exec")
                and self._is_ours(event)
            ):
                ended = executed[event.target.tgid]
                self._remove(event)
        return ended

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        """See `Backend.move`."""
        self._breakpoints.settle_all()
        events = [self.find(id_) for id_ in ids]
        if len(events) != len(requests):
            raise HwbpError("a breakpoint moves to one window, no more and no fewer", errno="EINVAL")
        done: list[tuple[PerfEvent, Attr]] = []
        try:
            for event, request in zip(events, requests, strict=True):
                if event.owner.kind != "perf":
                    raise HwbpError(f"{event.owner.kind}'s breakpoint is not moved by perf", errno="EINVAL")
                before = event.attr
                attr = before.changed(
                    bp_addr=request.address,
                    bp_type=bp_type(request.type),
                    bp_len=bp_len(request.type, request.length),
                    flags=before.flags & ~1 | (not event.enabled),
                )
                self._kernel.perf.control.modify(event, attr, self._opener)
                done.append((event, before))
        except HwbpError:
            for event, before in done:
                self._kernel.perf.control.modify(
                    event, before.changed(flags=before.flags & ~1 | (not event.enabled)), self._opener
                )
            raise
        for event, request in zip(events, requests, strict=True):
            event.watch, event.window, event.text = request.watch, request.window, request.text
            event.stop = request.stop
            self._hold(event, request.condition, request.limit)
            self._capture.begin_anew(self._capture.sink(event.id))
        self._ignore_first(events, requests)
        self._breakpoints.refresh()
        return tuple(self.shown(event) for event in events)

    def disarm(self, ids: tuple[int, ...]) -> None:
        """See `Backend.disarm`."""
        events = [self.find(id_) for id_ in ids]
        for event in events:
            self._check_ours(event)
        for event in events:
            if event.owner.kind == "ptrace":
                self._kernel.ptrace.drop(event)
            else:
                self._remove(event)
        self._breakpoints.refresh()

    def enable(self, id_: int, on: bool) -> None:
        """See `Backend.enable`."""
        event = self.find(id_)
        if on and not event.enabled and id_ in self._limits and (limit := self._limits[id_][1]) is not None:
            left = self._capture.sink(id_).limit
            assert left is not None
            left[0] = limit
        control = self._kernel.perf.control
        if event.owner.kind == "perf":
            (control.enable if on else control.disable)(event)
        elif on:
            self._kernel.scheduler.enable(event)
        else:
            self._kernel.scheduler.disable(event)
        self._breakpoints.refresh()

    def find(self, id_: int) -> PerfEvent:
        """A breakpoint by its number (ENOENT)."""
        event = next((event for event in self._kernel.layer.events if event.id == id_), None)
        if event is None:
            raise HwbpError(f"no breakpoint {id_}", errno="ENOENT")
        return event

    def _check_ours(self, event: PerfEvent) -> None:
        """EPERM for an event that a program has opened: only its own descriptors close it."""
        if event.owner.kind == "perf" and not self._is_ours(event):
            whose = f"descriptor {event.owner.fd} of process {event.owner.pid}"
            raise HwbpError(f"breakpoint {event.id} is the program's own: {whose}", errno="EPERM")

    def shown(self, event: PerfEvent) -> Breakpoint:
        """A breakpoint as a picture has it."""
        limit = self._limits.get(event.id, (0, None))[1]
        return breakpoint_view(event, self._kernel.cpus, self._capture, limit)

    def _is_ours(self, event: PerfEvent) -> bool:
        perf, fd = self._kernel.perf, event.owner.fd
        return fd in perf.descriptors(self._opener) and perf.event(self._opener, fd) is event
