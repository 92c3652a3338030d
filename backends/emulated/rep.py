"""Repeated moves and stores over plain memory, all at once instead of element by element."""

from __future__ import annotations

import iced_x86 as ic

from backends.emulated.debug_unit import DebugUnit
from backends.emulated.decode import Decoded
from backends.emulated.engine import READ, WRITE
from backends.emulated.icicle import IcicleEngine
from backends.emulated.memory import AddressSpace

__all__ = ["run_in_bulk"]

_M = ic.Mnemonic
_STORES: dict[int, int] = {_M.STOSB: 1, _M.STOSW: 2, _M.STOSD: 4, _M.STOSQ: 8}
_MOVES: dict[int, int] = {_M.MOVSB: 1, _M.MOVSW: 2, _M.MOVSD: 4, _M.MOVSQ: 8}
_MOST = 1 << 24


def run_in_bulk(decoded: Decoded, engine: IcicleEngine, space: AddressSpace, unit: DebugUnit) -> bool:
    """Run the `rep` at pc to its end; False, and nothing done, where it must go element by element.

    That is: backwards, with a segment or a 32-bit address, over bytes it has just written, over watched bytes, or
    over memory it may not touch to the end.
    """
    stores = decoded.mnemonic in _STORES
    size = _STORES.get(decoded.mnemonic) or _MOVES.get(decoded.mnemonic)
    instruction = decoded.instruction
    source_kind = ic.OpKind.REGISTER if stores else ic.OpKind.MEMORY_SEG_RSI
    plain = instruction.op0_kind == ic.OpKind.MEMORY_ESRDI and instruction.op1_kind == source_kind
    if size is None or not plain or instruction.segment_prefix != ic.Register.NONE or engine.get("DF"):
        return False
    total = engine.get("RCX") * size
    target, source = engine.get("RDI"), engine.get("RSI")
    if total > _MOST or unit.touched(target, target + total):
        return False
    try:
        space.check(target, total, WRITE)
        if stores:
            data = engine.get("RAX").to_bytes(8, "little")[:size] * (total // size)
        else:
            if source < target < source + total or unit.touched(source, source + total):
                return False
            space.check(source, total, READ)
            data = engine.read(source, total)
            engine.set("RSI", source + total)
    except OSError:
        return False
    engine.write(target, data)
    engine.set("RCX", 0)
    engine.set("RDI", target + total)
    engine.pc += decoded.length
    return True
