"""ptrace's words."""

from __future__ import annotations

from backends.emulated.kernel.config import CAPABILITIES
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.tasks import Task
from backends.emulated.owner_words.reading import Lines, Reading, number

__all__ = ["PtraceWords"]


class PtraceWords(Reading):
    """A tracer named gdb, and u_debugreg of any task."""

    def _tracer(self) -> Task:
        for task in self._kernel.tasks:
            if task.comm == "gdb" and not task.dead:
                return task
        return self._kernel.spawn(
            "gdb", tid=_free_tid(self._kernel, 800), kind="nothing", capabilities=CAPABILITIES
        )

    def do_attach(self, task: str = "") -> Lines:
        target = self._task(task)
        self._kernel.ptrace.attach(self._tracer(), target)
        yield f"gdb traces task {target.tid}"

    def do_detach(self, task: str = "") -> Lines:
        target = self._task(task)
        self._kernel.ptrace.detach(self._tracer(), target)
        armed = sum(event is not None and event.enabled for event in target.ptrace_bps)
        yield f"gdb has let task {target.tid} go; {armed} of its breakpoints stay armed"
        if armed:
            yield "the next hit raises SIGTRAP, and nobody is there to take it"

    def do_peek(self, register: str, task: str = "") -> Lines:
        index = number(register, "a register", 7)
        yield f"u_debugreg[{index}] = {self._kernel.ptrace.peek(self._task(task), index):#x}"

    def do_poke(self, register: str, value: str, task: str = "") -> Lines:
        index, what = number(register, "a register"), self._address(value)
        self._kernel.ptrace.poke(self._task(task), index, what)
        yield f"u_debugreg[{index}] = {what:#x}"


def _free_tid(kernel: Kernel, first: int) -> int:
    while kernel.tasks.get(first) is not None:
        first += 1
    return first
