"""The address space as Linux would keep it, over an engine that never forgets translated code."""

from __future__ import annotations

import errno

import pytest

from backends.emulated.engine import EXEC, READ, WRITE
from backends.emulated.icicle import IcicleEngine
from backends.emulated.memory import AddressSpace, CodeRewritten
from backends.emulated.regions import LIMIT, PAGE

RW = READ | WRITE


@pytest.fixture
def space() -> AddressSpace:
    return AddressSpace(IcicleEngine())


def refused(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == code)


def test_an_address_is_never_given_out_twice(space: AddressSpace) -> None:
    first = space.map(None, PAGE, RW)
    space.unmap(first, PAGE)
    assert space.map(None, PAGE, RW) < first


def test_fresh_memory_is_zero_and_keeps_what_is_copied_in(space: AddressSpace) -> None:
    where = space.map(None, 2 * PAGE, RW)
    space.copy_in(where + PAGE - 2, b"abcd")
    assert space.copy_out(where + PAGE - 3, 6) == b"\0abcd\0"


def test_a_hint_is_followed_where_it_is_free(space: AddressSpace) -> None:
    assert space.map(0x10_0000, PAGE, RW) == 0x10_0000
    assert space.map(0x10_0000, PAGE, RW) != 0x10_0000


def test_a_fixed_mapping_replaces_what_was_there(space: AddressSpace) -> None:
    where = space.map(None, 3 * PAGE, READ, data=b"x" * (3 * PAGE))
    space.map(where + PAGE, PAGE, RW, fixed=True)
    assert space.copy_out(where + PAGE, 1) == b"\0"
    assert [(m.end - m.start, m.perms) for m in space.mappings()] == [
        (PAGE, "r--p"),
        (PAGE, "rw-p"),
        (PAGE, "r--p"),
    ]


def test_offsets_follow_when_a_file_mapping_is_cut(space: AddressSpace) -> None:
    where = space.map(None, 3 * PAGE, READ, path="/lib/x", offset=PAGE, data=b"x")
    space.unmap(where + PAGE, PAGE)
    assert [m.offset for m in space.mappings()] == [PAGE, 3 * PAGE]


def test_neighbours_of_one_kind_are_one_line(space: AddressSpace) -> None:
    where = space.map(None, 4 * PAGE, RW)
    space.protect(where + PAGE, PAGE, READ)
    assert len(space.mappings()) == 3
    space.protect(where + PAGE, PAGE, RW)
    assert sum(m.end - m.start for m in space.mappings()) == 4 * PAGE


@pytest.mark.parametrize("size", [0, -1])
def test_nothing_cannot_be_mapped(space: AddressSpace, size: int) -> None:
    with refused(errno.EINVAL):
        space.map(None, size, RW)


def test_more_than_the_limit_is_enomem_and_leaves_nothing_behind(space: AddressSpace) -> None:
    with refused(errno.ENOMEM):
        space.map(None, LIMIT + PAGE, RW)
    assert space.mappings() == ()
    space.map(None, LIMIT + PAGE, 0)


