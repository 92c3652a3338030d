"""The x87 unit against this machine's own: random instructions on random states, bit for bit."""

from __future__ import annotations

import platform
import random

import iced_x86 as ic
import pytest

from backends.emulated.engine import Unsupported
from backends.emulated.x87.instructions import MNEMONICS
from backends.emulated.x87.instructions import run as run_x87
from backends.emulated.x87.unit import Unit
from tests.machine.x87_silicon import STATE, run

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 processor")

_M = ic.Mnemonic
_REFUSED = {_M.F2XM1, _M.FYL2X, _M.FYL2XP1, _M.FPTAN, _M.FPATAN, _M.FSIN, _M.FCOS, _M.FSINCOS}
_IMAGES = {_M.FLDENV: 28, _M.FNSTENV: 28, _M.FRSTOR: STATE, _M.FNSAVE: STATE}
_ARITHMETIC_FLAGS = 0x8D5
_POINTERS = slice(12, 28)
"""Where an environment holds the instruction and data pointers, which are not kept."""


def _forms() -> list[tuple[bytes, ic.Instruction]]:
    """Every instruction of the unit, with each register, and with a memory operand at [rdx]."""
    found = []
    for opcode in range(0xD8, 0xE0):
        for modrm in (*(reg << 3 | 2 for reg in range(8)), *range(0xC0, 0x100)):
            code = bytes((opcode, modrm))
            instruction = next(iter(ic.Decoder(64, code + bytes(10), ip=0)))
            if instruction.len == 2 and instruction.mnemonic in MNEMONICS - _REFUSED:
                found.append((code, instruction))
    return found


FORMS = _forms()


def _value(dice: random.Random) -> int:
    """80 bits of every class, with exponents where something happens."""
    sign, bits = dice.getrandbits(1) << 79, dice.getrandbits(63)
    one = 0x3FFF
    edge = dice.choice([63, 64, 127, 128, -126, -127, -150, 1023, 1024, -1022, -1060])
    near = dice.choice([0, edge, dice.randrange(-8, 8), dice.randrange(70)])
    exponent = dice.choice([0, 1, 2, 0x7FFE, 0x7FFF, one + near, one + near, dice.randrange(0x8000)])
    fraction = dice.choice([0, 1, 1 << 62, (1 << 63) - 1, bits, bits >> dice.randrange(63), bits & -1 << 40])
    explicit = dice.randrange(12) != 0 if exponent else 0
    return sign | exponent << 64 | explicit << 63 | fraction


def _state(dice: random.Random) -> bytes:
    """FNSAVE's image with all exceptions masked."""
    control = 0x7F | dice.choice([0, 2, 3, 3]) << 8 | dice.randrange(4) << 10
    status = dice.choice([0, dice.getrandbits(15)]) & 0x7F7F
    tags = dice.choice([0, 0, dice.getrandbits(16)])
    registers = [_value(dice) for _ in range(8)]
    if dice.randrange(3) == 0:
        registers[dice.randrange(1, 8)] = registers[0] ^ dice.getrandbits(1) << 79 ^ dice.choice([0, 1])
    words = b"".join(word.to_bytes(2, "little") + b"\xff\xff" for word in (control, status, tags))
    return words + bytes(16) + b"".join(value.to_bytes(10, "little") for value in registers)


