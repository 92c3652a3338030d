"""Kernel memory, as something that can be read. On the running host: through a small BPF program."""

from __future__ import annotations

import contextlib
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

from backends.base import HwbpError
from backends.bpf.assembler import Assembler, Helper
from backends.bpf.syscall import (
    BpfError,
    MapType,
    ProgramRun,
    ProgramType,
    create_map,
    load_program,
    map_array,
)

__all__ = ["BpfMemory", "Memory", "UnreadableError"]

_PAGE: Final = 4096
_WALKS: Final = 50
_NODES: Final = 256
"""Nodes of a list, or words, that one run of a program visits: the verifier follows each of them."""

# The area of the programs that visit many: three words, then pairs of words.
_COUNT, _NEXT, _BEFORE, _PAIRS = 0, 8, 16, 32
_AT_HEAD, _TORN = 0, 1
# What the walking program keeps on its stack.
_NODE, _BESIDE, _WORD, _CAME = -8, -16, -24, -32


class UnreadableError(Exception):
    """An address at which there is no memory. It is no news about a structure that was freed meanwhile."""


class Memory(ABC):
    """A kernel's memory. `UnreadableError` where nothing is mapped; `HwbpError` where the way to it fails."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Bytes of kernel memory, at one moment as far as a single aligned word goes."""

    @abstractmethod
    def task(self) -> int:
        """The address of some `task_struct` that is in the list of tasks."""

    def word(self, address: int) -> int:
        """A 64-bit word."""
        return int.from_bytes(self.read(address, 8), "little")

    def nodes(self, head: int, beside: int, limit: int = 1 << 16) -> list[tuple[int, int]]:
        """Walk a circular list (`struct list_head`) from its head, which is not itself given.

        Each node comes with the word that lies `beside` bytes from it, unless that word is 0 or its own address (an
        empty list). Lists change under the walk: one that does not come back to the head within `limit` nodes is made
        again; if none does, what they saw together is given.
        """
        seen: dict[int, int] = {}
        for _ in range(_WALKS):
            found, whole = self._walk(head, beside, limit)
            if whole:
                return found
            seen.update(found)
        return list(seen.items())

    def _walk(self, head: int, beside: int, limit: int) -> tuple[list[tuple[int, int]], bool]:
        """One walk, and whether it came back to the head: a node that is taken off meanwhile leads nowhere, to itself
        (`list_del_init`), or around another list."""
        found: list[tuple[int, int]] = []
        with contextlib.suppress(UnreadableError):
            before, node = head, self.word(head)
            for _ in range(limit):
                if node in (head, before):
                    return found, node == head
                word = self.word(node + beside)
                if word and word != node + beside:
                    found.append((node, word))
                before, node = node, self.word(node)
        return found, False

    def words(self, addresses: Sequence[int]) -> list[int | None]:
        """The 64-bit words at many addresses, None where there is no memory."""
        found: list[int | None] = []
        for address in addresses:
            try:
                found.append(self.word(address))
            except UnreadableError:
                found.append(None)
        return found

    def linked(self, nodes: Sequence[int]) -> list[bool]:
        """Whether each node is on its list now: the one before it leads to it (and is not itself: that is a node alone)."""
        before = self.words([node + 8 for node in nodes])
        after = self.words([at or 0 for at in before])
        return [
            at is not None and at != node and to == node
            for node, at, to in zip(nodes, before, after, strict=True)
        ]

    @abstractmethod
    def close(self) -> None:
        """Give back what the way to the memory holds. May be called twice."""


