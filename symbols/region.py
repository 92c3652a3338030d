"""The code that one call can run until it returns: its function, the parts of it that lie elsewhere, what it jumps to."""

from __future__ import annotations

from bisect import bisect_right

import iced_x86 as ic

from symbols.code import Code
from symbols.dataclass import dataclass
from symbols.sweep import Sweep

__all__ = ["Region", "region_of", "stub"]

_FLOW = ic.FlowControl
_FOLLOWED = 24
"""Pieces of code that one call may go through by jumps."""
_STUB = 2  # instructions: an endbr64 may stand before the jump of a PLT stub


@dataclass(frozen=True, slots=True)
class Region:
    """`came`: for an address the jumps to it. `ends`: for an address the instructions that end there but lie inside of others.
    `stubs`: for a jump through memory where it leads; `landings` are its address and that of an endbr64 before it. `leaders`: addresses that jumps lead to."""

    entry: int
    sweeps: tuple[Sweep, ...]
    returns: tuple[int, ...]
    came: dict[int, tuple[int, ...]]
    ends: dict[int, tuple[int, ...]]
    stubs: dict[int, int]
    landings: frozenset[int]
    leaders: frozenset[int]

    def before(self, address: int) -> tuple[int, ...]:
        """The instructions that end at an address."""
        place = bisect_right(self.sweeps, address - 1, key=_start) - 1
        found = self.sweeps[place].before(address) if place >= 0 else None
        inside = self.ends.get(address, ())
        return (found, *inside) if found is not None else inside

    def holds(self, address: int) -> bool:
        """Whether one of its instructions begins at an address."""
        if address in self.landings:
            return True
        place = bisect_right(self.sweeps, address, key=_start) - 1
        return place >= 0 and self.sweeps[place].begins(address)


def _start(piece: Sweep) -> int:
    return piece.starts[0]


def region_of(code: Code, entry: int) -> Region | None:
    """Everything that a call of `entry` can come to by jumps; None where not all of that is known."""
    pending, seen, pieces, stubs = [entry], set[int](), dict[int, Sweep](), dict[int, int]()
    came: dict[int, list[int]] = {}
    landings: set[int] = set()
    while pending:
        target = pending.pop()
        if target in seen:
            continue
        seen.add(target)
        if (jump := stub(code, target)) is not None:
            word = code.word(jump.memory_displacement) if jump.is_ip_rel_memory_operand else None
            if word is None or len(stubs) == _FOLLOWED:
                return None
            stubs[jump.ip] = word
            landings |= {target, jump.ip}
            came.setdefault(word, []).append(jump.ip)
            pending.append(word)
            continue
        function = code.function(target)
        if function is None or function.astray or function.jumps or function.tangled or not function.whole:
            return None
        if not function.begins(target):
            return None  # its bounds are not what they are said to be
        if function.starts[0] in pieces:
            continue
        if len(pieces) == _FOLLOWED:
            return None
        pieces[function.starts[0]] = function
        for source, to in function.branches:
            came.setdefault(to, []).append(source)
        pending.extend(function.leaves)
    ends: dict[int, list[int]] = {}
    for piece in pieces.values():
        for inside, end in piece.merges:
            ends.setdefault(end, []).append(inside)
    sweeps = tuple(pieces[start] for start in sorted(pieces))
    merged = (end for piece in sweeps for _, end in piece.merges)
    return Region(
        entry,
        sweeps,
        tuple(address for piece in sweeps for address in piece.returns),
        {to: tuple(sources) for to, sources in came.items()},
        {end: tuple(inside) for end, inside in ends.items()},
        stubs,
        frozenset(landings),
        frozenset((*came, *merged)),
    )


def stub(code: Code, address: int) -> ic.Instruction | None:
    """The jump through memory that an address begins with."""
    for _ in range(_STUB):
        instruction = code.decode(address)
        if instruction is None:
            return None
        if instruction.flow_control == _FLOW.INDIRECT_BRANCH:
            return instruction if instruction.op0_kind == ic.OpKind.MEMORY else None
        if instruction.mnemonic != ic.Mnemonic.ENDBR64:
            return None
        address = instruction.next_ip
    return None
