"""Walks of the kernel's lists, in memory that changes under them."""

from __future__ import annotations

import pytest

from backends.kernelview.memory import Memory, UnreadableError

HEAD, A, B, C, ELSEWHERE = (0x1000 * n for n in range(1, 6))
BESIDE = 16


class Scripted(Memory):
    """Lists as {node: next}; each walk after the first meets the next of `states`, the last again and again."""

    def __init__(self, *states: dict[int, int]) -> None:
        self.states = list(states)
        self.walks = 0

    def read(self, address: int, size: int) -> bytes:
        state = self.states[min(self.walks, len(self.states)) - 1]
        node = address & ~0xFFF
        if address == node == HEAD:
            self.walks += 1
            state = self.states[min(self.walks, len(self.states)) - 1]
        if address - node == BESIDE:
            return (node + 1).to_bytes(size, "little")
        if node not in state:
            raise UnreadableError
        return state[node].to_bytes(size, "little")

    def task(self) -> int:
        return 0

    def close(self) -> None:
        pass


WHOLE = {HEAD: A, A: B, B: C, C: HEAD}


@pytest.mark.parametrize(
    "torn",
    [
        {HEAD: A, A: 0},  # taken off and freed
        {HEAD: A, A: A},  # taken off by list_del_init()
        {HEAD: A, A: B, B: ELSEWHERE, ELSEWHERE: B},  # moved to another list, whose head is another
    ],
    ids=["to nothing", "to itself", "to another list"],
)
def test_a_walk_that_does_not_come_back_is_made_again(torn: dict[int, int]) -> None:
    memory = Scripted(torn, torn, WHOLE)
    assert memory.nodes(HEAD, BESIDE, limit=100) == [(A, A + 1), (B, B + 1), (C, C + 1)]
    assert memory.walks == 3


def test_a_list_that_never_comes_back_gives_what_was_seen_once_each() -> None:
    memory = Scripted({HEAD: A, A: B, B: B})
    assert memory.nodes(HEAD, BESIDE) == [(A, A + 1), (B, B + 1)]


def test_an_empty_list_has_no_nodes() -> None:
    memory = Scripted({HEAD: HEAD})
    assert memory.nodes(HEAD, BESIDE) == []
    assert memory.walks == 1
