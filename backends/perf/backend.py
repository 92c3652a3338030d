"""The live backend: a process of this machine, watched through perf events while it runs."""

from __future__ import annotations

import os
import time
from typing import Final

from backends.base import Attach, Backend, HwbpError, Launch, Register, no_task
from backends.condition import Condition
from backends.model import (
    Abilities,
    Breakpoint,
    BreakpointRequest,
    Frame,
    MachineView,
    RunState,
    Site,
    Stop,
)
from backends.perf.arming import Arming, can_open
from backends.perf.capture import Capture
from backends.perf.control import Control
from backends.perf.flow import Flow
from backends.perf.guard import Guard
from backends.perf.life import Life
from backends.perf.looks import register_views, set_register, task_views
from backends.perf.opener import Opener, OwnOpener
from backends.perf.output import CapturedOutput
from backends.perf.pace import IDLE, Pace
from backends.perf.registers import BookedRegisters
from backends.perf.sideband import Named
from backends.perf.stage import Stage
from backends.perf.target import Target, attach, launch
from backends.perf.watches import Watches
from backends.ring import RingMemory

__all__ = ["PerfBackend"]

_PAGE_OF_ROWS: Final = 4096
_OUTPUT_LIMIT: Final = 1 << 16
_MOST_READ: Final = 1 << 20
_DESCRIPTORS: Final = 32
"""A target, its rings and maps, a watch or two, and what is opened for a moment."""


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
        self._life: Life
        self._watches: Watches
        self._stage = Stage(self._opener)
        self._generation = 0
        self._guard: Guard | None = None
        self._pace = Pace()

    # Opening

    def launch(self, launch_: Launch) -> MachineView:
        self._need_none()
        if launch_.output == "captured":
            output = self._output.descriptors()
        elif launch_.output == "error":
            output = self._streams[1], self._streams[1]
        else:
            output = self._streams
        stop = Stop("entry", "stopped at its exec, before its first instruction")
        self._open(launch(self._opener, launch_, output), launch_, "loaded", stop)
        return self.view()

    def attach(self, attach_: Attach) -> MachineView:
        self._need_none()
        if attach_.pid == os.getppid():  # stopped, our front end could not let itself go on
            raise HwbpError("that is the process that would have to watch itself", errno="EINVAL")
        self._open(attach(self._opener, attach_.pid), attach_, "running", Stop("none"))
        return self.view()

    def _need_none(self) -> None:
        if self._target is not None:
            raise HwbpError("this machine has a program already", errno="EBUSY")
        if not can_open(_DESCRIPTORS, kept_free=0):
            raise HwbpError(
                "too few descriptors may be open to watch anything",
                errno="EMFILE",
                remedy="raise `ulimit -n`",
            )

    def _open(self, target: Target, asked: Launch | Attach, began: RunState, stop: Stop) -> None:
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
        self._watches = Watches(target.pid, self._arming, self._capture, self._flow, self._changed)
        self._life = Life(
            target,
            self._arming,
            self._control,
            self._flow,
            self._writer,
            began=began,
            stop=stop,
            changed=self._changed,
            run_slice=self.run_slice,
        )
        self._writer.touch()
        self._guard = Guard(self._arming.switch, time.monotonic_ns()) if asked.guard else None
        if asked.lossless:
            self._writer.header(flow=1)
        self._flow.read_mappings()
        self._changed()

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
        self._life.need_alive()
        return target

    def _need_stopped(self) -> Target:
        target = self._open_target
        self._life.need_stopped()
        return target

    # Running

    @property
    def running(self) -> bool:
        """Whether there is anything to look at between messages."""
        return self._target is not None and not self._life.over

    def run_slice(self) -> float:
        """Take what has come. Returns how long to wait before the next time, in seconds."""
        target = self._open_target
        alive = target.look()
        self._flow.hear()
        taken = self._flow.drain(self._arming.stops, everything=not alive)
        if alive:
            self._watches.look_for_limits()
            self._life.look_for_stops()
            if self._guard is not None and self._life.state == "running":
                self._guard.look(self._writer.head, time.monotonic_ns())
        if not alive and self._life.state != "exited":
            if self._flow.waits:  # a reader with flow is behind: the end is told after its hits
                return IDLE
            self._life.ended()
        if taken or self._output.moved():
            self._publish()
        pause = self._pace.pause(taken, self._capture.room, time.monotonic(), self._capture.filled)
        return IDLE if self._guard is not None or self._arming.stops else pause

    def _new_image(self, news: Named) -> None:
        self._life.new_image(news)

    def resume(self) -> None:
        self._need_open()
        self._life.resume()

    def stop(self) -> MachineView:
        self._need_open()
        self._life.hold()
        return self.view()

    def step(self, count: int, over_calls: bool) -> MachineView:
        self._need_open()
        self._life.step(count, over_calls)
        return self.view()

    def finish(self) -> MachineView:
        self._need_open()
        self._life.finish()
        return self.view()

    def run_to(self, address: int) -> MachineView:
        self._need_open()
        self._life.run_to(address)
        return self.view()

    def run_to_mapping(self, until: int) -> MachineView:
        self._need_open()
        self._life.run_to_mapping()
        return self.view()

    def stop_at_mappings(self, loader: int | None) -> None:
        self._need_open()
        self._life.stop_at_mappings(loader)
        self._stage.look_again()

    def release(self) -> MachineView:
        self._need_open()
        self._life.release()
        return self.view()

    # Breakpoints

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_alive()
        return self._watches.arm(requests, self._watch_over)

    def _watch_over(self) -> None:
        """Be there for hits that stop the program: one that is stopped has us already."""
        if self._life.state == "running":
            self._control.watch_over()

    def disarm(self, ids: tuple[int, ...]) -> None:
        self._need_open()
        self._watches.disarm(ids, lambda id_: self._stage.close_other(id_, self._booked()))

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        self._need_alive()
        self._watches.enable(id, on)

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        self._need_alive()
        self._watches.restrict(ids, condition, limit)

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        self._need_alive()
        self._watches.ignore(ids, count)

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_alive()
        self._stage.look_again()
        return self._watches.move(ids, requests)

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
        self._need_stopped().write(address, data)

    def set_register(self, tid: int | None, name: str, value: int) -> None:
        target = self._need_stopped()
        set_register(target, self._control.current if tid is None else tid, name, value)
        self._changed()

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        target = self._need_alive()
        return register_views(target, self._control.current if tid is None else tid)

    def select(self, tid: int) -> MachineView:
        target = self._need_stopped()
        if tid not in target.tracer.stopped:
            raise no_task(tid, target.tracer.stopped)
        self._control.current = tid
        self._changed()
        return self.view()

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        raise HwbpError(
            "the debug registers of a live machine cannot be written from user space",
            errno="EOPNOTSUPP",
            remedy="`dr7 toggle BIT` makes the request that turns this bit",
        )

    # Other owners: processes of our own, made for a scene

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        return self._stage.peek(register, self._need_alive())

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        target = self._need_alive()
        try:
            self._stage.poke(register, value, target)
        finally:
            self._changed()

    def owner(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        target = self._open_target
        try:
            return self._stage.play(owner, verb, arguments, target)
        finally:
            self._changed()

    @property
    def _is_scene(self) -> bool:
        return isinstance(self._asked, Launch) and self._asked.scene

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
        self._stage.leave()
        if not self._life.over:
            self._control.close()
            self._arming.drop_all()
            if target.child and (self._life.state == "loaded" or self._is_scene):
                target.kill()
            else:
                target.tracer.let_go()
        self._flow.close()
        self._capture.close()
        self._output.close()
        self._stage.close()
        self._opener.close()
        target.close()
        self._life.state = "exited"

    # The view

    def _booked(self) -> BookedRegisters:
        """The machine's registers, for somebody who looks at them: `trace` does not."""
        if self._asked.lossless:
            return BookedRegisters()
        return self._stage.booked(self._arming.carriers, self._flow.recorder.seen)

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
        self._writer.set_state(self._life.state)

    def view(self) -> MachineView:
        target = self._open_target
        lost = self._arming.lost()
        self._writer.header(lost=lost)
        self._publish()
        booked = self._booked()
        slots = dict(booked.slots)
        mine = (self._watches.view(carrier, slots.get(carrier.id)) for carrier in self._arming.carriers)
        return MachineView(
            generation=self._generation + self._flow.images,
            backend="perf",
            program=target.program,
            argv=target.argv,
            state=self._life.state,
            stop=self._life.stop,
            exit_status=target.exit_status,
            clock="monotonic",
            time_ns=time.monotonic_ns(),
            instructions=None,
            hits=self._writer.head,
            lost=lost,
            engine=self._capture.name,
            notice="; ".join(filter(None, (self._capture.notice, self._arming.notice))),
            cpus=booked.cpus,
            tasks=task_views(target, self._control.current),
            breakpoints=(*mine, *booked.strangers),
            disagreements=booked.disagreements,
            mappings=self._flow.image.mappings,
            refusals=self._watches.refusals,
            refused=self._watches.refused,
            comms=tuple(self._flow.recorder.comms),
            can=Abilities(
                writes_dr=False,
                reads_dr=False,
                ptrace=target.child,
                detaches=True,
                maps_later=True,
                why_not="nobody in user space can write a live machine's debug registers by hand",
            ),
            filtered=self._watches.filtered(),
            bits=target.bits,
            blind_ns=self._guard.blind_ns(time.monotonic_ns()) if self._guard is not None else 0,
        )
