"""Where functions begin, and their instructions."""

from __future__ import annotations

from functools import lru_cache

from symbols.space import AddressSpace

__all__ = ["FUNCTION_LIMIT", "LONGEST", "boundaries", "function_at"]

FUNCTION_LIMIT = 1 << 20  # bytes
LONGEST = 15  # bytes of one instruction (SDM 2A 2.3.11)


@lru_cache(maxsize=4096)
def boundaries(code: bytes, address: int = 0, bits: int = 64) -> tuple[int, ...]:
    """Where the instructions of a function begin, and where the last whole one ends; up to what cannot be decoded."""
    from iced_x86 import Decoder

    decoder = Decoder(bits, code, ip=address)
    starts = [address]
    for insn in decoder:
        if insn.is_invalid:
            break
        starts.append(insn.next_ip & (1 << 64) - 1)
    return tuple(starts)


def function_at(space: AddressSpace, address: int) -> tuple[int, int] | None:
    """(start, size) of the function that holds an address; None where no symbol or frame rule says.

    A function without a size reaches to the address and one instruction on.
    """
    module = space.module_at(address)
    if module is None or module.names is None:
        return None
    found = module.names.table.at(address - module.bias)
    if found is not None and found[0].kind in ("func", "other") and found[1] <= FUNCTION_LIMIT:
        symbol, offset = found
        size = symbol.size if symbol.size > offset else offset + LONGEST
        return address - offset, min(size, FUNCTION_LIMIT)
    bounds = module.names.frames.bounds(address - module.bias)
    if bounds is not None and address - module.bias - bounds[0] <= FUNCTION_LIMIT:
        return bounds[0] + module.bias, min(bounds[1] - bounds[0], FUNCTION_LIMIT)
    return None
