"""kernel/events/hw_breakpoint_test.c, case by case, and the worked facts of docs/semantics.md, under both ways of accounting."""

from __future__ import annotations

import itertools

import pytest

from backends.base import HwbpError
from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.config import CAPABILITIES, KernelConfig
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.tasks import Task

C0, C1 = 0, 1


class Bench:
    """The KUnit suite's helpers: T is the current task, U a thread that never ran."""

    def __init__(self, version: tuple[int, int, int]) -> None:
        self.kernel = Kernel(4, KernelConfig(version))
        self.maker = self.kernel.spawn("kunit", capabilities=CAPABILITIES)
        self.t = self.kernel.spawn("T")
        self.u = self.kernel.spawn("U", kind="nothing")
        self.kernel.switch(0, self.t)
        self._addresses = itertools.count(0x1000)

    def register(self, cpu: int, task: Task | None) -> int:
        """register_test_bp: read-write, one byte, each its own."""
        attr = Attr(sample_period=1, flags=0x4, bp_type=3, bp_len=1, bp_addr=next(self._addresses))
        return self.kernel.perf.open(self.maker, attr, -1 if task is None else task.tid, cpu)

    def fill(self, cpu: int, task: Task | None, skip: int = 0) -> list[int]:
        """fill_bp_slots."""
        return [self.register(cpu, task) for _ in range(4 - skip)]

    def refused(self, cpu: int, task: Task | None) -> bool:
        """Whether it is -ENOSPC."""
        with pytest.raises(HwbpError) as caught:
            self.register(cpu, task)
        return caught.value.errno == "ENOSPC"

    def remove(self, fd: int) -> None:
        """unregister_test_bp."""
        self.kernel.perf.close(self.maker, fd)


@pytest.fixture(params=[(6, 18, 0), (5, 10, 0)], ids=["6.18", "5.10"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_one_cpu(bench: Bench) -> None:
    bench.fill(C0, None)
    assert bench.refused(-1, bench.t)
    assert bench.refused(C0, None)


def test_many_cpus(bench: Bench) -> None:
    for cpu in range(4):
        bench.fill(cpu, None)
        assert bench.refused(cpu, None)


def test_one_task_on_all_cpus(bench: Bench) -> None:
    first, *_ = bench.fill(-1, bench.t)
    assert bench.refused(-1, bench.t)
    assert bench.refused(C0, bench.t)
    assert bench.refused(C0, None)
    bench.remove(first)
    bench.register(C0, None)


def test_two_tasks_on_all_cpus(bench: Bench) -> None:
    first, *_ = bench.fill(-1, bench.t)
    bench.fill(-1, bench.u)
    for cpu, task in ((-1, bench.t), (-1, bench.u), (C0, bench.t), (C0, bench.u), (C0, None)):
        assert bench.refused(cpu, task)
    bench.remove(first)
    assert bench.refused(C0, None)  # U still has four


def test_one_task_on_one_cpu(bench: Bench) -> None:
    first, *_ = bench.fill(C0, bench.t)
    for cpu, task in ((-1, bench.t), (C0, bench.t), (C0, None)):
        assert bench.refused(cpu, task)
    bench.remove(first)
    bench.register(C0, None)


def test_one_task_mixed(bench: Bench) -> None:
    one = bench.register(C0, bench.t)
    three = bench.fill(-1, bench.t, 1)
    for cpu, task in ((-1, bench.t), (C0, bench.t), (C0, None)):
        assert bench.refused(cpu, task)
    bench.remove(one)
    bench.remove(three[0])
    bench.register(C0, None)
    bench.register(C0, None)
    assert bench.refused(C0, None)


def test_two_tasks_on_one_cpu(bench: Bench) -> None:
    bench.fill(C0, bench.t)
    bench.fill(C0, bench.u)
    for cpu, task in ((-1, bench.t), (-1, bench.u), (C0, bench.t), (C0, bench.u), (C0, None)):
        assert bench.refused(cpu, task)
    bench.fill(C1, None)


def test_two_tasks_on_one_and_all_cpus(bench: Bench) -> None:
    bench.fill(C0, bench.t)
    bench.fill(-1, bench.u)
    targets = ((-1, bench.t), (-1, bench.u), (C0, bench.t), (C0, bench.u), (C0, None), (C1, None))
    for cpu, task in targets:
        assert bench.refused(cpu, task)


def test_task_on_all_and_one_cpu(bench: Bench) -> None:
    bench.fill(-1, bench.t, 2)
    x = bench.register(C0, bench.t)
    bench.register(-1, bench.t)
    for cpu, task in ((-1, bench.t), (C0, bench.t), (C0, None)):
        assert bench.refused(cpu, task)
    y = bench.register(C1, None)
    assert bench.refused(C1, None)
    bench.remove(x)
    assert bench.refused(-1, bench.t)  # CPU 1: 1 of its own + 3 of the task
    bench.remove(y)
    bench.register(-1, bench.t)
    for cpu, task in ((-1, bench.t), (C0, bench.t), (C0, None), (C1, None)):
        assert bench.refused(cpu, task)


def test_worked_facts(bench: Bench) -> None:
    for _ in range(2):
        bench.register(C0, None)
        bench.register(-1, bench.t)
    assert bench.refused(C0, None)
    assert bench.refused(-1, bench.t)
    bench.register(1, bench.t)
    assert [bench.kernel.layer.accounting.of_task(bench.t, cpu) for cpu in (0, 1)] == [2, 3]
    bench.register(-1, bench.u)
    bench.register(-1, bench.u)
    assert bench.refused(-1, bench.u)


def test_a_refusal_says_which_cpu_and_whose(bench: Bench) -> None:
    bench.register(1, None)
    bench.register(1, None)
    bench.register(-1, bench.t)
    bench.register(-1, bench.t)
    with pytest.raises(HwbpError) as caught:
        bench.register(1, None)
    assert f"CPU 1: 2 pinned + 2 of task {bench.t.tid} = 4/4" in caught.value.message
    assert len(caught.value.holders) == 4


def test_a_dead_target_counts_until_the_descriptor_is_closed(bench: Bench) -> None:
    fds = bench.fill(-1, bench.t)
    bench.kernel.exit(bench.t)
    bench.kernel.reap(bench.t)
    with pytest.raises(HwbpError) as caught:
        bench.register(C0, None)
    assert "(dead)" in caught.value.message
    for fd in fds:
        bench.remove(fd)
    bench.register(C0, None)


def test_a_tid_that_has_become_free_is_not_given_again_at_once(bench: Bench) -> None:
    last = bench.kernel.spawn("last")
    bench.kernel.exit(last)
    bench.kernel.reap(last)
    assert bench.kernel.clone(bench.t).tid == last.tid + 1
    assert bench.kernel.spawn("next").tid == last.tid + 2


def test_kgdb_counts_on_every_cpu(bench: Bench) -> None:
    bench.kernel.kgdb.connect()
    bench.kernel.kgdb.enter(0)
    assert bench.kernel.kgdb.packet("Z2,ffffffff82000000,4") == "OK"
    bench.kernel.kgdb.packet("c")
    bench.fill(-1, bench.t, 1)
    assert bench.refused(-1, bench.t)
    assert all(bench.refused(cpu, None) for cpu in range(4))


def test_nobody_counts_at_the_end(bench: Bench) -> None:
    fds = [*bench.fill(-1, bench.t, 1), bench.register(2, bench.t), *bench.fill(3, None, 3)]
    assert bench.kernel.layer.accounting.used
    for fd in fds:
        bench.remove(fd)
    assert not bench.kernel.layer.accounting.used
