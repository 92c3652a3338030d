"""Linux's slot accounting: who counts, when a request is refused, and what a refusal leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import dr
from backends.base import HwbpError
from backends.emulated.backend import EmulatedBackend
from backends.model import BreakpointRequest
from tests.machine.code import DATA, program
from tests.machine.test_debug_unit import finish, loaded


@pytest.fixture
def machine(tmp_path: Path) -> EmulatedBackend:
    return loaded(program(tmp_path / "p", bytes.fromhex("488903" * 3)))


def perf(number: int, *, enabled: bool = True) -> BreakpointRequest:
    return BreakpointRequest(DATA + 8 * number, 8, "w", enabled=enabled, text=f"word{number}")


def refused(machine: EmulatedBackend, *requests: BreakpointRequest) -> HwbpError:
    with pytest.raises(HwbpError) as caught:
        machine.arm(requests)
    return caught.value


def test_the_fifth_request_is_enospc_and_names_the_holders(machine: EmulatedBackend) -> None:
    machine.arm(tuple(perf(n) for n in range(4)))
    error = refused(machine, perf(4))
    assert error.errno == "ENOSPC"
    assert "0 pinned + 4 of task 1000 = 4/4" in error.message
    assert len(error.holders) == 4
    assert all(f"word{n}" in holder for n, holder in enumerate(error.holders))


def test_a_refused_request_leaves_no_slot_behind(machine: EmulatedBackend) -> None:
    machine.arm((perf(0), perf(1)))
    error = refused(machine, perf(2), perf(3), perf(4))
    assert error.errno == "ENOSPC"
    assert ["this request" in holder for holder in error.holders] == [False, False, True, True]
    view = machine.view()
    assert len(view.breakpoints) == 2
    assert view.cpus[0].free == 2
    assert view.refused == 1
    machine.arm((perf(2), perf(3)))


def test_a_disabled_event_still_holds_its_slot(machine: EmulatedBackend) -> None:
    machine.arm(tuple(perf(n, enabled=False) for n in range(4)))
    assert machine.view().cpus[0].dr7 == dr.DR7_BASE
    assert refused(machine, perf(4)).errno == "ENOSPC"


def test_space_is_checked_before_the_address(machine: EmulatedBackend) -> None:
    machine.arm(tuple(perf(n) for n in range(4)))
    assert refused(machine, BreakpointRequest(DATA + 1, 8, "w")).errno == "ENOSPC"
    machine.disarm((1,))
    assert refused(machine, BreakpointRequest(DATA + 1, 8, "w")).errno == "EINVAL"


@pytest.mark.parametrize(
    ("address", "length", "kind", "errno"),
    [
        (DATA + 1, 2, "w", "EINVAL"),
        (DATA, 3, "w", "EINVAL"),
        (DATA, 0, "w", "EINVAL"),
        (DATA, 16, "w", "EOPNOTSUPP"),
        (DATA, 4, "x", "EINVAL"),
        (0xFFFFFFFF81000000, 8, "w", "EINVAL"),
        (0x7FFFFFFFF000, 1, "rw", "EINVAL"),
        (0xFFFFFFFFFFFFFFFF, 2, "w", "EINVAL"),
    ],
)
def test_what_the_kernel_refuses(
    machine: EmulatedBackend, address: int, length: int, kind: str, errno: str
) -> None:
    assert refused(machine, BreakpointRequest(address, length, kind)).errno == errno  # type: ignore[arg-type]
    assert machine.view().cpus[0].free == 4


def test_a_cpu_bound_event_leaves_room_for_the_greediest_task(machine: EmulatedBackend) -> None:
    machine.arm((perf(0), perf(1), perf(2)))
    assert machine.view().cpus[0].free == 1


def test_registers_are_taken_from_dr0_in_the_order_of_creation(machine: EmulatedBackend) -> None:
    first, second = machine.arm((perf(0), perf(1)))
    assert (first.slot, second.slot) == (0, 1)
    machine.disarm((first.id,))
    (third,) = machine.arm((perf(2),))  # enabling a pinned event reschedules its task's others (ctx_resched)
    assert {event.id: event.slot for event in machine.view().breakpoints} == {second.id: 0, third.id: 1}


def test_registers_read_as_the_kernel_writes_them(machine: EmulatedBackend) -> None:
    machine.arm((BreakpointRequest(DATA, 4, "w"),))
    cpu = machine.view().cpus[0]
    assert (cpu.cpu_dr7, cpu.dr7) == (0x000D0202, 0x000D0602)
    machine.disarm((1,))
    cpu = machine.view().cpus[0]
    assert (cpu.cpu_dr7, cpu.dr7, cpu.dr[0]) == (0x200, 0x600, DATA)


def test_events_outlive_the_program_until_they_are_closed(machine: EmulatedBackend) -> None:
    machine.arm((perf(0),))
    finish(machine)
    view = machine.view()
    assert view.state == "exited"
    assert [event.slot for event in view.breakpoints] == [None]
    assert view.cpus[0].free == 3


class TestPtrace:
    """arch/x86/kernel/ptrace.c, the sequence of docs/semantics.md."""

    def test_a_worked_sequence(self, machine: EmulatedBackend) -> None:
        machine.ptrace_poke(None, 0, DATA)
        assert machine.view().cpus[0].free == 3  # a slot, although disabled
        assert machine.ptrace_peek(None, 7) == 0
        machine.ptrace_poke(None, 7, 0x000D0001)
        assert machine.view().cpus[0].dr7 == 0x000D0602
        assert machine.ptrace_peek(None, 7) == 0x000D0001
        with pytest.raises(HwbpError) as caught:
            machine.ptrace_poke(None, 0, DATA + 1)
        assert caught.value.errno == "EINVAL"
        assert machine.ptrace_peek(None, 0) == DATA
        with pytest.raises(HwbpError):
            machine.ptrace_poke(None, 7, 0x00020001)
        assert machine.view().cpus[0].dr7 == 0x000D0602
        machine.ptrace_poke(None, 7, 0)
        assert machine.view().cpus[0].free == 3
        assert machine.ptrace_peek(None, 0) == DATA
        machine.ptrace_poke(None, 0, DATA + 1)  # an execute breakpoint now: no alignment
        with pytest.raises(HwbpError) as caught:
            machine.ptrace_poke(None, 7, 0x000D0001)
        assert caught.value.errno == "EINVAL"
        finish(machine)
        assert machine.view().cpus[0].free == 4  # gone with the task

    @pytest.mark.parametrize("register", [4, 5, 8, -1])
    def test_registers_that_cannot_be_written(self, machine: EmulatedBackend, register: int) -> None:
        with pytest.raises(HwbpError) as caught:
            machine.ptrace_poke(None, register, 0)
        assert caught.value.errno == "EIO"

    def test_dr4_and_dr5_read_zero(self, machine: EmulatedBackend) -> None:
        assert (machine.ptrace_peek(None, 4), machine.ptrace_peek(None, 5)) == (0, 0)
        assert machine.ptrace_peek(None, 6) == dr.DR6_BASE

    def test_ptrace_and_perf_share_the_four(self, machine: EmulatedBackend) -> None:
        machine.arm((perf(0), perf(1), perf(2)))
        machine.ptrace_poke(None, 0, DATA)
        with pytest.raises(HwbpError) as caught:
            machine.ptrace_poke(None, 1, DATA)
        assert caught.value.errno == "ENOSPC"
        assert refused(machine, perf(3)).errno == "ENOSPC"

    def test_the_hardware_index_may_differ_from_ptraces(self, machine: EmulatedBackend) -> None:
        machine.arm((perf(5),))
        machine.ptrace_poke(None, 0, DATA)
        machine.ptrace_poke(None, 7, 0x000D0001)
        (event,) = [b for b in machine.view().breakpoints if b.owner.kind == "ptrace"]
        assert (event.index, event.slot) == (0, 1)
        finish(machine)
        view = machine.view()
        assert view.tasks[0].virtual_dr6 == dr.DR6_BASE | 1
        assert view.cpus[0].dr6 == dr.DR6_BASE | 2

    def test_deleting_keeps_the_slot(self, machine: EmulatedBackend) -> None:
        (event,) = machine.arm((BreakpointRequest(DATA, 8, "w", "ptrace"),))
        machine.disarm((event.id,))
        assert machine.view().cpus[0].free == 3
        assert not machine.view().breakpoints[0].enabled

    def test_a_refused_watch_leaves_nothing(self, machine: EmulatedBackend) -> None:
        machine.arm(tuple(perf(n) for n in range(4)))
        assert refused(machine, BreakpointRequest(DATA, 8, "w", "ptrace")).errno == "ENOSPC"
        machine.disarm((1, 2, 3, 4))
        assert machine.view().cpus[0].free == 4
        assert machine.ptrace_peek(None, 7) == 0


def test_while_a_guest_runs_the_registers_are_its_own(machine: EmulatedBackend) -> None:
    (watch,) = machine.arm((perf(0),))
    for verb, arguments in (
        ("create", ("v",)),
        ("mov", ("v", "dr0", "0x1000")),
        ("mov", ("v", "dr7", "0x402")),
        ("enter", ("v", "0")),
    ):
        machine.owner("kvm", verb, arguments)
    inside = machine.view().cpus[0]
    assert inside.guest == "v"
    assert [(slot.index, slot.address, slot.type, slot.breakpoint) for slot in inside.slots] == [
        (0, 0x1000, "x", None)
    ]
    machine.owner("kvm", "exit", ("v",))
    after = machine.view().cpus[0]
    assert not after.guest
    assert [(slot.index, slot.breakpoint) for slot in after.slots] == [(0, watch.id)]
