"""The hit ring: what was overwritten is never shown, and nothing that the writer does harms the reader."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backends.emulated.capture import ACCESS_R, ACCESS_W, ACCESS_X, Capture
from backends.ring import HEADER, HEADER_SIZE, PUBLISH_EVERY, RECORD, RingMemory, create_memfd, ring_size
from backends.ring_reader import RingReader, record_dtype

ROOT = Path(__file__).parents[2]
Records = npt.NDArray[Any]
CAPACITY = 64
SAFE = CAPACITY - 2 * PUBLISH_EVERY


class Pair:
    """A writer and a reader of the same memory."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.fd = create_memfd(capacity)
        self.memory = RingMemory(self.fd)
        self.capture = Capture(self.memory)
        self.reader = RingReader(self.fd)

    def write(self, count: int, publish: bool = True) -> None:
        sink = self.capture.sink(7)
        for n in range(self.capture.head, self.capture.head + count):
            self.capture.hit(sink, 1000 + n, n + 4, n, 0x404000, 8, 1, ACCESS_W, n + 1, n, n % 5)
        if publish:
            self.capture.publish()

    def words(self, **words: int) -> None:
        self.capture.header(**words)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    os.close(made.fd)


def seqs(rows: Records) -> list[int]:
    return [int(seq) for seq in rows["seq"]]


def test_a_record_is_read_as_it_was_written(pair: Pair) -> None:
    capture = pair.capture
    capture.pid, capture.tid, capture.comm, capture.cpu = 41, 42, 3, 2
    capture.hit(capture.sink(9), 11, 12, 13, 14, 8, 3, ACCESS_R, (1 << 64) - 1, 16, 17, 2)
    capture.publish()
    (row,) = pair.reader.read(0, 10)
    # seq, time, ip, insn_ip, address, value, old, breakpoint, pid, tid, stack, comm, cpu, length, slot, access, from, from, flags
    assert row.tolist() == (
        0,
        11,
        12,
        13,
        14,
        (1 << 64) - 1,
        16,
        9,
        41,
        42,
        17,
        3,
        2,
        8,
        3,
        ACCESS_R,
        1,
        1,
        2,
    )


def test_an_execute_hit_says_that_it_has_no_values(pair: Pair) -> None:
    pair.capture.hit(pair.capture.sink(1), 1, 2, 2, 2, 1, 0, ACCESS_X, 0, 0, 0)
    pair.capture.publish()
    (row,) = pair.reader.read(0, 1)
    assert (row["value_from"], row["old_from"]) == (0, 0)


def test_an_empty_ring_has_no_rows(pair: Pair) -> None:
    assert len(pair.reader.read(0, 10)) == 0
    assert len(pair.reader.consume()) == 0
    assert (pair.reader.head, pair.reader.first, pair.reader.state) == (0, 0, "loaded")


def test_rows_are_seen_in_groups_and_all_of_them_after_a_publish(pair: Pair) -> None:
    pair.write(PUBLISH_EVERY + 3, publish=False)
    assert seqs(pair.reader.read(0, 100)) == list(range(PUBLISH_EVERY))
    pair.capture.publish()
    assert seqs(pair.reader.read(0, 100)) == list(range(PUBLISH_EVERY + 3))


@pytest.mark.parametrize("written", [CAPACITY - 1, CAPACITY, CAPACITY + 1, 5 * CAPACITY + 17])
def test_after_a_wrap_the_newest_rows_are_there_in_order(pair: Pair, written: int) -> None:
    pair.write(written)
    rows = pair.reader.read(0, 10_000)
    assert seqs(rows) == list(range(written - SAFE, written))
    assert [int(value) for value in rows["value"]] == [seq + 1 for seq in seqs(rows)]


@pytest.mark.parametrize("first", [0, 65, 66, 67, 70, 90, 99, 100, 1 << 40])
def test_a_read_gives_of_the_rows_it_was_asked_for_those_that_are_left(pair: Pair, first: int) -> None:
    pair.write(100)
    expected = [seq for seq in range(100 - SAFE, 100) if first <= seq < first + 5]
    assert seqs(pair.reader.read(first, 5)) == expected


