"""The model's side of a sequence: the kernel of the emulated machine, configured like this host."""

from __future__ import annotations

from typing import Any

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.config import KernelConfig
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.registers import RegisterFile
from backends.emulated.kernel.tasks import CLONE_THREAD, CLONE_VM, Task
from tests.live.steps import TASKS, rings

__all__ = ["Model"]

Result = tuple[Any, ...]
_SIGTRAP, _TRAP_PERF = 5, 6


def _refusal(error: HwbpError) -> Result:
    return ("errno", error.errno)


class Model:
    """One sequence on the model. All tasks run on `cpu`, one at a time."""

    def __init__(
        self, config: KernelConfig, cpus: int, cpu: int, uid: int, capabilities: frozenset[str]
    ) -> None:
        self.kernel = Kernel(cpus, config)
        self.cpu = cpu
        self.actor = self.kernel.spawn("actor", uid=uid, capabilities=capabilities)
        self.foreign = self.kernel.spawn("foreign", uid=0)
        self.tasks: list[Task | None] = [None] * TASKS
        self.tasks[0] = self.kernel.spawn(
            "subject", uid=uid, capabilities=capabilities, parent=self.actor.tid
        )
        self.fds: list[tuple[int, bool]] = []
        self.signals: dict[Task, tuple[int, int]] = {}

    def open(self, target: str, task: int, cpu: int, leader: int, flags: int, wish: dict[str, int]) -> Result:
        pid = {"self": 0, "nobody": 999_999_9, "foreign": self.foreign.tid, "all": -1}.get(target)
        if pid is None:
            chosen = self.tasks[task]
            if chosen is None:
                return ("skip",)
            pid = chosen.tid
        group = self.fds[leader % len(self.fds)][0] if leader >= 0 and self.fds else -1
        data = Attr(**wish).pack().ljust(max(wish["size"], 136), b"\0")
        try:
            fd = self.kernel.perf.open(self.actor, data, pid, cpu, group, flags)
        except HwbpError as error:
            return _refusal(error)
        attr = Attr(**wish)
        self.fds.append((fd, rings(attr, cpu)))
        return ("ok",)

    def close(self, event: int) -> Result:
        if not self.fds:
            return ("skip",)
        self.kernel.perf.close(self.actor, self.fds.pop(event % len(self.fds))[0])
        return ("ok",)

    def _do(self, event: int, name: str, *arguments: Any) -> Result:
        if not self.fds:
            return ("skip",)
        try:
            getattr(self.kernel.perf, name)(self.actor, self.fds[event % len(self.fds)][0], *arguments)
        except HwbpError as error:
            return _refusal(error)
        return ("ok",)

    def enable(self, event: int) -> Result:
        return self._do(event, "enable")

    def disable(self, event: int) -> Result:
        return self._do(event, "disable")

    def reset(self, event: int) -> Result:
        return self._do(event, "reset")

    def refresh(self, event: int, count: int) -> Result:
        return self._do(event, "refresh", count)

    def period(self, event: int, value: int) -> Result:
        return self._do(event, "period", value)

    def modify(self, event: int, attr: bytes) -> Result:
        return self._do(event, "modify", attr)

    def attach(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None:
            return ("skip",)
        try:
            if self.kernel.tasks.get(chosen.tid) is None:
                raise HwbpError("gone", errno="ESRCH")
            self.kernel.ptrace.attach(self.actor, chosen, seize=True)
        except HwbpError as error:
            return _refusal(error)
        chosen.stopped = True
        return ("ok",)

    def detach(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None:
            return ("skip",)
        try:
            self.kernel.ptrace.detach(self.actor, chosen)
        except HwbpError as error:
            return _refusal(error)
        return ("ok",)

    def poke(self, task: int, register: int, value: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None:
            return ("skip",)
        try:
            self.kernel.ptrace.check(self.actor, chosen)
            self.kernel.ptrace.poke(chosen, register, value, caller=self.actor)
        except HwbpError as error:
            return _refusal(error)
        return ("ok",)

    def access(self, task: int, kind: str, address: int, size: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.dead:
            return ("skip",)
        kernel, stops = self.kernel, []
        kernel.switch(self.cpu, chosen)
        unit = kernel.cpus[self.cpu].unit
        assert isinstance(unit, RegisterFile)
        if hits := unit.hits(address, size, kind):
            kernel.debug_exception(self.cpu, dr.DR6_BASE | hits, address)
        for signal in tuple(chosen.signals):
            kernel.signal_delivered(chosen, signal)
            if chosen.tracer is not None:
                stops.append((signal.code, kernel.ptrace.peek(chosen, 6)))
                if signal.code != _TRAP_PERF:
                    continue
            if signal.code != _TRAP_PERF:
                self._die(chosen)
                return ("died", tuple(stops))
            count = self.signals.get(chosen, (0, 0))[0]
            self.signals[chosen] = (count + 1, signal.data)
        kernel.switch(self.cpu, None)
        return ("ok", *self.signals.get(chosen, (0, 0)), tuple(stops))

    def _die(self, task: Task) -> None:
        for each in self.kernel.tasks.threads(task.tgid):
            self.kernel.exit(each)
            if each.tid != each.tgid:
                self.kernel.reap(each)

    def _clone(self, task: int, into: int, flags: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.dead or self.tasks[into] is not None:
            return ("skip",)
        self.kernel.switch(self.cpu, chosen)
        try:
            self.tasks[into] = self.kernel.clone(chosen, flags)
        except HwbpError:
            return ("errno", "failed")
        finally:
            self.kernel.switch(self.cpu, None)
        return ("ok",)

    def fork(self, task: int, into: int) -> Result:
        return self._clone(task, into, 0)

    def thread(self, task: int, into: int) -> Result:
        return self._clone(task, into, CLONE_VM | CLONE_THREAD)

    def exec(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.dead or chosen.tid != chosen.tgid:
            return ("skip",)
        if len(self.kernel.tasks.threads(chosen.tgid)) > 1:
            return ("skip",)
        self.kernel.switch(self.cpu, chosen)
        self.kernel.exec(chosen)
        self.signals.pop(chosen, None)
        self.kernel.switch(self.cpu, None)
        return ("ok",)

    def exit(self, task: int) -> Result:
        chosen = self.tasks[task]
        if chosen is None or chosen.dead or chosen.tracer is not None:
            return ("skip",)
        if chosen.tid == chosen.tgid:
            if any(each.tracer is not None for each in self.kernel.tasks.threads(chosen.tgid)):
                return ("skip",)
            self._die(chosen)
        else:
            self.kernel.exit(chosen)
            self.kernel.reap(chosen)
        return ("ok",)

    def state(self) -> Result:
        perf = self.kernel.perf
        counts = []
        for fd, mapped in self.fds:
            event = perf.event(self.actor, fd)
            try:
                count: int | None = perf.read(self.actor, fd)
            except HwbpError:
                count = None
            counts.append((count, event.overflows if mapped else None))
        registers = [
            tuple(self.kernel.ptrace.peek(task, n) for n in range(8))
            for task in self.tasks
            if task is not None and task.tracer is not None and not task.dead
        ]
        return (tuple(counts), tuple(registers))
