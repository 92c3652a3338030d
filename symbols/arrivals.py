"""What can have led to an address other than the instruction before it: calls, returns, jumps through memory."""

from __future__ import annotations

from typing import Final

import iced_x86 as ic

from symbols.boundaries import LONGEST
from symbols.code import Code
from symbols.sweep import instruction_at

__all__ = ["Arrivals"]

_FLOW = ic.FlowControl
_CALLS: Final = frozenset({_FLOW.CALL, _FLOW.INDIRECT_CALL})
_STUB: Final = 2  # instructions: an endbr64 may stand before the jump of a PLT stub
_FOLLOWED: Final = 16
"""Functions that one returning call may have gone through by tail jumps."""
_MOST: Final = 256
"""Jumps through memory in one function: one that has more has all of them looked at as far as that."""


class Arrivals:
    """Candidates by number of `code`; the answer for each address is kept until `code` forgets."""

    def __init__(self, code: Code) -> None:
        self._code = code

    def calls(self, top: int, ip: int) -> tuple[int, ...]:
        """The call that returns to `top`, or the jump of the stub it calls, that can have led to `ip`."""
        at = self.before(top)
        call = self._decode(at) if at is not None else None
        if at is None or call is None or call.flow_control not in _CALLS or call.next_ip != top:
            return ()
        if call.flow_control == _FLOW.INDIRECT_CALL or call.near_branch_target == ip:
            return self._numbers(at)
        jump = self._stub(call.near_branch_target)
        return self._numbers(jump.ip) if jump is not None else ()

    def returns(self, ip: int) -> tuple[int, ...]:
        """The `ret` behind a direct call that ends at `ip`: only if it is the one way back."""
        at = self.before(ip)
        call = self._decode(at) if at is not None else None
        if call is None or call.flow_control != _FLOW.CALL:
            return ()
        pending, seen, found = [call.near_branch_target], set[int](), set[int]()
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
            if function is None or function.astray or function.jumps or function.inside:
                return ()
            found.update(function.returns)
            pending.extend(function.leaves)
        return self._numbers(*found) if len(found) == 1 else ()

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
            instruction = self._decode(address)
            if instruction is None:
                return None
            if instruction.flow_control == _FLOW.INDIRECT_BRANCH:
                return instruction if instruction.op0_kind == ic.OpKind.MEMORY else None
            if instruction.mnemonic != ic.Mnemonic.ENDBR64:
                return None
            address = instruction.next_ip
        return None

    def _decode(self, address: int) -> ic.Instruction | None:
        return instruction_at(self._code.bytes(address, LONGEST), address)

    def _numbers(self, *addresses: int) -> tuple[int, ...]:
        return tuple(number for address in addresses if (number := self._code.number(address)) >= 0)