def test_memory_given_back_can_be_had_again(space: AddressSpace) -> None:
    for _ in range(3):
        where = space.map(None, LIMIT // 2 + PAGE, RW)
        space.unmap(where, LIMIT // 2 + PAGE)


def test_protecting_no_bytes_changes_nothing(space: AddressSpace) -> None:
    where = space.map(None, 2 * PAGE, RW)
    before = space.mappings()
    space.protect(where + PAGE, 0, READ)
    space.protect(0x20_0000, 0, READ)
    assert space.mappings() == before


def test_protecting_a_hole_is_enomem(space: AddressSpace) -> None:
    where = space.map(None, 3 * PAGE, RW)
    space.unmap(where + PAGE, PAGE)
    with refused(errno.ENOMEM):
        space.protect(where, 3 * PAGE, READ)


@pytest.mark.parametrize("prot", [0, READ, EXEC | READ])
def test_the_kernel_does_not_write_where_the_program_may_not(space: AddressSpace, prot: int) -> None:
    where = space.map(None, PAGE, prot)
    with refused(errno.EFAULT):
        space.copy_in(where, b"x")


def test_the_kernel_does_not_read_past_the_end_of_a_mapping(space: AddressSpace) -> None:
    space.map(0x10_0000, PAGE, RW)
    with refused(errno.EFAULT):
        space.copy_out(0x10_0000 + PAGE - 1, 2)
    with refused(errno.EFAULT):
        space.copy_out((1 << 64) - 1, 1)


def test_a_byte_denied_in_the_engine_is_still_the_programs(space: AddressSpace) -> None:
    engine = IcicleEngine()
    space = AddressSpace(engine)
    where = space.map(None, PAGE, RW)
    engine.protect(where + 8, 8, 0)
    space.copy_in(where + 8, b"12345678")
    assert space.copy_out(where + 8, 8) == b"12345678"
    assert space.prot_at(where + 8) == RW


def test_strings_end_at_their_nul_or_at_the_limit(space: AddressSpace) -> None:
    where = space.map(0x10_0000, 2 * PAGE, RW)
    space.copy_in(where + PAGE - 2, b"name\0")
    assert space.text(where + PAGE - 2) == b"name"
    space.copy_in(where, b"x" * (2 * PAGE))
    with refused(errno.ENAMETOOLONG):
        space.text(where)
    with refused(errno.EFAULT):
        space.text(where + 2 * PAGE - 4)


def test_the_heap_grows_shrinks_and_comes_back_zeroed(space: AddressSpace) -> None:
    space.set_heap(0x60_0123)
    start = space.brk(0)
    assert start == 0x60_1000
    assert space.brk(start + 100) == start + 100
    assert space.mappings()[0].path == "[heap]"
    space.copy_in(start, b"old")
    assert space.brk(start) == start
    assert space.mappings() == ()
    space.brk(start + 1)
    assert space.copy_out(start, 3) == bytes(3)


def test_the_heap_does_not_run_into_a_mapping(space: AddressSpace) -> None:
    space.set_heap(0x60_0000)
    space.map(0x60_2000, PAGE, RW, fixed=True)
    assert space.brk(0x60_3000) == 0x60_0000


def test_the_stack_grows_down_to_its_limit_and_no_further(space: AddressSpace) -> None:
    top = 0x7FFF_FFFF_F000
    space.set_stack(top, PAGE, 1 << 20)
    assert space.grow_stack(top - 0x8000)
    assert space.prot_at(top - 0x8000) == RW
    assert not space.grow_stack(top - (1 << 20) - 1)
    assert len(space.mappings()) == 1


def test_code_that_becomes_executable_is_announced_once_it_is_there() -> None:
    seen: list[bytes] = []
    engine = IcicleEngine()
    space = AddressSpace(engine, on_exec=lambda start, end: seen.append(engine.read(start, 2)))
    where = space.map(None, PAGE, READ | EXEC, data=b"\x0f\xa2")
    space.protect(where, PAGE, READ)
    space.protect(where, PAGE, READ | EXEC)
    assert seen == [b"\x0f\xa2"] * 2


def test_every_change_is_announced_so_that_bytes_are_denied_again() -> None:
    seen: list[tuple[int, int]] = []
    space = AddressSpace(IcicleEngine(), on_change=lambda start, end: seen.append((start, end)))
    where = space.map(None, PAGE, RW)
    space.protect(where, PAGE, READ)
    space.unmap(where, PAGE)
    assert seen == [(where, where + PAGE)] * 3


def test_code_changed_between_two_lives_of_a_page_is_noticed(space: AddressSpace) -> None:
    where = space.map(None, 2 * PAGE, READ | EXEC, data=b"\x90" * 2 * PAGE)
    space.protect(where, 2 * PAGE, RW)
    space.copy_in(where + PAGE, b"\xc3")
    with pytest.raises(CodeRewritten) as caught:
        space.protect(where, 2 * PAGE, READ | EXEC)
    assert caught.value.address == where + PAGE


def test_other_code_mapped_over_code_is_noticed(space: AddressSpace) -> None:
    where = space.map(None, PAGE, READ | EXEC, data=b"\x90" * PAGE)
    space.map(where, PAGE, READ | EXEC, data=b"\x90" * PAGE, fixed=True)
    with pytest.raises(CodeRewritten):
        space.map(where, PAGE, READ | EXEC, data=b"\xc3", fixed=True)
