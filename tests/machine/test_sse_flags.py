"""SSE on floats: results and the flags of MXCSR, each as this kind of processor has them (SDM 1, 11.5); exceptions that are not masked."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from backends.emulated.cpu import Cpu
from backends.emulated.decode import Decoded
from backends.emulated.sse.running import run_float
from tests.live.program_state import End, emulated
from tests.machine.code import DATA, START, program

ADD, SUB, MUL, DIV, SQRT, MIN, TO_SINGLE, TO_INT, TRUNCATED, UNORDERED, ORDERED, LESS = (
    *(
        b"\xf2\x0f\x58\xc1",
        b"\xf2\x0f\x5c\xc1",
        b"\xf2\x0f\x59\xc1",
        b"\xf2\x0f\x5e\xc1",
        b"\xf2\x0f\x51\xc1",
        b"\xf2\x0f\x5d\xc1",
    ),
    *(
        b"\xf2\x0f\x5a\xc1",
        b"\xf2\x48\x0f\x2d\xc1",
        b"\xf2\x48\x0f\x2c\xc1",
        b"\x66\x0f\x2e\xc1",
        b"\x66\x0f\x2f\xc1",
    ),
    b"\xf2\x0f\xc2\xc1\x01",
)
INVALID, DENORMAL, ZERO, OVERFLOW, UNDERFLOW, INEXACT = 1, 2, 4, 8, 16, 32
NAN, INF, TINY = float("nan"), float("inf"), 5e-324


def _load(register: int, value: float) -> bytes:
    return b"\x48\xb8" + struct.pack("<d", value) + b"\x66\x48\x0f\x6e" + bytes([0xC0 | register << 3])


def _mxcsr(value: int) -> bytes:
    return b"\xc7\x43\x10" + struct.pack("<I", value) + b"\x0f\xae\x53\x10"


def _run(folder: Path, code: bytes, slots: list[tuple[int, int, str]] | None = None, at: int = DATA) -> End:
    return emulated(program(folder / "program", code + b"\x0f\x0b", ends=False), slots or [], 0, (DATA, 64))[
        1
    ]


def _double(end: End) -> float:
    value: float = struct.unpack("<d", (end.state["xmm0"] & (1 << 64) - 1).to_bytes(8, "little"))[0]
    return value


EACH = [

        (ADD, 1.0, 2.0, 0), (ADD, 0.1, 0.2, INEXACT), (ADD, 1e308, 1e308, OVERFLOW | INEXACT), (ADD, TINY, 1.0, DENORMAL | INEXACT),
        (ADD, INF, -INF, INVALID), (ADD, NAN, 1.0, 0), (SUB, 3.0, 3.0, 0), (MUL, 3.0, 5.0, 0), (MUL, 0.1, 0.1, INEXACT),
        (MUL, 1e-200, 1e-200, UNDERFLOW | INEXACT), (MUL, 0.0, INF, INVALID), (DIV, 6.0, 3.0, 0), (DIV, 1.0, 3.0, INEXACT),
        (DIV, 1.0, 0.0, ZERO), (DIV, 0.0, 0.0, INVALID), (SQRT, 0.0, 16.0, 0), (SQRT, 0.0, 2.0, INEXACT), (SQRT, 0.0, -1.0, INVALID),
        (MIN, 1.0, NAN, INVALID), (MIN, 1.0, TINY, DENORMAL), (TO_SINGLE, 0.0, 0.1, INEXACT), (TO_SINGLE, 0.0, 1e300, OVERFLOW | INEXACT),
        (TO_SINGLE, 0.0, 1e-42, UNDERFLOW | INEXACT), (TO_INT, 0.0, 2.5, INEXACT), (TO_INT, 0.0, 1e300, INVALID), (TRUNCATED, 0.0, 7.0, 0),
        (UNORDERED, NAN, 1.0, 0), (ORDERED, NAN, 1.0, INVALID), (ORDERED, TINY, 1.0, DENORMAL), (LESS, NAN, 1.0, INVALID),
]  # fmt: skip


def test_each_operation_raises_its_flags(tmp_path: Path) -> None:
    code = b"".join(
        _mxcsr(0x1F80)
        + _load(0, a)
        + _load(1, b)
        + operation
        + b"\x0f\xae\x9b"
        + struct.pack("<I", 0x400 + 4 * number)
        for number, (operation, a, b, _) in enumerate(EACH)
    )
    end = emulated(
        program(tmp_path / "program", code + b"\x0f\x0b", ends=False), [], 0, (DATA + 0x400, 4 * len(EACH))
    )[1]
    found = struct.unpack(f"<{len(EACH)}I", end.memory)
    assert [f"{value:#x}" for value in found] == [f"{0x1F80 | flags:#x}" for *_, flags in EACH]


def test_flags_stay_until_the_program_clears_them_and_stmxcsr_reads_them(tmp_path: Path) -> None:
    code = (
        _load(0, 1.0)
        + _load(1, 3.0)
        + DIV
        + b"\x0f\xae\x5b\x20"
        + _mxcsr(0x1F80)
        + ADD * 0
        + b"\x0f\xae\x5b\x24"
    )
    end = _run(tmp_path, code)
    assert struct.unpack_from("<II", end.memory, 0x20) == (0x1FA0, 0x1F80)


@pytest.mark.parametrize(
    ("mode", "result"),
    [(0, 1 / 3), (1, 1 / 3), (2, 0.33333333333333337), (3, 1 / 3)],
    ids=["nearest", "down", "up", "zero"],
)
def test_each_rounding_mode(tmp_path: Path, mode: int, result: float) -> None:
    end = _run(tmp_path, _mxcsr(0x1F80 | mode << 13) + _load(0, 1.0) + _load(1, 3.0) + DIV)
    assert (_double(end), end.state["mxcsr"] & 0x3F) == (result, INEXACT)


def test_denormals_can_be_zeros(tmp_path: Path) -> None:
    end = _run(tmp_path, _mxcsr(0x1FC0) + _load(0, TINY) + _load(1, 1.0) + MUL)
    assert (_double(end), end.state["mxcsr"]) == (0.0, 0x1FC0)
    end = _run(tmp_path, _mxcsr(0x9F80) + _load(0, 1e-200) + _load(1, -1e-110) + MUL)
    assert (_double(end), end.state["mxcsr"] & 0x3F) == (0.0, UNDERFLOW | INEXACT)


@pytest.mark.parametrize(
    ("a", "b", "mask", "code", "flag"),
    [(0.0, 0.0, 0x80, 7, INVALID), (1.0, 0.0, 0x200, 3, ZERO), (1e308, 1e-100, 0x400, 4, OVERFLOW), (1e-200, 1e200, 0x800, 5, UNDERFLOW), (1.0, 3.0, 0x1000, 6, INEXACT)],
)  # fmt: skip
def test_an_exception_that_is_not_masked_is_sigfpe(
    tmp_path: Path, a: float, b: float, mask: int, code: int, flag: int
) -> None:
    body = _mxcsr(0x1F80 & ~mask) + _load(0, a) + _load(1, b)
    end = _run(tmp_path, body + DIV)
    assert end.how == f"SIGFPE code {code:#x} address {START + len(body):#x}"
    assert (_double(end), end.state["rip"]) == (a, START + len(body))
    assert end.state["mxcsr"] & flag


def test_reserved_bits_of_mxcsr_are_a_fault(tmp_path: Path) -> None:
    assert _run(tmp_path, _mxcsr(0x1_0000)).how == "SIGSEGV code 0x80 address 0x0"


def test_a_watched_operand_hits_also_where_the_instruction_is_ours(tmp_path: Path) -> None:
    code = _load(0, 1.0) + b"\xf2\x0f\x5e\x03"  # divsd xmm0, [rbx], which is 0
    halts, end = emulated(
        program(tmp_path / "program", code + b"\x0f\x0b", ends=False), [(DATA, 8, "rw")], 0, (DATA, 8)
    )
    assert [(halt.ip, halt.dr6) for halt in halts] == [(START + len(code), 1)]
    assert end.state["mxcsr"] == 0x1F80 | ZERO


def test_ordinary_arithmetic_stays_with_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours: list[int] = []

    def counted(cpu: Cpu, pc: int, decoded: Decoded) -> bool:
        ours.append(pc)
        return run_float(cpu, pc, decoded)

    monkeypatch.setattr("backends.emulated.exceptions.run_float", counted)
    loop = ADD + MUL + SUB + DIV + b"\xff\xc9\x75" + bytes([-20 & 0xFF])
    end = _run(tmp_path, _load(0, 3.0) + _load(1, 1.5) + b"\xb9\xe8\x03\0\0" + loop)
    assert end.state["rcx"] == 0
    assert len(ours) <= 2  # until the first inexact result


@pytest.mark.parametrize(
    "code", [b"\x0f\xfc\xc1", b"\x0f\x77", b"\x66\x0f\x7c\xc1"], ids=["paddb mm", "emms", "haddpd"]
)
def test_mmx_and_what_came_later_stop_with_a_line(tmp_path: Path, code: bytes) -> None:
    assert "MMX, and float instructions after SSE2, are not emulated" in _run(tmp_path, code).how
