"""The life of the emulated programs as a person steers it: loaded, running in slices, stopped at a hit or a step, ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from backends.base import HwbpError
from backends.emulated.breakpoints import Breakpoints
from backends.emulated.capture import Capture
from backends.emulated.linux import Task
from backends.emulated.machine import Machine
from backends.emulated.requests import Requests
from backends.model import RunState, Stop

__all__ = ["Life"]

_SLICE_SECONDS: Final = 0.008
_FIRST_BUDGET: Final = 50_000
_LEAST_BUDGET: Final = 1000
_MOST_BUDGET: Final = 20_000_000
_MOST_STEPS: Final = 1_000_000


class Life:
    """`state` and `stop` are where the programs are and why; `changed` is called when either is another.

    `selected` is the task that a person looks at: as chosen, or the one that a hit has stopped (None: none of these).
    `current` gives it, or another where it has ended. `budget` is how many instructions the next slice runs; it
    follows `clock`, in seconds. What cannot be done in this state raises HwbpError (see `need_alive`).
    """

    def __init__(
        self,
        machine: Machine,
        breakpoints: Breakpoints,
        requests: Requests,
        capture: Capture,
        *,
        current: Callable[[], Task],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._machine = machine
        self._breakpoints = breakpoints
        self._requests = requests
        self._capture = capture
        self._current = current
        self._changed = changed
        self._clock = clock
        self._waited_for: Task | None = None
        self.state: RunState = "loaded"
        self.stop = Stop("entry", "loaded, nothing has run yet")
        self.selected: int | None = None
        self.budget = _FIRST_BUDGET

    def need_alive(self) -> None:
        """Give the CPUs back to the programs; ESRCH: they have ended, ENOSYS: they cannot go on, EBUSY: another has a CPU."""
        if self.state == "exited":
            raise HwbpError("the program has ended", errno="ESRCH")
        if self.state == "failed":
            raise HwbpError(f"the task cannot go on: {self.stop.text}", errno="ENOSYS")
        self._breakpoints.reclaim()

    # What comes by itself

    def run_slice(self) -> float:
        """Run for about eight milliseconds. Returns how long to wait before the next slice, in seconds."""
        machine, capture = self._machine, self._capture
        start = self._clock()
        stop = machine.run(self.budget)
        if self._requests.look_for_limits():
            self._changed()
        self._look_for_new_image()
        spent = self._clock() - start
        if capture.at_limit:
            stop = stop or Stop("limit", "the limit of hits is reached")
            capture.header(limit=0)
        if stop is None and self._waited_for is not None and machine.scheduler.is_runnable(self._waited_for):
            stop = Stop("step", "")
        if stop is not None:
            self._stands(stop)
        elif spent < _SLICE_SECONDS / 2:
            self.budget = min(self.budget * 2, _MOST_BUDGET)
        elif spent > _SLICE_SECONDS * 2:
            self.budget = max(self.budget // 2, _LEAST_BUDGET)
        return 0.0005 if machine.blocked else 0.0

    def _look_for_new_image(self) -> None:
        if (name := self._requests.end_with_image()) is not None:
            self.stop = Stop(
                "none", f"the program executed another ({name}): its watches ended with the old image"
            )
            self._changed()

    def _stands(self, stop: Stop) -> None:
        """No program runs any more: `stop` says why."""
        for mm in self._machine.address_spaces():
            mm.places.clear_stop_at()
        self._waited_for = None
        if stop.reason == "exit":
            self.state = "exited"
            status = self._machine.linux.exit_status
            assert status is not None
            died = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            stop = Stop("exit", f"the program has ended: {died}")
            self._machine.linux.close()
        else:
            self.state = "failed" if stop.reason == "unsupported" else "stopped"
            if stop.reason in ("hit", "unsupported"):
                self.selected = self._capture.tid
        self.stop = stop
        self._changed()

    # What is asked for

    def resume(self) -> None:
        """Let the programs run."""
        self.need_alive()
        self.state = "running"
        self.stop = Stop("none")
        self._changed()

    def hold(self) -> None:
        """Stop them where they are."""
        if self.state == "running":
            self._stands(Stop("user", "stopped by request"))

    def step(self, count: int, over_calls: bool) -> None:
        """So many instructions of the current task, 1 to a million (EINVAL); a task that waits is waited for, with all running."""
        self.need_alive()
        if not 0 < count <= _MOST_STEPS:
            raise HwbpError(f"{count} steps: between 1 and {_MOST_STEPS}", errno="EINVAL")
        task = self._current()
        machine = self._machine
        stop: Stop | None = None
        for _ in range(count):
            if task.ended:
                break
            if not machine.scheduler.is_runnable(task):
                self._waited_for = task
                self.resume()
                return
            following = machine.cpu_for(task).after_call() if over_calls else None
            if following is not None:
                self._run_until(task, following, task.engine.get("RSP") - 1)
                return
            stop = machine.step(task)
            if stop is not None:
                break
        if stop is None and not machine.linux.alive:
            stop = Stop("exit")
        self._look_for_new_image()
        self._stands(stop or Stop("step", f"stepped {count}"))

    def finish(self) -> None:
        """To the current task's caller (EINVAL where that is not known exactly)."""
        self.need_alive()
        task = self._current()
        self._machine.cpu_for(task)
        mm = task.process.mm
        frames = mm.walker.walk(mm.engine)
        if len(frames) < 2 or frames[1][1]:
            raise HwbpError("the caller of this function is not known exactly", errno="EINVAL")
        self._run_until(task, frames[1][0], mm.engine.get("RSP"))

    def run_to(self, address: int) -> None:
        """Until the current task comes to an address (EINVAL: it is none)."""
        self.need_alive()
        if not 0 <= address < 1 << 64:
            raise HwbpError(f"{address:#x} is not an address", errno="EINVAL")
        self._run_until(self._current(), address, 0)

    def _run_until(self, task: Task, address: int, sp_above: int) -> None:
        self._machine.cpu_for(task).stop_at(address, sp_above)
        self.resume()

    def close(self) -> None:
        """Nobody will run them any more."""
        self._machine.linux.close()
        self.state = "exited"
