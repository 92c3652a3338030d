"""perf, ptrace, kgdb, KVM and ftrace on one kernel: the rows of the kernel's own tests that need no program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backends import dr
from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, SAMPLE, Attr
from backends.emulated.kernel.config import CAPABILITIES, KernelConfig
from backends.emulated.kernel.core import KERNEL_SYMBOLS, Kernel
from backends.emulated.kernel.kvm import DebugExit, GuestDebugException
from backends.emulated.kernel.registers import RegisterFile
from backends.emulated.kernel.tasks import CLONE_CLEAR_SIGHAND, CLONE_THREAD, CLONE_VM, Task
from backends.emulated.kernel.wprobe import WprobeError
from backends.emulated.kernel.wprobe_triggers import TriggerError

DATA = 0x601000
JIFFIES = KERNEL_SYMBOLS["jiffies"]


class Bench:
    """A kernel of two CPUs with a root opener and one task, and the accesses that a CPU would make."""

    def __init__(self, config: KernelConfig | None = None) -> None:
        self.kernel = Kernel(2, config)
        self.root = self.kernel.spawn("root", capabilities=CAPABILITIES)
        self.user = self.kernel.spawn("user", uid=1000)
        self.task = self.kernel.spawn("task", uid=1000)

    def open(
        self, kind: int = 2, address: int = DATA, length: int = 8, flags: str = "exclude_kernel", **more: int
    ) -> int:
        """perf_event_open on the task by root."""
        bits = sum(1 << FLAGS[name] for name in flags.split())
        pid, cpu = more.pop("pid", self.task.tid), more.pop("cpu", -1)
        attr = Attr(flags=bits, bp_type=kind, bp_addr=address, bp_len=length, **{"sample_period": 1, **more})
        return self.kernel.perf.open(self.root, attr, pid, cpu)

    def access(
        self, address: int, size: int, kind: str, *, task: Task | None = None, user: bool = True
    ) -> Any:
        """One access of a task on CPU 0; None where no slot matched."""
        self.kernel.switch(0, task or self.task)
        unit = self.kernel.cpus[0].unit
        assert isinstance(unit, RegisterFile)
        hits = unit.hits(address, size, kind)
        return self.kernel.debug_exception(0, dr.DR6_BASE | hits, address, user=user) if hits else None

    def errno(self, call: Callable[..., object], *arguments: object, **more: object) -> str | None:
        """The errno's name with which a call fails."""
        with pytest.raises(HwbpError) as caught:
            call(*arguments, **more)
        return caught.value.errno

    def read(self, fd: int) -> int:
        """read(2)."""
        return self.kernel.perf.read(self.root, fd)


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestPerf:
    """tools/perf/tests (wp.c, bp_account.c, sigtrap.c) and tools/testing/selftests/perf_events."""

    def test_write_only_watchpoint(self, bench: Bench) -> None:
        fd = bench.open(2)
        bench.access(DATA, 8, "r")
        assert bench.read(fd) == 0
        bench.access(DATA, 8, "w")
        assert bench.read(fd) == 1

    def test_read_write_watchpoint(self, bench: Bench) -> None:
        fd = bench.open(3)
        bench.access(DATA, 8, "r")
        bench.access(DATA, 8, "w")
        assert bench.read(fd) == 2

    def test_modify_watchpoint(self, bench: Bench) -> None:
        fd = bench.open(2)
        bench.access(DATA, 8, "w")
        old = bench.kernel.perf.event(bench.root, fd).attr
        new = Attr.unpack(
            old.pack()[:56] + (DATA + 64).to_bytes(8, "little") + (2).to_bytes(8, "little") + old.pack()[72:]
        )
        new = Attr.unpack(new.pack()[:40] + (old.flags | 1).to_bytes(8, "little") + new.pack()[48:])
        bench.kernel.perf.modify(bench.root, fd, new)
        bench.access(DATA + 65, 1, "w")
        assert bench.read(fd) == 1
        bench.kernel.perf.enable(bench.root, fd)
        bench.access(DATA + 65, 1, "w")
        bench.access(DATA + 66, 1, "w")
        assert bench.read(fd) == 2

    def test_a_failed_modify_leaves_an_event_off_that_was_opened_disabled(self, bench: Bench) -> None:
        fd = bench.open(2, flags="exclude_kernel disabled")
        bench.kernel.perf.enable(bench.root, fd)
        bad = bytearray(bench.kernel.perf.event(bench.root, fd).attr.pack())
        bad[52] = 1
        assert bench.errno(bench.kernel.perf.modify, bench.root, fd, bytes(bad)) == "EINVAL"
        bench.access(DATA, 8, "w")
        assert bench.read(fd) == 0

    def test_four_of_any_kind_share_one_pool(self, bench: Bench) -> None:
        fds = [bench.open(2, pid=-1, cpu=0) for _ in range(4)]
        assert bench.errno(bench.open, 4, pid=-1, cpu=0) == "ENOSPC"
        changed = bytearray(bench.kernel.perf.event(bench.root, fds[0]).attr.pack())
        changed[52] = 4
        bench.kernel.perf.modify(bench.root, fds[0], bytes(changed))
        assert bench.kernel.perf.event(bench.root, fds[0]).type == "x"

    @pytest.mark.parametrize(
        ("kind", "length", "address", "errno"),
        [(1, 8, DATA, "EINVAL"), (4, 1, DATA, "EINVAL"), (2, 3, DATA, "EINVAL"), (2, 16, DATA, "EOPNOTSUPP"), (2, 8, DATA + 1, "EINVAL"), (0, 8, DATA, "EINVAL"), (7, 8, DATA, "EINVAL")],
    )  # fmt: skip
    def test_what_no_register_can_do(
        self, bench: Bench, kind: int, length: int, address: int, errno: str
    ) -> None:
        assert bench.errno(bench.open, kind, address, length) == errno

    def test_bpext_makes_longer_ranges_possible(self) -> None:
        bench = Bench(KernelConfig(bpext=True))
        fd = bench.open(2, DATA, 16)
        assert bench.kernel.perf.event(bench.root, fd).hardware.mask == 15

    def test_a_full_pool_hides_a_bad_length_but_not_a_bad_type(self, bench: Bench) -> None:
        for _ in range(4):
            bench.open(2)
        assert bench.errno(bench.open, 2, DATA, 3) == "ENOSPC"
        assert bench.errno(bench.open, 7) == "EINVAL"

    def test_period_and_the_period_sample_that_overrides_it(self, bench: Bench) -> None:
        every, each = (
            bench.open(2, sample_period=100),
            bench.open(2, sample_period=100, sample_type=SAMPLE["period"]),
        )
        for _ in range(250):
            bench.access(DATA, 8, "w")
        overflows = [bench.kernel.perf.event(bench.root, fd).overflows for fd in (every, each)]
        assert overflows == [2, 250]
        assert bench.read(every) == 250

    def test_ten_thousand_calls_with_period_100_are_a_hundred_signals(self, bench: Bench) -> None:
        fd = bench.open(4, DATA, 8, sample_period=100)
        bench.kernel.perf.set_signal(bench.root, fd, 29, bench.task.tid)
        signals = 0
        for _ in range(10_000):
            signals += len(bench.access(DATA, 1, "x").signals)
            bench.task.signals.clear()
        assert (bench.read(fd), signals) == (10_000, 100)

    def test_refresh_disables_after_its_count(self, bench: Bench) -> None:
        fd = bench.open(2, flags="exclude_kernel disabled")
        bench.kernel.perf.refresh(bench.root, fd, 3)
        for _ in range(5):
            bench.access(DATA, 8, "w")
        assert bench.read(fd) == 3
        assert bench.kernel.cpus[0].unit.dr7 == 0x600

    def test_a_frequency_adapts_the_period_to_the_rate_of_hits(self, bench: Bench) -> None:
        """A hit a microsecond, 10,000 samples a second wanted: the period becomes 100. Linux 6.18 accepts attr.freq for breakpoints."""
        fd = bench.open(2, flags="exclude_kernel freq", sample_period=10_000)
        event = bench.kernel.perf.event(bench.root, fd)
        bench.kernel.switch(0, bench.task)
        before = 0
        for number in range(40_000):
            bench.kernel.time_ns += 1000
            bench.kernel.debug_exception(0, dr.DR6_BASE | 1, DATA)
            if number == 35_000:
                before = event.overflows  # it overshoots first, as on silicon
        assert 95 <= event.period <= 106
        assert 45 <= event.overflows - before <= 55
        assert not event.quiet
        assert bench.errno(bench.open, 2, flags="exclude_kernel freq", sample_period=200_000) == "EINVAL"
        assert bench.errno(bench.kernel.perf.period, bench.root, fd, 200_000) == "EINVAL"

    def test_a_period_for_an_event_whose_task_has_ended_is_accepted_and_forgotten(self, bench: Bench) -> None:
        """As on Linux 6.18: a modification that names the old period is no change of it."""
        fd = bench.open(2)
        attr = bench.kernel.perf.event(bench.root, fd).attr
        bench.kernel.exit(bench.task)
        bench.kernel.perf.period(bench.root, fd, 3)
        bench.kernel.perf.modify(bench.root, fd, attr)

    @pytest.mark.parametrize(("version", "counts"), [((6, 18, 0), [1, 1, 1, 2]), ((6, 1, 0), [1, 2, 3, 4])])
    def test_an_event_whose_refresh_ran_out_counts_again_only_after_a_period(
        self, version: tuple[int, int, int], counts: list[int]
    ) -> None:
        """As on Linux 6.18: enabling it puts it into a register, where it is stopped. Before, enabling was enough."""
        bench, seen = Bench(KernelConfig(version)), []
        perf = bench.kernel.perf
        fd = bench.open(2, flags="exclude_kernel disabled")
        bench.kernel.switch(0, bench.task)
        perf.refresh(bench.root, fd, 1)
        for step in ("", "enable", "", "period"):
            if step == "enable":
                perf.enable(bench.root, fd)
            elif step:
                perf.period(bench.root, fd, 1)
            bench.access(DATA, 8, "w")
            seen.append(bench.read(fd))
        assert seen == counts

    def test_permission_comes_after_space(self) -> None:
        bench = Bench()
        stranger = bench.kernel.spawn("stranger", uid=2)
        attr = Attr(flags=1 << FLAGS["exclude_kernel"], bp_type=2, bp_addr=DATA, bp_len=8)
        assert bench.errno(bench.kernel.perf.open, stranger, attr, bench.task.tid, -1) == "EACCES"
        for _ in range(4):
            bench.open(2)
        assert bench.errno(bench.kernel.perf.open, stranger, attr, bench.task.tid, -1) == "ENOSPC"

    @pytest.mark.parametrize(
        ("paranoid", "kernel", "wide"), [(2, "EACCES", "EACCES"), (1, None, "EACCES"), (0, None, None)]
    )
    def test_paranoid_levels(self, paranoid: int, kernel: str | None, wide: str | None) -> None:
        bench = Bench(KernelConfig(paranoid=paranoid))
        for attr, pid, cpu, errno in (
            (Attr(bp_type=2, bp_addr=DATA, bp_len=8), 0, -1, kernel),
            (Attr(flags=1 << 5, bp_type=2, bp_addr=DATA, bp_len=8), -1, 0, wide),
        ):
            if errno:
                assert bench.errno(bench.kernel.perf.open, bench.user, attr, pid, cpu) == errno
            else:
                bench.kernel.perf.open(bench.user, attr, pid, cpu)

    def test_a_kernel_address_needs_sys_admin(self) -> None:
        bench = Bench(KernelConfig(paranoid=1))
        attr = Attr(bp_type=2, bp_addr=JIFFIES, bp_len=4)
        assert bench.errno(bench.kernel.perf.open, bench.user, attr, 0, -1) == "EPERM"
        bench.kernel.perf.open(bench.root, attr, 0, -1)

    def test_sigtrap_reaches_every_thread_and_follows_a_modification(self, bench: Bench) -> None:
        fd = bench.open(
            3,
            DATA,
            1,
            "disabled inherit inherit_thread remove_on_exec sigtrap exclude_kernel exclude_hv",
            sig_data=7,
        )
        threads = [bench.kernel.clone(bench.task, CLONE_VM | CLONE_THREAD) for _ in range(5)]
        assert all(bench.access(DATA, 1, "r", task=thread) is None for thread in threads)  # never enabled
        bench.kernel.perf.enable(bench.root, fd)
        new = bytearray(bench.kernel.perf.event(bench.root, fd).attr.pack())
        new[120:128] = (42).to_bytes(8, "little")
        new[40] &= ~1
        bench.kernel.perf.modify(bench.root, fd, bytes(new))
        for thread in (*threads, bench.task):
            (signal,) = [info for _, info in bench.access(DATA, 1, "r", task=thread).signals]
            assert (signal.number, signal.code, signal.address, signal.data, signal.perf_type) == (
                5,
                6,
                DATA,
                42,
                5,
            )
        assert bench.read(fd) == 6

    def test_inheritance(self, bench: Bench) -> None:
        plain, inherited = bench.open(2, DATA), bench.open(2, DATA, flags="exclude_kernel inherit")
        by_thread = bench.open(2, DATA, flags="exclude_kernel inherit inherit_thread")
        child = bench.kernel.clone(bench.task)
        thread = bench.kernel.clone(bench.task, CLONE_VM | CLONE_THREAD | CLONE_CLEAR_SIGHAND)
        bench.access(DATA, 8, "w", task=child)
        bench.access(DATA, 8, "w", task=thread)
        assert [bench.read(fd) for fd in (plain, inherited, by_thread)] == [0, 2, 1]
        bench.kernel.switch(0, None)
        bench.kernel.exit(child)
        assert bench.kernel.layer.accounting.of_task(child, 0) == 0
        assert bench.read(inherited) == 2  # folded into its parent

    def test_an_event_that_cannot_be_inherited_makes_fork_fail(self, bench: Bench) -> None:
        bench.open(2, JIFFIES, 4, "inherit")
        assert bench.errno(bench.kernel.clone, bench.task) == "EPERM"
        assert len(bench.kernel.layer.events) == 1

    def test_exec(self, bench: Bench) -> None:
        late, gone = (
            bench.open(2, flags="exclude_kernel disabled enable_on_exec"),
            bench.open(2, flags="exclude_kernel remove_on_exec"),
        )
        bench.access(DATA, 8, "w")
        bench.kernel.exec(bench.task)
        bench.access(DATA, 8, "w")
        assert (bench.read(late), bench.read(gone)) == (1, 1)
        assert bench.kernel.layer.accounting.of_task(bench.task, 0) == 2  # both descriptors are open

    def test_remove_on_exec_leaves_parent_and_forked_children_theirs(self, bench: Bench) -> None:
        fd = bench.open(2, DATA, 8, "disabled inherit remove_on_exec sigtrap exclude_kernel")
        forked = bench.kernel.clone(bench.task)
        executed = []
        for number in range(30):
            child = bench.kernel.clone(bench.task)
            bench.kernel.exec(child)
            executed.append(child)
            if number == 10:
                bench.kernel.perf.enable(bench.root, fd)
        assert all(bench.access(DATA, 8, "w", task=child) is None for child in executed)
        for task in (bench.task, forked):
            assert [info.code for _, info in bench.access(DATA, 8, "w", task=task).signals] == [6]
        assert bench.read(fd) == 2

    def test_kernel_hits_count_where_the_kernel_is_not_excluded(self, bench: Bench) -> None:
        both, user = bench.open(2, flags=""), bench.open(2)
        result = bench.access(DATA, 8, "w", user=False)
        assert [ignored.why for ignored in result.ignored] == ["excluded"]
        assert (bench.read(both), bench.read(user)) == (1, 0)

    def test_a_switch_between_siblings_swaps_contexts_instead_of_registers(self, bench: Bench) -> None:
        fd = bench.open(2, flags="exclude_kernel inherit")
        thread = bench.kernel.clone(bench.task, CLONE_VM | CLONE_THREAD)
        bench.kernel.switch(0, bench.task)
        assert bench.kernel.switch(0, thread) == 0
        bench.access(DATA, 8, "w", task=thread)
        assert bench.read(fd) == 1

    def test_a_switch_without_breakpoints_writes_nothing(self, bench: Bench) -> None:
        assert [bench.kernel.switch(0, task) for task in (bench.task, bench.user, None, bench.task)] == [
            0
        ] * 4
        fd = bench.open(2)
        assert [bench.kernel.switch(0, task) for task in (bench.user, bench.task)] == [1, 2]
        bench.kernel.perf.close(bench.root, fd)
        assert [bench.kernel.switch(0, task) for task in (bench.user, bench.task)] == [0, 0]

    def test_the_register_moves_with_the_slice(self, bench: Bench) -> None:
        bench.open(2, DATA)
        other = bench.open(2, DATA + 8, pid=bench.user.tid)
        bench.open(2, DATA + 16, pid=-1, cpu=1, flags="exclude_kernel pinned")
        event = bench.kernel.perf.event(bench.root, other)
        bench.kernel.switch(0, bench.user)
        first = bench.kernel.cpus[0].slot_of(event)
        bench.kernel.switch(0, None)
        bench.kernel.switch(1, bench.user)
        assert (first, bench.kernel.cpus[1].slot_of(event)) == (0, 1)
        rows = [(row.cpu, row.slot) for row in bench.kernel.journal.occupancies if row.event == event.id]
        assert rows == [(0, 0), (1, 1)]

    def test_first_free_register_at_install(self, bench: Bench) -> None:
        registers, kernel = bench.kernel.cpus[0], bench.kernel
        events = [kernel.perf.event(bench.root, bench.open(2, DATA + 8 * n)) for n in range(4)]
        for event in events[:3]:
            registers.install(event)
        registers.uninstall(events[0])
        registers.install(events[3])
        assert registers.slot_of(events[3]) == 0
        for event in events[1:]:
            registers.uninstall(event)
        assert registers.cpu_dr7 == dr.DR7_GE


