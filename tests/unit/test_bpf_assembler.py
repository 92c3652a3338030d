"""The BPF assembler, against encodings written out from the kernel's instruction set document."""

from __future__ import annotations

import pytest

from backends.bpf.assembler import Assembler, Helper


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (Assembler().move(6, 1), "bf16000000000000"),
        (Assembler().set(8, 1), "b708000001000000"),
        (Assembler().set(0, -1), "b7000000ffffffff"),
        (Assembler().set(2, 1 << 40), "18020000000000000000000000010000"),
        (Assembler().set(2, 0xFFFFFFFF), "18020000ffffffff0000000000000000"),
        (Assembler().map_fd(1, 8), "18110000080000000000000000000000"),
        (Assembler().map_value(7, 12, 16), "182700000c0000000000000010000000"),
        (Assembler().fetch_add(7, 0, 8), "db87000001000000"),
        (Assembler().atomic_add(7, 8, 1), "db17080000000000"),
        (Assembler().load(1, 6, 128), "7961800000000000"),
        (Assembler().load(1, 6, 4, 4), "6161040000000000"),
        (Assembler().store(9, 16, 1), "7b19100000000000"),
        (Assembler().store(9, 32, 0, 4), "6309200000000000"),
        (Assembler().store(9, 32, 0, 1), "7309200000000000"),
        (Assembler().store_value(9, 72, -1), "7a094800ffffffff"),
        (Assembler().alu(1, "+=", 40), "0701000028000000"),
        (Assembler().alu(1, "&=", 255), "57010000ff000000"),
        (Assembler().alu_register(1, "-=", 2), "1f21000000000000"),
        (Assembler().call(Helper.RINGBUF_RESERVE), "8500000083000000"),
        (Assembler().call_kfunc(63539), "8520000033f80000"),
        (Assembler().leave(0), "b7000000000000009500000000000000"),
    ],
)
def test_an_instruction_is_encoded_as_the_kernel_reads_it(program: Assembler, expected: str) -> None:
    assert program.code().hex() == expected


def test_jumps_count_from_the_next_instruction_in_both_directions() -> None:
    program = Assembler().label("top").jump_if(1, "!=", 0, "end").jump("top").label("end").leave()
    assert program.code().hex() == "5501010000000000" + "0500feff00000000" + "9500000000000000"


def test_a_jump_over_a_wide_constant_counts_its_two_halves() -> None:
    program = Assembler().jump_if_register(1, "==", 2, "end").set(3, 1 << 60).label("end").leave()
    assert program.code().hex().startswith("1d21020000000000")


def test_a_label_that_is_not_placed_is_an_error() -> None:
    with pytest.raises(ValueError, match="'nowhere' is not placed"):
        Assembler().jump("nowhere").code()


def test_a_label_placed_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="twice"):
        Assembler().label("a").label("a")


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1])
def test_a_constant_beyond_64_bits_is_an_error(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Assembler().set(1, value)


def test_a_register_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="r11"):
        Assembler().move(11, 0)
