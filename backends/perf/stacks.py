"""Call stacks of live hits: chains of frame pointers, interned by whole arrays.

A function that has not set up its frame yet, or never does, is not in the chain of frame pointers: its caller is missing.
Where the unwind rules say that the return address lies among the words at rsp that came with the hit, it is put in.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backends.model import Frame
from backends.perf.program import FRAMES, TOP_WORDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from symbols.space import AddressSpace

    Array = npt.NDArray[Any]

__all__ = ["OTHER_STACKS", "StackTable"]

_MOST_STACKS: Final = 65_536
OTHER_STACKS: Final = _MOST_STACKS
"""The number of all stacks beyond the table's end."""
_RSP: Final = 7  # DWARF's number (psABI figure 3.36)
_FRAMED, _NO_RULE = -1, -2


class StackTable:
    """Interned stacks; number 0 is no stack. Frames are innermost first, the first being the hit's own instruction.

    They are told apart by a 64-bit hash of the ip and the return addresses.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.stacks: list[tuple[Frame, ...]] = [()]
        self._numbers: dict[int, int] = {}
        self._tops: dict[int, int] = {}
        generator = np.random.default_rng(0x9E3779B9)  # any odd numbers do
        self._weights = generator.integers(1, 1 << 63, FRAMES + 2, np.uint64) * np.uint64(2) + np.uint64(1)

    def forget(self) -> None:
        """Code has gone or come: rules are asked for again, numbers stay."""
        self._tops.clear()

    def numbers(self, raw: Array, insn_ips: Array, space: AddressSpace) -> Array:
        """The stack's number of each hit."""
        ips, inverse = np.unique(raw["ip"], return_inverse=True)
        tops = np.array([self._top(ip, space) for ip in ips.tolist()], np.intp)[inverse]
        chains = np.zeros((len(raw), FRAMES + 2), np.uint64)
        chains[:, 0] = np.where(insn_ips != 0, insn_ips, raw["ip"])
        framed = tops < 0
        chains[framed, 1:-1] = raw["frames"][framed]
        bare = np.flatnonzero(~framed)
        chains[bare, 1] = raw["top"][bare, tops[bare]]
        chains[bare, 2:] = raw["frames"][bare]
        marks = (tops == _NO_RULE).astype(np.uint64)
        with np.errstate(over="ignore"):
            hashes = (chains * self._weights).sum(axis=1, dtype=np.uint64) ^ marks
        unique, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        numbers = [
            self._number(key, chains[at], bool(marks[at]), space)
            for key, at in zip(unique.tolist(), first.tolist(), strict=True)
        ]
        return np.array(numbers, np.uint32)[back]

    def _number(self, key: int, chain: Array, unsure: bool, space: AddressSpace) -> int:
        number = self._numbers.get(key)
        if number is None:
            if len(self.stacks) >= _MOST_STACKS:
                return OTHER_STACKS
            addresses = chain.tolist()
            # rbp may hold anything: what does not lead into code is where the chain ends.
            callers = list(takewhile(space.executable, addresses[1:]))
            # Frame pointers are what the chain goes by; the caller of a leaf is known by rule, or may be missing.
            frames = [
                Frame(addresses[0], False),
                *(Frame(ip, unsure or depth > 0) for depth, ip in enumerate(callers)),
            ]
            number = self._numbers[key] = len(self.stacks)
            self.stacks.append(tuple(frames))
        return number

    def _top(self, ip: int, space: AddressSpace) -> int:
        """Which word at rsp is the return address at this ip; _FRAMED where the frame pointer has it already,
        _NO_RULE where no unwind rule says."""
        top = self._tops.get(ip)
        if top is None:
            top = self._tops[ip] = self._rule(ip, space)
        return top

    @staticmethod
    def _rule(ip: int, space: AddressSpace) -> int:
        module = space.module_at(ip)
        row = module.names.frames.row(ip - module.bias) if module and module.names else None
        if row is None or isinstance(row.cfa, bytes):
            return _NO_RULE
        register, offset = row.cfa
        if register != _RSP:
            return _FRAMED
        index = offset // 8 - 1
        return index if 0 <= index < TOP_WORDS else _NO_RULE

    def frames(self, first: int, limit: int) -> tuple[tuple[Frame, ...], ...]:
        """Stacks from a number on."""
        return tuple(self.stacks[max(0, first) : max(0, first) + limit])