class TestPtrace:
    """What x86's ptrace keeps for each thread."""

    def test_a_fresh_thread(self, bench: Bench) -> None:
        ptrace = bench.kernel.ptrace
        assert [ptrace.peek(bench.task, n) for n in range(8)] == [0, 0, 0, 0, 0, 0, dr.DR6_BASE, 0]
        assert [bench.errno(ptrace.poke, bench.task, n, 0) for n in (4, 5)] == ["EIO", "EIO"]

    def test_nonsense_in_a_slot_that_was_never_used_is_not_looked_at(self, bench: Bench) -> None:
        ptrace = bench.kernel.ptrace
        ptrace.poke(bench.task, 7, 0x20000)  # R/W0 is 10, and nothing enables it
        assert ptrace.peek(bench.task, 7) == 0x20000
        ptrace.poke(bench.task, 0, DATA)
        assert bench.errno(ptrace.poke, bench.task, 7, 0x20000) == "EINVAL"
        assert ptrace.peek(bench.task, 7) == 0x20000

    @pytest.mark.parametrize(
        ("address", "dr7"), [(DATA, 0x20001), (DATA, 0x40001), (DATA + 1, 0x50001), (DATA + 2, 0xD0001)]
    )
    def test_what_dr7_refuses_leaves_it_as_it_was(self, bench: Bench, address: int, dr7: int) -> None:
        ptrace = bench.kernel.ptrace
        ptrace.poke(bench.task, 0, address)
        ptrace.poke(bench.task, 7, 0x10001)
        assert bench.errno(ptrace.poke, bench.task, 7, dr7) == "EINVAL"
        assert ptrace.peek(bench.task, 7) == 0x10001
        assert bench.task.ptrace_bps[0].enabled  # type: ignore[union-attr]

    def test_upper_half_and_gd_are_kept_and_arm_nothing(self, bench: Bench) -> None:
        ptrace = bench.kernel.ptrace
        for value in (0xFFFFFFFF00000000, 0x2000):
            ptrace.poke(bench.task, 7, value)
            assert ptrace.peek(bench.task, 7) == value
        assert not bench.kernel.layer.events

    def test_clearing_dr7_keeps_address_and_slot_until_exec(self, bench: Bench) -> None:
        ptrace = bench.kernel.ptrace
        ptrace.poke(bench.task, 0, DATA)
        ptrace.poke(bench.task, 7, 0xD0001)
        ptrace.poke(bench.task, 7, 0)
        assert ptrace.peek(bench.task, 0) == DATA
        assert bench.kernel.layer.free(0) == 3
        bench.kernel.exec(bench.task)
        assert bench.kernel.layer.free(0) == 4
        assert ptrace.peek(bench.task, 0) == 0

    def test_the_kernels_own_accesses_do_not_hit(self, bench: Bench) -> None:
        bench.kernel.ptrace.poke(bench.task, 0, DATA)
        bench.kernel.ptrace.poke(bench.task, 7, 0x90001)
        result = bench.access(DATA, 8, "w", user=False)
        assert [ignored.why for ignored in result.ignored] == ["excluded"]
        assert not result.signals

    @pytest.mark.parametrize("flags", [0, CLONE_VM | CLONE_THREAD])
    def test_a_child_reads_its_parents_dr6(self, bench: Bench, flags: int) -> None:
        bench.kernel.ptrace.poke(bench.task, 6, 0)
        assert bench.kernel.ptrace.peek(bench.kernel.clone(bench.task, flags), 6) == 0

    def test_fork_copies_dr7_but_no_breakpoint(self, bench: Bench) -> None:
        ptrace = bench.kernel.ptrace
        ptrace.poke(bench.task, 0, DATA)
        ptrace.poke(bench.task, 7, 0xD0001)
        child = bench.kernel.clone(bench.task)
        assert [ptrace.peek(child, n) for n in (0, 6, 7)] == [0, dr.DR6_BASE, 0xD0001]

    def test_cpu_wide_events_starve_ptrace(self, bench: Bench) -> None:
        for _ in range(4):
            bench.open(2, pid=-1, cpu=0)
        assert bench.errno(bench.kernel.ptrace.poke, bench.task, 0, DATA) == "ENOSPC"

    def test_an_address_alone_takes_a_slot(self, bench: Bench) -> None:
        bench.kernel.ptrace.poke(bench.task, 0, DATA)
        for _ in range(3):
            bench.open(2)
        assert bench.errno(bench.open, 2) == "ENOSPC"

    def test_kernel_addresses_are_refused_even_to_root(self, bench: Bench) -> None:
        assert bench.errno(bench.kernel.ptrace.poke, bench.task, 0, JIFFIES, caller=bench.root) == "EINVAL"

    def test_detach_leaves_breakpoints_armed(self, bench: Bench) -> None:
        ptrace = bench.kernel.ptrace
        ptrace.attach(bench.root, bench.task)
        ptrace.poke(bench.task, 0, DATA)
        ptrace.poke(bench.task, 7, 0xD0001)
        ptrace.detach(bench.root, bench.task)
        ((task, signal),) = bench.access(DATA, 4, "w").signals
        assert (task, signal.number, signal.code) == (bench.task, 5, 4)
        assert bench.errno(ptrace.check, bench.root, bench.task) == "ESRCH"

    def test_a_step_over_a_watched_store_is_one_trap_trace(self, bench: Bench) -> None:
        bench.kernel.ptrace.poke(bench.task, 0, DATA)
        bench.kernel.ptrace.poke(bench.task, 7, 0xD0001)
        bench.kernel.switch(0, bench.task)
        result = bench.kernel.debug_exception(0, 0xFFFF4FF1, 0x400000)
        assert [signal.code for _, signal in result.signals] == [2]
        assert bench.kernel.ptrace.peek(bench.task, 6) == 0xFFFF4FF1

    def test_a_dead_task_has_no_debug_registers(self, bench: Bench) -> None:
        bench.kernel.ptrace.attach(bench.root, bench.task)
        bench.kernel.ptrace.poke(bench.task, 0, DATA)
        bench.kernel.exit(bench.task)
        assert bench.errno(bench.kernel.ptrace.check, bench.root, bench.task) == "ESRCH"
        assert bench.errno(bench.kernel.ptrace.attach, bench.root, bench.task) == "EPERM"
        assert not bench.kernel.layer.events

    def test_a_stale_virtual_bit_makes_a_kernel_hit_somebody_elses_too(self, bench: Bench) -> None:
        """hw_breakpoint_handler looks at virtual_dr6, which only a user-mode #DB clears."""
        bench.kernel.kgdb.connect()
        bench.open(2, DATA, flags="")
        bench.task.virtual_dr6 = 1
        assert bench.access(DATA, 8, "w", user=False).kgdb


