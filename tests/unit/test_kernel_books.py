"""The kernel's books without a kernel: who is said to hold an event, and what is free."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from backends.kernelview.books import Books, CpuBook, Holding, Target, used_slots
from backends.kernelview.events import KERNEL, Event, Events
from backends.kernelview.handlers import Handlers
from backends.kernelview.now import describe, holders_in
from backends.kernelview.ownership import Ownership
from backends.kernelview.tasks import Tasks
from backends.model import Owner
from tui.text.slots import lines

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81300000 t __pfx_ptrace_triggered
ffffffff81300010 t ptrace_triggered
ffffffff81400000 t kgdb_hw_overflow_handler
ffffffff81500000 t wprobe_perf_handler
ffffffff81600000 t some_watchdog_handler
ffffffffc0000010 t sample_hbp_handler\t[data_breakpoint]
"""


def event(handler: int, cpu: int | None = 0) -> Event:
    return Event(
        address=0xFFFF888000001000,
        pmu=1,
        watched=0xFFFFFFFF82000000,
        length=4,
        type="w",
        enabled=True,
        cpu=cpu,
        target=0,
        owner=KERNEL,
        parent=0,
        hits=7,
        handler=handler,
        reserves=True,
    )


class NoEvents:
    def at(self, _address: int) -> None:
        return None


@pytest.mark.parametrize(
    ("handler", "owner"),
    [
        (0xFFFFFFFF81400000, Owner("kgdb")),
        (0xFFFFFFFF81500000, Owner("ftrace", comm="wprobe_perf_handler")),
        (0xFFFFFFFFC0000010, Owner("module", comm="data_breakpoint")),
        (0xFFFFFFFF81600000, Owner("unknown", comm="some_watchdog_handler")),
        (0xFFFFFFFF81700000, Owner("unknown")),
    ],
)
def test_what_the_kernel_made_is_known_by_who_handles_its_hits(
    tmp_path: Path, handler: int, owner: Owner
) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    owners = Ownership(cast(Events, NoEvents()), cast(Tasks, None), Handlers(str(path)))
    holding = owners.describe(event(handler), {})
    assert holding is not None
    assert holding.owner == owner
    assert (holding.orphan, holding.cpu, holding.hits) == (False, 0, 7)


def test_the_function_is_named_and_not_the_padding_before_it(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(
        "ffffffff81300010 t __pfx_ptrace_triggered\nffffffff81300010 t ptrace_triggered\n", encoding="ascii"
    )
    assert Handlers(str(path)).name(0xFFFFFFFF81300010) == ("ptrace_triggered", "")


def test_without_a_symbol_table_nothing_has_a_name(tmp_path: Path) -> None:
    assert Handlers(str(tmp_path / "kallsyms")).name(0xFFFFFFFF81300010) == ("", "")


def holding(
    *,
    task: int = 0,
    cpu: int | None = None,
    enabled: bool = True,
    owner: Owner | None = None,
    orphan: bool = False,
    slot: int | None = None,
) -> Holding:
    return Holding(
        slot=slot,
        address=0x404040,
        length=8,
        type="w",
        enabled=enabled,
        owner=owner or Owner("perf", 10, "perf", 3),
        target=Target(task, task, "prog") if task else None,
        cpu=cpu,
        index=None,
        hits=1,
        orphan=orphan,
        task=task,
    )


@pytest.mark.parametrize(
    ("holdings", "used"),
    [
        ([], [(0, 0), (0, 0)]),
        ([holding(cpu=0)] * 2 + [holding(task=1)] * 2, [(2, 2), (0, 2)]),
        ([holding(task=1)] * 2 + [holding(task=2)] * 3, [(0, 3), (0, 3)]),  # the greediest, not the sum
        ([holding(task=1, cpu=1), holding(task=1)], [(0, 1), (0, 2)]),  # a task's own on one CPU only
        ([holding(task=1, enabled=False)] * 4, [(0, 4), (0, 4)]),  # disabled ones count
    ],
)
def test_cpu_bound_breakpoints_and_the_greediest_task_add_up(
    holdings: list[Holding], used: list[tuple[int, int]]
) -> None:
    assert used_slots((0, 1), holdings) == dict(enumerate(used))


def books(*reserved: Holding, slots: tuple[Holding, ...] = ()) -> Books:
    return Books("kernel books", 1, 0.5, (CpuBook(0, 0x90202, 1, slots),), reserved)


def test_holders_are_those_in_the_way_of_one_process() -> None:
    mine, other, wide = holding(task=1), holding(task=2), holding(cpu=0)
    assert holders_in(books(mine, other, wide), 1) == (
        "perf 10 (perf) fd 3: 0x404040/8:w in 1 (prog)",
        "perf 10 (perf) fd 3: 0x404040/8:w on CPU 0",
    )
    assert len(holders_in(books(mine, other, wide))) == 3


def test_many_holders_are_cut_short() -> None:
    found = holders_in(books(*(holding(task=task) for task in range(1, 50))))
    assert len(found) == 13
    assert found[-1] == "and 37 more: hwbp-tui slots"


def test_a_holding_in_one_line() -> None:
    left = holding(task=5, owner=Owner("ptrace"), orphan=True, enabled=False)
    assert describe(left) == "ptrace (left behind): 0x404040/8:w in 5 (prog), disabled"


@pytest.mark.parametrize(
    "owner", [Owner("perf", 4194304, "a-name-as-long-", 12345), Owner("kgdb"), Owner("unknown")]
)
def test_no_line_is_wider_than_80_columns(owner: Owner) -> None:
    long = Holding(
        slot=3,
        address=0xFFFFFFFFFFFFFFF8,
        length=8,
        type="rw",
        enabled=False,
        owner=owner,
        target=Target(4194303, 4194304, "\x1b[2J\x1b[31m\n\x07abc"),
        cpu=127,
        index=3,
        hits=123_456_789_012,
        orphan=True,
        task=1,
    )
    shown = lines(books(long, slots=(long,)))
    assert max(map(len, shown)) <= 80, max(shown, key=len)
    assert not any("\x1b" in line for line in shown)
