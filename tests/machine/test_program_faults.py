"""What a fault leaves, what MOV SS holds back, and an execute slot that is stepped onto: each as measured on an AMD Zen 5."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.live.program_state import End, Halt, emulated
from tests.machine.code import CODE, DATA, START, program

LAST = DATA + 0x3000
TO_R8 = b"\x49\xb8" + struct.pack("<Q", LAST)


def _run(
    folder: Path, code: bytes, slots: list[tuple[int, int, str]], steps: int = 0
) -> tuple[list[Halt], End]:
    return emulated(program(folder / "program", code, ends=False), slots, steps, (DATA, 64))


def _signal(end: End) -> str:
    return end.how.split()[0]


@pytest.mark.parametrize(
    "store", [b"\x48\xa5", b"\x48\xab", b"\xf3\x48\xa5"], ids=["movsq", "stosq", "rep movsq"]
)
def test_a_string_instruction_that_faults_leaves_its_pointers(tmp_path: Path, store: bytes) -> None:
    code = b"\x48\x89\xde\x4c\x89\xc7\xb9\x02\0\0\0"  # rsi = data, rdi = r8, ecx = 2
    _, end = _run(tmp_path, TO_R8 + code + store, [(DATA, 8, "rw")])
    assert (_signal(end), end.state["rsi"], end.state["rdi"], end.state["rcx"]) == ("SIGSEGV", DATA, LAST, 2)


def test_a_pop_to_nowhere_leaves_rsp(tmp_path: Path) -> None:
    _, end = _run(tmp_path, TO_R8 + b"\x48\x89\xdc\x41\x8f\0", [])
    assert (_signal(end), end.state["rsp"]) == ("SIGSEGV", DATA)


def test_a_store_to_executed_code_that_may_not_be_written_faults(tmp_path: Path) -> None:
    code = b"\x49\xb8" + struct.pack("<Q", CODE)
    assert _run(tmp_path, code + b"\x49\x89\0", [])[1].how.split()[0] == "SIGSEGV"
    _, end = _run(tmp_path, code + b"\x48\x89\xdc\x41\x8f\0", [])  # pop [r8]
    assert (_signal(end), end.state["rsp"]) == ("SIGSEGV", DATA)


@pytest.mark.parametrize(
    ("code", "how"), [(b"\x50", "SIGBUS"), (b"\x48\x8b\x04\x24", "SIGBUS"), (b"\x49\x8b\0", "SIGSEGV")]
)
def test_an_address_that_is_not_canonical_is_sigbus_on_the_stack(
    tmp_path: Path, code: bytes, how: str
) -> None:
    away = b"\x49\xb8" + struct.pack("<Q", 1 << 63) + b"\x4c\x89\xc4"
    assert _run(tmp_path, away + code, [])[1].how.split()[0] == how


@pytest.mark.parametrize(
    ("shadow", "length"), [(b"\x90", 1), (b"\x8e\x13\x90", 3)], ids=["nop", "mov ss; nop"]
)
def test_mov_ss_holds_its_hit_and_the_step_back(tmp_path: Path, shadow: bytes, length: int) -> None:
    code = b"\x66\xc7\x03\x2b\0" + b"\x8e\x13" + shadow + b"\xcc"
    behind = START + 7 + length
    halts, end = _run(tmp_path, code, [(DATA, 2, "rw")])
    assert [(halt.ip, halt.dr6) for halt in halts] == [(START + 5, 1), (behind, 1)]
    halts, end = _run(tmp_path, code, [(DATA, 2, "rw")], steps=3)
    assert [(halt.ip, halt.dr6) for halt in halts] == [(START, 0x4000), (START + 5, 0x4001), (behind, 0x4001)]
    assert _signal(end) == "SIGTRAP"


def test_what_mov_ss_holds_back_is_lost_in_a_fault(tmp_path: Path) -> None:
    halts, end = _run(tmp_path, b"\x66\xc7\x03\x2b\0\x8e\x13\x0f\x0b", [(DATA, 2, "rw")])
    assert [halt.ip for halt in halts] == [START + 5]
    assert _signal(end) == "SIGILL"


def test_another_selector_faults(tmp_path: Path) -> None:
    assert _run(tmp_path, b"\x66\xc7\x03\x13\0\x8e\x13\x90\xcc", [])[1].how.split()[0] == "SIGSEGV"


def test_an_execute_slot_that_is_stepped_onto_has_its_own_db(tmp_path: Path) -> None:
    halts, _ = _run(tmp_path, b"\x90\x90\xcc", [(START + 1, 1, "x")], steps=3)
    assert [(halt.ip, halt.dr6) for halt in halts] == [
        (START, 0x4000), (START + 1, 0x4000), (START + 1, 1), (START + 2, 0x4000),
    ]  # fmt: skip
