"""What can have led to an address other than the instruction before it: calls, returns, jumps through memory."""

from __future__ import annotations

from typing import Final

import iced_x86 as ic

from symbols.code import Code
from symbols.paths import Way, way_to

__all__ = ["Arrivals"]

_FLOW = ic.FlowControl
_CALLS: Final = frozenset({_FLOW.CALL, _FLOW.INDIRECT_CALL})
_STUB: Final = 2  # instructions: an endbr64 may stand before the jump of a PLT stub
_FOLLOWED: Final = 16
"""Functions that one returning call may have gone through by tail jumps."""
_MOST_RETURNS: Final = 24
_KEPT: Final = 1 << 14
_MOST: Final = 256
"""Jumps through memory in one function: one that has more has all of them looked at as far as that."""


class Arrivals:
    """Candidates by number of `code`, to be forgotten with it."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self.forget()

    def forget(self) -> None:
        """The mappings changed."""
        self._returns: dict[int, tuple[int, ...]] = {}
        self._ways: dict[int, Way] = {}

    def calls(self, top: int, ip: int) -> tuple[int, ...]:
        """The call that returns to `top`, or the jump of the stub it calls, that can have led to `ip`."""
        at = self.before(top)
        call = self._code.decode(at) if at is not None else None
        if at is None or call is None or call.flow_control not in _CALLS or call.next_ip != top:
            return ()
        if call.flow_control == _FLOW.INDIRECT_CALL or call.near_branch_target == ip:
            return self._numbers(at)
        jump = self._stub(call.near_branch_target)
        return self._numbers(jump.ip) if jump is not None else ()

    def returns(self, ip: int) -> tuple[int, ...]:
        """Every `ret` that can have led behind the direct call that ends at `ip`; none where not all are known."""
        at = self.before(ip)
        call = self._code.decode(at) if at is not None else None
        if call is None or call.flow_control != _FLOW.CALL:
            return ()
        return self.returns_of(call.near_branch_target)

    def returns_of(self, entry: int) -> tuple[int, ...]:
        """Every `ret` of the function at `entry`, and of those that it jumps to; none where not all are known."""
        found = self._returns.get(entry)
        if found is None:
            if len(self._returns) >= _KEPT:
                self.forget()
            found = self._returns[entry] = self._find_returns(entry)
        return found

    def way(self, number: int) -> Way | None:
        """The ways to one of several `ret` instructions (`symbols.paths`)."""
        return self._ways.get(number)

    def _find_returns(self, entry: int) -> tuple[int, ...]:
        pending, seen, found = [entry], set[int](), {}
        while pending:
            target = pending.pop()
            if target in seen:
                continue
            if len(seen) == _FOLLOWED:
                return ()
            seen.add(target)
            if (jump := self._stub(target)) is not None:
                word = self._code.word(jump.memory_displacement) if jump.is_ip_rel_memory_operand else None
                if word is None:
                    return ()
                pending.append(word)
                continue
            function = self._code.function(target)
            if function is None or function.astray or function.jumps or function.inside or not function.whole:
                return ()
            if target != function.starts[0]:
                return ()  # its bounds are not what they are said to be
            found.update(dict.fromkeys(function.returns, function))
            pending.extend(function.leaves)
        numbers = []
        for address, function in found.items():
            number = self._code.number(address)
            if number < 0 or len(found) > _MOST_RETURNS:
                return ()
            numbers.append(number)
            if len(found) > 1 and number not in self._ways:
                self._ways[number] = way_to(self._code, function, address)
        return tuple(numbers)

    def jumps(self, ip: int) -> tuple[int, ...]:
        """The jumps through memory of the function around `ip`."""
        function = self._code.function(ip)
        return self._numbers(*function.jumps[:_MOST]) if function is not None else ()

    def before(self, ip: int) -> int | None:
        """The instruction that ends at `ip`."""
        function = self._code.function(ip - 1)
        found = function.before(ip) if function is not None else None
        return found if found is not None else self._code.guess(ip)

    def _stub(self, address: int) -> ic.Instruction | None:
        """The jump through memory that an address begins with."""
        for _ in range(_STUB):
            instruction = self._code.decode(address)
            if instruction is None:
                return None
            if instruction.flow_control == _FLOW.INDIRECT_BRANCH:
                return instruction if instruction.op0_kind == ic.OpKind.MEMORY else None
            if instruction.mnemonic != ic.Mnemonic.ENDBR64:
                return None
            address = instruction.next_ip
        return None

    def _numbers(self, *addresses: int) -> tuple[int, ...]:
        return tuple(number for address in addresses if (number := self._code.number(address)) >= 0)
