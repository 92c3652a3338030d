"""A 32-bit result clears the upper half of its register (SDM 1, 3.4.1.1), in the instructions where the engine leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.code import DATA, program
from tests.machine.emulated import run

ONES = "48bfffffffffffffffff"  # mov rdi, -1
CASES = [
    (ONES + "873b" + "48897b08", "rdi", 0),  # xchg [rbx], edi; mov [rbx+8], rdi
    (ONES + "89fa" + "8713" + "48895308", "rdx", 0),  # through another register
    (ONES + "66873b" + "48897b08", "rdi", 0xFFFF_FFFF_FFFF_0000),  # 16 bits leave the rest
    (ONES + "48873b" + "48897b08", "rdi", 0),
    (ONES + "4889f8" + "4889fa" + "0fc70b" + "48895308", "rdx", 0),  # cmpxchg8b that fails loads edx:eax
]


@pytest.mark.parametrize("jit", [False, True], ids=["interpreted", "translated"])
@pytest.mark.parametrize("watched", [False, True], ids=["quiet", "watched"])
@pytest.mark.parametrize(("code", "register", "expected"), CASES)
def test_the_upper_half_is_cleared(
    tmp_path: Path, code: str, register: str, expected: int, watched: bool, jit: bool
) -> None:
    path = program(tmp_path / "p", bytes.fromhex(code))
    done = run([path], [(DATA, 4, "w")] if watched else [], jit=jit)
    assert done.view.exit_status == 0
    assert int.from_bytes(done.backend.read(DATA + 8, 8), "little") == expected, register
    assert len(done.hits) == watched
