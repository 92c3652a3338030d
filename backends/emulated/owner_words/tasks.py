"""Words about tasks that do what they are told, and about NMIs."""

from __future__ import annotations

from typing import Final, Protocol

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.tasks import CLONE_THREAD, CLONE_VM, Task
from backends.emulated.owner_words.reading import Lines, Reading

__all__ = ["NmiWords", "Recorder", "TaskWords"]

_MOST_TASKS: Final = 4096
SLICE_NS: Final = 100
"""How long a told task has run when another is told to: on the timeline that is a slice to be seen."""


class Recorder(Protocol):
    """Who keeps what told tasks do: `backends.emulated.told`."""

    def passes(self, nanoseconds: int) -> None:
        """The clock goes on."""
        ...

    def hits(
        self,
        cpu: int,
        task: Task | None,
        kind: str,
        matched: int,
        fired: list[tuple[int, PerfEvent]],
        *,
        user: bool,
    ) -> None:
        """One access's #DB: the registers that matched, a bit each, and those that counted a hit, with their events."""
        ...


class TaskWords(Reading):
    """Tasks without a program."""

    recorder: Recorder

    def do_new(self, name: str, *words: str) -> Lines:
        if len(self._kernel.tasks) >= _MOST_TASKS:
            raise HwbpError(f"more than {_MOST_TASKS} tasks", errno="EAGAIN")
        pinned = frozenset(self._cpu(word) for word in words)
        task = self._kernel.spawn(name[:15], kind="nothing", pinned=pinned, uid=1000)
        yield f"task {task.tid} ({task.comm}): it does what it is told"

    def do_run(self, task: str, cpu: str) -> Lines:
        number = self._cpu(cpu)
        chosen = self._task(task)
        self.recorder.passes(SLICE_NS)
        writes = self._kernel.switch(number, chosen)
        yield f"CPU {number} runs task {chosen.tid}: {writes} register write{'s' * (writes != 1)}"
        yield from self._occupied(number)

    def do_idle(self, cpu: str) -> Lines:
        number = self._cpu(cpu)
        self.recorder.passes(SLICE_NS)
        writes = self._kernel.switch(number, None)
        yield f"CPU {number} is idle: {writes} register write{'s' * (writes != 1)}"

    def _occupied(self, cpu: int) -> Lines:
        for slot, event in enumerate(self._kernel.cpus[cpu].bp_per_reg):
            if event is not None:
                yield f"DR{slot}  {event.described()}"

    def do_access(self, cpu: str, window: str, *words: str) -> Lines:
        """ADDRESS[/SIZE][:r|w|x], by the task that is on that CPU, in user mode or in the kernel."""
        number = self._cpu(cpu)
        if set(words) - {"kernel"}:
            raise HwbpError(f"{' '.join(words)}: only `kernel` may follow", errno="EINVAL")
        where, colon, kind = window.rpartition(":")
        where, kind = (where, kind) if colon else (window, "w")
        if kind not in ("r", "w", "x"):
            raise HwbpError(f"an access is r, w or x, not '{kind}'", errno="EINVAL")
        address, size, _ = self._window(where)
        yield from self._accessed(number, address, 1 if kind == "x" else size, kind, not words)

    def _accessed(self, cpu: int, address: int, size: int, kind: str, user: bool) -> Lines:
        kernel = self._kernel
        if kernel.kgdb.stopped is not None:
            raise HwbpError("nothing runs while the machine stands in kgdb", errno="EBUSY")
        self.recorder.passes(1)
        unit = kernel.cpus[cpu].unit
        addresses = (unit.dr[0], unit.dr[1], unit.dr[2], unit.dr[3])
        hits = dr.matches(unit.dr7, addresses, address, size, kind)  # type: ignore[arg-type]
        if not hits:
            yield "no register of this CPU watches that"
            return
        vcpu = kernel.kvm.guest_on(cpu)
        if vcpu is not None:
            left = kernel.kvm.debug_exception(vcpu, dr.DR6_BASE | hits, address)
            if left is None:
                yield f"#DB in the guest {vcpu.name}: its own, DR6 {vcpu.dr6:#x}"
            else:
                yield f"KVM_EXIT_DEBUG exception {left.exception}, pc {left.pc:#x}, dr6 {left.dr6:#x}, dr7 {left.dr7:#x}"
                kernel.kvm.leave(vcpu)
            return
        task = kernel.current(cpu)
        result = kernel.debug_exception(cpu, dr.DR6_BASE | hits, address, user=user)
        fired_ = [(fired.slot, fired.event) for fired in result.fired]
        self.recorder.hits(cpu, task, kind, hits, fired_, user=user)
        for fired in result.fired:
            yield f"DR{fired.slot} hit: {fired.event.described()}, count {fired.event.total}"
        for ignored in result.ignored:
            yield f"DR{ignored.slot} hit, and nobody counts it: {ignored.why}"
        for whom, signal in result.signals:
            yield f"signal {signal.number} code {signal.code} to task {whom.tid}"
            kernel.signal_delivered(whom, signal)
        if result.kgdb:
            yield "the machine stops in kgdb"

    def do_fork(self, task: str) -> Lines:
        yield from self._cloned(self._task(task), 0)

    def do_thread(self, task: str) -> Lines:
        yield from self._cloned(self._task(task), CLONE_VM | CLONE_THREAD)

    def _cloned(self, parent: Task, flags: int) -> Lines:
        if parent.kind != "nothing":
            raise HwbpError("a task that runs a program forks by itself", errno="EPERM")
        child = self._kernel.clone(parent, flags)
        copies = len(child.ctx.events)
        yield f"task {child.tid}: {copies} event{'s' * (copies != 1)} inherited"

    def do_exec(self, task: str) -> Lines:
        chosen = self._synthetic(task)
        self._kernel.exec(chosen)
        yield f"task {chosen.tid} runs another program: ptrace's breakpoints are gone"

    def do_exit(self, task: str) -> Lines:
        chosen = self._synthetic(task)
        self._kernel.exit(chosen)
        yield f"task {chosen.tid} has ended"

    def _synthetic(self, text: str) -> Task:
        task = self._task(text)
        if task.kind != "nothing":
            raise HwbpError("a task that runs a program does that by itself", errno="EPERM")
        return task

    def do_reserve(self, task: str, state: str = "") -> Lines:
        """A task is in the middle of a reservation, and holds the layer's lock, until `done`."""
        chosen, layer = self._task(task), self._kernel.layer
        if state not in ("", "done"):
            raise HwbpError(f"'{state}': done, or nothing", errno="EINVAL")
        layer.locked_by = "" if state else f"task {chosen.tid}, which is reserving a slot"
        yield f"{layer.lock} is {'free' if state else f'held by {layer.locked_by}'}"


class NmiWords(Reading):
    """NMIs."""

    def do_begin(self, cpu: str) -> Lines:
        self._kernel.enter(self._cpu(cpu), "nmi")
        yield from self._registers()

    def do_end(self, cpu: str) -> Lines:
        if self._kernel.kgdb.stopped is not None:
            raise HwbpError("the machine stands in kgdb", errno="EBUSY")
        self._kernel.leave(self._cpu(cpu))
        yield from self._registers()
