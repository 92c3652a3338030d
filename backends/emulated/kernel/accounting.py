"""Who may have a slot: the books of kernel/events/hw_breakpoint.c, kept so that a person can read them.

An event counts from its creation to its destruction. A CPU has four: those bound to it, and the most that any one task
has there. Both ways the kernel has kept these books are here; they admit the same requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.tasks import Task

__all__ = ["SLOTS", "Accounting", "Books", "Budget", "MutexBooks", "RwsemBooks"]

SLOTS = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """What stands against a request on one CPU: `pinned` bound to the CPU, `tasks` of `task` (None: no task counts)."""

    cpu: int
    pinned: int
    tasks: int
    task: Task | None

    @property
    def used(self) -> int:
        """The sum."""
        return self.pinned + self.tasks

    def __str__(self) -> str:
        whose = f"of task {self.task.tid}" if self.task is not None else "of any task"
        dead = " (dead)" if self.task is not None and self.task.dead else ""
        return f"CPU {self.cpu}: {self.pinned} pinned + {self.tasks} {whose}{dead} = {self.used}"


class Books(Protocol):
    """One way of keeping count of tasks' breakpoints."""

    def change(self, task: Task, cpu: int, by: int) -> None:
        """A task got (`by` 1) or lost (-1) a breakpoint for one CPU, or for all (-1)."""
        ...

    def greediest(self, cpu: int) -> tuple[int, Task | None]:
        """The most that any task has on this CPU, and such a task."""
        ...


