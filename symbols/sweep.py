"""One function swept from its start: where its instructions begin, and where control can come from and go to.

Without a known start, the places around an address are swept from every byte, and vote.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

import iced_x86 as ic

from symbols.boundaries import LONGEST
from symbols.dataclass import dataclass

__all__ = ["Sweep", "instruction_at", "sweep", "vote"]

_FLOW = ic.FlowControl
_JUMPS: Final = frozenset({_FLOW.UNCONDITIONAL_BRANCH, _FLOW.CONDITIONAL_BRANCH, _FLOW.XBEGIN_XABORT_XEND})
_ENDS: Final = frozenset({
    _FLOW.UNCONDITIONAL_BRANCH, _FLOW.INDIRECT_BRANCH, _FLOW.RETURN, _FLOW.EXCEPTION, _FLOW.INTERRUPT, _FLOW.CALL,
    _FLOW.INDIRECT_CALL,
})  # fmt: skip
"""What a function may end with: a call there does not come back."""
_NEAR: Final = frozenset({ic.OpKind.NEAR_BRANCH64, ic.OpKind.NEAR_BRANCH32})
_PADDING: Final = frozenset({ic.Mnemonic.NOP, ic.Mnemonic.INT3, ic.Mnemonic.HLT})
_BEFORE: Final = 96
"""Bytes before an address that are swept when nothing says where its function begins."""
_AGREED: Final = 0.75
"""Share of the sweeps that must end in one instruction."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Addresses. `starts` ends with the end of the last whole instruction.

    `inside` are branch targets that fall within an instruction: code that is entered behind its `lock` prefix, say. `merges` are
    (such a target, the end of its instruction) where another instruction begins there; `tangled`: one does not fall into step so.
    `branches` are (source, target) of the direct jumps within it, `returns` are its `ret` instructions, `jumps` its jumps through memory; `leaves` are targets of direct jumps
    outside of it, and `astray` says that it also jumps to where a register says. `whole`: it was decoded
    to its end, and nothing runs out of that.
    """

    starts: tuple[int, ...]
    inside: frozenset[int]
    branches: tuple[tuple[int, int], ...]
    returns: tuple[int, ...]
    jumps: tuple[int, ...]
    leaves: tuple[int, ...]
    astray: bool
    whole: bool
    merges: tuple[tuple[int, int], ...]
    tangled: bool

    def begins(self, address: int) -> bool:
        """Whether an instruction begins there."""
        place = bisect_left(self.starts, address)
        return (place < len(self.starts) - 1 and self.starts[place] == address) or any(
            address == inside for inside, _ in self.merges
        )

    def before(self, ip: int) -> int | None:
        """The instruction that ends at `ip`."""
        place = bisect_left(self.starts, ip)
        return self.starts[place - 1] if 0 < place < len(self.starts) and self.starts[place] == ip else None


def sweep(code: bytes, start: int, bits: int = 64) -> Sweep:
    """Decode `code` of 64 or 32 bits, which lies at `start`, up to what is no instruction."""
    starts = [start]
    branches: list[tuple[int, int]] = []
    returns, jumps = [], []
    astray = whole = False
    end = start + len(code)
    for instruction in ic.Decoder(bits, code, ip=start):
        if instruction.is_invalid:
            break
        flow = instruction.flow_control
        whole = flow in _ENDS or (whole and instruction.mnemonic in _PADDING)
        if flow != _FLOW.NEXT:
            if flow in _JUMPS and instruction.op0_kind in _NEAR:
                branches.append((starts[-1], instruction.near_branch_target))
            elif flow == _FLOW.RETURN:
                returns.append(starts[-1])
            elif flow == _FLOW.INDIRECT_BRANCH:
                if instruction.op0_kind == ic.OpKind.MEMORY:
                    jumps.append(starts[-1])
                else:
                    astray = True
        starts.append(instruction.next_ip)
    known = frozenset(starts)
    inside = frozenset(
        target for _, target in branches if start <= target < starts[-1] and target not in known
    )
    within = {target: instruction_at(code[target - start :], target, bits) for target in inside}
    merges = tuple(
        (target, each.next_ip)
        for target, each in within.items()
        if each is not None and each.next_ip in known and each.flow_control == _FLOW.NEXT
    )
    return Sweep(
        tuple(starts),
        inside,
        tuple(branches),
        tuple(returns),
        tuple(jumps),
        tuple(target for _, target in branches if not start <= target < end),
        astray,
        whole and starts[-1] == end,
        merges,
        len(merges) < len(inside),
    )


def vote(code: bytes, end: int, bits: int = 64) -> int | None:
    """The instruction that ends at `end`, where `code` ends too, if sweeps from most of its bytes come to agree.

    x86 code falls into step after a few instructions, so starts further away say more than near ones.
    """
    code = code[-_BEFORE:]
    start = end - len(code)
    ends_in: dict[int, int | None] = {end: None}
    votes: Counter[int] = Counter()
    for at in range(end - 1, start - 1, -1):
        instruction = next(iter(ic.Decoder(bits, code[at - start : at - start + LONGEST], ip=at)))
        after = at + instruction.len
        if instruction.is_invalid or after not in ends_in:
            continue
        last = ends_in[after] if after != end else at
        if last is None:
            continue
        ends_in[at] = last
        votes[last] += 1
    if not votes:
        return None
    (best, count), *_ = votes.most_common(1)
    return best if count >= _AGREED * votes.total() and votes.total() >= LONGEST else None


def instruction_at(code: bytes, address: int, bits: int = 64) -> ic.Instruction | None:
    """The instruction that `code` begins with, None where it is none."""
    instruction = next(iter(ic.Decoder(bits, code[:LONGEST], ip=address)), None)
    return None if instruction is None or instruction.is_invalid else instruction
