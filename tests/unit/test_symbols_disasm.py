"""Instructions: the text people read, and where they begin."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from symbols.boundaries import boundaries, function_at
from symbols.code import Code
from symbols.disasm import around, disassemble, one
from symbols.space import AddressSpace
from tests.unit.symbols_data.builds import build, need, run, space_of

CODE = bytes.fromhex("55 4889e5 4883471801 c9 c3")
"""push rbp; mov rbp, rsp; add qword ptr [rdi + 0x18], 1; leave; ret"""


def reader(space: AddressSpace) -> Read:
    return Read(space)


class Read:
    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def __call__(self, address: int, size: int) -> bytes:
        module = self.space.module_at(address)
        if module is None or module.names is None:
            raise KeyError(address)
        return module.names.image.read(address - module.bias, size)


def test_instructions_are_written_in_intel_syntax() -> None:
    found = disassemble(CODE, 0x1000, 10)
    assert [insn.text for insn in found] == [
        "push rbp",
        "mov rbp, rsp",
        "add qword ptr [rdi + 0x18], 1",
        "leave",
        "ret",
    ]
    assert [insn.address for insn in found] == [0x1000, 0x1001, 0x1004, 0x1009, 0x100A]
    assert b"".join(insn.bytes for insn in found) == CODE
    assert found[2].size == 5
    assert disassemble(CODE, 0x1000, 2) == found[:2]
    assert disassemble(b"", 0x1000, 2) == []


def test_bytes_that_are_no_instruction_do_not_hide_the_next() -> None:
    found = disassemble(b"\x06" + CODE + b"\x90" * 20, 0x1000, 3)
    assert [insn.text for insn in found] == ["(bad)", "push rbp", "mov rbp, rsp"]


def test_one_instruction_has_a_text_or_none() -> None:
    assert one(CODE[4:], 0x1004) == "add qword ptr [rdi + 0x18], 1"
    assert one(b"\xe8\0\0\0\0", 0x1000) == "call 0x1005"
    assert one(b"\x06", 0x1000) == ""
    assert one(b"", 0x1000) == ""
    assert one(b"\x48\x83", 0x1000) == ""  # cut off


def previous(space: AddressSpace, read: Callable[[int, int], bytes], ip: int) -> int | None:
    """The instruction that ends at an address within its function."""
    function = Code(read, partial(function_at, space)).function(ip - 1)
    return function.before(ip) if function is not None else None


def objdump(path: Path, name: str) -> list[int]:
    """Where objdump says that the instructions of a function begin."""
    need("objdump")
    text = run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={name}", path)
    return [int(place, 16) for place in re.findall(r"^\s*([0-9a-f]+):\t", text, re.MULTILINE)]


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-O2", "-static")], ids=" ".join)
def test_the_instruction_before_an_address_is_the_one_that_ends_there(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    path = build(tmp_path, "calls.c", *flags)
    space = space_of(path)
    read, bias = Read(space), space.modules[0].bias
    for name in ("main", "recurse", "aligned", "leaf"):
        starts = [bias + place for place in objdump(path, name)]
        assert len(starts) > 2
        for before, after in pairwise(starts):
            assert previous(space, read, after) == before
            inside = set(range(before + 1, after))
            assert not any(previous(space, read, ip) for ip in inside)


def test_the_listing_around_an_address_begins_on_instructions_of_its_function(tmp_path: Path) -> None:
    path = build(tmp_path, "calls.c", "-O1")
    space = space_of(path)
    read, bias = Read(space), space.modules[0].bias
    starts = [bias + place for place in objdump(path, "recurse")]
    for place, address in enumerate(starts[:-4]):
        found = [insn.address for insn in around(space, read, address, 3, 3)]
        assert found == starts[max(0, place - 3) : place + 4]
    assert [insn.address for insn in around(space, read, starts[5], 0, 0)] == [starts[5]]


def test_a_stripped_program_still_has_function_starts_by_its_frame_rules(tmp_path: Path) -> None:
    whole = build(tmp_path, "calls.c", "-O1", name="whole")
    stripped = build(tmp_path, "calls.c", "-O1", "-s", name="stripped")
    space = space_of(stripped)
    starts = [space.modules[0].bias + place for place in objdump(whole, "middle")]
    assert previous(space, Read(space), starts[4]) == starts[3]
    assert [insn.address for insn in around(space, Read(space), starts[4], 2, 1)] == starts[2:6]


def test_memory_that_cannot_be_read_has_no_instructions(tmp_path: Path) -> None:
    space = space_of(build(tmp_path, "calls.c"))
    main = space.resolve("main").address

    def nothing(address: int, size: int) -> bytes:
        raise OSError("no memory")

    assert around(space, nothing, main + 4, 3, 3) == []
    assert previous(space, nothing, main + 4) is None
    assert previous(space, Read(space), 0x10) is None
    assert around(space, Read(space), 0x10, 3, 3) == []


def test_code_without_a_function_is_listed_up_to_the_end_of_its_page() -> None:
    page = (CODE * 400)[:4096]
    space = AddressSpace([(0x10000, 0x11000, "r-xp", 0, "")])

    def read(address: int, size: int) -> bytes:
        if address + size > 0x11000:
            raise KeyError(address)
        return page[address - 0x10000 : address - 0x10000 + size]

    found = around(space, read, 0x10000 + 4092 - 4, 5, 9)
    assert found[0].address == 0x10000 + 4088
    assert found[-1].address < 0x11000


def test_boundaries_end_where_nothing_can_be_decoded() -> None:
    assert boundaries(CODE, 0x1000) == (0x1000, 0x1001, 0x1004, 0x1009, 0x100A, 0x100B)
    assert boundaries(CODE[:4] + b"\x06" + CODE, 0) == (0, 1, 4)
    assert boundaries(CODE[:6], 0) == (0, 1, 4)
    assert boundaries(b"", 7) == (7,)
