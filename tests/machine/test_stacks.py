"""Call stacks of hits: each distinct one is walked once, recognised afterwards, and exact; guesses are marked."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest

from backends.base import Launch
from backends.emulated.stacks import OTHER_STACKS, StackTable
from backends.model import BreakpointRequest
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.compiled import compiled

Frames = tuple[tuple[int, bool], ...]
Reads = tuple[tuple[int, int], ...]


class Memory:
    """A stack as bytes, from `base` on."""

    def __init__(self, size: int = 4096, base: int = 0x7000) -> None:
        self.base = base
        self.data = bytearray(size)
        self.outside = 0

    def put(self, address: int, value: int) -> None:
        struct.pack_into("<Q", self.data, address - self.base, value)

    def read(self, address: int, size: int) -> bytes:
        at = address - self.base
        if at < 0 or at + size > len(self.data):
            self.outside += 1
            raise ValueError("nothing is mapped there")
        return bytes(self.data[at : at + size])


class Chain:
    """Walks by frame pointers: each frame is (saved bp, return address). Counts its walks."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.walks = 0
        self.repeatable = True
        self.size = 8

    def walk_traced(
        self, pc: int, sp: int, bp: int, limit: int = 16, regs: Callable[[str], int] | None = None
    ) -> tuple[Frames, Reads, bool]:
        self.walks += 1
        frames, reads = [(pc, False)], []
        while bp and len(frames) < limit:
            reads += [(bp, self.size), (bp + 8, self.size)]
            bp, address = struct.unpack("<2Q", self.memory.read(bp, 16))
            if not address:
                break
            frames.append((address, address % 2 == 1))
        return tuple(frames), tuple(reads), self.repeatable


