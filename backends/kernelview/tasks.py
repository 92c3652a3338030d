"""Tasks as the kernel keeps them: who they are, who traces them, which descriptors they have open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from backends.kernelview.descriptors import Descriptors
from backends.kernelview.layout import Layout, Record
from backends.kernelview.memory import Memory, UnreadableError
from backends.kernelview.readings import Readings
from symbols.dataclass import dataclass

__all__ = ["Task", "Tasks"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thread. `pid` is its process (the kernel's tgid), `tid` itself, as our PID namespace sees them.

    `tracer` is the address of the task that traces it, 0 for none. `breakpoints` are the events behind ptrace's
    u_debugreg[0..3]. `alive` is false once it has begun to exit.
    """

    address: int
    pid: int | None
    tid: int | None
    comm: str
    leader: int
    files: int
    tracer: int
    breakpoints: tuple[int, ...]
    alive: bool


class Tasks:
    """Reads tasks, each once until `forget`. One that has not changed since is the same object as before."""

    def __init__(self, layout: Layout, memory: Memory) -> None:
        self._layout = layout
        self._memory = memory
        self._readings = Readings(layout.task, memory, self._task)
        self._seen: dict[int, Task | None] = {}
        self._level, self._namespace = self._own_namespace()
        self._descriptors = Descriptors(layout, memory)
        self._holders: dict[int, tuple[int, int]] | None = None

    def forget(self) -> None:
        """A new turn: what was read so far may have changed, and what is not read again is of no use any more."""
        self._readings.forget()
        self._descriptors.forget()
        self.look_again()

    def look_again(self) -> None:
        """What was read so far may have changed."""
        self._seen.clear()
        self._descriptors.look_again()
        self._holders = None

    def at(self, address: int) -> Task | None:
        """The task at an address, None where there is no memory."""
        if address not in self._seen:
            self._seen[address] = self._readings.at(address)
        return self._seen[address]

    def fetch(self, addresses: Iterable[int]) -> dict[int, Task | None]:
        """The same of many addresses at once."""
        new = [address for address in dict.fromkeys(addresses) if address not in self._seen]
        self._seen.update(zip(new, self._readings.all(new), strict=True))
        return self._seen

    def leader_of(self, task: Task) -> Task:
        """The thread group's leader, whose name is the process's; the task itself where it is gone."""
        leader = self.at(task.leader)
        return leader if leader is not None and leader.pid == task.pid else task

    def contexts(self) -> list[int]:
        """The perf context of every thread that has one."""
        beside = self._layout.task_context - self._layout.task.offset("thread_node")
        return [context for head in self._thread_heads() for _, context in self._memory.nodes(head, beside)]

    def owner_lists(self) -> list[int]:
        """The address of `perf_event_list` of every thread that has made perf events which still exist."""
        shape = self._layout.task
        node, member = shape.offset("thread_node"), shape.offset("perf_event_list")
        found: list[int] = []
        for head in self._thread_heads():
            found += [thread - node + member for thread, _ in self._memory.nodes(head, member - node)]
        return found

    def processes(self) -> list[int]:
        """The address of every thread group's leader."""
        shape = self._layout.task
        tasks = shape.offset("tasks")
        me = shape.read(self._memory, self._memory.task())["group_leader"]
        found = self._memory.nodes(me + tasks, shape.offset("signal") - tasks)
        return [me, *(node - tasks for node, _ in found)]

    def numbered(self, number: int) -> int | None:
        """The address of the process or thread with a number (in the first PID namespace), None where there is none."""
        node, pid = self._layout.task.offset("thread_node"), self._layout.task.offset("pid")
        for head in self._thread_heads():
            for thread, word in self._memory.nodes(
                head, pid - node
            ):  # the word is its number and its process's
                if word & 0xFFFF_FFFF == number:
                    return thread - node
        return None

    def descriptor(self, owner: Task, event: int) -> int | None:
        """The number of the owner's descriptor that leads to an event, None where it has none."""
        return self._descriptors.of(owner.files).get(event) if owner.files else None

    def as_owner(self, address: int) -> tuple[object, ...]:
        """All that is said of a task as an owner: the same objects as before if nothing of it has changed. Empty where there
        is no memory."""
        task = self.at(address)
        if task is None:
            return ()
        return task, self.leader_of(task), self._descriptors.of(task.files) if task.files else None

    def holder_of(self, event: int) -> tuple[Task, int] | None:
        """The process in whose descriptors an event is, and which one, by looking at everybody's: for events whose maker has
        ended, or has handed them on. Looked at once until `forget`."""
        if self._holders is None:
            self._holders = {}
            processes = self.processes()
            at = self._layout.task.offset("files")
            files = self._memory.words([process + at for process in processes])
            open_files = self._descriptors.of_all({word for word in files if word})
            for process, word in zip(processes, files, strict=True):
                for leads_to, fd in open_files.get(word or 0, {}).items():
                    self._holders.setdefault(leads_to, (process, fd))
        process, fd = self._holders.get(event, (0, 0))
        task = self.at(process) if process else None
        return None if task is None else (task, fd)

    def _task(self, record: Record) -> Task:
        traced = bool(record["ptrace"])
        return Task(
            address=record.address,
            pid=self._number(record["tgid"], record["group_leader"]),
            tid=self._number(record["pid"], record.address),
            comm=record.text("comm"),
            leader=record["group_leader"],
            files=record["files"],
            tracer=record["parent"] if traced else 0,
            breakpoints=tuple(record.words("thread.ptrace_bps")),
            alive=not record["exit_state"],
        )

    def _own_namespace(self) -> tuple[int, int]:
        shape = self._layout.task
        pid = shape.read(self._memory, self._memory.task())["thread_pid"]
        level = self._layout.pid.read(self._memory, pid)["level"]
        return level, self._numbers(pid, level)[1]

    def _numbers(self, pid: int, level: int) -> tuple[int, int]:
        """(number, namespace) of a `struct pid` at a level."""
        layout = self._layout
        upid = layout.upid.read(self._memory, pid + layout.pid_numbers + level * layout.upid_size)
        return upid["nr"], upid["ns"]

    def _number(self, of_first_namespace: int, task: int) -> int | None:
        """A task's number in our PID namespace."""
        if not self._level:
            return of_first_namespace
        with contextlib.suppress(UnreadableError):
            pid = self._memory.word(task + self._layout.task.offset("thread_pid"))
            if pid and self._layout.pid.read(self._memory, pid)["level"] >= self._level:
                number, namespace = self._numbers(pid, self._level)
                return number if namespace == self._namespace else None
        return None

    def _thread_heads(self) -> list[int]:
        """The list head of each process's threads."""
        shape = self._layout.task
        words = self._memory.words([task + shape.offset("signal") for task in self.processes()])
        head = self._layout.signal.offset("thread_head")
        return [signal + head for signal in words if signal]