class TestKgdb:
    """drivers/misc/kgdbts.c and what a real kgdb showed; modelled from source (6.17)."""

    @pytest.fixture
    def kgdb(self, bench: Bench) -> Bench:
        bench.kernel.kgdb.connect()
        return bench

    def stop(self, bench: Bench, *packets: str) -> list[str]:
        """Enter by sysrq-g, send packets, go on."""
        bench.kernel.kgdb.enter(0)
        answers = [bench.kernel.kgdb.packet(text) for text in packets]
        bench.kernel.kgdb.packet("c")
        return answers

    def test_its_premade_events_hold_no_slot(self, kgdb: Bench) -> None:
        assert kgdb.kernel.layer.free(0) == 4
        assert not kgdb.kernel.layer.events
        for _ in range(4):
            kgdb.open(2)

    def test_setting_it_up_needs_a_free_slot_on_every_cpu(self, bench: Bench) -> None:
        for _ in range(4):
            bench.open(2, pid=-1, cpu=1)
        assert bench.errno(bench.kernel.kgdb.connect) == "ENOSPC"
        assert not bench.kernel.kgdb.connected

    def test_hw_breakpoint(self, kgdb: Bench) -> None:
        assert self.stop(kgdb, "Z1,ffffffff81900000,4") == ["OK"]
        result = kgdb.access(0xFFFFFFFF81900000, 1, "x", user=False)
        assert result.kgdb
        assert result.sets_rf
        stopped = kgdb.kernel.kgdb.stopped
        assert stopped is not None
        assert stopped.ip == 0xFFFFFFFF81900000
        assert kgdb.kernel.kgdb.breakinfo[0].length == 1  # whatever was asked

    def test_write_and_access_watchpoints(self, kgdb: Bench) -> None:
        self.stop(kgdb, f"Z2,{JIFFIES:x},4")
        assert kgdb.access(JIFFIES, 4, "r", user=False) is None
        assert kgdb.access(JIFFIES, 4, "w", user=False).kgdb
        kgdb.kernel.kgdb.packet("?")
        kgdb.kernel.kgdb.packet("c")
        self.stop(kgdb, f"z2,{JIFFIES:x},4", f"Z4,{JIFFIES:x},4")
        assert kgdb.access(JIFFIES, 4, "r", user=False).kgdb

    @pytest.mark.parametrize(
        ("packet", "answer"),
        [("Z3,ffffffff82205000,4", "E01"), ("Z2,ffffffff82205000,10", "E01"), ("Z2,ffffffff82205001,4", "OK"), ("Z5,0,1", ""), ("Z2,12", "E22"), ("Z2,xyz,4", "E22"), ("z2,1234,4", "E01"), ("qSupported", ""), ("vCont?", "")],
    )  # fmt: skip
    def test_packets(self, kgdb: Bench, packet: str, answer: str) -> None:
        assert self.stop(kgdb, packet) == [answer]

    def test_the_fifth_is_e01_and_so_is_a_full_pool(self, kgdb: Bench) -> None:
        packets = [f"Z2,{JIFFIES + 8 * n:x},4" for n in range(5)]
        assert self.stop(kgdb, *packets) == ["OK"] * 4 + ["E01"]
        assert kgdb.errno(kgdb.open, 2, pid=-1, cpu=0) == "ENOSPC"
        assert kgdb.errno(kgdb.kernel.ptrace.poke, kgdb.task, 0, DATA) == "ENOSPC"

    def test_a_watch_goes_by_the_kernels_name_for_its_place(self, kgdb: Bench) -> None:
        self.stop(kgdb, f"Z2,{JIFFIES + 4:x},4", "Z2,1000,4")
        held = kgdb.kernel.layer.holders()
        assert held[0].startswith(f"kgdb breakinfo[0]: jiffies+0x4 ({JIFFIES + 4:#x})")
        assert any("breakinfo[1]: 0x1000/4:w" in line for line in held)
        assert "disabled" not in " ".join(held)

    def test_one_that_is_set_at_another_place_is_another_breakpoint(self, kgdb: Bench) -> None:
        """Its events are made once and used again; what was counted at the place before is not this one's."""
        self.stop(kgdb, f"Z2,{JIFFIES:x},4")
        before = {event.id for event in kgdb.kernel.layer.events}
        self.stop(kgdb, f"z2,{JIFFIES:x},4", f"Z2,{JIFFIES:x},4")
        assert {event.id for event in kgdb.kernel.layer.events} == before
        self.stop(kgdb, f"z2,{JIFFIES:x},4", f"Z2,{JIFFIES + 8:x},4")
        now = {event.id for event in kgdb.kernel.layer.events}
        assert len(now) == len(before)
        assert not now & before
        self.stop(kgdb, f"z2,{JIFFIES + 8:x},4")
        assert kgdb.kernel.layer.free(0) == 4

    def test_a_misaligned_watch_of_kgdb_covers_the_aligned_block(self, kgdb: Bench) -> None:
        """kgdb checks no alignment; the hardware masks the low bits of the address by the length."""
        assert self.stop(kgdb, f"Z2,{JIFFIES + 2:x},4") == ["OK"]
        assert kgdb.access(JIFFIES, 1, "w", user=False).kgdb
        kgdb.kernel.kgdb.packet("c")
        assert kgdb.access(JIFFIES + 4, 1, "w", user=False) is None

    def test_a_held_lock_refuses_both_ways(self, kgdb: Bench) -> None:
        self.stop(kgdb, f"Z2,{JIFFIES:x},4")
        kgdb.kernel.layer.locked_by = "task 1002, which is reserving"
        assert self.stop(kgdb, f"Z2,{JIFFIES + 8:x},4", f"z2,{JIFFIES:x},4") == ["E01", "E01"]
        assert "bp_cpuinfo_sem is held by task 1002" in kgdb.kernel.kgdb.log[-1]
        kgdb.kernel.layer.locked_by = ""
        assert self.stop(kgdb, f"z2,{JIFFIES:x},4") == ["OK"]

    def test_a_watch_removed_at_its_own_hit_is_armed_again_by_the_saved_dr7(self, kgdb: Bench) -> None:
        self.stop(kgdb, f"Z2,{JIFFIES:x},4")
        kgdb.access(JIFFIES, 4, "w", user=False)
        assert kgdb.kernel.kgdb.packet(f"z2,{JIFFIES:x},4") == "OK"
        kgdb.kernel.kgdb.packet("c")
        registers = kgdb.kernel.cpus[0]
        assert registers.ghosts() == (0,)
        assert registers.cpu_dr7 == dr.DR7_GE
        assert kgdb.kernel.layer.free(0) == 4
        result = kgdb.access(JIFFIES, 4, "w", user=False)
        assert [ignored.why for ignored in result.ignored] == ["no owner"]

    def test_rounded_up_cpus_put_their_old_dr7_back(self, kgdb: Bench) -> None:
        self.stop(kgdb, f"Z2,{JIFFIES:x},4")
        self.stop(kgdb, f"Z2,{JIFFIES + 8:x},4")
        first, second = (registers.unit.dr7 for registers in kgdb.kernel.cpus)
        assert (first, second) == (0xDD060A, 0xD0602)

    def test_from_an_nmi(self, kgdb: Bench) -> None:
        assert kgdb.errno(kgdb.kernel.kgdb.enter, 0, "nmi") == "EINVAL"
        kgdb.kernel.enter(0, "nmi")
        kgdb.kernel.kgdb.enter(0, "nmi")
        assert kgdb.kernel.kgdb.packet(f"Z2,{JIFFIES:x},4") == "OK"
        kgdb.kernel.kgdb.packet("c")
        kgdb.kernel.leave(0)
        assert kgdb.kernel.cpus[0].unit.dr7 == 0xD0602

    def test_the_kernels_that_drop_its_hits(self) -> None:
        bench = Bench(KernelConfig((6, 1, 180)))
        bench.kernel.kgdb.connect()
        self.stop(bench, f"Z2,{JIFFIES:x},4")
        result = bench.access(JIFFIES, 4, "w", user=False)
        assert not result.kgdb
        assert [ignored.why for ignored in result.ignored] == ["not active"]

    def test_user_mode_hits_are_none_of_its_business(self, kgdb: Bench) -> None:
        self.stop(kgdb, f"Z2,{DATA:x},4")
        assert not kgdb.access(DATA, 4, "w").kgdb


