"""Random sequences of requests, switches, stops and accesses on synthetic tasks, with every owner: `make random-kernel`.

python -m tests.machine.kernel_random [--seconds N] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.config import CAPABILITIES, KernelConfig
from backends.emulated.kernel.core import KERNEL_SYMBOLS, Kernel
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.kvm import DebugExit, GuestDebugException
from backends.emulated.kernel.registers import RegisterFile
from backends.emulated.kernel.tasks import CLONE_THREAD, CLONE_VM, Task
from tests.machine.kernel_invariants import Exceptions, check

__all__ = ["VERSIONS", "RandomKernel", "run"]

VERSIONS = ((6, 18, 0), (5, 10, 0), (6, 1, 180), (2, 6, 34))
"""Today's, one mutex for all accounting, one that drops kgdb's hits, one with ksym_tracer."""
_JIFFIES = KERNEL_SYMBOLS["jiffies"]
_ADDRESSES = (*tuple(65536 + n for n in (0, 0, 4, 8, 16, 1)), _JIFFIES)
_KERNEL = (_JIFFIES, _JIFFIES + 4, KERNEL_SYMBOLS["pid_max"], KERNEL_SYMBOLS["schedule"])
_KINDS = (
    *("open", "open", "open", "close", "enable", "disable", "modify", "period", "refresh", "poke", "poke", "clone", "exec"),
    *("exit", "switch", "switch", "switch", "switch", "access", "access", "access", "access", "access", "nmi", "advance"),
    *("kgdb", "kgdb", "guest", "guest", "guest", "wprobe", "wprobe", "trigger", "ksym", "group"),
)  # fmt: skip
_PACKETS = (
    "Z1,{a:x},1", "Z2,{a:x},4", "Z4,{a:x},8", "Z3,{a:x},4", "Z2,{a:x},3", "z2,{a:x},4", "z1,{a:x},1", "Z2", "Zx,1,1", "Z2,,4",
    "Z2,-1,4", "z2,zz,1", "Z7,1,1", "q", "", "Z2,{a:x},ffffffffffffffffff", "Z0,{a:x},1", "\x00", "Z2,{a:x},4,4",
)  # fmt: skip
_LEAVING = ("c", "c", "c", "D", "?")


class RandomKernel:
    """Drives a kernel at random, and keeps its own count of who was hit. `done` counts steps by kind."""

    def __init__(self, rng: random.Random, version: tuple[int, int, int], cpus: int) -> None:
        self.rng = rng
        self.kernel = Kernel(cpus, KernelConfig(version))
        self.opener = self.kernel.spawn("opener", capabilities=CAPABILITIES)
        for number in range(4):
            self.kernel.spawn(f"t{number}", pinned=frozenset({0}) if number == 3 else frozenset())
        self.kernel.kgdb.connect()
        for number in range(2):
            self.kernel.kvm.create(f"vcpu{number}")
        self.expected: dict[PerfEvent, int] = {}
        self.refusals = 0
        self.done: Counter[str] = Counter()
        self.exceptions = Exceptions()

    def step(self) -> str:
        """One thing happens. A refusal must leave everything as it was."""
        kind = self.rng.choice(_KINDS)
        before = self._books()
        try:
            getattr(self, f"_{kind}")()
        except HwbpError:
            self.refusals += 1
            self.done[f"{kind} refused"] += 1
            keeps = {"open": 6, "clone": 6, "wprobe": 4, "trigger": 4}.get(
                kind, 0
            )  # wide ones may have written
            unchanged = self._books()[:keeps] == before[:keeps]
        else:
            self.done[kind] += 1
            unchanged = True
        assert unchanged, f"a refused {kind} leaves nothing behind"
        check(self.kernel, self.exceptions)
        for event, count in self.expected.items():
            assert event.count == count
        return kind

    def _books(self) -> tuple[object, ...]:
        return (
            self.kernel.layer.events,
            tuple(self.kernel.tasks),
            self.kernel.wprobe.listing(),
            self.kernel.triggers.listing(),
            tuple(registers.cpu_dr7 for registers in self.kernel.cpus),
            tuple(registers.writes for registers in self.kernel.cpus),
        )

    def _cpu(self) -> int:
        return self.rng.randrange(len(self.kernel.cpus))

    def _task(self) -> Task:
        return self.rng.choice([task for task in self.kernel.tasks if task is not self.opener])

    def _fd(self) -> int:
        fds = self.kernel.perf.descriptors(self.opener)
        if not fds:
            raise HwbpError("no descriptor", errno="EBADF")
        return self.rng.choice(fds)

    # -- perf

    def _flags(self) -> int:
        return sum(
            (self.rng.random() < 0.3) << FLAGS[name]
            for name in ("disabled", "inherit", "pinned", "exclude_user", "exclude_kernel", "enable_on_exec")
        )

    def _attr(self) -> Attr:
        kind = self.rng.choice((2, 2, 3, 4, 1, 7))
        return Attr(
            sample_period=self.rng.choice((0, 1, 3)),
            flags=self._flags(),
            bp_type=kind,
            bp_addr=self.rng.choice(_ADDRESSES),
            bp_len=8 if kind == 4 else self.rng.choice((1, 2, 4, 8, 3)),
        )

    def _open(self) -> None:
        pid, cpu = (-1, self._cpu()) if self.rng.random() < 0.3 else (self._task().tid, -1)
        if pid != -1 and self.rng.random() < 0.3:
            cpu = self._cpu()
        attr = self._attr()
        wanted = self._first_error(attr, pid, cpu)
        got, fd = None, -1
        try:
            fd = self.kernel.perf.open(self.opener, attr, pid, cpu)
        except HwbpError as error:
            got = error
        assert (got and got.errno) == wanted
        if got is not None:
            raise got
        self.expected[self.kernel.perf.event(self.opener, fd)] = 0

    def _first_error(self, attr: Attr, pid: int, cpu: int) -> str | None:
        """The order of errors (docs/semantics.md), worked out from a plain list of who counts where."""
        if attr.bp_type in (0, 7):
            return "EINVAL"
        task = None if pid == -1 else self.kernel.task(pid)
        places = range(len(self.kernel.cpus)) if cpu == -1 else (cpu,)
        if max(self._used(where, task) for where in places) + 1 > 4:
            return "ENOSPC"
        end = attr.bp_addr + attr.bp_len - 1
        bad = attr.bp_type == 1 or attr.bp_len == 3 or (attr.bp_type != 4 and attr.bp_addr % attr.bp_len)
        if bad or (end >= 1 << 47 and attr.flag("exclude_kernel")):
            return "EINVAL"
        return "ESRCH" if task is not None and task.exiting else None

    def _used(self, cpu: int, task: Task | None) -> int:
        events = self.kernel.layer.events
        pinned = sum(event.target is None and event.cpu == cpu for event in events)
        own = Counter(e.target for e in events if e.target is not None and e.cpu in (-1, cpu))
        return pinned + (max(own.values(), default=0) if task is None else own[task])

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

    def _group(self) -> None:
        """A group: a leader, and a sibling that is in a register only while the leader is."""
        fd = self._fd()
        leader = self.kernel.perf.event(self.opener, fd)
        pid = -1 if leader.target is None else leader.target.tid
        if pid != -1 and self.kernel.tasks.get(pid) is not leader.target:
            raise HwbpError("reaped", errno="ESRCH")
        flags = self._flags() & ~(1 << FLAGS["pinned"] | 1 << FLAGS["inherit"]) | leader.attr.flags & 2
        attr = Attr(flags=flags, bp_type=2, bp_addr=65536, bp_len=8)
        sibling = self.kernel.perf.open(self.opener, attr, pid, leader.cpu, fd)
        event = self.kernel.perf.event(self.opener, sibling)
        self.expected[event] = 0
        self.exceptions.grouped.add(event)

    # -- ptrace

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

    # -- tasks

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
        cpu = self._cpu()
        following = None if self.rng.random() < 0.2 else self._task()
        leaving = self.kernel.current(cpu)
        idle = not any(task.ctx.events for task in (leaving, following) if task is not None)
        if self.kernel.kvm.guest_on(cpu) is not None:
            idle = False  # leaving the guest may write
        writes = self.kernel.switch(cpu, following)
        assert not idle or not writes, "a switch between tasks without breakpoints writes no register"

    def _advance(self) -> None:
        self.kernel.time_ns += self.rng.randrange(1, 1000)

    # -- accesses

    def _access(self) -> None:
        """An access in user mode, or in the kernel on behalf of the task: every matching slot reaches its event."""
        cpu = self._cpu()
        registers, user = self.kernel.cpus[cpu], self.rng.random() < 0.7
        unit = registers.unit
        assert isinstance(unit, RegisterFile)
        near = [event.address for event in registers.bp_per_reg if event is not None] or _ADDRESSES
        address = self.rng.choice((*near, *_KERNEL) if not user else near)
        size, kind = self.rng.choice((1, 4, 8)), self.rng.choice(("r", "w", "x"))
        hits = unit.hits(address, 1 if kind == "x" else size, kind)
        if not hits:
            return
        vcpu = self.kernel.kvm.guest_on(cpu)
        if vcpu is not None:
            self._guest_hit(hits, address, vcpu.name)
            return
        self._host_hit(cpu, hits, address, user=user)

    def _host_hit(self, cpu: int, hits: int, address: int, *, user: bool) -> None:
        kernel, registers = self.kernel, self.kernel.cpus[cpu]
        owners = [registers.bp_per_reg[slot] for slot in range(4) if hits >> slot & 1]
        awake = [event for event in owners if event is not None and not event.stopped]
        task = kernel.current(cpu)
        result = kernel.debug_exception(cpu, dr.DR6_BASE | hits, address, user=user)
        served = [event for event in owners if event in awake and not event.excludes(user)]
        if kernel.config.swevent_checks_state:
            served = [event for event in served if event.owner.kind != "kgdb"]
        assert [fired.event for fired in result.fired] == served
        assert len(result.fired) + len(result.ignored) == hits.bit_count()
        assert {row.why for row in result.ignored} <= {"no owner", "excluded", "not active", "stopped"}
        assert result.sets_rf == any(event is not None and event.type == "x" for event in owners)
        for event in served:
            if event in self.expected:
                self.expected[event] += 1
            if event.owner.kind == "ptrace" and task is not None:
                assert event.index is not None
                assert task.virtual_dr6 >> event.index & 1, "virtual DR6 has ptrace's own number"
        for each in kernel.tasks:
            each.signals.clear()
        if result.kgdb:
            assert not user, "kgdb stops for hits in the kernel's mode only"
            self.done["kgdb hit"] += 1
            self._in_kgdb()

    def _nmi(self) -> None:
        """No breakpoint can hit inside an NMI; kgdb may be entered from there."""
        cpu = self._cpu()
        registers = self.kernel.cpus[cpu]
        self.kernel.kvm.kick(cpu)
        before = registers.unit.dr7
        self.kernel.enter(cpu, "nmi")
        saved = registers.unit.dr7 != before
        assert not registers.active or not any(dr.enabled(registers.unit.dr7, slot) for slot in range(4))
        if self.rng.random() < 0.2:
            self.kernel.kgdb.enter(cpu, "nmi")
            self._in_kgdb()
        self.kernel.leave(cpu)
        if saved:
            assert registers.unit.dr7 == before, "DR7 comes back as it was"
            self.exceptions.late.add(cpu)

    # -- kgdb

    def _kgdb(self) -> None:
        """A stop by sysrq-g, some packets, and on."""
        self.kernel.kgdb.enter(self._cpu())
        self._in_kgdb()

    def _in_kgdb(self) -> None:
        kgdb, rng = self.kernel.kgdb, self.rng
        for _ in range(rng.randrange(4)):
            locked = rng.random() < 0.1
            self.kernel.layer.locked_by = "somebody" if locked else ""
            before = self.kernel.layer.events
            text = rng.choice(_PACKETS).format(a=rng.choice(_KERNEL))
            reply = kgdb.packet(text)
            assert reply in ("OK", "E01", "E22", ""), reply
            if locked or reply != "OK":
                assert self.kernel.layer.events == before
            self.done[f"kgdb {reply}"] += 1
            check(self.kernel, self.exceptions)
        self.kernel.layer.locked_by = ""
        last = rng.choice(_LEAVING)
        saved = {registers.cpu for registers, value, _ in kgdb._at_exit if value}
        kgdb.packet(last)
        if last == "?":
            kgdb.packet("c")
        self.exceptions.late |= saved
        assert kgdb.stopped is None
        for registers in self.kernel.cpus:
            if registers.ghosts():
                self.done["ghost"] += 1
                assert registers.cpu in self.exceptions.late, "a ghost is an older DR7 that came back"

    # -- KVM

    def _guest(self) -> None:
        kvm, rng = self.kernel.kvm, self.rng
        vcpu = kvm.find(f"vcpu{rng.randrange(2)}")
        match rng.randrange(5):
            case 0 | 1:
                if vcpu.cpu is None:
                    cpu = self._cpu()
                    active = self.kernel.cpus[cpu].active
                    writes = kvm.enter(vcpu, cpu)
                    assert writes == (5 if vcpu.bp_enabled else int(active))
                else:
                    cpu, active = vcpu.cpu, self.kernel.cpus[vcpu.cpu].active
                    assert kvm.leave(vcpu) == (6 if active else 0)
            case 2:
                words = rng.choice(((), ("enable", "use_hw_bp"), ("enable", "singlestep"), ("enable",)))
                registers = tuple(rng.choice(_KERNEL) for _ in range(4))
                kvm.set_guest_debug(vcpu, words, (*registers, rng.choice((0x400, 0x402, 0xD0402))))  # type: ignore[arg-type]
            case _:
                self._guest_mov(vcpu.name)

    def _guest_mov(self, name: str) -> None:
        kvm, rng = self.kernel.kvm, self.rng
        vcpu, register = kvm.find(name), rng.choice((0, 1, 3, 6, 7, 7, 4))
        value = rng.choice((None, 0x400, 0x403, 0x10000, 0x2400))
        try:
            result = kvm.guest_access(vcpu, register, value)
        except GuestDebugException as error:
            raised = str(error)
        else:
            raised = ""
            if value is not None and register < 4 and not isinstance(result, DebugExit):
                assert vcpu.db[register] == value, "the guest reads back what it wrote, whoever debugs it"
                assert vcpu.host_debugs or vcpu.eff_db[register] == value
        assert raised in ("", "#DB"), "only DR7.GD is in the way at CPL 0 here"

    def _guest_hit(self, hits: int, address: int, name: str) -> None:
        vcpu = self.kernel.kvm.find(name)
        left = self.kernel.kvm.debug_exception(vcpu, dr.DR6_BASE | hits, address)
        assert (left is not None) == bool(vcpu.guest_debug & 0x2_0002)

    # -- ftrace

    def _wprobe(self) -> None:
        wprobe, rng = self.kernel.wprobe, self.rng
        name = f"e{rng.randrange(3)}"
        match rng.randrange(6):
            case 0 | 1:
                mode, where = (
                    rng.choice(("w", "rw", "r", "x")),
                    rng.choice(("jiffies:4", "pid_max:8", "nowhere", "0:4", ":")),
                )
                wprobe.write(f"w:{name} {mode}@{where}")
            case 2 | 3:
                wprobe.enable(name, self.opener)
                assert len(wprobe.find(name).events) == len(self.kernel.cpus)
            case 4:
                wprobe.disable(name)
                assert not wprobe.find(name).events
            case _:
                wprobe.write(f"-:{name}")

    def _trigger(self) -> None:
        triggers, rng = self.kernel.triggers, self.rng
        if rng.random() < 0.5:
            triggers.fire(
                "fprobes/arm", {"address": rng.choice((*_KERNEL, 0x10000, _JIFFIES + 1))}, self._cpu()
            )
            return
        remove, kind = rng.choice(("", "", "!")), rng.choice(("set", "clear"))
        field = ":address" if kind == "set" or rng.random() < 0.5 else ""
        triggers.write("fprobes/arm", f"{remove}{kind}_wprobe:e{rng.randrange(3)}{field}", self.opener)

    def _ksym(self) -> None:
        ksym, rng = self.kernel.ksym, self.rng
        if rng.random() < 0.2:
            ksym.select(rng.random() < 0.7)
            return
        symbol = rng.choice(("jiffies", "pid_max", "nowhere", "*"))
        ksym.write(f"{symbol}:{rng.choice(('rw-', '-w-', 'r--', '---', 'rwx'))}", self.opener)


def run(seed: int, steps: int, version: tuple[int, int, int], cpus: int) -> RandomKernel:
    """So many steps from a seed; AssertionError names what did not hold."""
    machine = RandomKernel(random.Random(seed), version, cpus)
    for number in range(steps):
        try:
            machine.step()
        except AssertionError as error:
            error.add_note(f"seed {seed}, step {number}, Linux {version}, {cpus} CPUs")
            raise
    return machine


def main() -> int:
    """Runs of 5,000 steps until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() >> 20
    first, steps, done = seed, 0, Counter[str]()
    deadline = time.monotonic() + options.seconds
    while time.monotonic() < deadline:
        machine = run(seed, 5000, VERSIONS[seed % len(VERSIONS)], 1 + seed % 8)
        steps += 5000
        done += machine.done
        seed += 1
    print(f"{steps} steps from seed {first}: what always holds, held after each of them")
    print(", ".join(f"{kind} {count}" for kind, count in done.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
