"""The BPF programs that read kernel memory: one run visits up to `AT_ONCE` places.

A run is one RCU read section: what it comes to is not freed until it ends. What a program answers stands in the array map that
it was made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backends.bpf.assembler import Assembler, Helper

__all__ = [
    "ANSWERS",
    "ASKED",
    "AT_HEAD",
    "AT_ONCE",
    "LIST_AREA",
    "PAGE",
    "STRUCTURES_AT_ONCE",
    "TORN",
    "collector",
    "current",
    "gatherer",
    "linker",
    "reader",
    "walker",
]

PAGE: Final = 4096
"""Bytes that `reader` reads at most."""
AT_ONCE: Final = 256
"""Nodes of a list, or words, that one run of a program visits: the verifier follows each of them."""
STRUCTURES_AT_ONCE: Final = 64
"""The same for structures, of which each takes several reads."""

# The area of those that visit many: three words of the walker's, then two columns. The walker fills them with nodes and the
# words beside them; the others find addresses in the first, each of which becomes 1, or 0 where there is no memory, and put
# what they found into the second.
_COUNT, _NEXT, _BEFORE = 0, 8, 16
AT_HEAD, TORN = 0, 1
ASKED: Final = 32
ANSWERS: Final = ASKED + 8 * AT_ONCE
LIST_AREA: Final = ANSWERS + 8 * AT_ONCE
"""Bytes of the area of `gatherer`, `linker` and `walker`."""

# What the programs keep on their stacks.
_NODE, _BESIDE, _WORD, _CAME, _FAILED = -8, -16, -24, -32, -40


def reader(area: int) -> Assembler:
    """(address, size) -> `size` bytes at the start of the area; returns 0, or an errno below 0."""
    return (
        Assembler()
        .load(3, 1, 0)
        .load(2, 1, 8)
        .map_value(1, area)
        .jump_if(2, ">", PAGE, "refused")
        .call(Helper.PROBE_READ_KERNEL)
        .leave()
        .label("refused")
        .leave(-1)
    )


def current(area: int) -> Assembler:
    """-> the address of the task that runs it, at the start of the area."""
    return Assembler().call(Helper.GET_CURRENT_TASK).map_value(1, area).store(1, 0, 0).leave(0)


def gatherer(area: int) -> Assembler:
    """(count) -> for each address that was asked for: the word there."""
    program = _for_each(area)
    program.load(3, 8, ASKED)
    return _answer_each(program)


def linker(area: int) -> Assembler:
    """(count) -> for each node that was asked for: the word to which the node before it leads, and no memory where there is
    no node before it but itself."""
    program = _for_each(area)
    program.load(3, 8, ASKED).alu(3, "+=", 8).move(1, 10).alu(1, "+=", _NODE).set(2, 8)
    program.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "bad")
    program.load(3, 10, _NODE).load(1, 8, ASKED).jump_if_register(3, "==", 1, "bad")
    return _answer_each(program)


def collector(area: int, pieces: Sequence[tuple[int, int]], stride: int) -> Assembler:
    """(count) -> for each address that was asked for: pieces (offset and size in bytes) of the structure there, one behind
    the other, `stride` bytes (a multiple of 8) after those of the structure before it."""
    program = _for_each(area, STRUCTURES_AT_ONCE)
    program.load(1, 8, ASKED).store(10, _NODE, 1).store_value(10, _FAILED, 0)
    program.move(8, 9).alu(8, "*=", stride).alu_register(8, "+=", 7)
    at = ANSWERS
    for offset, size in pieces:
        program.load(3, 10, _NODE).alu(3, "+=", offset).move(1, 8).alu(1, "+=", at).set(2, size)
        # No branch at each: the verifier would follow all of their ways.
        program.call(Helper.PROBE_READ_KERNEL).load(1, 10, _FAILED).alu_register(1, "|=", 0).store(
            10, _FAILED, 1
        )
        at += size
    program.load(1, 10, _FAILED).jump_if(1, "!=", 0, "bad")
    return _on(program)


def _for_each(area: int, most: int = AT_ONCE) -> Assembler:
    """The head of a loop over the addresses: R8 + ASKED is where one is, R7 the area, R9 its number."""
    program = Assembler()
    program.load(6, 1, 0).map_value(7, area).set(9, 0)
    program.label("next").jump_if(9, ">=", most, "done").jump_if_register(9, ">=", 6, "done")
    return program.move(8, 9).alu(8, "<<=", 3).alu_register(8, "+=", 7)


def _answer_each(program: Assembler) -> Assembler:
    """The loop's end: R3 is the address of the word that is the answer."""
    program.move(1, 8).alu(1, "+=", ANSWERS).set(2, 8)
    program.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "bad")
    return _on(program)


def _on(program: Assembler) -> Assembler:
    """Say whether there was memory, and go on with the next."""
    program.set(1, 1).jump("said").label("bad").set(1, 0)
    program.label("said").move(8, 9).alu(8, "<<=", 3).alu_register(8, "+=", 7).store(8, ASKED, 1)
    program.alu(9, "+=", 1).jump("next")
    return program.label("done").leave(0)


def walker(area: int) -> Assembler:
    """(head, node, beside, before) -> walks on from `node` for at most AT_ONCE nodes; returns how many it visited.

    Between two runs what it came to may be freed, so a walk
    goes on only from a node that still has the one before it. The area then holds how many nodes it gives, the node to go on
    from (AT_HEAD or TORN at the end), the one before it, and the columns.
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
    program.jump_if(9, ">=", AT_ONCE, "pause")
    _read_word(program, into=_NODE, address=7)
    program.load(1, 10, _NODE).jump_if_register(1, "==", 6, "end").jump_if_register(1, "==", 7, "torn")
    program.store(10, _CAME, 7).move(7, 1)
    program.alu(9, "+=", 1)
    program.load(3, 10, _BESIDE).alu_register(3, "+=", 7)
    _read_word(program, into=_WORD, address=3)
    program.load(4, 10, _WORD).jump_if(4, "==", 0, "next")
    program.load(3, 10, _BESIDE).alu_register(3, "+=", 7).jump_if_register(3, "==", 4, "next")
    # The count is loaded anew each time: to the verifier it is then any number, and one path is like the other.
    program.load(2, 8, _COUNT).jump_if(2, ">=", AT_ONCE, "torn")
    program.move(1, 8).move(3, 2).alu(3, "<<=", 3).alu_register(1, "+=", 3)
    program.store(1, ASKED, 7).store(1, ANSWERS, 4)
    program.alu(2, "+=", 1).store(8, _COUNT, 2)
    program.jump("next")
    program.label("torn").set(7, TORN).jump("pause")
    program.label("end").set(7, AT_HEAD)
    program.label("pause").load(1, 10, _CAME).store(8, _BEFORE, 1).store(8, _NEXT, 7).move(0, 9).leave()
    return program


def _read_word(program: Assembler, into: int, address: int) -> None:
    """The word at an address to the stack; on to "torn" where there is none."""
    program.move(3, address).move(1, 10).alu(1, "+=", into).set(2, 8)
    program.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "torn")