class TestKvm:
    """tools/testing/selftests/kvm/x86/debug_regs.c, as far as it is about registers; modelled from source (6.17)."""

    @pytest.mark.parametrize("slot", range(4))
    def test_the_hosts_breakpoints_run_the_guest(self, bench: Bench, slot: int) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        addresses = [0x1000 if n == slot else 0 for n in range(4)]
        kvm.set_guest_debug(vcpu, ("enable", "use_hw_bp"), (*addresses, 0x400 | 2 << 2 * slot))
        kvm.enter(vcpu, 0)
        unit = bench.kernel.cpus[0].unit
        assert isinstance(unit, RegisterFile)
        assert unit.hits(0x1000, 1, "x") == 1 << slot
        assert kvm.debug_exception(vcpu, 0xFFFF0FF0 | 1 << slot, 0x1000) == DebugExit(
            1, 0x1000, 0xFFFF0FF0 | 1 << slot, 0x400 | 2 << 2 * slot
        )

    def test_the_guests_settings_are_shadowed_while_the_host_debugs(self, bench: Bench) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        kvm.set_guest_debug(vcpu, ("enable", "use_hw_bp"), (0x1000, 0, 0, 0, 0x402))
        kvm.guest_access(vcpu, 0, 0x1234)
        kvm.guest_access(vcpu, 7, 0xD0401)
        assert (kvm.guest_access(vcpu, 0), kvm.guest_access(vcpu, 7)) == (0x1234, 0xD0401)
        kvm.enter(vcpu, 0)
        unit = bench.kernel.cpus[0].unit
        assert (unit.dr[0], unit.dr7) == (0x1000, 0x402)
        kvm.leave(vcpu)
        kvm.set_guest_debug(vcpu, ())
        kvm.enter(vcpu, 0)
        assert (unit.dr[0], unit.dr7) == (0x1234, 0xD0401)

    def test_general_detect(self, bench: Bench) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        kvm.guest_access(vcpu, 7, 0x2400)
        with pytest.raises(GuestDebugException, match="#DB"):
            kvm.guest_access(vcpu, 0)
        kvm.set_guest_debug(vcpu, ("enable", "use_hw_bp"), (0, 0, 0, 0, 0x2400))
        kvm.guest_access(vcpu, 7, 0x2400)
        answer = kvm.guest_access(vcpu, 0)
        assert isinstance(answer, DebugExit)
        assert (answer.exception, answer.dr6) == (1, 0xFFFF2FF0)

    @pytest.mark.parametrize(
        ("register", "value", "cpl", "de", "what"),
        [
            (4, None, 0, True, "#UD"),
            (0, 1, 3, False, "#GP"),
            (7, 1 << 32, 0, False, "#GP"),
            (4, None, 3, True, "#UD"),
        ],
    )
    def test_what_the_guest_may_not(
        self, bench: Bench, register: int, value: int | None, cpl: int, de: bool, what: str
    ) -> None:
        vcpu = bench.kernel.kvm.create("vcpu0")
        vcpu.cr4_de = de
        with pytest.raises(GuestDebugException, match=what):
            bench.kernel.kvm.guest_access(vcpu, register, value, cpl)

    def test_host_breakpoints_are_silent_in_the_guest_and_back_after_it(self, bench: Bench) -> None:
        bench.open(2, pid=-1, cpu=0)
        registers, kvm = bench.kernel.cpus[0], bench.kernel.kvm
        bench.kernel.switch(0, bench.task)
        before = registers.unit.dr7
        vcpu = kvm.create("vcpu0")
        assert kvm.enter(vcpu, 0) == 1
        assert bench.access(DATA, 8, "w") is None
        assert kvm.leave(vcpu) == 6
        assert registers.unit.dr7 == before

    def test_an_ipi_a_switch_and_an_nmi_take_a_cpu_out_of_its_guest(self, bench: Bench) -> None:
        """What the kernel's own code on that CPU writes must not be the guest's register."""
        kernel, kvm = bench.kernel, bench.kernel.kvm
        vcpu = kvm.create("vcpu0")
        kvm.guest_access(vcpu, 0, 0x1234)
        kvm.guest_access(vcpu, 7, 0x402)
        for act in (
            lambda: bench.open(2, pid=-1, cpu=0),
            lambda: kernel.switch(0, bench.task),
            lambda: kernel.enter(0, "nmi"),
        ):
            kvm.enter(vcpu, 0)
            assert kernel.cpus[0].unit.dr7 == 0x402
            act()
            assert vcpu.cpu is None
        assert kernel.cpus[0].unit.dr7 == 0x400  # in the NMI
        kernel.leave(0)
        assert kernel.cpus[0].unit.dr7 == 0x90602

    def test_what_a_running_guest_writes_reaches_the_hardware_at_its_entry(self, bench: Bench) -> None:
        kvm, unit = bench.kernel.kvm, bench.kernel.cpus[0].unit
        vcpu = kvm.create("vcpu0")
        kvm.set_guest_debug(vcpu, ("enable", "singlestep"))
        kvm.enter(vcpu, 0)
        kvm.guest_access(vcpu, 1, 0x4000)
        kvm.guest_access(vcpu, 7, 0x404)
        assert (unit.dr[1], unit.dr7) == (0x4000, 0x404)
        kvm.set_guest_debug(vcpu, ())
        assert vcpu.cpu is None, "the ioctl waits for the exit"
        kvm.enter(vcpu, 0)
        kvm.guest_access(vcpu, 1, 0x5000)
        assert vcpu.lazy
        assert unit.dr[1] == 0x5000, "the guest has the real registers"

    def test_nothing_is_written_where_neither_side_uses_them(self, bench: Bench) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        assert (kvm.enter(vcpu, 0), kvm.leave(vcpu)) == (0, 0)

    def test_without_host_breakpoints_the_guests_addresses_stay(self, bench: Bench) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        kvm.guest_access(vcpu, 0, 0x1234)
        kvm.guest_access(vcpu, 7, 0x402)
        assert (kvm.enter(vcpu, 0), kvm.leave(vcpu)) == (5, 0)
        unit = bench.kernel.cpus[0].unit
        assert (unit.dr[0], unit.dr7) == (0x1234, 0x400)

    def test_lazy_switching_takes_one_exit(self, bench: Bench) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        kvm.enter(vcpu, 0)
        for n in range(4):
            kvm.guest_access(vcpu, n, n)
        assert vcpu.db_exits == 1
        kvm.leave(vcpu)
        kvm.enter(vcpu, 0)
        kvm.guest_access(vcpu, 0)
        assert vcpu.db_exits == 2

    def test_injecting_twice_is_ebusy(self, bench: Bench) -> None:
        kvm, vcpu = bench.kernel.kvm, bench.kernel.kvm.create("vcpu0")
        kvm.set_guest_debug(vcpu, ("enable", "inject_db"))
        assert bench.errno(kvm.set_guest_debug, vcpu, ("enable", "inject_db")) == "EBUSY"