def _operand(dice: random.Random, instruction: ic.Instruction, size: int) -> bytes:
    if instruction.mnemonic in _IMAGES:
        return _state(dice)[: _IMAGES[instruction.mnemonic]]
    if instruction.mnemonic == _M.FLDCW:
        return (dice.getrandbits(16) | 0x3F).to_bytes(2, "little")
    if instruction.mnemonic == _M.FBLD:
        digits = [dice.randrange(10) | dice.randrange(10) << 4 for _ in range(9)]
        return bytes((*digits, dice.choice([0, 0x80])))
    if size == 10:
        return _value(dice).to_bytes(10, "little")
    if size in (4, 8) and dice.randrange(3):
        fraction = 23 if size == 4 else 52
        exponents = (1 << 8 * size - 1 - fraction) - 1
        exponent = dice.choice([0, 1, exponents, exponents // 2 + dice.randrange(-5, 5)])
        low = dice.choice([0, 1, 1 << fraction - 1, dice.getrandbits(fraction)])
        return (dice.getrandbits(1) << 8 * size - 1 | exponent << fraction | low).to_bytes(size, "little")
    return dice.getrandbits(8 * size).to_bytes(size, "little") if size else b""


def _without_pointers(image: bytes) -> bytes:
    return image[: _POINTERS.start] + image[_POINTERS.stop :]


@pytest.mark.parametrize("seed", range(4))
def test_every_instruction_does_what_it_does_on_silicon(seed: int) -> None:
    dice = random.Random(seed)
    ran = 0
    for code, instruction in FORMS * 2:
        image = _state(dice)
        size = 0
        if instruction.op0_kind == ic.OpKind.MEMORY:
            size = _IMAGES.get(instruction.mnemonic) or ic.MemorySizeExt.size(instruction.memory_size)
        memory = _operand(dice, instruction, size)
        before = dice.getrandbits(12) & _ARITHMETIC_FLAGS | 2
        after = run(code, image, memory, before)
        unit, flags = Unit(), [before]
        unit.load_image(image)

        def eflags(value: int | None, flags: list[int] = flags) -> int:
            if value is not None:
                flags[0] = value
            return flags[0]

        stored = run_x87(unit, instruction, size, memory, eflags)
        mine, theirs = unit.image(), after.image
        said = f"{instruction} on {image.hex()} with {memory.hex()}"
        assert _without_pointers(mine).hex() == _without_pointers(theirs).hex(), said
        assert (flags[0] ^ after.flags) & _ARITHMETIC_FLAGS == 0, said
        if stored is not None and size:
            there = after.memory[:size]
            if instruction.mnemonic in (_M.FNSTENV, _M.FNSAVE):
                stored, there = _without_pointers(stored), _without_pointers(there)
            assert stored.hex() == there.hex(), said
        elif stored is not None:
            assert after.rax == int.from_bytes(stored, "little"), said
        ran += 1
    assert ran == 2 * len(FORMS) > 900


@pytest.mark.parametrize("mnemonic", sorted(_REFUSED))
def test_what_differs_between_processors_is_refused_and_changes_nothing(mnemonic: int) -> None:
    unit = Unit()
    unit.load_image(_state(random.Random(5)))
    before = unit.image()
    codes: dict[int, int] = {
        _M.F2XM1: 0xF0, _M.FYL2X: 0xF1, _M.FPTAN: 0xF2, _M.FPATAN: 0xF3, _M.FYL2XP1: 0xF9, _M.FSINCOS: 0xFB,
        _M.FSIN: 0xFE, _M.FCOS: 0xFF,
    }  # fmt: skip
    instruction = next(iter(ic.Decoder(64, bytes((0xD9, codes[mnemonic])))))
    assert instruction.mnemonic == mnemonic
    with pytest.raises(Unsupported, match="processor"):
        run_x87(unit, instruction, 0, b"", lambda value: value or 0)
    assert unit.image() == before


def test_an_unmasked_exception_stops_before_anything_is_changed() -> None:
    unit = Unit(control=0x37B)  # division by zero unmasked
    for code in (b"\xd9\xe8", b"\xd9\xee"):  # fld1, fldz
        run_x87(unit, next(iter(ic.Decoder(64, code))), 0, b"", lambda value: value or 0)
    before = unit.image()
    with pytest.raises(Unsupported, match="unmasked"):
        run_x87(unit, next(iter(ic.Decoder(64, b"\xde\xf9"))), 0, b"", lambda value: value or 0)  # fdivp
    assert unit.image() == before


def test_fxsave_and_fxrstor_carry_everything() -> None:
    unit, other = Unit(), Unit()
    unit.load_image(_state(random.Random(11)))
    image = unit.fxsave()
    other.fxrstor(image[:24], image[24:])
    assert other.image() == unit.image()
