"""The running kernel's memory and per-CPU variables, against what /proc says of the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from backends.base import HwbpError
from backends.kernelview.btf import Btf
from backends.kernelview.memory import BpfMemory, Memory, UnreadableError
from backends.kernelview.percpu import PerCpu
from tests.live.bpf_here import needs_bpf

pytestmark = [pytest.mark.root, pytest.mark.live, needs_bpf]


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf.load()


@pytest.fixture(scope="module")
def memory() -> Iterator[BpfMemory]:
    memory = BpfMemory()
    yield memory
    memory.close()


def online() -> list[int]:
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [cpu for ends in ranges for cpu in range(int(ends[0]), int(ends[-1]) + 1)]


def test_the_task_that_reads_is_ourselves(btf: Btf, memory: BpfMemory) -> None:
    task = memory.task()
    assert (
        memory.word(task + btf.field("task_struct", "pid").offset) & 0xFFFFFFFF == threading.get_native_id()
    )
    assert memory.word(task + btf.field("task_struct", "tgid").offset) & 0xFFFFFFFF == os.getpid()


@pytest.mark.parametrize("address", [0, 8, 0x400000, 0x7FFFFFFFF000, 0x8000_0000_0000_0000, (1 << 64) - 8])
def test_an_address_without_kernel_memory_is_unreadable(memory: BpfMemory, address: int) -> None:
    with pytest.raises(UnreadableError):
        memory.read(address, 8)


def test_more_than_a_page_is_read_in_pieces(btf: Btf, memory: BpfMemory) -> None:
    base = min(PerCpu.of(btf, memory).bases.values())
    assert len(memory.read(base, 10_000)) == 10_000


def test_a_list_walked_in_the_kernel_is_the_list_walked_from_outside(btf: Btf, memory: BpfMemory) -> None:
    leader = memory.word(memory.task() + btf.field("task_struct", "group_leader").offset)
    tasks = btf.field("task_struct", "tasks").offset
    beside = btf.field("task_struct", "signal").offset - tasks
    for _ in range(10):  # processes come and go meanwhile
        inside, outside = memory.nodes(leader + tasks, beside), Memory.nodes(memory, leader + tasks, beside)
        if inside == outside:
            break
    assert inside == outside
    assert len(inside) > 5


def test_nodes_on_a_list_are_linked_and_others_are_not(btf: Btf, memory: BpfMemory) -> None:
    task = memory.task()
    signal = memory.word(task + btf.field("task_struct", "signal").offset)
    head = signal + btf.field("signal_struct", "thread_head").offset
    (node, _), *_ = memory.nodes(
        head, btf.field("task_struct", "signal").offset - btf.field("task_struct", "thread_node").offset
    )
    alone = task + btf.field("task_struct", "ptraced").offset  # the head of an empty list
    asked = [node, alone, node + 8, 0x10]
    assert memory.linked(asked) == Memory.linked(memory, asked) == [True, False, False, False]


def test_structures_read_many_at_once_are_those_read_one_by_one(btf: Btf, memory: BpfMemory) -> None:
    """More than one run of the program, with places among them where there is no memory."""
    task = btf.field("task_struct", "tasks").offset
    leader = memory.word(memory.task() + btf.field("task_struct", "group_leader").offset)
    tasks = [
        node - task
        for node, _ in memory.nodes(leader + task, btf.field("task_struct", "signal").offset - task)
    ]
    pieces = tuple((btf.field("task_struct", name).offset, 8) for name in ("pid", "comm"))
    asked = [*tasks, 8, *tasks, *([leader] * 100), 0x7FFFFFFFF000]
    for _ in range(10):  # processes come and go meanwhile
        one, many = (
            [
                read.data[at * read.stride :][:16] if there else None
                for read in found
                for at, there in enumerate(read.there)
            ]
            for found in (Memory.structures(memory, asked, pieces), memory.structures(asked, pieces))
        )
        if one == many:
            break
    assert one == many
    assert [bytes_ is None for bytes_ in many].count(True) == 2
    assert len(many) == len(asked) > 100
    assert (many[-2] or b"")[:8] == os.getpid().to_bytes(4, "little") * 2


def test_a_walk_of_a_list_longer_than_one_run_goes_on(btf: Btf, memory: BpfMemory) -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(300)]
    for thread in threads:
        thread.start()
    try:
        task = memory.task()
        node = btf.field("task_struct", "thread_node").offset
        signal = memory.word(task + btf.field("task_struct", "signal").offset)
        head = signal + btf.field("signal_struct", "thread_head").offset
        found = memory.nodes(head, btf.field("task_struct", "signal").offset - node)
        assert len(found) == len(os.listdir("/proc/self/task"))
        assert {word for _, word in found} == {signal}
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_each_online_cpu_has_its_base(btf: Btf, memory: BpfMemory) -> None:
    per_cpu = PerCpu.of(btf, memory)
    assert list(per_cpu.bases) == online()
    for cpu in per_cpu.bases:
        assert memory.word(per_cpu.address("cpu_number", cpu)) & 0xFFFFFFFF == cpu


def test_the_kernel_keeps_a_copy_of_each_cpus_dr7(btf: Btf, memory: BpfMemory) -> None:
    per_cpu = PerCpu.of(btf, memory)
    for cpu in per_cpu.bases:
        assert (
            memory.word(per_cpu.address("cpu_dr7", cpu)) & ~0xFFFF_03AA == 0
        )  # Gn, GE and the nibbles; never Ln


def test_a_cpu_that_is_not_there_is_refused(btf: Btf, memory: BpfMemory) -> None:
    with pytest.raises(HwbpError, match="CPU 4000"):
        PerCpu.of(btf, memory).address("cpu_dr7", 4000)
