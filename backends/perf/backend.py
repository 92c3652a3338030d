"""The live backend: a process of this machine, watched through perf events while it runs."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

from backends.base import Attach, Backend, HwbpError, Launch, Register
from backends.condition import Condition
from backends.model import (
    Abilities,
    Breakpoint,
    BreakpointRequest,
    Frame,
    MachineView,
    Refusal,
    RunState,
    Site,
    Stop,
)
from backends.perf.actors import Actors
from backends.perf.arming import Arming
from backends.perf.capture import Capture, Carrier
from backends.perf.control import Control
from backends.perf.flow import Flow
from backends.perf.guard import Guard
from backends.perf.loading import Loading
from backends.perf.looks import breakpoint_view, register_views, set_register, task_views
from backends.perf.opener import Opener, OwnOpener
from backends.perf.output import CapturedOutput
from backends.perf.registers import BookedRegisters, Registers
from backends.perf.sideband import Named
from backends.perf.target import Target, attach, launch
from backends.ring import RingMemory

__all__ = ["PerfBackend"]

_IDLE_PAUSE: Final = 0.015
_FLOOD: Final = 500
_REFUSALS_KEPT: Final = 50
_PAGE_OF_ROWS: Final = 4096
_OUTPUT_LIMIT: Final = 1 << 16
_MOST_READ: Final = 1 << 20
_MOST_STEPS: Final = 10_000
_STEP_MOMENT: Final = 0.2


class PerfBackend(Backend):
    """One live process. `streams` are descriptors of our own standard output and error, for programs that keep theirs;
    `opener` does what takes privileges, with our own where none is given."""

    def __init__(self, ring_fd: int, streams: tuple[int, int], opener: Opener | None = None) -> None:
        from backends.ring_writer import RingWriter

        self._writer = RingWriter(RingMemory(ring_fd))
        self._streams = streams
        self._opener = opener or OwnOpener()
        self._output = CapturedOutput()
        self._target: Target | None = None
        self._asked: Launch | Attach = Attach(0)
        self._arming: Arming
        self._control: Control
        self._capture: Capture
        self._flow: Flow
        self._state: RunState = "loaded"
        self._stop = Stop("none")
        self._generation = 0
        self._refusals: list[Refusal] = []
        self._refused = 0
        self._guard: Guard | None = None
        self._actors = Actors()
        self._registers = Registers(self._opener)

    # Opening

    def launch(self, launch_: Launch) -> MachineView:
        self._need_none()
        if launch_.output == "captured":
            output = self._output.descriptors()
        elif launch_.output == "error":
            output = self._streams[1], self._streams[1]
        else:
            output = self._streams
        self._open(launch(self._opener, launch_, output), launch_)
        self._stop = Stop("entry", "stopped at its exec, before its first instruction")
        self._state = "loaded"
        self._changed()
        return self.view()

    def attach(self, attach_: Attach) -> MachineView:
        self._need_none()
        self._open(attach(self._opener, attach_.pid), attach_)
        self._state = "running"
        self._changed()
        return self.view()

    def _need_none(self) -> None:
        if self._target is not None:
            raise HwbpError("this machine has a program already", errno="EBUSY")

    def _open(self, target: Target, asked: Launch | Attach) -> None:
        from backends.perf.ways import choose

        try:
            self._capture = choose(self._opener, stacks=asked.stacks)
        except BaseException:
            if target.child:
                target.kill()
            target.close()
            raise
        self._target = target
        self._asked = asked
        self._flow = Flow(
            self._opener,
            target,
            self._capture,
            self._writer,
            self._new_image,
            children=asked.children,
            stacks=asked.stacks,
        )
        self._arming = Arming(
            self._opener,
            target,
            self._capture,
            self._flow.born,
            children=asked.children,
            kernel=asked.kernel,
        )
        self._control = Control(self._opener, target, self._arming)
        self._guard = Guard(self._arming.switch, time.monotonic_ns()) if asked.guard else None
        if asked.lossless:
            self._writer.header(flow=1)
        self._flow.read_mappings()

    @property
    def _open_target(self) -> Target:
        self._need_open()
        assert self._target is not None
        return self._target

    def _need_open(self) -> None:
        if self._target is None:
            raise HwbpError("no program is open", errno="ESRCH")

    def _need_alive(self) -> Target:
        target = self._open_target
        if self._state == "exited" or not target.look():
            raise HwbpError("the program has ended", errno="ESRCH")
        if self._state == "detached":
            raise HwbpError("the program runs on by itself, unwatched", errno="ESRCH")
        return target

    # Running

    @property
    def running(self) -> bool:
        """Whether there is anything to look at between messages."""
        return self._target is not None and self._state not in ("exited", "detached")

    def run_slice(self) -> float:
        """Take what has come. Returns how long to wait before the next time, in seconds."""
        target = self._open_target
        alive = target.look()
        self._flow.hear()
        taken = self._flow.drain(self._arming.stops, everything=not alive)
        if alive:
            self._look_for_limits()
            self._look_for_stops()
            if self._guard is not None and self._state == "running":
                self._guard.look(self._writer.head, time.monotonic_ns())
        if not alive and self._state != "exited":
            if self._flow.waits:  # a reader with flow is behind: the end is told after its hits
                return _IDLE_PAUSE
            self._ended()
        if taken or self._output.moved():
            self._publish()
        return self._capture.flood_pause if taken > _FLOOD and self._guard is None else _IDLE_PAUSE

    def _new_image(self, news: Named) -> None:
        target = self._open_target
        if self._state == "loaded":
            return
        self._drain_all()
        target.reopen_memory()
        gone = self._arming.drop_all()
        if gone:
            self._stop = Stop(
                "none", f"the program executed another ({news.comm}): its watches ended with the old image"
            )
        self._flow.image.stale = True
        self._changed()

    def _drain_all(self) -> None:
        self._flow.drain(self._arming.stops, everything=True)

    def _ended(self) -> None:
        target = self._open_target
        status = target.exit_status
        self._arming.drop_all()
        if status is None:
            how = "its exit status is its parent's to know"
        else:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        self._state = "exited"
        self._stop = Stop("exit", f"the program has ended: {how}")
        self._changed()

    def resume(self) -> None:
        self._need_alive()
        if self._state != "running":
            self._control.go_on(stay=self._arming.stops)
            self._runs()

    def _runs(self) -> None:
        self._state = "running"
        self._stop = Stop("none")
        self._changed()

    def stop(self) -> MachineView:
        self._need_alive()
        if self._state == "running":
            self._control.stop()
            self._stands(Stop("user", "stopped by request"))
        return self.view()

    def _stands(self, stop: Stop) -> None:
        """Every thread is stopped."""
        self._drain_all()
        self._writer.header(limit=0)
        self._state = "stopped"
        self._stop = stop
        self._changed()

    def _look_for_stops(self) -> None:
        """Threads that a hit has stopped, or that have come where a step leads."""
        if self._state != "running":
            return
        found = self._control.arrived()
        if found is None:
            return
        self._drain_all()
        if found.stepped:
            self._stands(Stop("step", "stepped"))
            return
        hit = self._flow.stopping_hit(found.tid)
        label = "a watch"
        if hit is not None:
            with contextlib.suppress(HwbpError):
                request = self._arming.find(hit[1]).request
                label = request.text or f"{request.address:#x}"
        self._stands(Stop("hit", f"hit of {label}, thread {found.tid}", hit[0] if hit else None))

    def step(self, count: int, over_calls: bool) -> MachineView:
        self._need_stopped()
        if not 0 < count <= _MOST_STEPS:
            raise HwbpError(f"{count} steps: between 1 and {_MOST_STEPS}", errno="EINVAL")
        self._control.step(self._flow.image.code, count, over_calls)
        return self._under_way()

    def finish(self) -> MachineView:
        self._need_stopped()
        self._control.finish(self._flow.image.code, self._flow.culprits.space)
        return self._under_way()

    def run_to(self, address: int) -> MachineView:
        self._need_stopped()
        self._control.run_to(address)
        return self._under_way()

    def _under_way(self) -> MachineView:
        """A step has begun; most are over at once."""
        self._runs()
        until = time.monotonic() + _STEP_MOMENT
        while self._state == "running" and time.monotonic() < until:
            self.run_slice()
            time.sleep(0.0002)
        return self.view()

    def _need_stopped(self) -> None:
        self._need_alive()
        if self._state == "running":
            raise HwbpError("the program is running", errno="EBUSY", remedy="`stop` it first")

    def run_to_mapping(self, until: int) -> MachineView:
        target = self._need_alive()
        if self._state != "loaded":
            raise HwbpError("the program has begun already", errno="EBUSY")
        mapped = Loading(target).go_on()
        self._stop = (
            Stop("mapped", "stopped where its loader mapped a file") if mapped else Stop("entry", "loaded")
        )
        self._flow.hear()
        self._flow.read_mappings()
        if target.ended:
            self._drain_all()
            self._ended()
        self._changed()
        return self.view()

    def release(self) -> MachineView:
        target = self._open_target
        if self._state in ("exited", "detached"):
            return self.view()
        self._arming.enable_all(False)
        self._drain_all()
        self._arming.drop_all()
        if not target.look():
            self._ended()
        else:
            target.tracer.let_go()
            self._state = "detached"
            self._stop = Stop("user", "the program runs on by itself, unwatched")
        self._changed()
        return self.view()

    # Breakpoints

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_alive()
        try:
            if self._state == "running" and any(request.stop for request in requests):
                self._control.watch_over()
            carriers = self._arming.arm(requests)
        except HwbpError as error:
            what = requests[0].text or f"{requests[0].address:#x}"
            self._refused += 1
            row = Refusal(f"perf: {what}", error.errno or "", error.message, error.holders, self._time())
            self._refusals = [*self._refusals, row][-_REFUSALS_KEPT:]
            self._changed()
            raise
        for carrier in carriers:
            self._flow.recorder.arm(carrier.id, carrier.request)
        self._arming.start(carriers)
        self._changed()
        return tuple(self._breakpoint(carrier) for carrier in carriers)

    def disarm(self, ids: tuple[int, ...]) -> None:
        own = {carrier.id for carrier in self._arming.carriers}
        for id_ in ids:
            if id_ not in own:
                self._close_other(id_)
        carriers = [self._arming.find(id_) for id_ in ids if id_ in own]
        for carrier in carriers:
            carrier.enable(False)
        self._drain_all()
        for carrier in carriers:
            self._arming.drop(carrier)
        self._changed()

    def _close_other(self, id_: int) -> None:
        """Close an event of the scene's. Whatever else is held is not ours to close."""
        others = {b.id: b.owner for b in self._booked().strangers}
        owner = others.get(id_)
        if owner is None:
            raise HwbpError(f"no breakpoint {id_}", errno="ENOENT")
        if owner.pid != os.getpid() or owner.fd is None or not self._actors.close_event(owner.fd):
            who = f"{owner.kind} {owner.pid or ''} {owner.comm or ''}".strip()
            raise HwbpError(f"this breakpoint belongs to {who}", errno="EPERM")
        self._registers.look_again()

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        self._need_alive()
        carrier = self._arming.find(id)
        if on and not carrier.enabled:
            self._drain_all()
            self._capture.allow(carrier)
            self._flow.recorder.begin_anew(id)
        carrier.enable(on)
        self._changed()

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        self._need_alive()
        carriers = [self._arming.find(id_) for id_ in ids]
        self._drain_all()
        for carrier in carriers:
            self._arming.restrict(carrier, condition, limit)
            self._flow.recorder.restrict(carrier.id, condition, limit)
        self._changed()

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_alive()
        carriers = [self._arming.find(id_) for id_ in ids]
        enabled = [carrier for carrier in carriers if carrier.enabled]
        for carrier in enabled:
            carrier.enable(False)
        self._drain_all()
        try:
            self._arming.move(carriers, requests)
            for carrier in carriers:
                self._flow.recorder.move(carrier.id, carrier.request)
        finally:
            for carrier in enabled:
                carrier.enable(True)
        self._registers.look_again()
        self._changed()
        return tuple(self._breakpoint(carrier) for carrier in carriers)

    def _look_for_limits(self) -> None:
        """Those that have had as many hits as were wanted: each further one would cost its trap for nothing."""
        for carrier in self._arming.carriers:
            if carrier.enabled and carrier.request.limit is not None and self._held(carrier)[1]:
                carrier.enable(False)
                self._changed()

    def _breakpoint(self, carrier: Carrier, slot: int | None = None) -> Breakpoint:
        hits, (filtered, _) = self._flow.recorder.hits_of(carrier.id), self._held(carrier)
        return breakpoint_view(carrier, self._open_target.pid, hits, filtered, slot)

    def _held(self, carrier: Carrier) -> tuple[int, bool]:
        """(hits that did not meet the condition, whether the limit is reached)."""
        if self._capture.holds:
            return self._capture.held(carrier)
        return self._flow.recorder.held_of(carrier.id)

    # Looking

    def read(self, address: int, size: int) -> bytes:
        target = self._open_target
        if not 0 < size <= _MOST_READ:
            raise HwbpError(f"{size} bytes: between 1 and {_MOST_READ}", errno="EINVAL")
        if target.memory is None and not target.ended:
            raise HwbpError(
                "the process's memory may not be read",
                errno="EPERM",
                remedy="as root, or with CAP_SYS_PTRACE",
            )
        return self._flow.image.code(address, size)

    def write(self, address: int, data: bytes) -> None:
        self._need_stopped()
        self._open_target.write(address, data)

    def set_register(self, tid: int | None, name: str, value: int) -> None:
        self._need_stopped()
        set_register(self._open_target, self._control.current if tid is None else tid, name, value)
        self._changed()

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        target = self._need_alive()
        return register_views(target, self._control.current if tid is None else tid)

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        raise HwbpError(
            "the debug registers of a live machine cannot be written from user space", errno="EOPNOTSUPP"
        )

    # Other owners: processes of our own, made for a scene

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        return self._stage().peek(register, self._need_alive().pid)

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        try:
            self._stage().poke(register, value, self._need_alive().pid)
        finally:
            self._registers.look_again()
            self._changed()

    def owner(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return self._stage().play(owner, verb, arguments, self._open_target.pid)
        finally:
            self._registers.look_again()
            self._changed()

    @property
    def _is_scene(self) -> bool:
        return isinstance(self._asked, Launch) and self._asked.scene

    def _stage(self) -> Actors:
        if not self._open_target.child:
            raise HwbpError(
                "other owners are brought in for a program that we launched, not for one that was there before us",
                errno="EOPNOTSUPP",
                remedy="its debugger may watch it too: `hwbp-tui slots` shows what both hold",
            )
        return self._actors

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        self._need_open()
        return self._flow.recorder.frames(first, _PAGE_OF_ROWS)

    def sites(self) -> tuple[Site, ...]:
        self._need_open()
        return self._flow.recorder.sites(_PAGE_OF_ROWS, self._capture.dropped())

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        self._need_open()
        return self._output.chunks(first, _OUTPUT_LIMIT)

    def close(self) -> None:
        target = self._target
        if target is None:
            self._opener.close()
            return
        self._actors.close()
        if self._state not in ("exited", "detached"):
            self._control.close()
            self._arming.drop_all()
            if target.child and (self._state == "loaded" or self._is_scene):
                target.kill()
            else:
                target.tracer.let_go()
        self._flow.close()
        self._capture.close()
        self._output.close()
        self._registers.close()
        self._opener.close()
        target.close()
        self._state = "exited"

    # The view

    def _booked(self) -> BookedRegisters:
        """The machine's registers, for somebody who looks at them: `trace` does not."""
        if self._asked.lossless:
            return BookedRegisters()
        return self._registers.view(self._arming.carriers, self._flow.recorder.seen)

    def _time(self) -> int:
        return time.monotonic_ns()

    def _changed(self) -> None:
        self._generation += 1
        self._publish()

    def _publish(self) -> None:
        self._writer.header(
            generation=self._generation + self._flow.images,
            stacks=len(self._flow.stacks.stacks),
            sites=self._flow.recorder.totals.site_count,
            output=self._output.total,
            lost=max(self._arming.missed(), self._writer.word("lost")),
        )
        self._writer.set_state(self._state)

    def view(self) -> MachineView:
        target = self._open_target
        lost = self._arming.lost()
        self._writer.header(lost=lost)
        self._publish()
        booked = self._booked()
        slots = dict(booked.slots)
        mine = (self._breakpoint(carrier, slots.get(carrier.id)) for carrier in self._arming.carriers)
        return MachineView(
            generation=self._generation + self._flow.images,
            backend="perf",
            program=target.program,
            argv=target.argv,
            state=self._state,
            stop=self._stop,
            exit_status=target.exit_status,
            clock="monotonic",
            time_ns=self._time(),
            instructions=None,
            hits=self._writer.head,
            lost=lost,
            engine=self._capture.name,
            notice=self._capture.notice,
            cpus=booked.cpus,
            tasks=task_views(target, self._control.current),
            breakpoints=(*mine, *booked.strangers),
            disagreements=booked.disagreements,
            mappings=self._flow.image.mappings,
            refusals=tuple(self._refusals),
            refused=self._refused,
            comms=tuple(self._flow.recorder.comms),
            can=Abilities(
                writes_dr=False,
                ptrace=target.child,
                detaches=True,
                why_not="nobody in user space can write a live machine's debug registers by hand",
            ),
            filtered=self._arming.filtered(self._held),
            blind_ns=self._guard.blind_ns(time.monotonic_ns()) if self._guard is not None else 0,
        )
