"""Who runs on which CPU, and for how long: deterministic, one turn of one quantum a CPU, in the order of the CPUs.

Each CPU has a queue of its own. A task that wakes goes back to the CPU it ran on unless another stands idle; a CPU
without work takes the last of the longest queue. Nothing here depends on the host's time, so the same program
makes the same schedule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

__all__ = ["MOST_CPUS", "QUANTUM", "Schedulable", "Scheduler"]

MOST_CPUS = 64
QUANTUM = 10_000
"""Instructions a task runs before another that waits for the same CPU has its turn."""


class Schedulable(Protocol):
    """What the scheduler keeps of a task: the CPU it is on or was on last, and those it may run on (None: all)."""

    cpu: int
    affinity: frozenset[int] | None


T = TypeVar("T", bound=Schedulable)


class Scheduler(Generic[T]):
    """Queues of runnable tasks. `current[n]` is the task on CPU n, None while it is idle; `left[n]` is what remains of
    its quantum, in instructions.
    """

    def __init__(self, cpus: int = 1, quantum: int = QUANTUM) -> None:
        self.quantum = quantum
        self.current: list[T | None] = [None] * cpus
        self.left = [quantum] * cpus
        self.queues: list[deque[T]] = [deque() for _ in range(cpus)]
        self.runnable = 0
        self._last = cpus - 1

    def cpus_of(self, task: T) -> Iterable[int]:
        """The CPUs a task may run on."""
        return range(len(self.queues)) if task.affinity is None else sorted(task.affinity)

    def add(self, task: T) -> None:
        """A task became runnable."""
        loads = [(len(self.queues[cpu]) + (self.current[cpu] is not None), cpu) for cpu in self.cpus_of(task)]
        least = min(loads)[0]
        here = next((load for load, cpu in loads if cpu == task.cpu), None)
        if here is None or (here and not least):
            task.cpu = min(loads)[1]
        self.queues[task.cpu].append(task)
        self.runnable += 1

    def remove(self, task: T) -> None:
        """A task stopped being runnable; ValueError when it was not."""
        if self.current[task.cpu] is task:
            self.current[task.cpu] = None
        else:
            self.queues[task.cpu].remove(task)
        self.runnable -= 1

    def is_runnable(self, task: T) -> bool:
        """Whether it runs or waits for a CPU."""
        return self.current[task.cpu] is task or task in self.queues[task.cpu]

    def pin(self, task: T, affinity: frozenset[int] | None) -> None:
        """Say where it may run; it leaves a CPU where it may not, at its next turn there."""
        runnable = self.is_runnable(task)
        task.affinity = affinity
        if affinity is None or task.cpu in affinity:
            return
        if runnable:
            self.remove(task)
            task.cpu = min(affinity)
            self.add(task)
        else:
            task.cpu = min(affinity)

    def turn(self) -> int | None:
        """The CPU whose turn it is, with a task on it; None when nothing is runnable anywhere."""
        count = len(self.queues)
        for step in range(1, count + 1):
            cpu = (self._last + step) % count
            if self.current[cpu] is not None or self.fill(cpu):
                return cpu
        return None

    def ran(self, cpu: int, instructions: int) -> None:
        """The task there ran this long; at the end of its quantum it goes behind the others, and the turn to the next CPU."""
        self.left[cpu] -= instructions
        task = self.current[cpu]
        if task is not None and self.left[cpu] > 0:
            return
        self._last = cpu
        self.left[cpu] = self.quantum
        if task is not None and self.queues[cpu]:
            self.queues[cpu].append(task)
            self.current[cpu] = self.queues[cpu].popleft()

    def bring(self, task: T) -> bool:
        """Let a task have its CPU now, before those that wait for it; False where it is not runnable."""
        current, queue = self.current[task.cpu], self.queues[task.cpu]
        if current is task:
            return True
        if task not in queue:
            return False
        queue.remove(task)
        if current is not None:
            queue.appendleft(current)
        self.current[task.cpu] = task
        self.left[task.cpu] = self.quantum
        return True

    def alone(self) -> bool:
        """Whether nobody waits for the running task to have had its turn."""
        return self.runnable == 1

    def fill(self, cpu: int) -> bool:
        """Give a CPU without a task the next one: its own, or another's; False when there is none."""
        if self.current[cpu] is not None:
            return True
        queue = self.queues[cpu]
        if not queue and not self._steal(cpu):
            return False
        self.current[cpu] = queue.popleft()
        self.left[cpu] = self.quantum
        return True

    def _steal(self, cpu: int) -> bool:
        if not self.runnable:
            return False
        for other in sorted(range(len(self.queues)), key=lambda n: (-len(self.queues[n]), n)):
            for task in reversed(self.queues[other]):
                if task.affinity is None or cpu in task.affinity:
                    self.queues[other].remove(task)
                    task.cpu = cpu
                    self.queues[cpu].append(task)
                    return True
        return False