@pytest.mark.parametrize("late", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000])
def test_a_reader_that_is_lapped_while_it_copies_drops_exactly_what_was_overwritten(
    pair: Pair, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write(CAPACITY)
    all_rows = pair.reader._rows

    class Rows:
        """The records; the writer goes on after each copy."""

        def __init__(self, part: Records = all_rows) -> None:
            self.part = part

        def __getitem__(self, part: slice) -> Rows:
            return Rows(self.part[part])

        def copy(self) -> Records:
            rows = self.part.copy()
            pair.write(late)
            return rows

    monkeypatch.setattr(pair.reader, "_rows", Rows())
    rows = pair.reader.read(0, CAPACITY)
    oldest = max(CAPACITY - SAFE, CAPACITY + late - SAFE)
    assert seqs(rows) == list(range(oldest, CAPACITY))


def test_a_consumer_that_was_lapped_goes_on_with_the_oldest_row_that_is_left(pair: Pair) -> None:
    pair.write(10)
    assert seqs(pair.reader.consume()) == list(range(10))
    pair.write(200)
    assert seqs(pair.reader.consume(3)) == list(range(210 - SAFE, 213 - SAFE))
    assert seqs(pair.reader.consume()) == list(range(213 - SAFE, 210))
    pair.write(1)
    assert seqs(pair.reader.consume()) == [210]


WRITER = """
import sys
from backends.emulated.capture import ACCESS_W, Capture
from backends.ring import HEADER, RingMemory
memory = RingMemory(int(sys.argv[1]))
capture = Capture(memory)
sink, hit, n = capture.sink(7), capture.hit, 0
while not memory.words[HEADER["tail"]]:  # the reader's sign that it has seen enough
    for n in range(n, n + 5000):
        hit(sink, n * 3, n * 5, n * 7, n * 11, 8, n & 3, ACCESS_W, n * 13, n * 17, n & 0xFFFF)
    n += 1
capture.publish()
capture.set_state("exited")
"""


def check_contents(rows: Records) -> None:
    """Each row is whole: every field is the one that was written with its seq."""
    seq = rows["seq"]
    for name, factor in (("time", 3), ("ip", 5), ("insn_ip", 7), ("address", 11), ("value", 13), ("old", 17)):
        assert (rows[name] == seq * factor).all(), name
    assert (rows["slot"] == seq & 3).all()
    assert (rows["stack"] == seq & 0xFFFF).all()
    assert (np.diff(seq.astype(np.int64)) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [64, 1024])
def test_no_row_of_a_process_that_laps_its_reader_is_ever_torn(capacity: int) -> None:
    fd = create_memfd(capacity)
    reader = RingReader(fd)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(fd)], cwd=ROOT, pass_fds=[fd]) as writer:
        reads, last = 0, -1
        while reader.state != "exited":
            assert writer.poll() in (None, 0)
            rows = reader.read(reader.first, capacity)
            if len(rows):
                check_contents(rows)
                assert int(rows["seq"][-1]) >= last
                reads += int(rows["seq"][-1]) != last
                last = int(rows["seq"][-1])
            if reads > 500 and last > 20 * capacity:
                reader._memory.words[HEADER["tail"]] = 1
    rows = reader.read(reader.first, capacity)
    check_contents(rows)
    assert int(rows["seq"][-1]) == reader.head - 1
    assert len(rows) == capacity - 2 * PUBLISH_EVERY
    os.close(fd)


FLOWING_WRITER = """
import sys, time
from backends.emulated.capture import ACCESS_W, Capture
from backends.ring import RingMemory
capture = Capture(RingMemory(int(sys.argv[1])))
sink, waited = capture.sink(7), 0
for n in range(int(sys.argv[2])):
    while capture.allowance(1) < 1:
        capture.publish()
        waited += 1
        capture.header(lost=waited)
        time.sleep(0.0001)
    capture.hit(sink, n * 3, n * 5, n * 7, n * 11, 8, n & 3, ACCESS_W, n * 13, n * 17, n & 0xFFFF)
capture.publish()
capture.set_state("exited")
"""


