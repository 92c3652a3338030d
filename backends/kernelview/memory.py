"""Kernel memory, as something that can be read. On the running host: through a small BPF program."""

from __future__ import annotations

import contextlib
import mmap
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from backends.base import HwbpError
from backends.bpf.assembler import Assembler
from backends.bpf.syscall import (
    BpfError,
    MapType,
    ProgramRun,
    ProgramType,
    create_map,
    load_program,
    map_array,
)
from backends.kernelview.programs import (
    ANSWERS,
    ASKED,
    AT_HEAD,
    AT_ONCE,
    LIST_AREA,
    PAGE,
    STRUCTURES_AT_ONCE,
    TORN,
    collector,
    current,
    gatherer,
    linker,
    reader,
    walker,
)

__all__ = ["BpfMemory", "Memory", "Pieces", "Structures", "UnreadableError"]

_WALKS: Final = 50
_FEW: Final = 32
"""Structures that are read one by one: to have the verifier look at a program for them would take longer."""
_ADDRESS: Final = (1 << 64) - 1

Pieces = tuple[tuple[int, int], ...]
"""Parts of a structure: offset and size of each, in bytes."""


class UnreadableError(Exception):
    """An address at which there is no memory. It is no news about a structure that was freed meanwhile."""


class Structures(NamedTuple):
    """Pieces of some structures: of each one behind the other, `stride` bytes behind those of the one before it. Only those
    that are `there` (1, or 0 where there is no memory) mean anything."""

    there: list[int]
    data: bytes
    stride: int


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

    def structure(self, address: int, pieces: Pieces) -> bytes:
        """Pieces of a structure, one behind the other; they are of one moment if the structure is small."""
        if not pieces:
            return b""
        first, (last, size) = pieces[0][0], pieces[-1]
        whole = self.read(address + first, last + size - first)
        return b"".join([whole[offset - first : offset - first + size] for offset, size in pieces])

    def structures(self, addresses: Sequence[int], pieces: Pieces) -> Iterator[Structures]:
        """The same pieces of many structures, in as many runs as it takes."""
        size = sum(size for _, size in pieces)
        there, data = [0] * len(addresses), bytearray(size * len(addresses))
        for number, address in enumerate(addresses):
            with contextlib.suppress(UnreadableError):
                data[number * size : (number + 1) * size] = self.structure(address, pieces)
                there[number] = 1
        yield Structures(there, bytes(data), size)

    @abstractmethod
    def close(self) -> None:
        """Give back what the way to the memory holds. May be called twice."""


