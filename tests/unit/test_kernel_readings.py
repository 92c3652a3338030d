"""Structures read again and again: what has changed is made anew, whatever the others do."""

from __future__ import annotations

import random

import pytest

from backends.kernelview.btf import Btf
from backends.kernelview.layout import Record, Shape
from backends.kernelview.memory import Memory, UnreadableError
from backends.kernelview.readings import Readings
from tests.unit.btf_writer import BtfWriter

SIZE = 0x100


class Words(Memory):
    """Structures of 256 bytes: `first` at 0, `second` at 128, and a word at 64 that nobody asked for."""

    def __init__(self) -> None:
        self.content: dict[int, int] = {}
        self.gone: set[int] = set()

    def read(self, address: int, size: int) -> bytes:
        if address // SIZE in self.gone:
            raise UnreadableError
        return b"".join(
            self.content.get(at, 0).to_bytes(8, "little") for at in range(address, address + size, 8)
        )

    def task(self) -> int:
        return 0

    def close(self) -> None:
        pass


def shape() -> Shape:
    types = BtfWriter()
    number = types.number("long", 8)
    types.structure(
        "thing", SIZE, ("first", number, 0), ("beside", number, 64 * 8), ("second", number, 128 * 8)
    )
    return Shape(Btf(types.data()), "thing", "first", "second", places=("beside",))


class Made:
    def __init__(self, record: Record) -> None:
        self.address = record.address
        self.values = record["first"], record["second"]


@pytest.fixture
def memory() -> Words:
    return Words()


@pytest.fixture
def readings(memory: Words) -> Readings[Made]:
    return Readings(shape(), memory, Made)


def values(readings: Readings[Made], addresses: list[int]) -> list[tuple[int, int] | None]:
    made = readings.all(addresses)
    assert all(each is None or each.address == at for each, at in zip(made, addresses, strict=True))
    return [None if each is None else each.values for each in made]


def test_only_the_members_that_were_asked_for_are_read() -> None:
    thing = shape()
    assert thing.pieces == ((0, 8), (128, 8))
    assert [thing.offset(name) for name in ("first", "beside", "second")] == [0, 64, 128]


def test_what_is_as_it_was_is_the_same_object_and_what_is_not_is_another(
    memory: Words, readings: Readings[Made]
) -> None:
    addresses = [SIZE * n for n in range(1, 4)]
    before = readings.all(addresses)
    readings.forget()
    memory.content[addresses[0] + 64] = 5  # nobody asked for it
    memory.content[addresses[1] + 128] = 6
    after = readings.all(addresses)
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert values(readings, addresses) == [(0, 0), (0, 6), (0, 0)]


def test_the_same_bytes_elsewhere_are_another(readings: Readings[Made]) -> None:
    assert values(readings, [SIZE, 2 * SIZE]) == [(0, 0)] * 2
    readings.forget()
    assert values(readings, [SIZE, 3 * SIZE]) == [(0, 0)] * 2


def test_what_is_gone_is_none_and_others_stay(memory: Words, readings: Readings[Made]) -> None:
    addresses = [SIZE * n for n in range(1, 4)]
    before = readings.all(addresses)
    readings.forget()
    memory.gone.add(2)
    after = readings.all(addresses)
    assert after == [before[0], None, before[2]]
    assert readings.at(addresses[1]) is None
    memory.gone.clear()
    assert values(readings, addresses) == [(0, 0)] * 3


def test_whatever_changes_the_last_reading_is_what_memory_has() -> None:
    say = random.Random(3)
    memory = Words()
    readings = Readings(shape(), memory, Made)
    for _ in range(300):
        addresses = [SIZE * n for n in say.sample(range(1, 30), say.randrange(1, 20))]
        for _ in range(say.randrange(3)):
            memory.content[say.choice(addresses) + say.choice((0, 64, 128))] = say.randrange(3)
        memory.gone = set(say.sample(range(1, 30), say.randrange(3)))
        assert values(readings, addresses) == [
            None
            if address // SIZE in memory.gone
            else (memory.content.get(address, 0), memory.content.get(address + 128, 0))
            for address in addresses
        ]
        alone = say.choice(addresses)
        made = readings.at(alone)
        assert (made is None) == (alone // SIZE in memory.gone)
        assert made is None or made.values == (
            memory.content.get(alone, 0),
            memory.content.get(alone + 128, 0),
        )
        if say.random() < 0.5:
            readings.forget()