@pytest.mark.slow
def test_with_flow_a_slow_reader_of_a_fast_process_misses_no_row() -> None:
    count = 30_000
    fd = create_memfd(256)
    reader = RingReader(fd)
    reader.set_flow(True)
    command = [sys.executable, "-c", FLOWING_WRITER, str(fd), str(count)]
    with subprocess.Popen(command, cwd=ROOT, pass_fds=[fd]) as writer:
        expected = 0
        while not reader.word("lost"):  # until the writer has had to wait
            assert writer.poll() is None
        while True:
            assert writer.poll() in (None, 0)
            ended = reader.state == "exited"
            rows = reader.consume(100)
            if len(rows):
                check_contents(rows)
                assert int(rows["seq"][0]) == expected
                expected += len(rows)
            elif ended:
                break
    assert expected == count
    os.close(fd)


def test_with_flow_the_writer_is_allowed_no_more_than_the_reader_has_read(pair: Pair) -> None:
    room = CAPACITY - 4 * PUBLISH_EVERY
    assert pair.capture.allowance(1000) == 1000
    pair.reader.set_flow(True)
    assert pair.capture.allowance(1000) == room
    big = Pair(256)
    big.reader.set_flow(True)
    room = 256 - 4 * PUBLISH_EVERY
    assert big.capture.allowance(1000) == room
    big.write(room)
    assert big.capture.allowance(1000) == 0
    assert len(big.reader.consume(10)) == 10
    assert big.capture.allowance(1000) == 10
    assert big.capture.allowance(3) == 3
    big.reader.set_flow(False)
    assert big.capture.allowance(1000) == 1000
    os.close(big.fd)


def test_the_smallest_ring_lets_a_writer_with_flow_write_at_all(pair: Pair) -> None:
    pair.reader.set_flow(True)
    assert pair.capture.allowance(1) > 0 or CAPACITY == 4 * PUBLISH_EVERY