class Table:
    """A table over a chain of `frames`, each (address of the frame, return address), innermost first."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.walker = Chain(self.memory)
        self.table = StackTable(self.memory.read)
        self.table.set_walker(self.walker)

    def chain(self, *frames: tuple[int, int]) -> int:
        for (at, address), (following, _) in zip(frames, [*frames[1:], (0, 0)], strict=True):
            self.memory.put(at, following)
            self.memory.put(at + 8, address)
        return frames[0][0]

    def number(self, pc: int, bp: int) -> int:
        return self.table.number(pc, bp - 16, bp, lambda _name: 0)


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_stack_is_walked_once_and_recognised_afterwards(table: Table) -> None:
    bp = table.chain((0x7100, 0x1000), (0x7200, 0x2000))
    numbers = {table.number(0x500, bp) for _ in range(100)}
    assert numbers == {1}
    assert table.walker.walks == table.table.walks == 1
    assert table.table.stacks[1] == ((0x500, False), (0x1000, False), (0x2000, False))


@pytest.mark.parametrize("change", ["innermost return", "outer return", "saved bp", "pc"])
def test_a_stack_that_differs_in_one_word_is_another_one(table: Table, change: str) -> None:
    bp = table.chain((0x7100, 0x1000), (0x7200, 0x2000))
    pc = 0x500
    first = table.number(pc, bp)
    if change == "innermost return":
        table.memory.put(0x7108, 0x1004)
    elif change == "outer return":
        table.memory.put(0x7208, 0x2004)
    elif change == "saved bp":
        table.chain((0x7100, 0x1000), (0x7300, 0x2004))
    else:
        pc = 0x504
    second = table.number(pc, bp)
    assert second != first
    assert table.table.stacks[second] != table.table.stacks[first]
    assert table.number(pc, bp) == second
    assert table.walker.walks == 2


def test_stacks_that_come_back_are_recognised_also_when_the_words_between_have_changed(table: Table) -> None:
    bp = table.chain((0x7100, 0x1000), (0x7200, 0x2000))
    first = table.number(0x500, bp)
    table.memory.put(0x7108, 0x1004)
    second = table.number(0x500, bp)
    table.memory.put(0x7180, 0xDEAD)  # a local of somebody: no walk reads it
    table.memory.put(0x7108, 0x1000)
    assert table.number(0x500, bp) == first
    table.memory.put(0x7108, 0x1004)
    assert table.number(0x500, bp) == second
    assert table.walker.walks == 2


def test_the_same_frames_at_another_depth_are_the_same_stack(table: Table) -> None:
    shallow = table.number(0x500, table.chain((0x7100, 0x1000), (0x7200, 0x2000)))
    assert table.number(0x500, table.chain((0x7400, 0x1000), (0x7500, 0x2000))) == shallow
    assert len(table.table.stacks) == 2


def test_a_walk_that_used_other_registers_is_never_recognised(table: Table) -> None:
    table.walker.repeatable = False
    bp = table.chain((0x7100, 0x1000))
    assert table.number(0x500, bp) == table.number(0x500, bp)
    assert table.walker.walks == 2


def test_a_walk_that_read_other_sizes_is_never_recognised(table: Table) -> None:
    table.walker.size = 4
    bp = table.chain((0x7100, 0x1000))
    assert table.number(0x500, bp) == table.number(0x500, bp)
    assert table.walker.walks == 2


def test_what_was_learnt_is_forgotten_when_mappings_change_and_numbers_stay(table: Table) -> None:
    bp = table.chain((0x7100, 0x1000))
    number = table.number(0x500, bp)
    table.table.set_walker(table.walker)
    assert table.number(0x500, bp) == number
    assert table.walker.walks == 2


def test_places_that_cannot_be_read_together_are_walked_each_time_and_are_no_fault(table: Table) -> None:
    bp = table.chain((0x7100, 0x1000), (0x7200, 0x2000))
    whole = table.memory.read
    table.table.set_read(lambda address, size: whole(address, size) if size < 64 else whole(0, 8))
    assert table.number(0x500, bp) == table.number(0x500, bp) == 1


def test_without_a_walker_a_stack_is_the_instruction_itself() -> None:
    table = StackTable(Memory().read)
    number = table.number(0x500, 0x7100, 0x7100, lambda _name: 0)
    assert table.frames(number, 1)[0][0].ip == 0x500


def test_beyond_the_end_of_the_table_all_stacks_are_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import backends.emulated.stacks as module

    monkeypatch.setattr(module, "_MOST_STACKS", 4)
    table = StackTable(Memory().read)
    numbers = [table.number(pc, 0x7100, 0x7100, lambda _name: 0) for pc in (1, 2, 3, 4, 5, 1)]
    assert numbers == [1, 2, 3, OTHER_STACKS, OTHER_STACKS, 1]
    assert table.frames(OTHER_STACKS, 10) == ()


def test_words_that_are_new_each_time_do_not_fill_the_memory(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    import backends.emulated.stacks as module

    monkeypatch.setattr(module, "_MOST_KNOWN", 50)
    bp = table.chain((0x7100, 0x1000))
    for n in range(500):
        table.memory.put(0x7108, 0x10000 + 2 * n)
        table.number(0x500, bp)
    (layouts,) = table.table._layouts.values()
    assert sum(len(layout.known) for layout in layouts) <= 50


def test_guesses_are_marked_and_pages_of_the_table_are_as_asked(table: Table) -> None:
    table.number(0x500, table.chain((0x7100, 0x1001), (0x7200, 0x2000)))
    ((frame, guess, sure),) = table.table.frames(1, 10)
    assert (frame.guessed, guess.guessed, sure.guessed) == (False, True, False)
    assert table.table.frames(0, 1) == ((),)
    assert table.table.frames(2, 10) == ()


SOURCE = r"""
volatile long counter;
static unsigned seed = 7;
static unsigned next(void) { seed = seed * 1103515245u + 12345u; return seed >> 16; }
#define FAR __attribute__((noinline, noclone))
FAR long left(int n, long a);
FAR long right(int n, long a) {
    char pad[33]; pad[n] = (char)a; __asm__ volatile("" :: "r"(pad) : "memory");
    if (n == 0) { counter += a; return pad[0]; }
    long r = next() & 1 ? left(n - 1, a + 1) : right(n - 1, a + 2);
    counter++;
    return r + pad[n];
}
FAR long left(int n, long a) {
    if (n == 0) { counter ^= a; return a; }
    long r = next() & 2 ? left(n - 1, a * 3) : right(n - 1, a - 1);
    counter--;
    return r + n;
}
FAR long sized(unsigned n) {
    char room[n]; room[n - 1] = 1; __asm__ volatile("" :: "r"(room) : "memory");
    counter += n;
    return left(2, room[n - 1]);
}
int main(void) {
    long sum = 0;
    for (int i = 0; i < 60; i++) { sum += left((int)(next() % 14), i); sum += sized(16 + 16 * (next() % 5)); }
    return (int)(sum & 63);
}
"""


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    folder = tmp_path_factory.mktemp("stacks")

    def build(*options: str) -> str:
        return str(compiled(folder / "".join(options) / "prog", SOURCE, "-g", "-static", *options))

    return build


@pytest.mark.parametrize(
    ("options", "guesses"),
    [
        (["-O0"], False),
        (["-O2"], False),
        (["-O1", "-fno-omit-frame-pointer"], False),
        (["-O1", "-fno-asynchronous-unwind-tables", "-fno-omit-frame-pointer", "-g0"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_recognised_stack_is_the_one_that_a_fresh_walk_finds(
    compiler: Callable[..., str], options: list[str], guesses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
    from backends.emulated.backend import EmulatedBackend

    path = compiler(*options)
    address = SymbolTable(ElfImage.open(path)).find("counter")[0].value
    fd = create_memfd(1 << 14)
    backend, ring = EmulatedBackend(fd), RingReader(fd)
    os.close(fd)
    backend.launch(Launch(path))
    backend.arm((BreakpointRequest(address, 8, "w"),))
    table = backend._machine.stacks
    number = table.number
    fresh: dict[int, set[Frames]] = {}
    count = 0

    def checked(pc: int, sp: int, bp: int, regs: Callable[[str], int]) -> int:
        nonlocal count
        found = number(pc, sp, bp, regs)
        frames, _, _ = backend._machine.linux.first.process.mm.walker.walk_traced(pc, sp, bp, 16, regs)
        assert table.stacks[found] == frames
        fresh.setdefault(found, set()).add(frames)
        count += 1
        return found

    monkeypatch.setattr(table, "number", checked)
    backend.resume()
    while backend.running:
        backend.run_slice()
    assert backend.view().state == "exited"
    rows = ring.read(0, 1 << 14)
    assert count == len(rows) > 500
    assert all(len(stacks) == 1 for stacks in fresh.values())
    assert {int(row["stack"]) for row in rows} == fresh.keys()
    assert len(fresh) > 100
    assert table.walks < count, "some should have been recognised"
    depths = {len(table.stacks[n]) for n in fresh}
    assert len(depths) > 8
    assert max(depths) <= 16
    assert any(guessed for n in fresh for _, guessed in table.stacks[n]) == guesses
