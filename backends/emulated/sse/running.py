"""An SSE instruction on floats that the engine left to us (`backends.emulated.sleigh_floats`): its lanes, MXCSR, and #XM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated.access_faults import first_fault, memory_fault
from backends.emulated.decode import ON_FLOATS, REGISTER_NAMES, Decoded
from backends.emulated.engine import Engine, Unsupported
from backends.emulated.sse.arithmetic import (
    MASKS,
    Lane,
    arithmetic,
    compared,
    from_integer,
    ordered,
    resized,
    to_integer,
)
from backends.emulated.x87.numbers import DENORMAL, DIVIDE_BY_ZERO, DOUBLE, INVALID, SINGLE, Format

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = ["compute", "run_float"]

_SIGFPE, _SIGSEGV, _SI_KERNEL = 8, 11, 0x80
_CODES: Final = ((1, 7), (4, 3), (8, 4), (0x12, 5), (0x20, 6))
"""FPE_FLTINV, FLTDIV, FLTOVF, FLTUND, FLTRES (arch/x86/kernel/fpu/core.c fpu__exception_code)."""
_NAMES: Final[dict[int, str]] = {
    getattr(ic.Mnemonic, name): name
    for name in dir(ic.Mnemonic)
    if name.isupper() and getattr(ic.Mnemonic, name) in ON_FLOATS
}
_TWO: Final = re.compile(r"(ADD|SUB|MUL|DIV|SQRT|MIN|MAX|CMP)([PS])([SD])")
_COMPARED: Final = re.compile(r"(U?)COMIS([SD])")
_TO_INTEGER: Final = re.compile(r"CVT(T?)([PS])([SD])2(SI|DQ)")
_FORMATS: Final = {"D": (DOUBLE, 64), "S": (SINGLE, 32)}
_BEFORE: Final = INVALID | DENORMAL | DIVIDE_BY_ZERO
_WHOLE: Final = (1 << 128) - 1


def run_float(cpu: Cpu, pc: int, decoded: Decoded) -> bool:
    """Run the instruction at pc; False where it faulted. Raises Unsupported before anything has changed."""
    source = _source(cpu, decoded)
    if source is None:
        return False
    unmasked = compute(cpu.engine, decoded, source)
    if unmasked:
        cpu.signal(_SIGFPE, pc, next(code for bits, code in _CODES if unmasked & bits))
        return False
    cpu.engine.pc = pc + decoded.length
    cpu.rf_pc = -1
    return True


def compute(engine: Engine, decoded: Decoded, source: int) -> int:
    """The instruction on registers, `source` being its second operand; the exceptions raised that are not masked.

    With such an exception nothing has changed but the flags of MXCSR. Raises Unsupported.
    """
    name, instruction = _NAMES.get(decoded.mnemonic), decoded.instruction
    if name is None or _on_mmx(instruction):
        raise Unsupported("MMX, and float instructions after SSE2, are not emulated")
    mxcsr = engine.get("MXCSR")
    target = REGISTER_NAMES[instruction.op0_register]
    result, raised = _result(name, engine.get(target), source, mxcsr, instruction)
    unmasked = raised & ~(mxcsr >> MASKS) & 0x3F
    if unmasked & _BEFORE:  # found before there is a result
        raised &= _BEFORE
    engine.set("MXCSR", mxcsr | raised)
    if unmasked:
        return unmasked
    if isinstance(result, dict):
        for flag, value in result.items():
            engine.set(flag, value)
    else:
        engine.set(_widened(instruction) if not target.startswith("XMM") else target, result)
    return 0


def _widened(instruction: ic.Instruction) -> str:
    """The 64-bit register that a 32-bit result is widened into."""
    return REGISTER_NAMES[ic.RegisterExt.full_register(instruction.op0_register)]


def _on_mmx(instruction: ic.Instruction) -> bool:
    return any(
        ic.RegisterExt.is_mm(register) for register in (instruction.op0_register, instruction.op1_register)
    )


def _source(cpu: Cpu, decoded: Decoded) -> int | None:
    """The second operand; None where reading it faulted."""
    instruction = decoded.instruction
    if decoded.mnemonic not in _NAMES or _on_mmx(instruction):
        return 0  # refused below
    if instruction.op1_kind == ic.OpKind.REGISTER:
        return cpu.engine.get(REGISTER_NAMES[instruction.op1_register])
    ((address, size, _),) = decoded.accesses()
    if size == 16 and address & 15:
        cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
        return None
    if first_fault(cpu.space, ((address, size, 1),)) is not None:
        memory_fault(cpu, address)
        return None
    return int.from_bytes(cpu.engine.read(address, size), "little")


def _lane(value: int, at: int, bits: int) -> int:
    return value >> at & (1 << bits) - 1


def _join(lanes: list[Lane], bits: int, rest: int) -> tuple[int, int]:
    """Lanes in place of the lower bits of `rest`."""
    raised = 0
    for number, (value, more) in enumerate(lanes):
        at = number * bits
        rest = rest & ~((1 << bits) - 1 << at) | value << at
        raised |= more
    return rest & _WHOLE, raised


def _result(
    name: str, old: int, source: int, mxcsr: int, instruction: ic.Instruction
) -> tuple[int | dict[str, int], int]:
    """The target's new value, or the flags of a comparison, and what was raised."""
    if match := _TWO.fullmatch(name):
        format_, bits = _FORMATS[match[3]]
        places = range(0, 128, bits) if match[2] == "P" else (0,)
        pairs = [(_lane(old, at, bits), _lane(source, at, bits)) for at in places]
        if match[1] == "CMP":
            return _join(
                [compared(instruction.immediate8 & 7, a, b, format_, mxcsr) for a, b in pairs], bits, old
            )
        return _join([arithmetic(match[1], a, b, format_, mxcsr) for a, b in pairs], bits, old)
    if match := _COMPARED.fullmatch(name):
        format_, bits = _FORMATS[match[2]]
        order, raised = ordered(
            _lane(old, 0, bits), _lane(source, 0, bits), format_, mxcsr, quiet=match[1] == "U"
        )
        flags = {"ZF": order in (0, None), "PF": order is None, "CF": order in (-1, None)}
        return {**{flag: int(value) for flag, value in flags.items()}, "OF": 0, "SF": 0, "AF": 0}, raised
    return _converted(name, old, source, mxcsr, instruction)


