"""Taking perf's records apart: every field of every sample, whatever lies between them."""

from __future__ import annotations

import struct
from typing import Any, Final, cast

import numpy as np
import pytest

from backends.model import BreakpointRequest
from backends.perf import events
from backends.perf import rings as module
from backends.perf.capture import Carrier
from backends.perf.opener import Opener
from backends.perf.program import FRAMES, TOP_WORDS
from backends.perf.rings import RingCapture

EVENT: Final = 71
_USER: Final = (1 << 64) - 512  # PERF_CONTEXT_USER


class _Rings:
    """What each CPU's ring has, to be taken once."""

    def __init__(self, data: dict[int, bytes]) -> None:
        self.pages = 512
        self.data = data

    @property
    def cpus(self) -> tuple[int, ...]:
        return tuple(self.data)

    def look(self, cpu: int) -> bytes:
        return self.data[cpu]

    def free(self, cpu: int) -> None:
        self.data[cpu] = b""

    def waiting(self) -> int:
        return sum(map(len, self.data.values()))


def capture(data: dict[int, bytes], *, stacks: bool) -> RingCapture:
    made = RingCapture(cast(Opener, None), stacks=stacks, why="")
    attr = events.breakpoint_attributes(0x4000, 8, "w", children=False, kernel=False, sampled=True)
    carrier = Carrier(3, BreakpointRequest(0x4000, 8, "w"), attr)
    made.prepare(carrier, None)
    made._breakpoints[EVENT] = carrier.id
    made._rings = cast(Any, _Rings(data))
    made.named(10, "ten")
    made.named(11, "eleven")
    return made


def sample(
    number: int, *, chain: tuple[int, ...] | None = None, registers: int = 3, kernel: bool = False
) -> bytes:
    """A sample whose fields follow from its number; with a call chain also the words at rsp."""
    body = struct.pack("<QQIIQQ", EVENT, 0x1000 + number, 5, 10 + number % 2, 100 + number, 0x4000)
    if chain is not None:
        body += struct.pack(f"<{3 + len(chain)}Q", 2 + len(chain), _USER, 0x1000 + number, *chain)
    body += struct.pack(f"<{1 + registers}Q", 2, *(1000 * number + column for column in range(registers)))
    if chain is not None:
        body += struct.pack(
            f"<{TOP_WORDS + 2}Q", 8 * TOP_WORDS, *(number + word for word in range(TOP_WORDS)), 64
        )
    return struct.pack("<IHH", 9, 1 if kernel else 2, 8 + len(body)) + body


def lost(count: int) -> bytes:
    return struct.pack("<IHHQQQ", 2, 0, 32, EVENT, count, 0)


def check(rows: Any, numbers: list[int]) -> None:
    assert rows["time"].tolist() == [100 + number for number in numbers]
    assert rows["ip"].tolist() == [0x1000 + number for number in numbers]
    assert rows["tid"].tolist() == [10 + number % 2 for number in numbers]
    assert set(rows["pid"].tolist()) == {5}
    assert set(rows["address"].tolist()) == {0x4000}
    assert set(rows["breakpoint"].tolist()) == {3}
    assert set(rows["length"].tolist()) == {8}
    assert set(rows["slot"].tolist()) == {0xFF}
    names = rows["name"].tobytes()
    assert [names[16 * n : 16 * n + 16].rstrip(b"\0") for n in range(len(numbers))] == [
        b"eleven" if number % 2 else b"ten" for number in numbers
    ]


def test_samples_without_stacks_and_what_lies_between_them() -> None:
    data = b"".join([*(sample(n) for n in range(20)), lost(4), *(sample(n) for n in range(20, 30)), lost(2)])
    made = capture({0: data}, stacks=False)
    rows = made.peek(100)
    check(rows, list(range(30)))
    assert rows["rax"].tolist() == [1000 * n for n in range(30)]
    assert rows["rdi"].tolist() == [1000 * n + 2 for n in range(30)]
    assert made._reported == {3: 6}
    assert made._taken == {3: 30}