class TestKsym:
    """The tracer of 2.6.33 to 2.6.35; modelled from source."""

    @pytest.fixture
    def old(self) -> Bench:
        return Bench(KernelConfig((2, 6, 34)))

    def test_today_there_is_none(self, bench: Bench) -> None:
        assert bench.errno(bench.kernel.ksym.write, "pid_max:rw-") == "ENOENT"

    def test_filter_hits_and_leaving(self, old: Bench) -> None:
        ksym = old.kernel.ksym
        ksym.select(True)
        ksym.write("pid_max:rw-")
        assert ksym.filter() == ("pid_max+0x0/0x4:rw-",)
        assert old.kernel.layer.free(0) == old.kernel.layer.free(1) == 3
        old.access(KERNEL_SYMBOLS["pid_max"], 4, "w", user=False)
        assert "pid_max" in ksym.trace()[-1]
        assert ksym.profile()[-1].split() == ["RW", "pid_max", "1"]
        ksym.select(False)
        assert ksym.filter() == ()
        assert old.kernel.layer.free(0) == 4

    @pytest.mark.parametrize(
        "line",
        [
            "pid_max:r--",
            "pid_max:---",
            "pid_max:--x",
            "pid_max:rwx",
            "pid_max",
            "nonsense:rw-",
            "pid_max:rw",
            ":rw-",
        ],
    )
    def test_what_it_refuses(self, old: Bench, line: str) -> None:
        assert old.errno(old.kernel.ksym.write, line) == "EINVAL"

    def test_the_same_again_is_einval_and_another_operation_replaces(self, old: Bench) -> None:
        old.kernel.ksym.write("pid_max:rw-")
        assert old.errno(old.kernel.ksym.write, "pid_max:rw-") == "EINVAL"
        old.kernel.ksym.write("pid_max:-w-")
        assert old.kernel.ksym.filter() == ("pid_max+0x0/0x4:-w-",)
        assert old.kernel.layer.free(0) == 3

    @pytest.mark.parametrize("line", ["", "0", "*:---"])
    def test_clearing(self, old: Bench, line: str) -> None:
        old.kernel.ksym.write("pid_max:rw-")
        old.kernel.ksym.write(line)
        assert old.kernel.layer.free(0) == 4