def _converted(name: str, old: int, source: int, mxcsr: int, instruction: ic.Instruction) -> tuple[int, int]:
    if match := _TO_INTEGER.fullmatch(name):
        format_, bits = _FORMATS[match[3]]
        truncate = bool(match[1])
        if match[4] == "SI":
            size = 8 * ic.RegisterExt.size(instruction.op0_register)
            return to_integer(_lane(source, 0, bits), format_, size, mxcsr, truncate=truncate)
        lanes = [
            to_integer(_lane(source, at, bits), format_, 32, mxcsr, truncate=truncate)
            for at in range(0, 128, bits)
        ]
        return _join(lanes, 32, 0)
    if name in ("CVTSI2SD", "CVTSI2SS"):
        in_memory = instruction.op1_kind != ic.OpKind.REGISTER
        size = 8 * (
            ic.MemorySizeExt.size(instruction.memory_size)
            if in_memory
            else ic.RegisterExt.size(instruction.op1_register)
        )
        format_, bits = _FORMATS[name[-1]]
        return _join([from_integer(_signed(source, size), format_, mxcsr)], bits, old)
    if name == "CVTDQ2PS":
        return _join(
            [from_integer(_signed(_lane(source, at, 32), 32), SINGLE, mxcsr) for at in range(0, 128, 32)],
            32,
            0,
        )
    resize: dict[str, tuple[Format, int, Format, int, int, int]] = {
        "CVTSD2SS": (DOUBLE, 64, SINGLE, 32, 1, old), "CVTSS2SD": (SINGLE, 32, DOUBLE, 64, 1, old),
        "CVTPD2PS": (DOUBLE, 64, SINGLE, 32, 2, 0), "CVTPS2PD": (SINGLE, 32, DOUBLE, 64, 2, 0),
    }  # fmt: skip
    if name not in resize:
        raise Unsupported("the engine lacks this instruction")
    format_, bits, to, size, count, rest = resize[name]
    return _join(
        [resized(_lane(source, at * bits, bits), format_, to, mxcsr) for at in range(count)], size, rest
    )


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)
