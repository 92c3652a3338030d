"""The code between a call and its returns, run once over what is known of registers; where ways meet, what they have in common stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import iced_x86 as ic

from symbols.accesses import RSP
from symbols.code import Code, Unsettled
from symbols.effects import called, named, run
from symbols.facts import Facts, facts_of
from symbols.region import Region
from symbols.sums import Passed, State, Sum, plus

__all__ = ["Analysis"]

_M = ic.Mnemonic
_FLOW = ic.FlowControl
_CALLS: Final = frozenset({_FLOW.CALL, _FLOW.INDIRECT_CALL})
_MOST_OWN: Final = 1 << 13
"""Instructions run in what is called, loops included."""
_MOST_STEPS: Final = 1 << 15
"""Instructions run in what that calls."""
_LEAD: Final = 24
"""Instructions before the call that may have set its arguments."""
_DEEPEST: Final = 6
"""Calls within calls."""
_KEPT: Final = 1 << 14


class Analysis:
    """Facts of calls, and which registers their functions leave alone, each worked out once."""

    def __init__(self, code: Code, region: Callable[[int], Region | None]) -> None:
        self._code = code
        self._region = region
        self._preserved: dict[int, frozenset[int] | None] = {}
        self._within: set[int] = set()
        self.weak = False
        self._steps = self._own = 0

    def facts(self, entry: int, call: int | None) -> dict[int, Facts]:
        """The facts at every return of the function at `entry`, called by the instruction at `call` where that is known.

        {} where its code is not known, or too much. Raises Unsettled (`symbols.code`). `weak` says afterwards that a function that is
        called there was not settled and counts as one that leaves nothing alone.
        """
        self.weak = False
        region = self._region(entry)
        if region is None:
            return {}
        self._steps, self._own = _MOST_STEPS, _MOST_OWN
        state = State([Sum(column, 0) for column in range(16)])
        if call is not None:
            for instruction in _lead(self._code, call):
                run(state, instruction)
            state.registers[RSP] = plus(state.registers[RSP], -8)
        ends = self._through(region, state, 0)
        if ends is None:
            return {}
        return {at: facts_of(ends.get(at)) for at in region.returns}

    def preserved(self, entry: int, depth: int) -> frozenset[int] | None:
        """The registers that are the same behind a call of `entry` as before, whichever way it returns; None where it never does."""
        found = self._preserved.get(entry, frozenset())
        if entry not in self._preserved:
            if depth == _DEEPEST or entry in self._within:
                return frozenset()
            self._within.add(entry)
            weak, self.weak = self.weak, False
            try:
                region = self._region(entry)
                state = State([Sum(column, 0) for column in range(16)])
                ends = self._through(region, state, depth + 1) if region is not None else None
            except Unsettled:
                ends, self.weak = {0: State([None] * 16)}, True
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
            if self._steps > 0 and not self.weak:
                self._preserved[entry] = found
            self.weak |= weak
        return found

    def _through(self, region: Region, state: State, depth: int) -> dict[int, State] | None:
        """The states at the returns that can be reached from a state at the entry; None where it is too much."""
        met: dict[int, State] = {region.entry: state}
        ends: dict[int, State] = {}
        pending = deque([region.entry])
        while pending:
            address = pending.popleft()
            state = met[address].copy()
            named(state, address)
            while True:
                if depth:
                    self._steps -= 1
                else:
                    self._own -= 1
                if (self._steps if depth else self._own) < 0:
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
                    called(state, instruction.ip << 8, instruction.next_ip, kept)
                elif flow in (_FLOW.NEXT, _FLOW.INTERRUPT, _FLOW.CALL):
                    run(state, instruction)
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


def _following(region: Region, instruction: Any, state: State) -> Iterator[tuple[int, Passed | None]]:
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