class TestWprobe:
    """tools/testing/selftests/ftrace/test.d/dynevent/*wprobe*.tc (linux-next); modelled from source."""

    def test_definition_enable_hits_disable_remove(self, bench: Bench) -> None:
        wprobe = bench.kernel.wprobe
        wprobe.write("w:my_wprobe w@jiffies")
        assert wprobe.listing() == ("w:wprobes/my_wprobe w@jiffies:4",)
        assert bench.kernel.layer.free(0) == 4
        wprobe.enable("my_wprobe")
        assert bench.kernel.layer.free(0) == bench.kernel.layer.free(1) == 3
        bench.access(JIFFIES, 4, "w", user=False)
        assert len(wprobe.trace()) == 1
        assert bench.errno(wprobe.write, "-:my_wprobe") == "EBUSY"
        wprobe.disable("my_wprobe")
        assert bench.kernel.layer.free(0) == 4
        wprobe.write("-:my_wprobe")
        assert wprobe.listing() == ()

    @pytest.mark.parametrize(
        ("marked", "word"),
        [
            ("^w", "NO_ARG_BODY"), ("w^10 w@jiffies", "WPROBE_NO_MAXACT"), ("w ^symbol", "BAD_ACCESS_FMT"),
            ("w ^a@symbol", "BAD_ACCESS_TYPE"), ("w w@^symbol", "BAD_ACCESS_ADDR"), ("w w@^0:4", "BAD_ACCESS_ADDR"),
            ("w w@jiffies^+offset", "BAD_PROBE_ADDR"), ("w w@jiffies:^100", "BAD_ACCESS_LEN"),
            ("w w@jiffies ^$arg1", "BAD_VAR"), ("w w@jiffies ^$retval", "BAD_VAR"), ("w w@jiffies ^$stack", "BAD_VAR"),
            ("w w@jiffies ^%ax", "BAD_VAR"),
        ],
    )  # fmt: skip
    def test_syntax_errors_point_at_their_column(self, bench: Bench, marked: str, word: str) -> None:
        line = marked.replace("^", "")
        with pytest.raises(WprobeError) as caught:
            bench.kernel.wprobe.write(line)
        assert (caught.value.word, caught.value.column) == (word, marked.index("^"))

    def test_refusals_of_enable(self, bench: Bench) -> None:
        wprobe = bench.kernel.wprobe
        wprobe.write("w:readonly r@jiffies")
        assert bench.errno(wprobe.enable, "readonly") == "EINVAL"
        wprobe.write("w:mine w@jiffies")
        assert bench.errno(wprobe.write, "w:mine w@jiffies") == "EBUSY"
        for _ in range(4):
            bench.open(2, pid=-1, cpu=1)
        assert bench.errno(wprobe.enable, "mine") == "ENOSPC"
        assert bench.kernel.layer.free(0) == 4  # CPU 0's was given back

    def test_two_of_them_leave_two_registers_to_ptrace(self, bench: Bench) -> None:
        for number in range(2):
            bench.kernel.wprobe.write(f"w:p{number} w@jiffies")
            bench.kernel.wprobe.enable(f"p{number}")
        bench.kernel.ptrace.poke(bench.task, 0, DATA)
        bench.kernel.ptrace.poke(bench.task, 1, DATA)
        assert bench.errno(bench.kernel.ptrace.poke, bench.task, 2, DATA) == "ENOSPC"


