"""What the operands of an instruction refer to, by name: where it jumps, which variable it touches."""

from __future__ import annotations

from symbols.space import AddressSpace

__all__ = ["refers"]


def refers(space: AddressSpace, data: bytes, address: int) -> str:
    """`bump`, `cfg.limits[3]`: the target of a direct jump or call, else the memory at a fixed address, else an immediate
    that is where something begins. Empty where there is none of these, or it has no name.

    `data` begins with the instruction, which lies at `address`.
    """
    import iced_x86 as ic

    instruction = next(iter(ic.Decoder(space.bits, data[:15], ip=address)), None)
    if instruction is None or instruction.is_invalid:
        return ""
    for operand in range(instruction.op_count):
        kind = instruction.op_kind(operand)
        if kind in (ic.OpKind.NEAR_BRANCH64, ic.OpKind.NEAR_BRANCH32):
            return _name(space, instruction.near_branch_target)
        if kind == ic.OpKind.MEMORY:
            if instruction.is_ip_rel_memory_operand:
                return _name(space, instruction.ip_rel_memory_address)
            if instruction.memory_segment in (ic.Register.FS, ic.Register.GS):
                continue  # an offset in the thread's own block
            where = instruction.memory_displacement
            if where >= 1 << 12 and space.module_at(where) is not None:
                return _name(space, where)
    for operand in range(instruction.op_count):
        if instruction.op_kind(operand) in (
            *(ic.OpKind.IMMEDIATE32, ic.OpKind.IMMEDIATE64, ic.OpKind.IMMEDIATE32TO64),
        ):
            value = instruction.immediate(operand)
            found = space.lookup(value) if space.module_at(value) is not None else None
            if found is not None and found.symbol is not None and not found.symbol_offset:
                return found.symbol
    return ""


def _name(space: AddressSpace, address: int) -> str:
    if space.module_at(address) is None:
        return ""
    return space.data_name(address) or space.name(address)
