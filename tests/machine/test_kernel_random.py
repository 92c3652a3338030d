"""Random sequences of requests, switches, stops and accesses on synthetic tasks: what always holds, holds after every step."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.config import CAPABILITIES, KernelConfig
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.registers import RegisterFile
from backends.emulated.kernel.tasks import CLONE_THREAD, CLONE_VM, Task
from tests.machine.kernel_invariants import check

_ADDRESSES = (*tuple(65536 + n for n in (0, 0, 4, 8, 16, 1)), 18446744071595622400)
_KINDS = (
    "open", "open", "open", "close", "enable", "disable", "modify", "period", "refresh", "poke", "poke", "clone", "exec",
    "exit", "switch", "switch", "switch", "switch", "access", "access", "access", "access", "access", "nmi", "kgdb", "advance",
)  # fmt: skip


class Machine:
    """Drives a kernel at random, and keeps its own count of who was hit."""

    def __init__(self, rng: random.Random, version: tuple[int, int, int], cpus: int) -> None:
        self.rng = rng
        self.kernel = Kernel(cpus, KernelConfig(version))
        self.opener = self.kernel.spawn("opener", capabilities=CAPABILITIES)
        for number in range(4):
            self.kernel.spawn(f"t{number}", pinned=frozenset({0}) if number == 3 else frozenset())
        self.kernel.kgdb.connect()
        self.expected: dict[PerfEvent, int] = {}
        self.refusals = 0

    def step(self) -> str:
        """One thing happens. A refusal must leave everything as it was."""
        kind = self.rng.choice(_KINDS)
        before = self._books()
        try:
            getattr(self, f"_{kind}")()
        except HwbpError:
            self.refusals += 1
            unchanged = kind not in ("open", "clone") or self._books() == before
        else:
            unchanged = True
        assert unchanged, "a refused request leaves nothing behind"
        check(self.kernel)
        for event, count in self.expected.items():
            assert event.count == count
        return kind

    def _books(self) -> tuple[object, ...]:
        return (
            self.kernel.layer.events,
            tuple(self.kernel.tasks),
            tuple(registers.cpu_dr7 for registers in self.kernel.cpus),
            tuple(registers.writes for registers in self.kernel.cpus),
        )

    def _task(self) -> Task:
        return self.rng.choice([task for task in self.kernel.tasks if task is not self.opener])

    def _fd(self) -> int:
        fds = self.kernel.perf.descriptors(self.opener)
        if not fds:
            raise HwbpError("no descriptor", errno="EBADF")
        return self.rng.choice(fds)

    def _flags(self) -> int:
        return sum(
            (self.rng.random() < 0.3) << FLAGS[name]
            for name in ("disabled", "inherit", "pinned", "exclude_user", "exclude_kernel", "enable_on_exec")
        )

    def _attr(self) -> Attr:
        kind = self.rng.choice((2, 2, 3, 4, 1))
        return Attr(
            sample_period=self.rng.choice((0, 1, 3)),
            flags=self._flags(),
            bp_type=kind,
            bp_addr=self.rng.choice(_ADDRESSES),
            bp_len=8 if kind == 4 else self.rng.choice((1, 2, 4, 8)),
        )

    def _open(self) -> None:
        cpus = range(len(self.kernel.cpus))
        pid, cpu = (-1, self.rng.choice(cpus)) if self.rng.random() < 0.3 else (self._task().tid, -1)
        if pid != -1 and self.rng.random() < 0.3:
            cpu = self.rng.choice(cpus)
        fd = self.kernel.perf.open(self.opener, self._attr(), pid, cpu)
        self.expected[self.kernel.perf.event(self.opener, fd)] = 0

    def _close(self) -> None:
        fd = self._fd()
        event = self.kernel.perf.event(self.opener, fd)
        self.kernel.perf.close(self.opener, fd)
        self.expected.pop(event)

    def _enable(self) -> None:
        self.kernel.perf.enable(self.opener, self._fd())

    def _disable(self) -> None:
        self.kernel.perf.disable(self.opener, self._fd())

    def _modify(self) -> None:
        fd = self._fd()
        old = self.kernel.perf.event(self.opener, fd).attr.pack()
        new = bytearray(old)
        new[56:64] = self.rng.choice(_ADDRESSES).to_bytes(8, "little")
        self.kernel.perf.modify(self.opener, fd, bytes(new))

    def _period(self) -> None:
        self.kernel.perf.period(self.opener, self._fd(), self.rng.choice((1, 2, 5)))

    def _refresh(self) -> None:
        self.kernel.perf.refresh(self.opener, self._fd(), self.rng.choice((1, 2)))

    def _poke(self) -> None:
        task = self._task()
        if task.dead:
            raise HwbpError("dead", errno="ESRCH")
        if self.rng.random() < 0.5:
            self.kernel.ptrace.poke(task, self.rng.randrange(4), self.rng.choice(_ADDRESSES))
        else:
            slots = sum(
                self.rng.choice((1, 3, 0xD, 2, 0)) << 16 + 4 * n | self.rng.choice((0, 1, 2)) << 2 * n
                for n in range(4)
            )
            self.kernel.ptrace.poke(task, 7, slots)

    def _clone(self) -> None:
        task = self._task()
        if len(self.kernel.tasks) < 10 and not task.dead:
            self.kernel.clone(task, self.rng.choice((0, CLONE_VM | CLONE_THREAD)))

    def _exec(self) -> None:
        task = self._task()
        if not task.dead and task.tid == task.tgid:
            self.kernel.exec(task)
            assert task.ptrace_bps == [None] * 4

    def _exit(self) -> None:
        task = self._task()
        self.kernel.exit(task)
        if self.rng.random() < 0.5:
            self.kernel.reap(task)
        if sum(not each.dead for each in self.kernel.tasks) < 5:
            self.kernel.spawn("another")

    def _switch(self) -> None:
        cpu = self.rng.randrange(len(self.kernel.cpus))
        following = None if self.rng.random() < 0.2 else self._task()
        leaving = self.kernel.current(cpu)
        idle = not any(task.ctx.events for task in (leaving, following) if task is not None)
        writes = self.kernel.switch(cpu, following)
        assert not idle or not writes, "a switch between tasks without breakpoints writes no register"

    def _access(self) -> None:
        """An access in user mode, or in the kernel on behalf of the task: every matching slot reaches its event."""
        cpu = self.rng.randrange(len(self.kernel.cpus))
        registers, user = self.kernel.cpus[cpu], self.rng.random() < 0.7
        unit = registers.unit
        assert isinstance(unit, RegisterFile)
        near = [event.address for event in registers.bp_per_reg if event is not None] or _ADDRESSES
        address, size, kind = (
            self.rng.choice(near),
            self.rng.choice((1, 4, 8)),
            self.rng.choice(("r", "w", "x")),
        )
        hits = unit.hits(address, 1 if kind == "x" else size, kind)
        if not hits or self.kernel.kgdb.stopped is not None:
            return
        owners = [registers.bp_per_reg[slot] for slot in range(4) if hits >> slot & 1]
        result = self.kernel.debug_exception(cpu, dr.DR6_BASE | hits, address, user=user)
        served = [event for event in owners if event is not None and not event.excludes(user)]
        assert [fired.event for fired in result.fired] == served
        assert len(result.fired) + len(result.ignored) == hits.bit_count()
        assert result.sets_rf == any(event is not None and event.type == "x" for event in owners)
        for event in served:
            if event in self.expected:
                self.expected[event] += 1
        for task in self.kernel.tasks:
            task.signals.clear()
        if result.kgdb:
            self.kernel.kgdb.resume()

    def _nmi(self) -> None:
        """No breakpoint can hit inside an NMI."""
        cpu = self.rng.randrange(len(self.kernel.cpus))
        registers = self.kernel.cpus[cpu]
        before = registers.unit.dr7
        self.kernel.enter(cpu, "nmi")
        assert not any(dr.enabled(registers.unit.dr7, slot) for slot in range(4))
        self.kernel.leave(cpu)
        assert registers.unit.dr7 == before

    def _kgdb(self) -> None:
        """A stop by sysrq-g that changes nothing leaves all hardware as the books say."""
        self.kernel.kgdb.enter(self.rng.randrange(len(self.kernel.cpus)))
        self.kernel.kgdb.resume()

    def _advance(self) -> None:
        self.kernel.time_ns += self.rng.randrange(1, 1000)


def _run(seed: int, steps: int, version: tuple[int, int, int], cpus: int) -> Machine:
    machine = Machine(random.Random(seed), version, cpus)
    for _ in range(steps):
        machine.step()
    return machine


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(st.integers(0, 1 << 32), st.sampled_from([(6, 18, 0), (5, 10, 0)]), st.integers(1, 4))
def test_what_always_holds(seed: int, version: tuple[int, int, int], cpus: int) -> None:
    _run(seed, 120, version, cpus)


@pytest.mark.slow
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(st.integers(0, 1 << 32), st.sampled_from([(6, 18, 0), (5, 10, 0)]), st.integers(1, 8))
def test_what_always_holds_over_thousands_of_steps(
    seed: int, version: tuple[int, int, int], cpus: int
) -> None:
    machine = _run(seed, 4000, version, cpus)
    assert machine.refusals > 100


def test_both_ways_of_accounting_admit_the_same() -> None:
    for seed in range(20):
        runs = [_run(seed, 60, version, 3) for version in ((6, 18, 0), (5, 10, 0))]
        assert runs[0].refusals == runs[1].refusals
        described = [[event.described() for event in run.kernel.layer.events] for run in runs]
        assert described[0] == described[1]