def test_hits_of_two_cpus_come_in_the_order_of_time_and_those_left_stay_before_new_ones() -> None:
    made = capture(
        {0: b"".join(sample(n) for n in range(0, 40, 2)), 1: b"".join(sample(n) for n in range(1, 40, 2))},
        stacks=False,
    )
    rows = made.peek(100)
    check(rows, list(range(40)))
    assert rows["cpu"].tolist() == [0, 1] * 20
    made.free(33)
    cast(Any, made._rings).data = {0: b"".join(sample(n) for n in range(40, 200))}
    check(made.peek(1000), list(range(33, 200)))
    made.free(167)
    assert made.waiting() == 0


@pytest.mark.parametrize("kernel", [False, True])
def test_the_mode_of_each_hit(kernel: bool) -> None:
    made = capture({0: b"".join(sample(n, kernel=kernel and n == 3) for n in range(6))}, stacks=False)
    assert made.peek(10)["flags"].tolist() == [0, 0, 0, int(kernel), 0, 0]


def chains(kind: str, count: int) -> list[tuple[int, ...]]:
    if kind == "alike":
        return [(7, 8, 9)] * count
    if kind == "mixed":
        return [tuple(range(1, 1 + n % 5)) for n in range(count)]
    if kind == "deep":
        return [tuple(range(1, 40))] * count
    return [(7, 8, 9)] * (count // 2) + [(1,)] + [(5, 6)] * (count - count // 2 - 1)


@pytest.mark.parametrize("kind", ["alike", "mixed", "deep", "runs"])
def test_samples_with_call_chains_of_any_length(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    many = 900
    asked = chains(kind, many)
    parts = [sample(n, chain=chain, registers=7) for n, chain in enumerate(asked)]
    parts.insert(400, lost(9))
    made = capture({0: b"".join(parts)}, stacks=True)
    rows = made.peek(2000).copy()
    check(rows, list(range(many)))
    assert rows["frames"].tolist() == [[*chain[:FRAMES], *[0] * (FRAMES - len(chain))] for chain in asked]
    assert rows["top"].tolist() == [[n + word for word in range(TOP_WORDS)] for n in range(many)]
    assert rows["eflags"].tolist() == [1000 * n + made._order.index("eflags") for n in range(many)]
    assert made._reported == {3: 9}
    told: dict[int, tuple[int, ...]] = {}
    for chain, number in zip(asked, rows["chain"].tolist(), strict=True):
        assert told.setdefault(number, chain) == chain
    monkeypatch.setattr(module, "_FEW_ALIKE", 1 << 20)  # every one is walked to
    other = capture({0: b"".join(parts)}, stacks=True).peek(2000)
    assert np.array_equal(other["chain"], rows["chain"])
    assert np.array_equal(other["frames"], rows["frames"])


@pytest.mark.parametrize("stacks", [False, True])
def test_samples_of_one_thread_are_the_same_as_when_another_is_among_them(stacks: bool) -> None:
    """They are copied from one row; with another thread among them they are taken field by field."""

    def one(number: int) -> bytes:
        more = {"chain": (0x2000, 0x3000), "registers": 7} if stacks else {}
        return sample(2 * number, **more)  # type: ignore[arg-type]

    def other() -> bytes:
        return sample(1, chain=(0x2000, 0x3000), registers=7) if stacks else sample(1)

    alone = capture({0: b"".join(one(n) for n in range(1, 60))}, stacks=stacks)
    among = capture({0: other() + b"".join(one(n) for n in range(1, 60))}, stacks=stacks)
    rows, more = alone.peek(100), among.peek(100)
    assert len(more) == 60
    for name in rows.dtype.names or ():
        if name not in ("row", "who"):  # other fields, together
            assert rows[name].tolist() == more[name][1:].tolist(), name
    assert alone._taken == {3: 59}
    assert among._taken == {3: 60}
