"""What the ip of a data hit can mean: what lies around it, worked out once and kept in a table.

The ip lies behind the instruction that did it, or is where that one went; the code around says which of these can be.
"""

from __future__ import annotations

from typing import Final

import iced_x86 as ic
import numpy as np
from numpy.typing import NDArray

from symbols.code import Code

__all__ = ["SITE", "Sites"]

SITE: Final = np.dtype([
    ("before", "i4"),  # the number of the instruction that ends here, -1: none that touches memory and goes on to here
    ("repeated", "i4"),  # of the repeated string instruction at ip, -1: none
    ("entry", "?"),  # a function begins here
    ("jumps", "?"),  # the function has jumps through memory
    ("returned", "?"),  # behind a call
    ("hidden", "?"),  # the instruction before may begin in two places
])  # fmt: skip

_FLOW = ic.FlowControl
_ELSEWHERE: Final = frozenset({
    _FLOW.UNCONDITIONAL_BRANCH, _FLOW.INDIRECT_BRANCH, _FLOW.CALL, _FLOW.INDIRECT_CALL, _FLOW.RETURN, _FLOW.INTERRUPT,
    _FLOW.EXCEPTION,
})  # fmt: skip


class Sites:
    """Sites by ip; their instructions are numbers of `code`, to be forgotten with it."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self.forget()

    def forget(self) -> None:
        """The mappings changed."""
        self._known = np.zeros(0, np.uint64)  # ascending
        self._table = np.zeros(0, SITE)  # one for each of them

    def of(self, ips: NDArray[np.uint64]) -> NDArray[np.void]:
        """A row of SITE for each ip; a new one is worked out here."""
        place = np.searchsorted(self._known, ips)
        if len(self._known):
            missing = self._known[np.minimum(place, len(self._known) - 1)] != ips
        else:
            missing = np.ones(len(ips), bool)
        if missing.any():
            new = np.unique(ips[missing])
            table = np.zeros(len(new), SITE)
            for row, ip in enumerate(new.tolist()):
                table[row] = self._site(ip)
            known = np.concatenate([self._known, new])
            order = np.argsort(known, kind="stable")
            self._known, self._table = known[order], np.concatenate([self._table, table])[order]
            place = np.searchsorted(self._known, ips)
        return self._table[place]

    def _site(self, ip: int) -> tuple[int, int, bool, bool, bool, bool]:
        code = self._code
        around = code.function(ip)
        entry = code.start(ip) == ip
        previous = code.function(ip - 1) if ip else None
        at = previous.before(ip) if previous is not None else None
        if at is None and not entry:
            at = code.guess(ip)
        before, returned, hidden = -1, False, False
        if at is not None:
            instruction = code.decode(at)
            if instruction is not None:
                flow = instruction.flow_control
                target = instruction.near_branch_target if flow == _FLOW.CALL else None
                returned = flow in (_FLOW.CALL, _FLOW.INDIRECT_CALL) and target != ip
                if flow not in _ELSEWHERE or target == ip:
                    before = code.number(at)
            hidden = previous is not None and any(at < inside < ip for inside in previous.inside)
        here = code.decode(ip)
        repeats = (
            here is not None and here.is_string_instruction and (here.has_rep_prefix or here.has_repne_prefix)
        )
        return (
            before,
            code.number(ip) if repeats else -1,
            entry,
            around is not None and bool(around.jumps),
            returned,
            hidden,
        )
