"""The code that one call can run until it returns, followed jump by jump from where it begins.

Nothing is taken from the bounds of functions but that none goes on behind its end. A jump through a pointer is followed where
memory says what the pointer is, and was seen to say so before the hits and behind them (`Code.word`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import iced_x86 as ic

from symbols.code import Code, Unsettled

__all__ = ["Region", "region_of", "stub"]

_FLOW = ic.FlowControl
_M = ic.Mnemonic
_MOST: Final = 6000
"""Instructions of one call."""
_POINTERS: Final = 16
_BACK: Final = 24
"""Instructions before a jump that may have loaded its pointer."""
_STUB: Final = 2  # instructions: an endbr64 may stand before the jump of a PLT stub
_CALLS: Final = frozenset({_FLOW.CALL, _FLOW.INDIRECT_CALL})
_MASK: Final = (1 << 64) - 1


class Region(NamedTuple):
    """`code`: instructions by address. `came`: for each what leads there, as (address, whether it jumped); for the entry also what
    leads back to it. `jumps`: for a jump through a pointer where it goes. `leaders`: what more than the instruction before leads to."""

    entry: int
    code: dict[int, Any]
    came: dict[int, tuple[tuple[int, bool], ...]]
    jumps: dict[int, int]
    returns: tuple[int, ...]
    leaders: frozenset[int]


def region_of(code: Code, entry: int) -> Region | None:
    """Everything that a call of `entry` can come to by jumps; None where not all of that is known. Raises Unsettled."""
    return _Walk(code, entry).run()


class _Walk:
    def __init__(self, code: Code, entry: int) -> None:
        self.code = code
        self.entry = entry
        self.found: dict[int, Any] = {}
        self.came: dict[int, set[tuple[int, bool]]] = {entry: set()}
        self.jumps: dict[int, int] = {}
        self.open: list[int] = []  # jumps through pointers, to be resolved when what leads to them is known
        self.settled = True

    def run(self) -> Region | None:
        found = self._region()
        if not self.settled:
            raise Unsettled
        return found

    def _region(self) -> Region | None:
        pending = [self.entry]
        resolved: dict[int, int | None] = {}
        while True:
            if not self._follow(pending):
                return None
            # Ways found later may lead into the middle of what loads a pointer.
            if any(self._target(self.found[at]) != to for at, to in self.jumps.items()):
                return None
            jumps = [at for at in self.open if at not in resolved]
            if not jumps:
                break
            for at in jumps:
                target = self._target(self.found[at])
                if target is None or len(self.jumps) == _POINTERS:
                    return None
                resolved[at] = self.jumps[at] = target
                self._lead(at, target, True, pending)
        return Region(
            self.entry,
            self.found,
            {to: tuple(sorted(ways)) for to, ways in self.came.items()},
            self.jumps,
            tuple(sorted(at for at, each in self.found.items() if each.flow_control == _FLOW.RETURN)),
            frozenset(
                to for to, ways in self.came.items() if len(ways) > 1 or any(jumped for _, jumped in ways)
            ),
        )

    def _lead(self, source: int, to: int, jumped: bool, pending: list[int]) -> None:
        ways = self.came.setdefault(to, set())
        ways.add((source, jumped))
        if to not in self.found:
            pending.append(to)

    def _follow(self, pending: list[int]) -> bool:
        """Decode what is pending and all it leads to; False where that is too much, or no code."""
        while pending:
            at = pending.pop()
            while at not in self.found:
                instruction = self.code.decode(at)
                if instruction is None or len(self.found) == _MOST:
                    return False
                self.found[at] = instruction
                going = self._on(instruction, pending)
                if going is None:
                    break
                self.came.setdefault(going, set()).add((at, False))
                at = going
        return True

    def _on(self, instruction: Any, pending: list[int]) -> int | None:
        """Note where an instruction jumps; the next one if it also goes on."""
        flow, at = instruction.flow_control, instruction.ip
        following: int = instruction.next_ip & _MASK
        if flow == _FLOW.NEXT or instruction.mnemonic == _M.SYSCALL:
            return following
        if flow in (_FLOW.CONDITIONAL_BRANCH, _FLOW.XBEGIN_XABORT_XEND):
            if instruction.op0_kind == ic.OpKind.NEAR_BRANCH64:
                self._lead(at, instruction.near_branch_target, True, pending)
            return following
        if flow == _FLOW.UNCONDITIONAL_BRANCH and instruction.op0_kind == ic.OpKind.NEAR_BRANCH64:
            self._lead(at, instruction.near_branch_target, True, pending)
        elif flow in (_FLOW.INDIRECT_BRANCH, _FLOW.UNCONDITIONAL_BRANCH):
            self.open.append(at)
        elif flow in _CALLS:
            return following if self._comes_back(at, following) else None
        elif flow == _FLOW.INTERRUPT and instruction.mnemonic == _M.INT:
            return following
        return None

    def _comes_back(self, call: int, following: int) -> bool:
        """Whether something of the function follows a call: behind its last one there is another function, or nothing."""
        end = self.code.end(call)
        return end is None or following < end

    def _target(self, jump: Any) -> int | None:
        """Where a jump through a pointer goes."""
        if jump.op0_kind == ic.OpKind.MEMORY:
            place = self._place(jump, 0)
            if place is None:
                return None
            return self._word(place)
        if jump.op0_kind == ic.OpKind.REGISTER:
            return self._register(jump, ic.RegisterExt.full_register(jump.op0_register), 0)
        return None

    def _word(self, place: int) -> int | None:
        """The pointer at an address."""
        found = self.code.word(place)
        if found is None:
            return None
        self.settled &= found[1]
        return found[0]

    def _place(self, instruction: Any, depth: int) -> int | None:
        """The address of a memory operand, from constants and pointers in memory."""
        if instruction.memory_index != ic.Register.NONE or instruction.segment_prefix != ic.Register.NONE:
            return None
        base = instruction.memory_base
        if base in (ic.Register.RIP, ic.Register.NONE):
            return int(instruction.memory_displacement)
        if ic.RegisterExt.size(base) != 8:
            return None
        value = self._register(instruction, base, depth + 1)
        return None if value is None else value + instruction.memory_displacement & _MASK

    def _register(self, behind: Any, register: Any, depth: int) -> int | None:
        """What a register holds before an instruction, by the one way that leads there."""
        at = behind.ip
        for _ in range(_BACK if depth < 4 else 0):
            ways = self.came.get(at, set())
            if len(ways) != 1 or at == self.entry:
                return None
            ((at, _),) = ways
            instruction = self.found[at]
            if instruction.flow_control in _CALLS:
                return None
            if any(
                ic.RegisterExt.full_register(used.register) == register and used.access not in _READS
                for used in _FACTORY.info(instruction).used_registers()
            ):
                return self._loaded(instruction, register, depth)
        return None

    def _loaded(self, instruction: Any, register: Any, depth: int) -> int | None:
        if instruction.op0_kind != ic.OpKind.REGISTER or instruction.op0_register != register:
            return None
        if instruction.mnemonic == _M.LEA and instruction.is_ip_rel_memory_operand:
            return int(instruction.memory_displacement)
        if instruction.mnemonic != _M.MOV:
            return None
        if instruction.op1_kind == ic.OpKind.MEMORY:
            place = self._place(instruction, depth)
            return self._word(place) if place is not None else None
        if instruction.op1_kind == ic.OpKind.REGISTER:
            return self._register(instruction, instruction.op1_register, depth + 1)
        return None


_READS: Final = frozenset(
    {ic.OpAccess.READ, ic.OpAccess.COND_READ, ic.OpAccess.NO_MEM_ACCESS, ic.OpAccess.NONE}
)
_FACTORY = ic.InstructionInfoFactory()


def stub(code: Code, address: int) -> ic.Instruction | None:
    """The jump through memory that an address begins with."""
    for _ in range(_STUB):
        instruction = code.decode(address)
        if instruction is None:
            return None
        if instruction.flow_control == _FLOW.INDIRECT_BRANCH:
            return instruction if instruction.op0_kind == ic.OpKind.MEMORY else None
        if instruction.mnemonic != _M.ENDBR64:
            return None
        address = instruction.next_ip
    return None
