"""Call stacks of live hits: chains of frame pointers, interned by whole arrays.

A function that has not set up its frame yet, or never does, is not in the chain of frame pointers: its caller is missing.
Where the unwind rules say that the return address lies among the words at rsp that came with the hit, it is put in.
A word of a program of 32 bits has four bytes.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from backends.model import Frame
from backends.perf.program import TOP_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from backends.perf.places import Place
    from symbols.space import AddressSpace

    Array = npt.NDArray[Any]

__all__ = ["OTHER_STACKS", "StackTable"]

_MOST_STACKS: Final = 65_536
OTHER_STACKS: Final = _MOST_STACKS
"""The number of all stacks beyond the table's end."""
_STACK_POINTERS: Final = {64: 7, 32: 4}  # DWARF's numbers (x86-64 psABI figure 3.36, i386 psABI table 2.14)
_FRAMED, _NO_RULE = -1, -2
_INSN_MIX, _TOP_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # any odd numbers do


class StackTable:
    """Interned stacks; number 0 is no stack. Frames are innermost first, the first being the hit's own instruction.

    They are told apart by a 64-bit hash of the instruction and the return addresses; that of the frame pointers' chain comes
    with the hit (`chain`).
    """

    def __init__(self, wanted: bool, bits: Literal[32, 64] = 64) -> None:
        self.wanted = wanted
        self.bits: Literal[32, 64] = bits
        self.stacks: list[tuple[Frame, ...]] = [()]
        self._numbers: dict[int, int] = {}
        self._keys = np.zeros(0, np.uint64)
        self._sorted = np.zeros(0, np.uint32)
        self._tops: dict[int, int] = {}

    def forget(self) -> None:
        """Code has gone or come: rules are asked for again, numbers stay."""
        self._tops.clear()

    def numbers(
        self, raw: Array, insn_ips: Array, places: Sequence[Place], numbers: Array, space: AddressSpace
    ) -> Array | int:
        """The stack's number of each hit, or of all of them. `numbers` says at which place each was, or all were."""
        if len(numbers) == 1:
            tops = np.array([self._top(places[int(numbers[0])].ip, space)], np.intp)
        else:
            table = np.full(len(places), _FRAMED, np.intp)
            for number in np.flatnonzero(np.bincount(numbers)).tolist():
                table[number] = self._top(places[number].ip, space)
            tops = table[numbers]
        with np.errstate(over="ignore"):
            keys = raw["chain"] ^ np.where(insn_ips != 0, insn_ips, raw["ip"]) * _INSN_MIX
            if len(tops) == 1:
                if tops[0] >= 0:
                    keys ^= self._words(raw)[:, tops[0]] * _TOP_MIX
                elif tops[0] == _NO_RULE:
                    keys ^= _INSN_MIX
            else:
                bare = np.flatnonzero(tops >= 0)
                keys[bare] ^= self._words(raw)[bare, tops[bare]] * _TOP_MIX
                keys[tops == _NO_RULE] ^= _INSN_MIX
        if bool((keys == keys[0]).all()):
            return self._of(int(keys[0]), raw[:1], int(insn_ips[0]), int(tops[0]), space)
        if (found := self._known(keys)) is not None:
            return found
        unique, first = np.unique(keys, return_index=True)
        for key, at in zip(unique.tolist(), first.tolist(), strict=True):
            self._of(key, raw[at : at + 1], int(insn_ips[at]), int(tops[at if len(tops) > 1 else 0]), space)
        if len(self._numbers) != len(self._keys):  # also those that came alone
            known = np.array(list(self._numbers), np.uint64)
            order = np.argsort(known)
            self._keys = known[order]
            self._sorted = np.array(list(self._numbers.values()), np.uint32)[order]
        found = self._known(keys, full=True)
        assert found is not None
        return found

    def _known(self, keys: Array, *, full: bool = False) -> Array | None:
        """The numbers of these keys; None where one is new and the table is not `full`."""
        if not len(self._keys):
            return None
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        same = self._keys[at] == keys
        if not full and not same.all():
            return None
        return np.where(same, self._sorted[at], np.uint32(OTHER_STACKS))

    def _words(self, raw: Array) -> Array:
        """The words from rsp on."""
        top = raw["top"]
        return top if self.bits == 64 else top.view(np.uint32).astype(np.uint64)

    def _of(self, key: int, raw: Array, insn_ip: int, top: int, space: AddressSpace) -> int:
        """The number of the stack of one hit, made when it is new."""
        number = self._numbers.get(key)
        if number is None:
            addresses = [insn_ip or int(raw["ip"][0])]
            if top >= 0:
                addresses.append(int(self._words(raw)[0, top]))
            number = self._number(key, [*addresses, *raw["frames"][0].tolist()], top == _NO_RULE, space)
        return number

    def _number(self, key: int, addresses: list[int], unsure: bool, space: AddressSpace) -> int:
        if len(self.stacks) >= _MOST_STACKS:
            return OTHER_STACKS
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

    def _rule(self, ip: int, space: AddressSpace) -> int:
        module = space.module_at(ip)
        row = module.names.frames.row(ip - module.bias) if module and module.names else None
        if row is None or isinstance(row.cfa, bytes):
            return _NO_RULE
        register, offset = row.cfa
        if register != _STACK_POINTERS[self.bits]:
            return _FRAMED
        index = offset // (self.bits // 8) - 1
        return index if 0 <= index < TOP_WORDS * 64 // self.bits else _NO_RULE

    def frames(self, first: int, limit: int) -> tuple[tuple[Frame, ...], ...]:
        """Stacks from a number on."""
        return tuple(self.stacks[max(0, first) : max(0, first) + limit])
