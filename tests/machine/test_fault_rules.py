"""What a program may not do: which signal, with which si_code and si_addr, and that nothing else has changed. As on an AMD Zen 5."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.live.program_state import End, Halt, emulated
from tests.machine.code import CODE, DATA, START, program

LAST = DATA + 0x3000
GENERAL_PROTECTION = "SIGSEGV code 0x80 address 0x0"
FLAGS = 0xCD5


def _to_r8(value: int) -> bytes:
    return b"\x49\xb8" + struct.pack("<Q", value)


def _run(
    folder: Path, code: bytes, slots: list[tuple[int, int, str]] | None = None, at: int = DATA
) -> tuple[list[Halt], End]:
    return emulated(program(folder / "program", code, ends=False), slots or [], 0, (at, 64))


@pytest.mark.parametrize(
    "code",
    [
        b"\x0f\x29\x43\x01", b"\x66\x0f\x6f\x43\x08", b"\x66\x0f\xfe\x43\x04", b"\x0f\x29\x44\x24\x01", b"\x48\x0f\xc7\x4b\x08",
        b"\x0f\xae\x43\x08",
    ],
    ids=["movaps store", "movdqa", "paddd", "movaps on the stack", "cmpxchg16b", "fxsave"],
)  # fmt: skip
def test_an_operand_that_must_be_aligned_faults(tmp_path: Path, code: bytes) -> None:
    _, end = _run(tmp_path, code + b"\x0f\x0b", [(DATA, 8, "rw")])
    assert (end.how, end.state["rip"], end.memory) == (GENERAL_PROTECTION, START, bytes(64))


@pytest.mark.parametrize("code", [b"\x0f\x11\x43\x01", b"\xf3\x0f\x7f\x43\x08"], ids=["movups", "movdqu"])
def test_one_that_need_not_does_not(tmp_path: Path, code: bytes) -> None:
    assert _run(tmp_path, code + b"\x0f\x0b")[1].how.startswith("SIGILL")


@pytest.mark.parametrize(
    "code",
    [
        b"\x49\x01\x00",
        b"\x49\xff\x00",
        b"\x49\xc1\x20\x03",
        b"\x4d\x0f\xb1\x08",
        b"\x4d\x0f\xc1\x08",
        b"\x49\xd1\x18",
        b"\x49\xf7\x18",
    ],
    ids=["add", "inc", "shl", "failing cmpxchg", "xadd", "rcr", "neg"],
)
def test_what_may_not_be_written_leaves_the_flags(tmp_path: Path, code: bytes) -> None:
    before = b"\xb8\x10\0\0\0\x3c\x11"  # mov eax, 16; cmp al, 17: CF, SF, PF and AF
    _, end = _run(tmp_path, _to_r8(CODE + 64) + before + code)
    assert (end.how, end.state["flags"], end.state["r9"]) == (
        f"SIGSEGV code 0x2 address {CODE + 64:#x}",
        0x95,
        0,
    )


@pytest.mark.parametrize("code", [b"\x41\x0b\x00", b"\x41\x85\x00"], ids=["or", "test"])
def test_what_may_not_be_read_leaves_the_flags(tmp_path: Path, code: bytes) -> None:
    _, end = _run(tmp_path, _to_r8(0xDEAD000) + b"\xb8\x10\0\0\0\x3c\x11" + code)
    assert (end.how, end.state["flags"], end.state["rax"]) == ("SIGSEGV code 0x1 address 0xdead000", 0x95, 16)


@pytest.mark.slow
@pytest.mark.parametrize("slot", [None, (LAST - 8, 8, "w"), (LAST - 16, 2, "rw")])
@pytest.mark.parametrize(
    ("code", "size"),
    [(b"\x49\x89\x18", 8), (b"\x41\x0f\x11\x00", 16), (b"\x49\x01\x18", 8), (b"\x4c\x89\xc7\x48\xab", 8)],
    ids=["mov", "movups", "add", "stosq"],
)
def test_a_store_that_fails_on_its_second_page_writes_nothing(
    tmp_path: Path, code: bytes, size: int, slot: tuple[int, int, str] | None
) -> None:
    start = LAST - size // 2
    fill = b"\xb8\x44\x33\x22\x11\xa3" + struct.pack("<Q", LAST - 4)
    body = fill + _to_r8(start) + b"\x48\xc7\xc0\xff\xff\xff\xff" + code
    halts, end = _run(tmp_path, body, [slot] if slot else [], at=LAST - 64)
    assert end.how == f"SIGSEGV code 0x1 address {LAST:#x}"
    assert end.memory == bytes(60) + struct.pack("<I", 0x11223344)
    assert all(halt.ip == START + len(fill) for halt in halts)


def test_stores_that_end_with_the_memory_are_done_and_seen(tmp_path: Path) -> None:
    code = _to_r8(LAST - 8) + b"\x49\x89\x18\x49\xff\x00\x0f\x0b"
    halts, end = _run(tmp_path, code, [(LAST - 4, 4, "w")], at=LAST - 64)
    assert [halt.ip for halt in halts] == [START + 13, START + 16]
    assert end.memory[56:] == struct.pack("<Q", DATA + 1)


@pytest.mark.parametrize(
    ("code", "length"),
    [(b"\x41\xff\xe0", 0), (b"\x41\xff\xd0", 0), (b"\x41\x50\xc3", 2), (b"\x41\x50\xc2\x08\0", 2)],
    ids=["jmp", "call", "ret", "ret 8"],
)
def test_a_branch_to_an_address_that_cannot_be_faults_where_it_is(
    tmp_path: Path, code: bytes, length: int
) -> None:
    prepared = _to_r8(0x4141_4141_4141_4141) + b"\x48\x8d\x63\x20"
    _, end = _run(tmp_path, prepared + code)
    assert (end.how, end.state["rip"]) == (GENERAL_PROTECTION, START + len(prepared) + length)
    assert end.state["rsp"] == DATA + 0x20 - 4 * length


def test_a_jump_into_nothing_is_not_mapped(tmp_path: Path) -> None:
    _, end = _run(tmp_path, _to_r8(0xDEAD000) + b"\x41\xff\xe0")
    assert (end.how, end.state["rip"]) == ("SIGSEGV code 0x1 address 0xdead000", 0xDEAD000)


def test_leave_and_enter_change_nothing_when_they_fault(tmp_path: Path) -> None:
    nowhere = b"\x48\xbd" + struct.pack("<Q", 0xDEAD000)
    _, end = _run(tmp_path, b"\x48\x8d\x63\x20" + nowhere + b"\xc9")
    assert (end.state["rsp"], end.state["rbp"]) == (DATA + 0x20, 0xDEAD000)
    _, end = _run(tmp_path, b"\x48\x8d\x63\x20" + nowhere + b"\xc8\x08\0\x03")
    assert (end.state["rsp"], end.state["rbp"]) == (DATA + 0x20, 0xDEAD000)


def test_the_bytes_that_maskmovdqu_selects_are_its_access(tmp_path: Path) -> None:
    code = (
        b"\x66\x0f\x76\xc9\x48\xb8" + struct.pack("<Q", 0x8000) + b"\x66\x48\x0f\x6e\xd0"
        b"\x48\x89\xdf\x66\x0f\xf7\xca\x0f\x0b"
    )
    halts, end = _run(tmp_path, code, [(DATA, 1, "w"), (DATA + 1, 1, "w"), (DATA + 2, 2, "rw")])
    assert [halt.dr6 for halt in halts] == [2]
    assert end.memory[:4] == b"\0\xff\0\0"


def test_the_auxiliary_carry_is_kept(tmp_path: Path) -> None:
    for code, flags in (
        (b"\xb0\x0f\x04\x01", 0x10),
        (b"\xb0\x10\x2c\x01", 0x14),
        (b"\xb0\x0f\xfe\xc0", 0x10),
        (b"\xb0\x1f\x24\x1f", 0),
    ):
        _, end = _run(tmp_path, code + b"\x0f\x0b")
        assert end.state["flags"] == flags, code.hex()


def test_loading_a_segment_register_stops_with_a_line(tmp_path: Path) -> None:
    for code in (b"\x8e\xd8", b"\x0f\xa1", b"\x0f\xb2\x03"):
        assert "loading a segment register is not emulated" in _run(tmp_path, code)[1].how


@pytest.mark.parametrize(
    "code",
    ["c5f877", "c5f828c8", "c5f1fed0", "c4e2f1b9d0"],
    ids=["vzeroupper", "vmovaps", "vpaddd", "vfmadd231sd"],
)
def test_what_cpuid_does_not_promise_stops_with_a_line(tmp_path: Path, code: str) -> None:
    assert "the engine lacks this instruction" in _run(tmp_path, bytes.fromhex(code))[1].how