class _Many:
    """A program that visits many addresses, and its area: as bytes, and as 64-bit words."""

    __slots__ = ("_at_once", "_program", "area", "stride", "words")

    def __init__(self, program: ProgramRun, area: memoryview, at_once: int, stride: int = 8) -> None:
        self._program = program
        self._at_once = at_once
        self.area = area
        self.words = area.cast("Q")
        self.stride = stride

    def runs(self, addresses: Sequence[int]) -> Iterator[list[int]]:
        """One run after the other: for each of its addresses 1, or 0 where there is no memory."""
        first = ASKED // 8
        for at in range(0, len(addresses), self._at_once):
            part = array("Q", [address & _ADDRESS for address in addresses[at : at + self._at_once]])
            self.words[first : first + len(part)] = memoryview(part)
            self._program.run(len(part))
            yield self.words[first : first + len(part)].tolist()

    def answers(self, count: int) -> list[int]:
        """The words that the last run has found."""
        return self.words[ANSWERS // 8 : ANSWERS // 8 + count].tolist()


class BpfMemory(Memory):
    """The running host's memory, through `bpf_probe_read_kernel` in programs run by BPF_PROG_TEST_RUN.

    Nothing is attached, and nothing of the kernel is changed. Needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), and a
    lockdown mode below "confidentiality". Raises `HwbpError` (EPERM) without them.
    """

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()
        self._collecting: dict[Pieces, _Many] = {}
        try:
            area, self._page = self._area(PAGE, "hwbp_page")
            list_area, listed = self._area(LIST_AREA, "hwbp_nodes")
            self._gathering = self._many(gatherer(list_area), listed, AT_ONCE)
            self._linking = self._many(linker(list_area), listed, AT_ONCE)
            self._list = self._gathering.words
            self._reading = self._load(reader(area), 2)
            self._current = self._load(current(area), 0)
            self._walking = self._load(walker(list_area), 4)
        except BpfError as error:
            self.close()
            raise HwbpError(
                f"the kernel's memory cannot be read: {error.strerror}",
                errno="EPERM",
                remedy="run it as root, or with CAP_BPF and CAP_PERFMON; see `hwbp-tui doctor`",
            ) from error

    def _area(self, size: int, name: str) -> tuple[int, mmap.mmap]:
        """An array map of one value, and that value in our memory."""
        fd = create_map(MapType.ARRAY, 4, size, 1, mappable=True, name=name)
        self._held.callback(os.close, fd)
        return fd, self._held.enter_context(map_array(fd, size))  # it has a descriptor of its own

    def _load(self, program: Assembler, arguments: int) -> ProgramRun:
        fd = load_program(ProgramType.RAW_TRACEPOINT, program, "hwbp_read")
        self._held.callback(os.close, fd)
        return ProgramRun(fd, arguments)

    def _many(self, program: Assembler, area: mmap.mmap, at_once: int, stride: int = 8) -> _Many:
        """A program of one argument; its area is not unmapped before its views are given back."""
        view = self._held.enter_context(memoryview(area))
        many = _Many(self._load(program, 1), view, at_once, stride)
        self._held.enter_context(many.words)
        return many

    def read(self, address: int, size: int) -> bytes:
        if size > PAGE:
            return b"".join(self.read(address + at, min(PAGE, size - at)) for at in range(0, size, PAGE))
        if self._reading.run(address & _ADDRESS, size):
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
            visited = self._walking.run(head, node, beside & _ADDRESS, before)
            count, node, before = self._list[:3]
            nodes = self._list[ASKED // 8 : ASKED // 8 + count].tolist()
            words = self._list[ANSWERS // 8 : ANSWERS // 8 + count].tolist()
            found += zip(nodes, words, strict=True)
            if node in (AT_HEAD, TORN):
                return found, node == AT_HEAD
            passed.update(nodes)
            passed.discard(node)  # the last that was visited: the next run goes on from there
            seen += max(visited, 1)
        return found, False

    def words(self, addresses: Sequence[int]) -> list[int | None]:
        answers: list[int | None] = []
        for good in self._gathering.runs(addresses):
            words = self._gathering.answers(len(good))
            answers += (
                words
                if all(good)
                else [word if there else None for there, word in zip(good, words, strict=True)]
            )
        return answers

    def linked(self, nodes: Sequence[int]) -> list[bool]:
        answers: list[int] = []
        for good in self._linking.runs(nodes):
            words = self._linking.answers(len(good))
            answers += [word if there else 0 for there, word in zip(good, words, strict=True)]
        return [node == to for node, to in zip(nodes, answers, strict=True)]

    def structures(self, addresses: Sequence[int], pieces: Pieces) -> Iterator[Structures]:
        if pieces not in self._collecting and len(addresses) <= _FEW:
            yield from super().structures(addresses, pieces)
            return
        many = self._collecting.get(pieces) or self._collector(pieces)
        for there in many.runs(addresses):
            yield Structures(
                there, many.area[ANSWERS : ANSWERS + many.stride * len(there)].tobytes(), many.stride
            )

    def _collector(self, pieces: Pieces) -> _Many:
        stride = -(-sum(size for _, size in pieces) // 8) * 8
        size = ANSWERS + stride * STRUCTURES_AT_ONCE
        fd, area = self._area(size, "hwbp_structs")
        many = self._many(collector(fd, pieces, stride), area, STRUCTURES_AT_ONCE, stride)
        self._collecting[pieces] = many
        return many

    def close(self) -> None:
        self._held.close()
