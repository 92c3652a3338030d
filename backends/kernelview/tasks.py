"""Tasks as the kernel keeps them: who they are, who traces them, which descriptors they have open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from backends.kernelview.layout import Layout
from backends.kernelview.memory import Memory, UnreadableError
from symbols.dataclass import dataclass

__all__ = ["Task", "Tasks"]

_MOST_FILES = 1 << 16
"""Descriptors of a process that are searched for an event; more are left unsearched."""


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
    """Reads tasks, each once until `forget`."""

    def __init__(self, layout: Layout, memory: Memory) -> None:
        self._layout = layout
        self._memory = memory
        self._seen: dict[int, Task | None] = {}
        self._level, self._namespace = self._own_namespace()
        self._handed_out: dict[tuple[int, int], int] = {}
        self._holders: dict[int, int] = {}

    def forget(self) -> None:
        """What was read so far may have changed."""
        self._seen.clear()

    def at(self, address: int) -> Task | None:
        """The task at an address, None where there is no memory."""
        if address not in self._seen:
            try:
                self._seen[address] = self._read(address)
            except UnreadableError:
                self._seen[address] = None
        return self._seen[address]

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
        """The number of the owner's descriptor that leads to an event, None where it has none.

        What was found once is only checked from then on.
        """
        key = (owner.files, event)
        known = self._handed_out.get(key)
        table = self._table(owner.files)
        if table is None:
            return None
        count, files = table
        if known is not None and known < count and self._leads_to(files + 8 * known, event):
            return known
        for fd, data in self._open_files(count, files):
            if data == event:
                self._handed_out[key] = fd
                return fd
        return None

    def holder_of(self, event: int) -> Task | None:
        """The process in whose descriptors an event is, by looking at everybody's: for events whose maker has ended, or has
        handed them on. Who was found once is asked first."""
        first = [self._holders[event]] if event in self._holders else []
        for address in (*first, *self.processes()):
            task = self.at(address)
            if task is not None and task.files and self.descriptor(task, event) is not None:
                self._holders[event] = address
                return task
        self._holders.pop(event, None)
        return None

    def _read(self, address: int) -> Task:
        record = self._layout.task.read(self._memory, address)
        traced = bool(record["ptrace"])
        return Task(
            address=address,
            pid=self._number(record["tgid"], record["group_leader"]),
            tid=self._number(record["pid"], address),
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

    def _table(self, files: int) -> tuple[int, int] | None:
        """(number of entries, address of the array) of a process's descriptors."""
        if not files:
            return None
        with contextlib.suppress(UnreadableError):
            table = self._memory.word(files + self._layout.files.offset("fdt"))
            record = self._layout.fdtable.read(self._memory, table)
            return min(record["max_fds"], _MOST_FILES), record["fd"]
        return None

    def _leads_to(self, entry: int, event: int) -> bool:
        with contextlib.suppress(UnreadableError):
            file = self._memory.word(entry)
            return bool(file) and self._memory.word(file + self._layout.file.offset("private_data")) == event
        return False

    def _open_files(self, count: int, files: int) -> Iterator[tuple[int, int | None]]:
        """(descriptor, `private_data`) of each open file."""
        try:
            raw = self._memory.read(files, 8 * count)
        except UnreadableError:
            return
        entries = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
        fds = [fd for fd, file in enumerate(entries) if file]
        member = self._layout.file.offset("private_data")
        yield from zip(fds, self._memory.words([entries[fd] + member for fd in fds]), strict=True)
