"""An x87 instruction, FXSAVE or FXRSTOR of a running program: its memory, what it hits, and the next instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated.access_faults import first_fault, memory_fault
from backends.emulated.decode import Decoded
from backends.emulated.hits import report
from backends.emulated.special import Privileged, check_mxcsr
from backends.emulated.x87.image import FXSAVE_SIZE, fxrstor, fxsave
from backends.emulated.x87.instructions import MNEMONICS, STORES, run

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = ["RUN_HERE", "run_x87"]

_M = ic.Mnemonic
_SAVES: Final = {_M.FXSAVE, _M.FXSAVE64}
_RESTORES: Final = {_M.FXRSTOR, _M.FXRSTOR64}
RUN_HERE: Final = MNEMONICS | _SAVES | _RESTORES
"""The mnemonics that `run_x87` runs."""
_PROBED: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    **dict.fromkeys(_SAVES | _RESTORES, ((FXSAVE_SIZE - 1, 1),)),
    **dict.fromkeys((_M.FNSAVE, _M.FRSTOR), ((0, 4), (107, 1))),
    **dict.fromkeys((_M.FNSTENV, _M.FLDENV), ((0, 4), (27, 1))),
}
"""Which bytes of an image are asked first whether they may be accessed, as found on an AMD Zen 5: si_addr is one of them."""
_SIGSEGV, _SI_KERNEL = 11, 0x80
_READ_BY_FXRSTOR: Final = ((0, 28), (32, 384), (FXSAVE_SIZE - 1, 1))
"""(offset, bytes) in the image, as found on an AMD Zen 5: not MXCSR_MASK, but the last byte."""


def run_x87(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """Run the instruction at pc. Raises Unsupported before anything has changed."""
    engine, instruction = cpu.engine, decoded.instruction
    in_memory = instruction.op_count > 0 and instruction.op0_kind == ic.OpKind.MEMORY
    address, size, _ = decoded.accesses()[0] if in_memory else (0, 0, 0)
    stores = decoded.mnemonic in _SAVES or (in_memory and decoded.mnemonic in STORES)
    saves, restores = decoded.mnemonic in _SAVES, decoded.mnemonic in _RESTORES
    if (saves or restores) and address & 15:
        cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
        return
    whole = FXSAVE_SIZE if saves or restores else size
    kind = 2 if stores else 1
    if in_memory and first_fault(cpu.space, ((address, whole, kind),)) is not None:
        probes = [(address + at, count, kind) for at, count in _PROBED.get(decoded.mnemonic, ())]
        memory_fault(cpu, address, first_fault(cpu.space, tuple(probes)))
        return
    parts = _READ_BY_FXRSTOR if restores else ((0, size),)
    touched = [
        (slot, kind, slot.current(engine.raw_read))
        for slot in (cpu.unit.data if in_memory else ())
        if any(address + at < slot.end and slot.start < address + at + count for at, count in parts)
    ]
    stack = cpu.stack(pc) if touched else 0
    out: bytes | None
    if saves:
        out = fxsave(engine)[:size]
    elif restores:
        out, image = None, engine.read(address, FXSAVE_SIZE)
        try:
            check_mxcsr(int.from_bytes(image[24:28], "little"))
        except Privileged:
            cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
            return
        fxrstor(engine, image)
    else:
        memory = engine.read(address, size) if in_memory and not stores else b""
        out = run(engine.x87, instruction, size, memory, engine.flags)
    if out is not None and in_memory:
        engine.write(address, out)
    elif out is not None:  # fnstsw ax
        engine.set("RAX", engine.get("RAX") & ~0xFFFF | int.from_bytes(out, "little"))
    engine.pc += decoded.length
    cpu.surplus -= 1
    cpu.rf_pc = -1
    report(cpu, pc, touched, stack)
