"""bpf() on this kernel: maps, the verifier's word, test runs."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

import pytest

from backends.bpf.assembler import Assembler
from backends.bpf.syscall import (
    BpfError,
    MapType,
    ProgramRun,
    ProgramType,
    create_map,
    delete_element,
    load_program,
    lookup,
    map_array,
    map_items,
    run_program,
    update,
)
from tests.live.bpf_here import needs_bpf

pytestmark = [pytest.mark.root, pytest.mark.live, needs_bpf]


@pytest.fixture
def array() -> Iterator[int]:
    fd = create_map(MapType.ARRAY, 4, 64, 1, mappable=True, name="test")
    yield fd
    os.close(fd)


@pytest.fixture
def table() -> Iterator[int]:
    fd = create_map(MapType.HASH, 8, 8, 4)
    yield fd
    os.close(fd)


def test_a_program_writes_into_memory_that_we_have_mapped(array: int) -> None:
    program = Assembler().load(2, 1, 0).map_value(1, array, 8).store(1, 0, 2).leave(7)
    fd = load_program(ProgramType.RAW_TRACEPOINT, program, "store")
    memory = map_array(array, 64)
    try:
        assert run_program(fd, 0x1122334455667788) == 7
        assert struct.unpack_from("<QQ", memory) == (0, 0x1122334455667788)
    finally:
        memory.close()
        os.close(fd)


def test_a_program_may_return_a_negative_number() -> None:
    fd = load_program(ProgramType.RAW_TRACEPOINT, Assembler().leave(-14))
    try:
        assert run_program(fd) == -14
    finally:
        os.close(fd)


def test_arguments_are_64_bit_words_and_their_number_is_fixed() -> None:
    program = Assembler().load(0, 1, 0).load(2, 1, 8).alu_register(0, "-=", 2).leave()
    fd = load_program(ProgramType.RAW_TRACEPOINT, program)
    try:
        run = ProgramRun(fd, 2)
        assert run.run((1 << 63) + 5, (1 << 63) + 2) == 3
        with pytest.raises(ValueError, match="2 arguments"):
            run.run(1)
    finally:
        os.close(fd)


def test_the_verifiers_reason_is_in_the_error() -> None:
    with pytest.raises(BpfError) as caught:
        load_program(ProgramType.RAW_TRACEPOINT, Assembler().move(0, 9).leave(), "broken")
    assert caught.value.errno == errno.EACCES
    assert str(caught.value.strerror) == "BPF program broken: Permission denied: R9 !read_ok"


def test_elements_of_a_hash_come_and_go(table: int) -> None:
    for key in (5, 6, 7):
        update(table, struct.pack("<Q", key), struct.pack("<Q", key * 10))
    assert lookup(table, struct.pack("<Q", 6), 8) == struct.pack("<Q", 60)
    delete_element(table, struct.pack("<Q", 6))
    assert lookup(table, struct.pack("<Q", 6), 8) is None
    assert sorted(map_items(table, 8, 8)) == [
        (struct.pack("<Q", 5), struct.pack("<Q", 50)),
        (struct.pack("<Q", 7), struct.pack("<Q", 70)),
    ]


def test_a_full_hash_says_so(table: int) -> None:
    for key in range(4):
        update(table, struct.pack("<Q", key), bytes(8))
    with pytest.raises(BpfError) as caught:
        update(table, struct.pack("<Q", 4), bytes(8))
    assert caught.value.errno == errno.E2BIG


def test_removing_what_is_not_there_is_enoent(table: int) -> None:
    with pytest.raises(BpfError) as caught:
        delete_element(table, bytes(8))
    assert caught.value.errno == errno.ENOENT


def test_a_map_of_an_impossible_size_is_refused() -> None:
    with pytest.raises(BpfError) as caught:
        create_map(MapType.RINGBUF, 0, 0, 3000)
    assert caught.value.errno == errno.EINVAL