class BpfMemory(Memory):
    """The running host's memory, through `bpf_probe_read_kernel` in programs run by BPF_PROG_TEST_RUN.

    Nothing is attached, and nothing of the kernel is changed. Needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), and a
    lockdown mode below "confidentiality". Raises `HwbpError` (EPERM) without them.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []
        try:
            area = create_map(MapType.ARRAY, 4, _PAGE, 1, mappable=True, name="hwbp_page")
            self._fds.append(area)
            size = _PAIRS + 16 * _NODES
            list_area = create_map(MapType.ARRAY, 4, size, 1, mappable=True, name="hwbp_nodes")
            self._fds.append(list_area)
            self._page = map_array(area, _PAGE)
            self._list = map_array(list_area, size)
            self._reading = ProgramRun(self._load(_reader(area)), 2)
            self._current = ProgramRun(self._load(_current(area)), 0)
            self._gathering = ProgramRun(self._load(_gatherer(list_area)), 1)
            self._linking = ProgramRun(self._load(_linker(list_area)), 1)
            self._walking = ProgramRun(self._load(_walker(list_area)), 4)
        except BpfError as error:
            self.close()
            raise HwbpError(
                f"the kernel's memory cannot be read: {error.strerror}",
                errno="EPERM",
                remedy="run it as root, or with CAP_BPF and CAP_PERFMON; see `hwbp-tui doctor`",
            ) from error

    def _load(self, program: Assembler) -> int:
        self._fds.append(load_program(ProgramType.RAW_TRACEPOINT, program, "hwbp_read"))
        return self._fds[-1]

    def read(self, address: int, size: int) -> bytes:
        if size > _PAGE:
            return b"".join(self.read(address + at, min(_PAGE, size - at)) for at in range(0, size, _PAGE))
        if self._reading.run(address & 0xFFFF_FFFF_FFFF_FFFF, size):
            raise UnreadableError(f"{address:#x}")
        return self._page[:size]

    def task(self) -> int:
        self._current.run()
        return int.from_bytes(self._page[:8], "little")

    def _walk(self, head: int, beside: int, limit: int) -> tuple[list[tuple[int, int]], bool]:
        found: list[tuple[int, int]] = []
        before, node, seen = 0, head, 0
        passed: set[int] = set()
        while seen < limit and node not in passed:  # in no list is a node twice
            passed.add(node)
            visited = self._walking.run(head, node, beside & 0xFFFF_FFFF_FFFF_FFFF, before)
            count, node, before = struct.unpack_from("<3Q", self._list)
            words = struct.unpack_from(f"<{2 * count}Q", self._list, _PAIRS)
            found += zip(words[::2], words[1::2], strict=True)
            if node in (_AT_HEAD, _TORN):
                return found, node == _AT_HEAD
            passed.update(words[::2])
            passed.discard(node)  # the last that was visited: the next run goes on from there
            seen += max(visited, 1)
        return found, False

    def words(self, addresses: Sequence[int]) -> list[int | None]:
        answers = self._each(self._gathering, addresses)
        return [word if good else None for good, word in answers]

    def linked(self, nodes: Sequence[int]) -> list[bool]:
        return [
            good == 1 and node == to
            for node, (good, to) in zip(nodes, self._each(self._linking, nodes), strict=True)
        ]

    def _each(self, program: ProgramRun, addresses: Sequence[int]) -> Iterator[tuple[int, int]]:
        """What a program that visits many answers for each address: 1 or 0, and a word."""
        for at in range(0, len(addresses), _NODES):
            part = addresses[at : at + _NODES]
            pairs = [half for address in part for half in (address & 0xFFFF_FFFF_FFFF_FFFF, 0)]
            struct.pack_into(f"<{len(pairs)}Q", self._list, _PAIRS, *pairs)
            program.run(len(part))
            answers = struct.unpack_from(f"<{len(pairs)}Q", self._list, _PAIRS)
            yield from zip(answers[::2], answers[1::2], strict=True)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _reader(area: int) -> Assembler:
    """(address, size) -> `size` bytes at the start of the area; returns 0, or an errno below 0."""
    return (
        Assembler()
        .load(3, 1, 0)
        .load(2, 1, 8)
        .map_value(1, area)
        .jump_if(2, ">", _PAGE, "refused")
        .call(Helper.PROBE_READ_KERNEL)
        .leave()
        .label("refused")
        .leave(-1)
    )


def _current(area: int) -> Assembler:
    """-> the address of the task that runs it, at the start of the area."""
    return Assembler().call(Helper.GET_CURRENT_TASK).map_value(1, area).store(1, 0, 0).leave(0)


def _gatherer(area: int) -> Assembler:
    """(count) -> for each pair of the area: its first word is an address; the second becomes the word there, and the
    first 1, or 0 where there is no memory."""
    program = _for_each_pair(area)
    program.load(3, 8, _PAIRS)
    return _answer_each(program)


def _linker(area: int) -> Assembler:
    """(count) -> for each pair of the area: its first word is a node; the second becomes the word to which the node before
    it leads, and the first 1, or 0 where there is no memory or no node before it but itself."""
    program = _for_each_pair(area)
    program.load(3, 8, _PAIRS).alu(3, "+=", 8).move(1, 10).alu(1, "+=", _NODE).set(2, 8)
    program.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "bad")
    program.load(3, 10, _NODE).load(1, 8, _PAIRS).jump_if_register(3, "==", 1, "bad")
    return _answer_each(program)


def _for_each_pair(area: int) -> Assembler:
    """The head of a loop over the pairs of the area: R8 + _PAIRS is one."""
    program = Assembler()
    program.load(6, 1, 0).map_value(7, area).set(9, 0)
    program.label("next").jump_if(9, ">=", _NODES, "done").jump_if_register(9, ">=", 6, "done")
    return program.move(8, 9).alu(8, "<<=", 4).alu_register(8, "+=", 7)


def _answer_each(program: Assembler) -> Assembler:
    """The loop's end: R3 is the address of the word that is the pair's answer."""
    program.move(1, 8).alu(1, "+=", _PAIRS + 8).set(2, 8)
    program.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "bad")
    program.store_value(8, _PAIRS, 1).jump("on")
    program.label("bad").store_value(8, _PAIRS, 0)
    program.label("on").alu(9, "+=", 1).jump("next")
    return program.label("done").leave(0)


def _walker(area: int) -> Assembler:
    """(head, node, beside, before) -> walks on from `node` for at most _NODES nodes; returns how many it visited.

    A run is one RCU read section: what it comes to is not freed until it ends. Between two runs that may happen, so a walk
    goes on only from a node that still has the one before it. The area then holds the number of pairs, the node to go on
    from (_AT_HEAD or _TORN at the end), the one before it, and the pairs.
    """
    program = Assembler()
    program.load(6, 1, 0).load(7, 1, 8).load(8, 1, 16).store(10, _BESIDE, 8).load(9, 1, 24).store(
        10, _CAME, 9
    )
    program.map_value(8, area).store_value(8, _COUNT, 0)
    program.set(9, 0)
    program.jump_if_register(6, "==", 7, "next")
    program.move(3, 7).alu(3, "+=", 8)
    _read_word(program, into=_WORD, address=3)
    program.load(1, 10, _WORD).load(2, 10, _CAME).jump_if_register(1, "!=", 2, "torn")
    program.label("next")
    program.jump_if(9, ">=", _NODES, "pause")
    _read_word(program, into=_NODE, address=7)
    program.load(1, 10, _NODE).jump_if_register(1, "==", 6, "end").jump_if_register(1, "==", 7, "torn")
    program.store(10, _CAME, 7).move(7, 1)
    program.alu(9, "+=", 1)
    program.load(3, 10, _BESIDE).alu_register(3, "+=", 7)
    _read_word(program, into=_WORD, address=3)
    program.load(4, 10, _WORD).jump_if(4, "==", 0, "next")
    program.load(3, 10, _BESIDE).alu_register(3, "+=", 7).jump_if_register(3, "==", 4, "next")
    # The count is loaded anew each time: to the verifier it is then any number, and one path is like the other.
    program.load(2, 8, _COUNT).jump_if(2, ">=", _NODES, "torn")
    program.move(1, 8).move(3, 2).alu(3, "<<=", 4).alu_register(1, "+=", 3)
    program.store(1, _PAIRS, 7).store(1, _PAIRS + 8, 4)
    program.alu(2, "+=", 1).store(8, _COUNT, 2)
    program.jump("next")
    program.label("torn").set(7, _TORN).jump("pause")
    program.label("end").set(7, _AT_HEAD)
    program.label("pause").load(1, 10, _CAME).store(8, _BEFORE, 1).store(8, _NEXT, 7).move(0, 9).leave()
    return program


def _read_word(program: Assembler, into: int, address: int) -> None:
    """The word at an address to the stack; on to "torn" where there is none."""
    program.move(3, address).move(1, 10).alu(1, "+=", into).set(2, 8)
    program.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "torn")
