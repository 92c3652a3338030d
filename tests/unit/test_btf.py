"""BTF: sound data is read as the format says, and no data makes the parser do anything but answer or refuse."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.kernelview.btf import VMLINUX, Btf, BtfError, Field, Kind
from tests.unit.btf_writer import BtfWriter


def example() -> BtfWriter:
    w = BtfWriter()
    u32, u64, char = w.number("unsigned int", 4), w.number("unsigned long", 8), w.number("char", 1)
    pointer = w.pointer(0)
    name = w.array(char, 16)
    half = w.structure("", 8, ("low", u32, 0), ("whole", u64, 0), kind=Kind.UNION)
    alias = w.add(Kind.TYPEDEF, "word_t", w.add(Kind.CONST, "", u64))
    w.structure(
        "attr",
        8,
        ("disabled", u64, 1 << 24),
        ("inherit", u64, 1 << 24 | 1),
        ("late", u64, 3 << 24 | 15),
        ("size", u32, 32),
        bit_fields=True,
    )
    attr = w.count
    event = w.structure(
        "event",
        64,
        ("next", pointer, 0),
        ("", half, 64),
        ("attr", attr, 128),
        ("count", alias, 192),
        ("comm", name, 256),
    )
    w.structure("task", 128, ("bps", w.array(w.pointer(event), 4), 256), ("event", event, 512))
    slots = w.add(Kind.VAR, "bp_per_reg", w.array(pointer, 4), 1)
    dr7 = w.add(Kind.VAR, "cpu_dr7", u64, 1)
    w.section(".data..percpu", (slots, 0x1000, 32), (dr7, 0x1040, 8))
    return w  # fmt: skip


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf(example().data())


@pytest.mark.parametrize(
    ("structure", "path", "offset", "size"),
    [
        ("event", "next", 0, 8),
        ("event", "whole", 8, 8),  # in an anonymous union, as in C
        ("event", "attr.size", 20, 4),
        ("event", "count", 24, 8),  # behind a typedef and a qualifier
        ("event", "comm", 32, 16),
        ("event", "comm.3", 35, 1),
        ("task", "bps", 32, 32),
        ("task", "bps.2", 48, 8),
        ("task", "event.count", 88, 8),
    ],
)
def test_a_member_lies_where_the_format_says(
    btf: Btf, structure: str, path: str, offset: int, size: int
) -> None:
    field = btf.field(structure, path)
    assert (field.offset, field.size, field.bits) == (offset, size, 0)


def test_a_bit_field_is_read_from_the_bytes_that_hold_it(btf: Btf) -> None:
    data = bytearray(64)
    struct.pack_into("<Q", data, 16, 1 << 1 | 0b101 << 15)
    assert [
        btf.field("event", f"attr.{name}").value(bytes(data)) for name in ("disabled", "inherit", "late")
    ] == [
        0,
        1,
        0b101,
    ]
    late = btf.field("event", "attr.late")
    assert (late.offset, late.size, late.shift) == (17, 2, 7)


def test_a_structure_that_is_cut_off_is_not_read_past_its_end() -> None:
    with pytest.raises(IndexError):
        Field(8, 8, 1).value(bytes(15))


def test_per_cpu_variables_have_their_section_offset(btf: Btf) -> None:
    assert btf.variable("bp_per_reg").offset == 0x1000
    assert btf.variable("cpu_dr7").size == 8


@pytest.mark.parametrize(
    ("structure", "path", "line"),
    [
        ("event", "nothing", "struct event has no member 'nothing'"),
        ("nowhere", "x", "no struct 'nowhere'"),
        ("task", "bps.4", "past an array of 4"),
        ("event", "attr.disabled.x", "a bit field has no member"),
        ("event", "count.x", "no member 'count.x'"),
        ("event", "", "no member ''"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(btf: Btf, structure: str, path: str, line: str) -> None:
    with pytest.raises(BtfError, match=line):
        btf.field(structure, path)
    assert not btf.has_field(structure, path)


def test_the_end_of_a_longer_name_is_no_name() -> None:
    w = BtfWriter()
    w.structure("perf_event", 8)
    event = w.structure("event", 16)
    btf = Btf(w.data())
    assert btf.find(Kind.STRUCT, "event") == event
    assert not btf.has(Kind.STRUCT, "vent")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "ends inside its header"),
        (bytes(24), "not little-endian BTF"),
        (b"\xeb\x9f" + bytes(22), "not little-endian BTF"),
        (example().data()[:-1], "reaches past its end"),
        (example().data()[:2] + b"\x09" + example().data()[3:], "version 9"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0xFFFFFFF0, 0, 1), "reaches past its end"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 2, 4, 0, 1) + bytes(8), "not aligned"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 4, 4, 1) + bytes(8), "cut off"),
        (
            struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 2) + struct.pack("<III", 0, 31 << 24, 0) + bytes(2),
            "unknown kind 31",
        ),
        (
            struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1) + struct.pack("<III", 0, 4 << 24 | 0xFFFF, 0) + bytes(1),
            "cut off",
        ),
    ],
)  # fmt: skip
def test_damaged_data_is_refused_with_its_reason(data: bytes, line: str) -> None:
    with pytest.raises(BtfError, match=line):
        Btf(data)


def test_a_type_that_is_an_alias_of_itself_ends_in_an_error() -> None:
    w = BtfWriter()
    w.add(Kind.TYPEDEF, "round", 1)
    w.structure("s", 8, ("x", 1, 0))
    with pytest.raises(BtfError, match="alias of itself"):
        Btf(w.data()).field("s", "x")


def test_an_array_of_itself_ends_in_an_error() -> None:
    w = BtfWriter()
    w.array(1, 1)
    with pytest.raises(BtfError, match="array of itself"):
        Btf(w.data()).size(1)


def test_a_structure_made_of_itself_many_times_costs_no_more_than_once() -> None:
    w = BtfWriter()
    inside = [("", 1, 8 * place) for place in range(200)]
    w.structure("matryoshka", 8, *inside)
    with pytest.raises(BtfError, match="no member 'doll'"):
        Btf(w.data()).field("matryoshka", "doll")


@pytest.mark.parametrize("type_id", [0, -1, 1 << 31])
def test_a_number_that_no_type_has_is_refused(btf: Btf, type_id: int) -> None:
    with pytest.raises(BtfError):
        btf.kind(type_id)
    with pytest.raises(BtfError):
        btf.size(type_id)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_makes_it_do_anything_but_answer_or_refuse(data: st.DataObject) -> None:
    good = bytearray(example().data())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at] = data.draw(st.integers(0, 255))
    del good[data.draw(st.integers(len(good) // 2, len(good))) :]
    with contextlib.suppress(BtfError):
        btf = Btf(bytes(good))
        for structure, path in (("event", "attr.late"), ("task", "bps.2"), ("task", "event.count")):
            btf.has_field(structure, path)
        with contextlib.suppress(BtfError):
            btf.variable("cpu_dr7")
        for type_id in range(len(btf) + 1):
            with contextlib.suppress(BtfError):
                btf.name(type_id)
            with contextlib.suppress(BtfError):
                btf.size(type_id)


def test_a_kernel_without_btf_says_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(BtfError) as caught:
        Btf.load(str(tmp_path / "vmlinux"))
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.remedy


@pytest.mark.skipif(not os.access(VMLINUX, os.R_OK), reason=f"this kernel has no {VMLINUX}")
def test_this_kernels_own_types_are_read() -> None:
    btf = Btf.load()
    assert btf.field("task_struct", "comm").size == 16
    assert btf.field("task_struct", "thread.ptrace_bps").size == 32
    assert btf.field("perf_event", "attr.bp_addr").size == 8
    assert btf.field("perf_event", "attr.exclude_kernel").bits == 1
    assert btf.variable("bp_per_reg").size == 32
    assert btf.kind(btf.find(Kind.FUNC, "perf_event_disable")) is Kind.FUNC
