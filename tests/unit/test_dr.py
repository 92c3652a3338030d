"""DR6, DR7 and the match rule, against the manual's own table and values that kernel and KVM tests use."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import dr

# SDM 3B 17.2.5, "Breakpoint Examples": DR0 RW 11 A0001 LEN 00, DR1 RW 01 A0002 LEN 00, DR2 RW 11 B0002 LEN 01,
# DR3 RW 01 C0000 LEN 11.
ADDRESSES = (0xA0001, 0xA0002, 0xB0002, 0xC0000)
CONTROL = (
    dr.dr7_encode(0, 1, "rw")
    | dr.dr7_encode(1, 1, "w")
    | dr.dr7_encode(2, 2, "rw")
    | dr.dr7_encode(3, 4, "w")
)

SDM_TABLE = [
    ("r", 0xA0001, 1, {0}),
    ("w", 0xA0001, 1, {0}),
    ("r", 0xA0001, 2, {0}),
    ("w", 0xA0001, 2, {0, 1}),
    ("w", 0xA0002, 1, {1}),
    ("w", 0xA0002, 2, {1}),
    ("r", 0xB0001, 4, {2}),
    ("w", 0xB0001, 4, {2}),
    ("r", 0xB0002, 1, {2}),
    ("w", 0xB0002, 1, {2}),
    ("r", 0xB0002, 2, {2}),
    ("w", 0xB0002, 2, {2}),
    ("w", 0xC0000, 4, {3}),
    ("w", 0xC0001, 2, {3}),
    ("w", 0xC0003, 1, {3}),
    ("r", 0xA0000, 1, set()),
    ("w", 0xA0000, 1, set()),
    ("r", 0xA0002, 1, set()),
    ("r", 0xA0003, 4, set()),
    ("w", 0xA0003, 4, set()),
    ("r", 0xB0000, 2, set()),
    ("w", 0xB0000, 2, set()),
    ("r", 0xC0000, 2, set()),
    ("r", 0xC0004, 4, set()),
    ("w", 0xC0004, 4, set()),
]


@pytest.mark.parametrize(("access", "address", "size", "slots"), SDM_TABLE)
def test_the_manuals_breakpoint_examples(
    access: Literal["r", "w"], address: int, size: int, slots: set[int]
) -> None:
    hits = dr.matches(CONTROL, ADDRESSES, address, size, access)
    assert {slot for slot in range(4) if hits >> slot & 1} == slots


# cpu_dr7 as the kernel computes it (arch/x86/kernel/hw_breakpoint.c encode_dr7).
@pytest.mark.parametrize(
    ("slot", "length", "kind", "value"),
    [
        (0, 4, "w", 0x000D0202),
        (0, 1, "rw", 0x00030202),
        (1, 1, "x", 0x00000208),
        (1, 2, "w", 0x00500208),
        (2, 8, "rw", 0x0B000220),
        (3, 1, "rw", 0x30000280),
    ],
)
def test_the_kernels_encoding(slot: int, length: int, kind: dr.SlotType, value: int) -> None:
    assert dr.dr7_encode(slot, length, kind) == value
    assert dr.slot_length(value, slot) == length
    assert dr.slot_type(value, slot) == kind
    assert dr.enabled(value, slot)


def test_control_word_of_kvm_unit_tests() -> None:
    # x86/debug.c hw_wp1: a four-byte write slot in DR1, and DR0 as an enabled execute slot.
    assert dr.slot_length(0x00D0040A, 1) == 4
    assert dr.slot_type(0x00D0040A, 1) == "w"
    assert dr.slot_type(0x00D0040A, 0) == "x"
    assert dr.enabled(0x00D0040A, 0)
    assert not dr.enabled(0x00D0040A, 2)


@pytest.mark.parametrize("enable", [0b01, 0b10, 0b11])
def test_local_and_global_enable_are_equivalent(enable: int) -> None:
    control = dr.dr7_encode(2, 4, "w") & ~0xFF | enable << 4
    assert dr.matches(control, (0, 0, 0x1000, 0), 0x1002, 1, "w") == 4


def test_a_disabled_slot_never_matches() -> None:
    control = dr.dr7_encode(2, 4, "w") & ~0xFF
    assert dr.matches(control, (0, 0, 0x1000, 0), 0x1000, 4, "w") == 0


def test_an_execute_slot_matches_the_first_byte_only() -> None:
    control = dr.dr7_encode(0, 1, "x")
    assert dr.matches(control, (0x401000, 0, 0, 0), 0x401000, 1, "x") == 1
    assert dr.matches(control, (0x401001, 0, 0, 0), 0x401000, 5, "x") == 0


def test_an_execute_slot_is_blind_to_data() -> None:
    assert dr.matches(dr.dr7_encode(0, 1, "x"), (0x1000, 0, 0, 0), 0x1000, 8, "w") == 0


def test_low_address_bits_are_masked_by_the_length() -> None:
    control = dr.dr7_encode(0, 4, "w")
    assert dr.slot_range(control, 0, 0x1003) == (0x1000, 4)
    assert dr.matches(control, (0x1003, 0, 0, 0), 0x1000, 1, "w") == 1
    assert dr.matches(control, (0x1003, 0, 0, 0), 0x1004, 1, "w") == 0


@given(
    address=st.integers(0, 64),
    size=st.sampled_from([1, 2, 4, 8, 16]),
    start=st.integers(0, 64),
    length=st.sampled_from([1, 2, 4, 8]),
    write=st.booleans(),
)
def test_a_data_slot_matches_when_any_byte_overlaps(
    address: int, size: int, start: int, length: int, write: bool
) -> None:
    control = dr.dr7_encode(1, length, "rw")
    block = {start // length * length + n for n in range(length)}
    overlap = bool(block & {address + n for n in range(size)})
    assert dr.matches(control, (0, start, 0, 0), address, size, "w" if write else "r") == (
        2 if overlap else 0
    )


# kvm/x86.c kvm_dr6_fixed and kvm-unit-tests: writing 0 and 0xffff0ff0 must both work.
@pytest.mark.parametrize(
    ("written", "read"),
    [(0, 0xFFFF0FF0), (0xFFFF0FF0, 0xFFFF0FF0), (0x4002, 0xFFFF4FF2), (0xFFFFFFFF, 0xFFFFEFFF)],
)
def test_dr6_keeps_its_fixed_bits(written: int, read: int) -> None:
    assert dr.dr6_written(written) == read


@pytest.mark.parametrize(("written", "read"), [(0, 0x400), (0xFFFFFFFF, 0xFFFF27FF), (0x0000D000, 0x400)])
def test_dr7_keeps_its_fixed_bits(written: int, read: int) -> None:
    assert dr.dr7_written(written) == read


def test_a_db_replaces_b0_to_b3_and_only_sets_the_rest() -> None:
    # kvm-unit-tests hw_bp2: DR6 preset with BS and B1, DR2 hits: B1 is cleared, the stale BS stays.
    assert dr.dr6_after_db(0xFFFF4FF2, 0b100) == 0xFFFF4FF4
    assert dr.dr6_after_db(dr.DR6_BASE, 0b10) == 0xFFFF0FF2
    assert dr.dr6_after_db(dr.DR6_BASE, 0b10, step=True) == 0xFFFF4FF2
    assert dr.dr6_after_db(dr.DR6_BASE, 0) == dr.DR6_BASE


def test_fields_cover_every_writable_bit_once() -> None:
    bits = [field.shift + n for field in dr.dr7_fields() for n in range(field.width)]
    assert len(bits) == len(set(bits))
    assert sum(1 << bit for bit in bits) == 0xFFFF2BFF


def test_named_bits_agree_with_the_fields() -> None:
    single = {field.name: field.shift for field in dr.dr7_fields() if field.width == 1}
    assert single == dr.DR7_BITS