class TestWprobeTriggers:
    """trigger/trigger-wprobe.tc and trigger-wprobe-syntax-errors.tc (linux-next); modelled from source."""

    @pytest.fixture
    def armed(self, bench: Bench) -> Bench:
        bench.kernel.wprobe.write("w:watch rw@-1:8 address=$addr value=$value")
        return bench

    def test_an_event_arms_it_and_another_disarms_it(self, armed: Bench) -> None:
        triggers, wprobe = armed.kernel.triggers, armed.kernel.wprobe
        triggers.write("fprobes/arm", "set_wprobe:watch:address")
        triggers.write("fprobes/disarm", "clear_wprobe:watch:address")
        assert armed.kernel.layer.free(0) == armed.kernel.layer.free(1) == 3
        assert armed.access(JIFFIES, 8, "w", user=False) is None
        triggers.fire("fprobes/arm", {"address": JIFFIES})
        triggers.fire("fprobes/arm", {"address": JIFFIES + 64})  # armed already: nothing happens
        armed.access(JIFFIES, 8, "w", user=False)
        assert len(wprobe.trace()) == 1
        triggers.fire("fprobes/disarm", {"address": JIFFIES + 8})
        assert triggers.armed == {"watch": JIFFIES}
        triggers.fire("fprobes/disarm", {"address": JIFFIES})
        assert armed.access(JIFFIES, 8, "w", user=False) is None
        triggers.write("fprobes/arm", "!set_wprobe:watch:address")
        assert armed.kernel.layer.free(0) == 3
        triggers.write("fprobes/disarm", "!clear_wprobe:watch:address")
        assert armed.kernel.layer.free(0) == 4
        assert triggers.listing() == ()

    @pytest.mark.parametrize(
        ("line", "word"),
        [
            ("set_wprobe:nosuch:address", "WPROBE_NOT_FOUND"),
            ("set_wprobe::address", "WPROBE_NOT_FOUND"),
            ("set_wprobe:watch", "WPROBE_NEED_FIELD"),
            ("set_wprobe:watch:nosuch", "NO_EVENT_FIELD"),
        ],
    )
    def test_syntax_errors(self, armed: Bench, line: str, word: str) -> None:
        with pytest.raises(TriggerError) as caught:
            armed.kernel.triggers.write("fprobes/arm", line)
        assert caught.value.word == word

    def test_other_refusals(self, armed: Bench) -> None:
        write = armed.kernel.triggers.write
        armed.kernel.wprobe.write("w:busy w@jiffies")
        armed.kernel.wprobe.enable("busy")
        assert armed.errno(write, "fprobes/arm", "set_wprobe:busy:address") == "EBUSY"
        assert armed.errno(write, "fprobes/arm", "set_wprobe:watch:size") == "ENOEXEC"
        assert armed.errno(write, "kprobes/p_probe", "set_wprobe:watch:arg1") == "EOPNOTSUPP"
        write("fprobes/arm", "set_wprobe:watch:address+8")
        assert armed.errno(write, "fprobes/arm", "set_wprobe:watch:address+8") == "EEXIST"

    def test_a_set_in_an_nmi_or_with_a_bad_address_is_missed(self, armed: Bench) -> None:
        triggers = armed.kernel.triggers
        triggers.write("fprobes/arm", "set_wprobe:watch:address")
        triggers.fire("fprobes/arm", {"address": 0x1000})
        armed.kernel.enter(0, "nmi")
        triggers.fire("fprobes/arm", {"address": JIFFIES})
        armed.kernel.leave(0)
        assert (triggers.missed, triggers.armed) == (2, {})


def test_no_breakpoint_hits_inside_an_nmi(bench: Bench) -> None:
    bench.open(2)
    bench.kernel.switch(0, bench.task)
    bench.kernel.enter(0, "nmi")
    assert bench.access(DATA, 8, "w") is None
    bench.kernel.leave(0)
    assert bench.access(DATA, 8, "w") is not None


def test_a_guest_kernel_leaves_dr7_alone_where_nothing_is_enabled(bench: Bench) -> None:
    bench.kernel.enter(0, "nmi")
    bench.kernel.leave(0)
    assert bench.kernel.journal.written() == 0


def test_nested_contexts_come_back_in_order(bench: Bench) -> None:
    bench.open(2)
    bench.kernel.switch(0, bench.task)
    before = bench.kernel.cpus[0].unit.dr7
    bench.kernel.enter(0, "nmi")
    bench.kernel.enter(0, "mce")
    bench.kernel.leave(0)
    assert bench.kernel.cpus[0].unit.dr7 == dr.DR7_BASE
    bench.kernel.leave(0)
    assert bench.kernel.cpus[0].unit.dr7 == before
