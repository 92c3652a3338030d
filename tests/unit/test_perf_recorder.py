"""Raw hits of a live program become rows: for whole arrays the same as one by one, in the order of time, counted exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends.condition import Condition, Term
from backends.model import BreakpointRequest, Mapping, WatchType
from backends.perf.culprits import Culprits
from backends.perf.flow import _ripe
from backends.perf.lines import LINE, PLACE, PLACES_AT, Lines
from backends.perf.places import Place, Places
from backends.perf.program import REGISTERS, Layout
from backends.perf.recorder import Recorder
from backends.perf.stacks import StackTable
from backends.ring import FLAG_UNSEEN, FROM_CODES, RingMemory, create_memfd
from backends.ring_reader import RingReader
from backends.ring_writer import RingWriter
from symbols.culprit import Alone

CODE_AT = 0x401000
CODE = bytes.fromhex(
    "90"  # nop: a function's first byte is an entry
    "48890514300000"  # mov [rip+0x3014], rax     -> 0x40401c at 0x401008
    "48891c24"  # mov [rsp], rbx
    "488944cb10"  # mov [rbx+rcx*8+16], rax
    "4801042500404000"  # add [0x404000], rax
    "48c70701000000"  # mov qword [rdi], 1
    "488b4510"  # mov rax, [rbp+16]
    "48870f"  # xchg [rdi], rcx
    "f3aa"  # rep stosb
    "48ff07"  # inc qword [rdi]
    "c3"
)
ENDS = (0x401008, 0x40100C, 0x401011, 0x401019, 0x401020, 0x401024, 0x401027, 0x401029, 0x40102C)
WINDOW = 0x404000
TRAP = FROM_CODES.index("trap")


def code(address: int, size: int) -> bytes:
    at = address - CODE_AT
    if not 0 <= at < len(CODE):
        raise OSError
    return CODE[at : at + size]


class Made:
    """A recorder on a ring of its own."""

    def __init__(
        self, *, held: bool = True, stacks: bool = False, registers: tuple[str, ...] = REGISTERS
    ) -> None:
        self.layout = Layout(stacks, registers)
        fd = create_memfd(1 << 10)
        self.reader = RingReader(fd)
        culprits = Culprits(code, "/nowhere", registers)
        culprits.update((Mapping(CODE_AT, CODE_AT + 0x1000, "r-xp", 0, ""),))
        self.recorder = Recorder(
            RingWriter(RingMemory(fd)), culprits, StackTable(stacks), registers, lambda: None, held=held
        )

    def arm(self, number: int, kind: WatchType = "w", **more: Any) -> None:
        self.recorder.arm(number, BreakpointRequest(WINDOW, 8, kind, watch=number, **more))

    def raw(self, count: int, **fields: Any) -> Any:
        rows = np.zeros(count, self.layout.dtype)
        rows["time"] = np.arange(1, count + 1)
        rows["pid"] = rows["tid"] = 7
        rows["breakpoint"], rows["address"], rows["length"], rows["slot"] = 1, WINDOW, 8, 0
        rows["value_from"] = TRAP
        for name, value in fields.items():
            rows[name] = value
        return rows

    def record(self, raw: Any) -> Any:
        head = self.reader.head
        self.recorder.record(raw)
        return self.reader.read(head, len(raw))


@pytest.mark.parametrize("kind", ["w", "rw"])
@pytest.mark.parametrize("held", [True, False], ids=["bpf", "rings"])
def test_whole_arrays_say_the_same_as_looking_at_each_hit(
    kind: WatchType, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(5)
    for _ in range(30):
        count = int(generator.integers(1, 200))
        made = Made(held=held)
        raw = made.raw(count, ip=generator.choice(ENDS, count), value=generator.integers(0, 4, count))
        near = WINDOW + generator.integers(-16, 24, (count, len(REGISTERS)))
        near = np.where(generator.random(near.shape) < 0.7, near, generator.integers(0, 9, near.shape))
        for name, column in zip(REGISTERS, near.T, strict=True):
            raw[name] = column
        raw["breakpoint"] = generator.integers(1, 3, count)
        raw["pid"] = generator.integers(7, 9, count)
        if not held:
            raw["value_from"] = 0
        rows = []
        for each in (False, True):
            other = Made(held=held)
            other.arm(1, kind)
            other.arm(2, kind)
            with monkeypatch.context() as patch:
                if each:
                    patch.setattr(Places, "_place", lambda _self, id_, ip: Place(id_, ip, 0, 2, True))
                half = count // 2
                rows.append(np.concatenate([other.record(raw[:half]), other.record(raw[half:])]))
                sites = other.recorder.sites(100, {})
            assert sum(site.count for site in sites) == count
        assert rows[0].tolist() == rows[1].tolist()


@pytest.mark.parametrize("register", ["rax", None])
@pytest.mark.parametrize("base", ["rdi", None])
def test_a_value_is_the_same_for_hits_of_one_window_and_of_several(
    register: str | None, base: str | None
) -> None:
    """16 bytes before and behind a store of 4 bytes, with windows of each length: alone, and all at once."""
    made = Made()
    operand = Alone(0, 1, True, base, None, 1, WINDOW, 4, True, register, 8 if register else 0, 3, True)
    place = Place(1, 0, 0, 1, False, operand)
    windows = [(WINDOW + at, length) for length in (1, 2, 4, 8) for at in range(-16, 16, length)]
    raw = made.raw(
        len(windows),
        address=[address for address, _ in windows],
        length=[length for _, length in windows],
        rax=0x1122_3344_5566_7788,
    )
    values, known = place.values(raw, slice(None))
    assert 0 < known.sum() < len(windows)
    told = 0x1122_3344_5566_77 + 3 if register else 3
    for number, (address, length) in enumerate(windows):
        alone, also = (each.tolist() for each in place.values(raw[number : number + 1], slice(None)))
        inside = 0 <= address - WINDOW <= 4 - length
        assert also == [inside] == [known[number]]
        if inside:
            expected = told >> 8 * (address - WINDOW) & (1 << 8 * length) - 1
            assert alone == [expected] == [values[number]]


@pytest.mark.parametrize("later", [5 + (1 << 15), 5 + (1 << 16), 1 << 15, 3 << 15])
def test_the_number_of_a_breakpoint_may_be_any(later: int) -> None:
    made = Made()
    made.arm(5)
    made.arm(later, "x")
    after, instruction = ENDS[3], ENDS[2]  # behind `add [0x404000], rax`, and its own address
    for _ in range(2):
        (row,) = made.record(made.raw(1, ip=after, breakpoint=5))
        assert (row["insn_ip"], row["breakpoint"]) == (instruction, 5)
        (row,) = made.record(made.raw(1, ip=after, breakpoint=later))
        assert (row["insn_ip"], row["breakpoint"]) == (after, later)


def test_totals_are_by_the_instruction_and_the_last_hit() -> None:
    made = Made()
    made.arm(1)
    raw = made.raw(5, ip=0x401020, rdi=WINDOW, value=np.array([1, 2, 3, 4, 5]))
    made.record(raw)
    (site,) = made.recorder.sites(10, {})
    assert (site.insn_ip, site.count, site.first_ns, site.last_ns, site.value, site.old) == (
        0x401019,
        5,
        1,
        5,
        5,
        4,
    )
    assert made.recorder.hits_of(1) == 5


def test_hits_that_no_record_tells_of_are_in_the_totals() -> None:
    made = Made()
    made.arm(1)
    made.record(made.raw(2, ip=0x401020, rdi=WINDOW))
    (site,) = made.recorder.sites(10, {(1, 0x401020): 40, (9, 0x401020): 1})
    assert (site.insn_ip, site.count) == (0x401019, 42)


def test_a_value_that_nobody_was_seen_to_write_is_told_by_a_read() -> None:
    made = Made()
    made.arm(1, "rw")
    made.record(made.raw(1, ip=0x401020, rdi=WINDOW, value=1))
    read = made.record(made.raw(2, ip=0x401024, rbp=WINDOW - 16, value=np.array([1, 9])))
    assert [bool(flags & FLAG_UNSEEN) for flags in read["flags"].tolist()] == [False, True]


def test_what_an_exchange_kept_tells_too_and_other_processes_do_not_count() -> None:
    made = Made()
    made.arm(1)
    rows = made.record(
        made.raw(3, ip=0x401027, rdi=WINDOW, rcx=np.array([0, 5, 7]), value=np.array([5, 6, 8]))
    )
    assert rows["old"].tolist() == [0, 5, 7]
    assert [bool(flags & FLAG_UNSEEN) for flags in rows["flags"].tolist()] == [False, False, True]
    other = made.raw(1, ip=0x401027, rdi=WINDOW, rcx=99, value=1)
    other["pid"] = 8
    assert not made.record(other)["flags"][0] & FLAG_UNSEEN


def test_behind_the_rings_conditions_and_limits_are_held_here() -> None:
    made = Made(held=False)
    made.arm(1, condition=Condition("value > 2", (Term("value", 3, 1 << 40),)), limit=2)
    rows = made.record(made.raw(6, ip=0x401020, rdi=WINDOW, value=np.array([1, 3, 2, 4, 5, 6])))
    assert rows["value"].tolist() == [3, 4]
    assert rows["old"].tolist() == [1, 2]  # what was there, wanted or not
    assert made.recorder.held_of(1) == (2, True)
    assert sum(site.count for site in made.recorder.sites(9, {})) == 2


def test_behind_the_rings_the_windows_of_a_watch_ignore_hits_together_and_in_the_order_of_time() -> None:
    made = Made(held=False)
    for number in (1, 2):
        made.recorder.arm(number, BreakpointRequest(WINDOW, 8, "w", watch=0, ignore=3, limit=2))
    raw = made.raw(7, ip=0x401020, rdi=WINDOW, value=np.arange(7), breakpoint=np.array([1, 2, 2, 1, 2, 1, 1]))
    head = made.record(raw[:2])
    assert len(head) == 0
    assert (made.recorder.ignoring(1), made.recorder.ignoring(2)) == (1, 1)
    rows = made.record(raw[2:])
    assert rows["value"].tolist() == [3, 4]
    assert rows["old"].tolist() == [0, 2]  # of its own window, ignored or not
    assert (made.recorder.held_of(1), made.recorder.held_of(2)) == ((1, True), (2, True))
    made.recorder.ignore((1, 2), 1)
    made.recorder.begin_anew(1)
    assert made.record(raw)["value"].tolist() == [1, 2]


def test_where_the_kernel_leaves_hits_out_the_last_recorded_one_is_not_what_was_there_before() -> None:
    made = Made()
    made.arm(1)
    made.record(made.raw(1, ip=0x401020, rdi=WINDOW, value=5))
    made.recorder.ignore((1,), 9)
    assert made.record(made.raw(1, ip=0x401020, rdi=WINDOW, value=20))["old_from"].tolist() == [0]
    noted = made.raw(1, ip=0x401020, rdi=WINDOW, value=22, old=21, old_from=FROM_CODES.index("previous"))
    assert made.record(noted)["old"].tolist() == [21]


def test_a_full_lap_of_the_ring_is_written_in_pieces() -> None:
    made = Made()
    made.arm(1)
    made.record(made.raw(700, ip=0x401020, rdi=WINDOW))
    rows = made.record(made.raw(700, ip=0x401020, rdi=WINDOW, value=np.arange(700)))
    assert made.reader.head == 1400
    assert rows["value"].tolist() == list(range(700))
    assert rows["seq"].tolist() == list(range(700, 1400))


def test_stacks_are_one_number_for_one_chain() -> None:
    made = Made(stacks=True)
    made.arm(1)
    raw = made.raw(4, ip=0x401020, rdi=WINDOW, chain=np.array([5, 6, 5, 6]))
    raw["frames"][:, 0] = np.array([CODE_AT + 3, CODE_AT + 4, CODE_AT + 3, CODE_AT + 4])
    rows = made.record(raw)
    assert rows["stack"].tolist() == [1, 2, 1, 2]
    assert made.record(raw[1:2])["stack"].tolist() == [2]


def test_stacks_that_came_alone_are_known_when_they_come_together() -> None:
    made = Made(stacks=True)
    made.arm(1)
    raw = made.raw(3, ip=ENDS[0], chain=[5, 6, 7])
    alone = [
        made.record(raw[at : at + 1])["stack"].tolist() for at in (1, 0)
    ]  # as when each stops the program
    assert made.record(raw[:2])["stack"].tolist() == [*alone[1], *alone[0]] == [2, 1]
    third = made.record(raw[2:])["stack"].tolist()
    assert made.record(raw)["stack"].tolist() == [2, 1, *third] == [2, 1, 3]


def ripe(times: list[int], most: int = 100, horizon: int = 1000) -> list[int]:
    count, order = _ripe(np.array(times, np.uint64), most, horizon)
    return times[:count] if order is None else [times[at] for at in order.tolist()]


@pytest.mark.parametrize(
    ("times", "most", "horizon", "wanted"),
    [
        ([], 9, 9, []),
        ([1, 2, 3], 9, 3, [1, 2]),
        ([1, 2, 3], 2, 9, [1, 2]),
        ([2, 1, 3], 9, 9, [1, 2, 3]),
        ([1, 5, 2, 6], 3, 9, [1, 2, 5]),
        ([1, 5, 2, 6], 2, 9, [1]),
        ([5, 1], 9, 4, []),
        ([4, 3, 2, 1], 2, 9, [3, 4]),
    ],
)
def test_hits_leave_in_the_order_of_time(
    times: list[int], most: int, horizon: int, wanted: list[int]
) -> None:
    assert ripe(times, most, horizon) == wanted


def test_a_line_is_held_against_the_table_that_was_written_last() -> None:
    import mmap
    import struct

    lines = Lines(mmap.mmap(-1, Lines.SIZE))
    first, second = lines.take(), lines.take()
    assert (first, second) == (0, LINE)
    lines.hold_against(second, 8, None)
    lines.hold_against(second, 4, Condition("cpu == 1", (Term("cpu", 1, 0),)))
    assert lines.word(second, "active") == 0
    lines.give_back(first)
    assert lines.take() == 2 * LINE  # what was given back comes last
    struct.pack_into("<QQ", lines._memory, PLACES_AT + 3 * PLACE, 0x401020 | 5 << 48, 17)
    struct.pack_into("<QQ", lines._memory, PLACES_AT, (0xFFFFFFFF81000000 ^ 6 << 48) & (1 << 64) - 1, 3)
    assert lines.dropped() == {(5, 0x401020): 17, (6, 0xFFFFFFFF81000000): 3}