@pytest.mark.parametrize("size", [0, HEADER_SIZE, ring_size(64) - 1, ring_size(64) + 1, ring_size(128)])
def test_the_memory_is_sealed_against_every_change_of_its_size(pair: Pair, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(pair.fd, size)
    assert os.fstat(pair.fd).st_size == ring_size(CAPACITY)


def test_the_seals_cannot_be_taken_away_and_the_descriptor_has_no_name_and_no_heirs(pair: Pair) -> None:
    import fcntl

    seals = fcntl.fcntl(pair.fd, fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    with pytest.raises(PermissionError):
        fcntl.fcntl(pair.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert not os.get_inheritable(pair.fd)
    assert os.readlink(f"/proc/self/fd/{pair.fd}").endswith("(deleted)")


@pytest.mark.parametrize("capacity", [0, 1, 32, 63, 65, 100, -64])
def test_a_ring_has_a_power_of_two_of_records(capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        create_memfd(capacity)


def memfd(data: bytes) -> int:
    fd = os.memfd_create("other", 0)
    os.write(fd, data)
    return fd


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * (HEADER_SIZE - 1),
        b"\0" * HEADER_SIZE,
        b"\0" * ring_size(64),
        struct.pack("<QQ", 0x68776270_00000001, 0).ljust(ring_size(64), b"\0"),
        struct.pack("<QQ", 0x68776270_00000001, 63).ljust(HEADER_SIZE + 63 * RECORD.size, b"\0"),
        struct.pack("<QQ", 0x68776270_00000001, 128).ljust(ring_size(64), b"\0"),
        struct.pack("<QQ", 0x68776270_00000001, 1 << 63).ljust(ring_size(64), b"\0"),
        struct.pack("<QQ", 0x68776270_00000002, 64).ljust(ring_size(64), b"\0"),
    ],
    ids=["empty", "short", "bare", "zeros", "none", "odd", "lies", "lies more", "other version"],
)
def test_what_is_no_ring_of_this_version_is_refused(data: bytes) -> None:
    fd = memfd(data)
    with pytest.raises(ValueError, match=r"not a hit ring|power of two"):
        RingReader(fd)
    os.close(fd)


MOST = (1 << 64) - 1


@pytest.mark.parametrize("head", [MOST, MOST - 31, 1 << 63, (1 << 32) + 5])
@pytest.mark.parametrize("limit", [1, CAPACITY, 1 << 20])
def test_a_head_that_lies_yields_a_few_rows_and_no_failure(pair: Pair, head: int, limit: int) -> None:
    pair.write(10)
    pair.words(head=head)
    assert pair.reader.head == head
    assert len(pair.reader.read(0, limit)) <= CAPACITY
    assert len(pair.reader.read(pair.reader.first, limit)) <= CAPACITY
    assert len(pair.reader.consume(limit)) <= CAPACITY
    assert len(pair.reader.consume(limit)) <= CAPACITY


def test_a_head_that_goes_back_yields_no_row_twice(pair: Pair) -> None:
    pair.write(20)
    assert len(pair.reader.consume()) == 20
    pair.words(head=5)
    assert len(pair.reader.consume()) == 0
    pair.words(head=21)
    assert len(pair.reader.consume()) == 1


def test_the_readers_place_is_its_own_whatever_the_writer_puts_into_the_tail(pair: Pair) -> None:
    pair.write(20)
    assert len(pair.reader.consume(8)) == 8
    for tail in (0, 3, MOST):
        pair.words(tail=tail)
        assert pair.reader.consume(1)["seq"][0] >= 8
    assert seqs(pair.reader.consume()) == list(range(11, 20))


def test_a_record_that_lies_about_its_number_does_not_move_the_reader(pair: Pair) -> None:
    pair.write(4)
    pair.memory.records[3 * RECORD.size : 3 * RECORD.size + 8] = b"\xff" * 8
    assert len(pair.reader.consume()) == 4
    assert pair.reader.word("tail") == 4
    pair.write(1)
    assert seqs(pair.reader.consume()) == [4]


@pytest.mark.parametrize("state", [6, 255, MOST])
def test_a_run_state_of_another_version_is_a_failed_machine(pair: Pair, state: int) -> None:
    pair.words(state=state)
    assert pair.reader.state == "failed"


def test_a_capacity_that_changes_later_does_not_matter(pair: Pair) -> None:
    pair.write(100)
    for capacity in (0, 1 << 40, MOST):
        pair.words(capacity=capacity, magic=0)
        assert seqs(pair.reader.read(0, 1 << 30)) == list(range(100 - SAFE, 100))


def test_the_layout_is_the_one_that_the_writer_packs() -> None:
    assert record_dtype().itemsize == RECORD.size == 84
    assert max(HEADER.values()) * 8 < HEADER_SIZE
    assert len(set(HEADER.values())) == len(HEADER)


def test_site_totals_are_exact_however_much_the_ring_has_overwritten(pair: Pair) -> None:
    sink = pair.capture.sink(3)
    for n in range(1000):
        pair.capture.hit(sink, n, 2, 0x40 + n % 3, 4, 8, 0, ACCESS_W, n, n - 1 if n else 0, n % 7)
    sites = pair.capture.sites(10, ())
    assert [(site.insn_ip, site.count, site.last_ns, site.value) for site in sites] == [
        (0x40, 334, 999, 999),
        (0x41, 333, 997, 997),
        (0x42, 333, 998, 998),
    ]
    assert pair.capture.sites(10, {3})[0].value is None


def test_a_ring_can_be_mapped_by_others_only_as_large_as_it_is(pair: Pair) -> None:
    with mmap.mmap(pair.fd, ring_size(CAPACITY)) as whole:
        assert len(whole) == ring_size(CAPACITY)
    with pytest.raises(ValueError, match="mmap length"):
        mmap.mmap(pair.fd, ring_size(CAPACITY) + 4096)
