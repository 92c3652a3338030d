"""The life of a live target as we steer it: loaded, running, stopped at a hit or a step, ended, let go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from backends.base import HwbpError
from backends.model import Mapping, RunState, Stop
from backends.perf.arming import Arming
from backends.perf.control import Control
from backends.perf.flow import Flow
from backends.perf.loading import Loading
from backends.perf.sideband import Named
from backends.perf.target import Target
from backends.ring_writer import RingWriter

__all__ = ["Life"]

_MOST_STEPS: Final = 10_000
_STEP_MOMENT: Final = 0.2


class Life:
    """`state` and `stop` are where it is and why. `changed` is called when either is another, `run_slice` takes what has come.

    What cannot be done in this state raises HwbpError (ESRCH: it has ended or was let go; EBUSY: it runs, or has begun).
    """

    def __init__(
        self,
        target: Target,
        arming: Arming,
        control: Control,
        flow: Flow,
        writer: RingWriter,
        *,
        began: RunState,
        stop: Stop,
        changed: Callable[[], None],
        run_slice: Callable[[], float],
    ) -> None:
        self._target = target
        self._arming = arming
        self._control = control
        self._flow = flow
        self._writer = writer
        self._changed = changed
        self._run_slice = run_slice
        self._code: set[str] = set()
        """The files that had code mapped when it last stood where its loader calls."""
        self.state: RunState = began
        self.stop = stop

    @property
    def over(self) -> bool:
        """Whether it has ended, or runs on by itself."""
        return self.state in ("exited", "detached")

    def need_alive(self) -> None:
        """Raise unless it lives and is ours to steer."""
        if self.state == "exited" or not self._target.look():
            raise HwbpError("the program has ended", errno="ESRCH")
        if self.state == "detached":
            raise HwbpError("the program runs on by itself, unwatched", errno="ESRCH")

    def need_stopped(self) -> None:
        """Raise unless it stands still."""
        self.need_alive()
        if self.state == "running":
            raise HwbpError("the program is running", errno="EBUSY", remedy="`stop` it first")

    # What comes by itself

    def new_image(self, news: Named) -> None:
        """It has begun another program."""
        if self.state == "loaded":
            return
        self._flow.drain_all(self._arming.stops)
        self._target.follow_exec()
        self._flow.begin_anew()
        self._control.watch_loader(None)
        if self._arming.drop_all():
            self.stop = Stop(
                "none", f"the program executed another ({news.comm}): its watches ended with the old image"
            )
        self._flow.image.stale = True
        self._changed()

    def ended(self) -> None:
        """It is gone, and all its hits are told."""
        status = self._target.exit_status
        self._arming.drop_all()
        if status is None:
            how = "its exit status is its parent's to know"
        else:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        self.state = "exited"
        self.stop = Stop("exit", f"the program has ended: {how}")
        self._changed()

    def look_for_stops(self) -> None:
        """Threads that a hit has stopped, or that have come where a step leads."""
        if self.state != "running":
            return
        found = self._control.arrived()
        if found is None:
            return
        self._flow.drain_all(self._arming.stops)
        if found.why == "step":
            self._stands(Stop("step", "stepped"))
            return
        if found.why == "loader":
            self._look_for_code()
            return
        hit = self._flow.stopping_hit(found.tid)
        label = "a watch"
        if hit is not None:
            with contextlib.suppress(HwbpError):
                request = self._arming.find(hit[1]).request
                label = request.text or f"{request.address:#x}"
        self._stands(Stop("hit", f"hit of {label}, thread {found.tid}", hit[0] if hit else None))

    def _look_for_code(self) -> None:
        """A thread stands where its loader calls: before or behind a change of what is mapped."""
        self._flow.read_mappings()
        code = _code(self._flow.image.mappings)
        news, self._code = code - self._code, code
        if news:
            self._stands(Stop("mapped", "stopped where its loader mapped a file"))
        else:
            self._control.go_on(stay=True)

    # What is asked for

    def stop_at_mappings(self, loader: int | None) -> None:
        """Stop where a thread comes to `loader` and more code is mapped than before; None: no more of that."""
        self.need_alive()
        self._control.watch_loader(loader)
        self._code = _code(self._flow.image.mappings)

    def resume(self) -> None:
        """Let every thread run."""
        self.need_alive()
        if self.state != "running":
            self._control.go_on(stay=self._arming.stops)
            self._runs()

    def _runs(self) -> None:
        self.state = "running"
        self.stop = Stop("none")
        self._changed()

    def hold(self) -> None:
        """Stop every thread."""
        self.need_alive()
        if self.state == "running":
            self._control.stop()
            self._stands(Stop("user", "stopped by request"))

    def _stands(self, stop: Stop) -> None:
        """Every thread is stopped."""
        self._flow.drain_all(self._arming.stops)
        self._writer.header(limit=0)
        self.state = "stopped"
        self.stop = stop
        self._changed()

    def step(self, count: int, over_calls: bool) -> None:
        """So many instructions of the current thread."""
        self.need_stopped()
        if not 0 < count <= _MOST_STEPS:
            raise HwbpError(f"{count} steps: between 1 and {_MOST_STEPS}", errno="EINVAL")
        self._control.step(self._flow.image.code, count, over_calls)
        self._under_way()

    def finish(self) -> None:
        """To the current thread's caller."""
        self.need_stopped()
        self._control.finish(self._flow.image.code, self._flow.culprits.space)
        self._under_way()

    def run_to(self, address: int) -> None:
        """Until the current thread comes to an address."""
        self.need_stopped()
        self._control.run_to(address)
        self._under_way()

    def _under_way(self) -> None:
        """A step has begun; most are over at once."""
        self._runs()
        until = time.monotonic() + _STEP_MOMENT
        while self.state == "running" and time.monotonic() < until:
            self._run_slice()
            time.sleep(0.0002)

    def run_to_mapping(self) -> None:
        """On to where its loader has mapped the next file, or has done."""
        self.need_alive()
        if self.state != "loaded":
            raise HwbpError("the program has begun already", errno="EBUSY")
        mapped = Loading(self._target).go_on()
        self.stop = (
            Stop("mapped", "stopped where its loader mapped a file") if mapped else Stop("entry", "loaded")
        )
        self._flow.hear()
        self._flow.read_mappings()
        if self._target.ended:
            self._flow.drain_all(self._arming.stops)
            self.ended()
        self._changed()

    def release(self) -> None:
        """Let it run on unwatched."""
        if self.over:
            return
        self._arming.enable_all(False)
        self._flow.drain_all(self._arming.stops)
        self._arming.drop_all()
        self._control.watch_loader(None)
        if not self._target.look():
            self.ended()
        else:
            self._target.tracer.let_go()
            self.state = "detached"
            self.stop = Stop("user", "the program runs on by itself, unwatched")
        self._changed()


def _code(mappings: tuple[Mapping, ...]) -> set[str]:
    return {row.path for row in mappings if "x" in row.perms}