class _Histogram:
    """struct bp_slots_histogram: how many tasks have N breakpoints. Here it also knows which, in order of arrival."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: tuple[dict[Task, None], ...] = tuple({} for _ in range(SLOTS))

    def move(self, task: Task, old: int, new: int) -> None:
        if old:
            del self._ranks[old - 1][task]
        if new:
            self._ranks[new - 1][task] = None

    def most(self) -> tuple[int, Task | None]:
        for count in range(SLOTS, 0, -1):
            for task in self._ranks[count - 1]:
                return count, task
        return 0, None


class _Owned:
    """How many breakpoints each task has: for all CPUs, and for single ones."""

    __slots__ = ("_all", "_single")

    def __init__(self) -> None:
        self._all: dict[Task, int] = {}
        self._single: dict[Task, dict[int, int]] = {}

    def on(self, task: Task, cpu: int) -> int:
        single = self._single.get(task)
        return self._all.get(task, 0) + (single.get(cpu, 0) if single else 0)

    def everywhere(self, task: Task) -> int:
        return self._all.get(task, 0)

    def mixed(self, task: Task) -> bool:
        """Whether it has any for a single CPU."""
        return task in self._single

    def change(self, task: Task, cpu: int, by: int) -> None:
        if cpu < 0:
            self._all[task] = self._all.get(task, 0) + by
            if not self._all[task]:
                del self._all[task]
            return
        single = self._single.setdefault(task, {})
        single[cpu] = single.get(cpu, 0) + by
        if not single[cpu]:
            del single[cpu]
            if not single:
                del self._single[task]


class MutexBooks:
    """Before 6.1 (toggle_bp_task_slot): a histogram of tasks on each CPU; an all-CPU breakpoint changes every one."""

    def __init__(self, owned: _Owned, possible: int) -> None:
        self._owned = owned
        self.tsk_pinned = tuple(_Histogram() for _ in range(possible))

    def change(self, task: Task, cpu: int, by: int) -> None:
        for each in range(len(self.tsk_pinned)) if cpu < 0 else (cpu,):
            count = self._owned.on(task, each)
            self.tsk_pinned[each].move(task, count, count + by)

    def greediest(self, cpu: int) -> tuple[int, Task | None]:
        return self.tsk_pinned[cpu].most()


class RwsemBooks:
    """Since 6.1 (toggle_bp_slot): tasks that have none for a single CPU are in one histogram for all CPUs."""

    def __init__(self, owned: _Owned, possible: int) -> None:
        self._owned = owned
        self.tsk_pinned = tuple(_Histogram() for _ in range(possible))
        self.tsk_pinned_all = _Histogram()

    def change(self, task: Task, cpu: int, by: int) -> None:
        owned, everywhere = self._owned, self._owned.everywhere(task)
        if cpu < 0 and not owned.mixed(task):
            self.tsk_pinned_all.move(task, everywhere, everywhere + by)
        elif cpu < 0:
            for each, histogram in enumerate(self.tsk_pinned):
                count = owned.on(task, each)
                histogram.move(task, count, count + by)
        elif by > 0 and not owned.mixed(task):  # its first for a single CPU: it leaves the common histogram
            self.tsk_pinned_all.move(task, everywhere, 0)
            for each, histogram in enumerate(self.tsk_pinned):
                histogram.move(task, 0, everywhere + (by if each == cpu else 0))
        else:
            count = owned.on(task, cpu)
            self.tsk_pinned[cpu].move(task, count, count + by)

    def settle(self, task: Task) -> None:
        """Its last for a single CPU is gone: back into the common histogram."""
        if self._owned.mixed(task):
            return
        everywhere = self._owned.everywhere(task)
        for histogram in self.tsk_pinned:
            histogram.move(task, everywhere, 0)
        self.tsk_pinned_all.move(task, 0, everywhere)

    def greediest(self, cpu: int) -> tuple[int, Task | None]:
        here, everywhere = self.tsk_pinned[cpu].most(), self.tsk_pinned_all.most()
        return here if here[0] >= everywhere[0] else everywhere


class Accounting:
    """All reservations. `possible` is the number of possible CPUs: an all-CPU request must fit each of them."""

    def __init__(self, possible: int, *, one_mutex: bool = False) -> None:
        self.possible = possible
        self.cpu_pinned = [0] * possible
        self._owned = _Owned()
        self._events: dict[Task | int, dict[PerfEvent, None]] = {}
        self._books: MutexBooks | RwsemBooks = (
            MutexBooks(self._owned, possible) if one_mutex else RwsemBooks(self._owned, possible)
        )

    def of_task(self, task: Task, cpu: int) -> int:
        """task_bp_pinned: this task's breakpoints that count on this CPU."""
        return self._owned.on(task, cpu)

    def greediest(self, cpu: int) -> tuple[int, Task | None]:
        """max_task_bp_pinned: the most breakpoints that any one task has on this CPU, and such a task."""
        return self._books.greediest(cpu)

    def budget(self, cpu: int, task: Task | None) -> Budget:
        """What stands against a request of a task (None: a CPU-bound one) on one CPU."""
        pinned = self.cpu_pinned[cpu]
        if task is not None:
            return Budget(cpu, pinned, self.of_task(task, cpu), task)
        return Budget(cpu, pinned, *self.greediest(cpu))

    def budgets(self, cpu: int, task: Task | None) -> Iterable[Budget]:
        """The same for a request's CPU, or for all possible ones (-1)."""
        return (self.budget(each, task) for each in (range(self.possible) if cpu < 0 else (cpu,)))

    def tightest(self, cpu: int, task: Task | None) -> Budget:
        """max_bp_pinned_slots: the CPU with the least room, the first of them."""
        if cpu < 0 and task is not None and not self._owned.mixed(task):
            pinned = max(self.cpu_pinned)  # every CPU counts the same for this task
            return Budget(self.cpu_pinned.index(pinned), pinned, self._owned.everywhere(task), task)
        return max(self.budgets(cpu, task), key=lambda budget: budget.used)

    def free(self, cpu: int) -> int:
        """What a CPU-wide request would still get on this CPU."""
        return SLOTS - self.budget(cpu, None).used

    def add(self, event: PerfEvent) -> None:
        """toggle_bp_slot, on: count an event that was found to fit."""
        self._toggle(event, 1)

    def remove(self, event: PerfEvent) -> None:
        """toggle_bp_slot, off."""
        self._toggle(event, -1)

    def against(self, budget: Budget) -> tuple[PerfEvent, ...]:
        """The events that a budget counts: bound to its CPU, and its task's there."""
        of_task = self._events.get(budget.task, {}) if budget.task is not None else {}
        mine = [event for event in of_task if event.counts_on(budget.cpu)]
        return (*self._events.get(budget.cpu, {}), *mine)

    def _toggle(self, event: PerfEvent, by: int) -> None:
        task, cpu = event.target, event.cpu
        where = self._events.setdefault(cpu if task is None else task, {})
        if by > 0:
            where[event] = None
        else:
            del where[event]
            if not where:
                del self._events[cpu if task is None else task]
        if task is None:
            self.cpu_pinned[cpu] += by
            return
        self._books.change(task, cpu, by)
        self._owned.change(task, cpu, by)
        if by < 0 and cpu >= 0 and isinstance(self._books, RwsemBooks):
            self._books.settle(task)

    @property
    def used(self) -> bool:
        """hw_breakpoint_is_used: whether anybody counts anywhere."""
        return any(self.cpu_pinned) or any(self.greediest(cpu)[0] for cpu in range(self.possible))
