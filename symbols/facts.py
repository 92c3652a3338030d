"""What holds at each return of a call, whichever way led there: held against the registers behind it, it rules returns out.

The code between a call and its returns is run once over sums of a register before the call and a constant (`lea rdi, [r13+16]`,
`mov rax, rdi`), with the comparisons that were passed on the way. Where ways meet, what they have in common stays. Memory says
nothing here, except for what was pushed; a call forgets every register, since not every language saves any. Every rule is the
instruction's definition (SDM 2). What nothing contradicts may still not have been the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import iced_x86 as ic
import numpy as np
from numpy.typing import NDArray

from symbols.accesses import FLAGS, RBP, RSP, general
from symbols.code import Code
from symbols.region import Region
from symbols.verdict import Hits, condition

__all__ = ["Analysis", "Facts"]

Words = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

_M = ic.Mnemonic
_FLOW = ic.FlowControl
_CALLS: Final = frozenset({_FLOW.CALL, _FLOW.INDIRECT_CALL})
_MOST_STEPS: Final = 1 << 15
"""Instructions run for one call, loops included."""
_MOST_PASSED: Final = 24
_LEAD: Final = 24
"""Instructions before the call that may have set its arguments."""
_DEEPEST: Final = 4
"""Calls within calls."""
_KEPT: Final = 1 << 14
_NARROW: Final = (1 << 32) - 1
_COUNTS: Final = frozenset({_M.TZCNT, _M.LZCNT, _M.POPCNT})
_WHOLES: Final = frozenset(range(ic.Register.RAX, ic.Register.R15 + 1))
_HALVES: Final = frozenset(range(ic.Register.EAX, ic.Register.R15D + 1))
_EQUAL, _UNEQUAL = 4, 5
_RED_ZONE: Final = 16
"""Words below rsp that no signal handler touches (psABI 3.2.2)."""
_RAX, _RCX, _R11 = 0, 1, 11
_MASK: Final = (1 << 64) - 1
_CONSTANT: Final = -1
_IMMEDIATES: Final = frozenset({
    ic.OpKind.IMMEDIATE8, ic.OpKind.IMMEDIATE16, ic.OpKind.IMMEDIATE32, ic.OpKind.IMMEDIATE64, ic.OpKind.IMMEDIATE8TO16,
    ic.OpKind.IMMEDIATE8TO32, ic.OpKind.IMMEDIATE8TO64, ic.OpKind.IMMEDIATE32TO64,
})  # fmt: skip
_WRITES: Final = frozenset({
    ic.OpAccess.WRITE, ic.OpAccess.COND_WRITE, ic.OpAccess.READ_WRITE, ic.OpAccess.READ_COND_WRITE,
})  # fmt: skip
_FACTORY = ic.InstructionInfoFactory()


class Sum(NamedTuple):
    """base + offset + other, of which the bits in `keep` are left. A base is a register before the call, _CONSTANT, or what an
    instruction put there; `other` is one, too, _CONSTANT for none."""

    base: int
    offset: int
    keep: int = _MASK
    other: int = _CONSTANT

    def of(self, low: int, high: int) -> bool:
        """Whether one of its bases is among low to high."""
        return low <= self.base < high or low <= self.other < high


class Passed(NamedTuple):
    """A conditional jump that was `taken` or not behind a comparison of two sums; `tests`: by TEST, not CMP."""

    tests: bool
    left: Sum
    right: Sum
    bits: int
    code: int
    taken: bool


class _State:
    """Registers, those that are not 0, pushed words by their distance from rsp before the call, the comparison that set the flags,
    jumps passed."""

    __slots__ = ("bounds", "flags", "nonzero", "passed", "pushed", "registers")

    def __init__(self, registers: list[Sum | None]) -> None:
        self.registers = registers
        self.bounds: dict[int, int] = {}  # of bases, shared by all states of an analysis: bits
        self.pushed: dict[int, Sum | None] = {}
        self.flags: tuple[bool, Sum, Sum, int] | None = None
        self.passed: frozenset[Passed] = frozenset()
        self.nonzero: frozenset[int] = frozenset()

    def copy(self) -> _State:
        new = _State(self.registers.copy())
        new.pushed, new.flags, new.passed = self.pushed.copy(), self.flags, self.passed
        new.bounds, new.nonzero = self.bounds, self.nonzero
        return new

    def meet(self, other: _State) -> bool:
        """Keep what both say; whether anything went."""
        changed = False
        for column, (mine, theirs) in enumerate(zip(self.registers, other.registers, strict=True)):
            if mine is not None and mine != theirs:
                self.registers[column] = None
                changed = True
        kept = {at: word for at, word in self.pushed.items() if other.pushed.get(at) == word}
        changed |= len(kept) != len(self.pushed)
        self.pushed = kept
        if self.flags is not None and self.flags != other.flags:
            self.flags, changed = None, True
        both = self.passed & other.passed
        changed |= len(both) != len(self.passed)
        self.passed = both
        sure = self.nonzero & other.nonzero
        changed |= len(sure) != len(self.nonzero)
        self.nonzero = sure
        return changed

    def learn(self, passed: Passed) -> None:
        """A conditional jump was passed."""
        if len(self.passed) < _MOST_PASSED:
            self.passed |= {passed}
        against_zero = passed.left == passed.right if passed.tests else passed.right == Sum(_CONSTANT, 0)
        if against_zero and passed.code in (_EQUAL, _UNEQUAL) and (passed.code == _UNEQUAL) == passed.taken:
            self.nonzero |= {column for column, value in enumerate(self.registers) if value == passed.left}

    def forget(self, low: int, high: int) -> None:
        """The instruction whose results are bases low to high runs again: what it left the last time means them no more."""
        for column, value in enumerate(self.registers):
            if value is not None and value.of(low, high):
                self.registers[column] = None
        self.pushed = {at: word for at, word in self.pushed.items() if word is None or not word.of(low, high)}
        if self.flags is not None and (self.flags[1].of(low, high) or self.flags[2].of(low, high)):
            self.flags = None
        if any(each.left.of(low, high) or each.right.of(low, high) for each in self.passed):
            self.passed = frozenset(
                each for each in self.passed if not (each.left.of(low, high) or each.right.of(low, high))
            )


class Facts(NamedTuple):
    """At one return: the registers as sums, and the jumps passed. None for `registers`: it cannot be reached. `bounds` says of bases
    that have few bits how many. `pushed`: words that were pushed, by how many words below rsp they lie now."""

    registers: tuple[Sum | None, ...] | None
    passed: tuple[Passed, ...]
    bounds: Mapping[int, int]
    nonzero: frozenset[int]
    pushed: tuple[tuple[int, Sum], ...]

    def contradicted(self, hits: Hits, rows: Rows) -> Bools:
        """Where the registers behind the return say that it was not this one."""
        if self.registers is None:
            return np.ones(len(rows), bool)
        out = np.zeros(len(rows), bool)
        if not hits.have[: FLAGS + 1].all():
            return out
        known: dict[int, tuple[Words | np.uint64, int]] = {_CONSTANT: (np.uint64(0), 64)}
        # What says most of its base comes first; what adds two bases, last.
        order = sorted(
            (value.other != _CONSTANT, -_low(value.keep), column)
            for column, value in enumerate(self.registers)
            if value is not None
        )
        for _, _, column in order:
            value = self.registers[column]
            assert value is not None
            have = hits.matrix[column][rows]
            if column == RSP:
                have = have - np.uint64(8)  # as the return found it
            out |= have & ~np.uint64(value.keep) != 0
            if value.other != _CONSTANT:
                out |= self._added(value, have, known)
                continue
            out |= self._beyond(value.base, value, have)
            if value.base in known:
                base, width = known[value.base]
                sure = np.uint64(value.keep & (1 << width) - 1)
                out |= (have ^ (base + np.uint64(value.offset))) & sure != 0
            elif bits := _low(value.keep):
                known[value.base] = have - np.uint64(value.offset) & _mask(bits), bits
        for column in self.nonzero:
            out |= hits.matrix[column][rows] == 0
        for place, value in self.pushed if hits.below is not None else ():
            word = (
                _evaluated(value, known, 64)
                if hits.below is not None and place < hits.below.shape[1]
                else None
            )
            if word is not None and hits.below is not None:
                out |= (hits.below[rows, place] != word) & hits.have_below[rows]
        for each in self.passed:
            left, right = _evaluated(each.left, known, each.bits), _evaluated(each.right, known, each.bits)
            if left is not None and right is not None:
                out |= _met(left, right, each, len(rows)) != each.taken
        return out

    def _beyond(self, base: int, value: Sum, have: Any) -> Any:
        """Where a base that has few bits would have more."""
        bits = self.bounds.get(base)
        if bits is None or value.keep != _MASK:
            return False
        return have - np.uint64(value.offset) >> np.uint64(bits) != 0

    def _added(self, value: Sum, have: Any, known: dict[int, tuple[Words | np.uint64, int]]) -> Any:
        """Where a sum of two bases is not one: both are known, or one, and the other has few bits."""
        if value.keep != _MASK:
            return False
        for one, other in ((value.base, value.other), (value.other, value.base)):
            if one not in known or known[one][1] != 64:
                continue
            rest = have - known[one][0] - np.uint64(value.offset)
            if other in known and known[other][1] == 64:
                return rest != known[other][0]
            if other in self.bounds:
                return rest >> np.uint64(self.bounds[other]) != 0
        return False


def _low(keep: int) -> int:
    """How many low bits are kept without a gap."""
    return (~keep & keep + 1).bit_length() - 1 if keep != _MASK else 64


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _evaluated(
    value: Sum, known: dict[int, tuple[Words | np.uint64, int]], bits: int
) -> Words | np.uint64 | None:
    """The low bits of a sum; None where they are not known."""
    if value.base not in known or value.other not in known:
        return None
    keep = value.keep & (1 << bits) - 1
    (base, width), (other, also) = known[value.base], known[value.other]
    if keep >> min(width, also):
        return None
    found: Words | np.uint64 = base + other + np.uint64(value.offset) & np.uint64(keep)
    return found


def _met(left: Any, right: Any, passed: Passed, count: int) -> Bools:
    """Whether the condition holds behind the comparison (SDM 2, CMP, TEST, Jcc)."""
    mask, top, one = _mask(passed.bits), np.uint64(passed.bits - 1), np.uint64(1)
    left, right = np.broadcast_to(left, count), np.broadcast_to(right, count)
    result = left & right if passed.tests else left - right & mask
    flags = (result == 0).astype(np.uint64) << np.uint64(6) | (result >> top & one) << np.uint64(7)
    low = result & np.uint64(0xFF)
    for shift in (4, 2, 1):
        low = low ^ low >> np.uint64(shift)
    flags |= (low & one ^ one) << np.uint64(2)
    if not passed.tests:
        flags |= (left < right).astype(np.uint64)
        flags |= (((left ^ right) & (left ^ result)) >> top & one) << np.uint64(11)
    met: Bools = condition(np.full(count, passed.code, np.uint8), flags) != 0
    return met


class Analysis:
    """Facts of calls, and which registers their functions leave alone, each worked out once."""

    def __init__(self, code: Code, region: Callable[[int], Region | None]) -> None:
        self._code = code
        self._region = region
        self._preserved: dict[int, frozenset[int] | None] = {}
        self._within: set[int] = set()
        self._steps = 0

    def facts(self, entry: int, call: int | None) -> dict[int, Facts]:
        """The facts at every return of the function at `entry`, called by the instruction at `call` where that is known.

        {} where its code is not known, or too much. Raises Unsettled (`symbols.code`).
        """
        region = self._region(entry)
        if region is None:
            return {}
        self._steps = _MOST_STEPS
        state = _State([Sum(column, 0) for column in range(16)])
        if call is not None:
            for instruction in _lead(self._code, call):
                _run(state, instruction)
            state.registers[RSP] = _plus(state.registers[RSP], -8)
        ends = self._run(region, state, 0)
        if ends is None:
            return {}
        return {at: _facts(ends.get(at)) for at in region.returns}

    def preserved(self, entry: int, depth: int) -> frozenset[int] | None:
        """The registers that are the same behind a call of `entry` as before, whichever way it returns; None where it never does."""
        found = self._preserved.get(entry, frozenset())
        if entry not in self._preserved:
            if depth == _DEEPEST or entry in self._within:
                return frozenset()
            self._within.add(entry)
            try:
                region = self._region(entry)
                state = _State([Sum(column, 0) for column in range(16)])
                ends = self._run(region, state, depth + 1) if region is not None else None
            finally:
                self._within.discard(entry)
            found = None
            if ends is None or ends:
                found = frozenset(
                    column
                    for column in range(16)
                    if ends and all(state.registers[column] == Sum(column, 0) for state in ends.values())
                )
            if len(self._preserved) > _KEPT:
                self._preserved.clear()
            if self._steps > 0:
                self._preserved[entry] = found
        return found

    def _run(self, region: Region, state: _State, depth: int) -> dict[int, _State] | None:
        """The states at the returns that can be reached from a state at the entry; None where it is too much."""
        met: dict[int, _State] = {region.entry: state}
        ends: dict[int, _State] = {}
        pending = deque([region.entry])
        while pending:
            address = pending.popleft()
            state = met[address].copy()
            _name(state, address)
            while True:
                self._steps -= 1
                if self._steps < 0:
                    return None
                instruction = region.code[address]
                flow = instruction.flow_control
                if flow == _FLOW.RETURN:
                    if address not in ends:
                        ends[address] = state.copy()
                    else:
                        ends[address].meet(state)
                    break
                following = list(_following(region, instruction, state))
                if flow in _CALLS and instruction.mnemonic != _M.SYSCALL:
                    direct = flow == _FLOW.CALL and instruction.op0_kind == ic.OpKind.NEAR_BRANCH64
                    kept = (
                        self.preserved(instruction.near_branch_target, depth) if direct else frozenset[int]()
                    )
                    if kept is None:
                        break
                    _called(state, instruction.ip << 8, instruction.next_ip, kept)
                elif flow in (_FLOW.NEXT, _FLOW.INTERRUPT, _FLOW.CALL):
                    _run(state, instruction)
                if len(following) == 1 and following[0] == (instruction.next_ip, None):
                    if instruction.next_ip not in region.code:
                        break  # behind a call that does not come back
                    address = instruction.next_ip
                    if address not in region.leaders:
                        continue
                for target, passed in following:
                    new = state
                    if passed is not None:
                        new = state.copy()
                        new.learn(passed)
                    if target not in met:
                        met[target] = new.copy()
                    elif not met[target].meet(new):
                        continue
                    pending.append(target)
                break
        return ends


def _facts(state: _State | None) -> Facts:
    """What a state at a return says."""
    if state is None:
        return Facts(None, (), {}, frozenset(), ())
    stack, pushed = state.registers[RSP], []
    if stack is not None and _on_stack(stack):
        for at, word in state.pushed.items():
            place = (stack.offset - at & _MASK) >> 3  # 0: what the return has popped
            if word is not None and 0 < place < _RED_ZONE and not stack.offset - at & 7:
                pushed.append((place, word))
    return Facts(
        tuple(state.registers),
        tuple(sorted(state.passed)),
        state.bounds,
        state.nonzero,
        tuple(sorted(pushed)),
    )


def _lead(code: Code, call: int) -> list[Any]:
    """The straight line of instructions to a call, oldest first, that nothing else can have led into."""
    function = code.function(call)
    if function is None or function.astray or function.jumps or function.tangled or not function.whole:
        return []
    targets = {target for _, target in function.branches}
    targets.update(end for _, end in function.merges)
    found: list[Any] = []
    at = call
    while len(found) < _LEAD and at not in targets and at != function.starts[0]:
        before = function.before(at)
        instruction = code.decode(before) if before is not None else None
        if before is None or instruction is None or instruction.flow_control != _FLOW.NEXT:
            break
        if any(before < inside < at for inside in function.inside):
            break
        found.append(instruction)
        at = before
    return found[::-1]


def _following(region: Region, instruction: Any, state: _State) -> Iterator[tuple[int, Passed | None]]:
    """Where an instruction goes on, and what that says."""
    flow = instruction.flow_control
    if flow in (_FLOW.UNCONDITIONAL_BRANCH, _FLOW.INDIRECT_BRANCH):
        yield region.jumps.get(instruction.ip) or instruction.near_branch_target, None
    elif flow == _FLOW.CONDITIONAL_BRANCH:
        code = instruction.condition_code
        for target, taken in ((instruction.near_branch_target, True), (instruction.next_ip, False)):
            told = state.flags is not None and code != ic.ConditionCode.NONE
            yield target, Passed(*state.flags, code - 1, taken) if told and state.flags else None
    elif flow == _FLOW.XBEGIN_XABORT_XEND and instruction.op0_kind == ic.OpKind.NEAR_BRANCH64:
        yield instruction.near_branch_target, None
        yield instruction.next_ip, None
    elif flow != _FLOW.EXCEPTION:
        yield instruction.next_ip, None


def _name(state: _State, leader: int) -> None:
    """Where ways meet, what a register holds gets a name, too."""
    low = (leader << 8) + 32
    state.forget(low, low + 16)
    for column, value in enumerate(state.registers):
        if value is None:
            state.registers[column] = Sum(low + column, 0)


def _called(state: _State, low: int, following: int, kept: frozenset[int]) -> None:
    """Behind a call: rsp is as it was, and what lies above it that was pushed; the address that it returned to lies below."""
    state.forget(low, low + 32)
    stack = state.registers[RSP]
    state.nonzero &= kept
    for column in range(16):
        if column != RSP and column not in kept:
            state.registers[column] = Sum(low + column, 0)
    state.flags = None
    if stack is None or not _on_stack(stack):
        state.pushed = {}
    else:
        state.pushed = {
            at: word for at, word in state.pushed.items() if at - stack.offset & _MASK < _MASK >> 1
        }
        state.pushed[stack.offset - 8 & _MASK] = Sum(_CONSTANT, following)


def _plus(value: Sum | None, amount: int) -> Sum | None:
    if value is None or value.keep != _MASK:
        return None
    return value._replace(offset=value.offset + amount & _MASK)


def _run(state: _State, instruction: Any) -> None:
    """What one instruction that goes on behind itself does to a state."""
    low = instruction.ip << 8
    mnemonic, registers = instruction.mnemonic, state.registers
    moves = instruction.stack_pointer_increment if mnemonic in (_M.PUSH, _M.POP) else 0
    results = _result(state, instruction) if mnemonic != _M.PUSH or moves == -8 else {}
    compared = _comparison(state, instruction)
    stack, frame = registers[RSP], registers[RBP]
    info = _FACTORY.info(instruction)
    stored = [used for used in info.used_memory() if used.access in _WRITES]
    written: dict[int, bool] = {}
    for used in info.used_registers():
        if used.access in _WRITES and (column := general(used.register)) is not None:
            written[column] = (
                instruction.op0_register in _HALVES and general(instruction.op0_register) == column
            )
    state.forget(low, low + 32)
    source = (
        general(instruction.op1_register)
        if mnemonic == _M.MOV and instruction.op1_kind == ic.OpKind.REGISTER
        else None
    )
    copied = source in state.nonzero and instruction.op1_register in _WHOLES
    state.nonzero -= frozenset(written)
    if copied:
        state.nonzero |= frozenset(written)
    if moves in (8, -8):
        at = stack.offset if stack is not None and _on_stack(stack) else None
        for column, narrow in written.items():
            registers[column] = Sum(low + column, 0, _NARROW if narrow else _MASK)
        registers[RSP] = _plus(stack, moves)
        if mnemonic == _M.PUSH:
            if at is not None:
                state.pushed[at - 8 & _MASK] = results.get(RSP)
        elif instruction.op0_kind == ic.OpKind.REGISTER:
            column = general(instruction.op0_register)
            if column is not None:
                word = state.pushed.get(at) if at is not None else None
                registers[column] = word if word is not None else Sum(low + column, 0)
            if column == RSP:
                registers[RSP] = None
        return
    for column, narrow in written.items():
        registers[column] = results.get(column) or Sum(low + column, 0, _NARROW if narrow else _MASK)
    if mnemonic == _M.LEAVE and frame is not None and _on_stack(frame):
        registers[RSP], word = _plus(frame, 8), state.pushed.get(frame.offset)
        registers[RBP] = word if word is not None else Sum(low + RBP, 0)
    if mnemonic == _M.SYSCALL:
        registers[_RAX] = Sum(low + _RAX, 0)
        registers[_RCX] = Sum(
            _CONSTANT, instruction.next_ip
        )  # SDM 2, SYSCALL; Linux leaves it so (entry_64.S)
        registers[_R11] = Sum(low + _R11, 0)
    if stored:
        _stored(state, instruction, stack)
    if instruction.rflags_modified:
        state.flags = compared


def _stored(state: _State, instruction: Any, stack: Sum | None) -> None:
    """A store by rsp may be to what was pushed; one by another register is to something else."""
    if instruction.memory_base != ic.Register.RSP or not state.pushed:
        return
    if stack is None or not _on_stack(stack) or instruction.memory_index != ic.Register.NONE:
        state.pushed = {}
        return
    at = stack.offset + instruction.memory_displacement & _MASK
    size = ic.MemorySizeExt.size(instruction.memory_size) or 64
    for word in [word for word in state.pushed if word - at + 7 & _MASK < size + 7]:
        del state.pushed[word]


def _value(state: _State, instruction: Any, operand: int) -> tuple[Sum, int] | None:
    """A register or an immediate as a sum, and its bits."""
    kind = instruction.op_kind(operand)
    if kind in _IMMEDIATES:
        return Sum(_CONSTANT, instruction.immediate(operand) & _MASK), 64
    if kind != ic.OpKind.REGISTER:
        return None
    register = instruction.op_register(operand)
    column = general(register)
    if column is None or register in (ic.Register.AH, ic.Register.BH, ic.Register.CH, ic.Register.DH):
        return None
    value = state.registers[column]
    return (value, ic.RegisterExt.size(register) * 8) if value is not None else None


def _result(state: _State, instruction: Any) -> dict[int, Sum]:
    """What a register holds behind the instruction, where that is a sum; for a push under RSP what was pushed."""
    mnemonic = instruction.mnemonic
    if instruction.op_count == 1 and mnemonic == _M.PUSH:
        pushed = _value(state, instruction, 0)
        return {RSP: pushed[0]} if pushed is not None else {}
    if not instruction.op_count or instruction.op0_kind != ic.OpKind.REGISTER:
        return {}
    column, size = general(instruction.op0_register), ic.RegisterExt.size(instruction.op0_register)
    if column is None or size < 4:
        return {}
    bits, all_bits = size * 8, (1 << size * 8) - 1
    found: Sum | None = None
    own = (instruction.ip << 8) + column
    value = state.registers[column]
    whole = (
        value if value is not None and value.keep & all_bits == all_bits else None
    )  # what sums can be made of
    if mnemonic in (_M.MOV, _M.MOVZX):
        source = _value(state, instruction, 1)
        if source is not None:
            found = _kept(source[0], all_bits & (1 << source[1]) - 1)
        elif mnemonic == _M.MOVZX and instruction.op1_kind == ic.OpKind.MEMORY:
            found = Sum(own, 0, (1 << ic.MemorySizeExt.size(instruction.memory_size) * 8) - 1)
    elif mnemonic in _COUNTS:
        found = Sum(
            own, 0
        )  # 0 to the number of bits; for 0 on a processor without them the source language says nothing
        state.bounds[own] = bits.bit_length()
    elif mnemonic == _M.AND and instruction.op1_kind in _IMMEDIATES:
        found = _kept(value or Sum(own, 0), all_bits & instruction.immediate(1))
    elif mnemonic == _M.SHR and instruction.op1_kind in _IMMEDIATES:
        found = Sum(own, 0, (1 << bits - (instruction.immediate(1) & bits - 1)) - 1)
    elif mnemonic in (_M.PMOVMSKB, _M.VPMOVMSKB):
        found = Sum(own, 0, (1 << ic.RegisterExt.size(instruction.op1_register)) - 1)
    elif mnemonic == _M.LEA:
        found = _kept(_lea(state, instruction), all_bits)
    elif mnemonic in (_M.ADD, _M.SUB, _M.INC, _M.DEC):
        amount: int | None = 1
        if instruction.op_count == 2:
            amount = instruction.immediate(1) if instruction.op1_kind in _IMMEDIATES else None
        if amount is not None and whole is not None:
            sign = -1 if mnemonic in (_M.SUB, _M.DEC) else 1
            found = _kept(whole._replace(offset=whole.offset + sign * amount & _MASK), all_bits)
        elif mnemonic == _M.ADD and size == 8:
            source = _value(state, instruction, 1)
            found = _added(whole, source[0]) if source is not None else None
    if (
        mnemonic in (_M.XOR, _M.SUB)
        and instruction.op_count == 2
        and instruction.op1_kind == ic.OpKind.REGISTER
        and instruction.op0_register == instruction.op1_register
    ):
        found = Sum(_CONSTANT, 0)
    return {column: found} if found is not None else {}


def _lea(state: _State, instruction: Any) -> Sum | None:
    """The address of a memory operand."""
    base, index = instruction.memory_base, instruction.memory_index
    displacement = Sum(_CONSTANT, instruction.memory_displacement & _MASK)
    if base in (ic.Register.RIP, ic.Register.NONE):
        return displacement if index == ic.Register.NONE else None
    number = general(base)
    if number is None or ic.RegisterExt.size(base) != 8:
        return None
    found = _plus(state.registers[number], displacement.offset)
    if index == ic.Register.NONE:
        return found
    number = general(index)
    if number is None or ic.RegisterExt.size(index) != 8 or instruction.memory_index_scale != 1:
        return None
    return _added(found, state.registers[number])


def _added(one: Sum | None, other: Sum | None) -> Sum | None:
    """The sum of two sums; None where that is none."""
    if one is None or other is None or one.keep != _MASK or other.keep != _MASK:
        return None
    bases = [base for base in (one.base, one.other, other.base, other.other) if base != _CONSTANT]
    if len(bases) > 2:
        return None
    bases += [_CONSTANT] * (2 - len(bases))
    return Sum(bases[0], one.offset + other.offset & _MASK, other=bases[1])


def _on_stack(value: Sum | None) -> bool:
    return value is not None and value.base == RSP and value.keep == _MASK and value.other == _CONSTANT


def _kept(value: Sum | None, keep: int) -> Sum | None:
    """A sum of which fewer bits are left."""
    if value is None:
        return None
    if value.base == value.other == _CONSTANT:
        return Sum(_CONSTANT, value.offset & value.keep & keep)
    return value._replace(keep=value.keep & keep)


def _comparison(state: _State, instruction: Any) -> tuple[bool, Sum, Sum, int] | None:
    """The two sums whose comparison the flags are behind the instruction."""
    if instruction.mnemonic not in (_M.CMP, _M.TEST) or instruction.op_count != 2:
        return None
    first, second = _value(state, instruction, 0), _value(state, instruction, 1)
    if first is None or second is None or instruction.op0_kind != ic.OpKind.REGISTER:
        return None
    return instruction.mnemonic == _M.TEST, first[0], second[0], first[1]
