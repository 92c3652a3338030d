"""Where a variable is: DWARF location descriptions (DWARF 5 section 2.6), bounded.

What a description needs of a thread (registers, the frame, thread-local storage) comes from a `Frame`; without one
it says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable

from symbols.dataclass import dataclass
from symbols.dies import Die, Unit
from symbols.dwarf_names import AT
from symbols.frame_expression import step
from symbols.line_program import Reader
from symbols.location_lists import listed

__all__ = ["Located", "Thread", "Unlocated", "locate"]

STEPS_LIMIT = 512
STACK_LIMIT = 64
MASK = (1 << 64) - 1
_GONE = "has no address: it was optimised out"
_REGISTER = "lives in a register"


class Unlocated(ValueError):
    """Why there is no value; fits behind the variable's name."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A stopped thread. `pc` is a file address of the image that is asked about, the numbers are DWARF's registers.

    `register` and `read` may raise ValueError. `cfa` is the canonical frame address, None where it is unknown.
    """

    pc: int
    register: Callable[[int], int]
    read: Callable[[int, int], int]
    cfa: Callable[[], int | None]
    bias: int = 0


@dataclass(frozen=True, slots=True)
class Located:
    """Where a value is: at an address (file address, or the memory's own if `absolute`), an offset in the thread's
    block of its module (`tls`), in a DWARF register, or its bytes alone: a constant without a place. Exactly one is given."""

    address: int | None = None
    absolute: bool = False
    tls: int | None = None
    register: int | None = None
    value: bytes | None = None


def locate(die: Die, thread: Thread | None = None, base: Die | None = None) -> Located:
    """Where the variable of an entry is. `base` is the function around it. Raises Unlocated, or one of BROKEN."""
    holder = die.find(AT.location)
    if AT.location not in holder.attributes:
        constant = die.find(AT.const_value)
        if AT.const_value in constant.attributes:
            block = constant.block(AT.const_value)
            if block is None:
                block = ((constant.number(AT.const_value) or 0) & MASK).to_bytes(8, "little")
            return Located(value=block)
        raise Unlocated("")
    code = holder.block(AT.location)
    if code is None:
        if thread is None:
            raise Unlocated("has no fixed address: it moves between registers and the stack")
        code = listed(holder, thread.pc)
        if code is None:
            raise Unlocated(f"{_GONE} at this place in the code")
    return _Machine(holder.unit, code, thread, base).run()


class _Machine:
    """The stack machine of DWARF 5 section 2.5 with the operations that describe places."""

    def __init__(self, unit: Unit, code: bytes, thread: Thread | None, function: Die | None) -> None:
        self.unit = unit
        self.code = code
        self.thread = thread
        self.function = function
        self.moved = False  # whether the address is a real one, from registers

    def run(self, start: tuple[int, ...] = ()) -> Located:
        reader, stack = Reader(self.code), list(start)
        if not self.code:
            raise Unlocated(_GONE)
        for _ in range(STEPS_LIMIT):
            if reader.at >= len(self.code):
                if not stack:
                    raise Unlocated(_GONE)
                return Located(address=stack[-1] & MASK, absolute=self.moved)
            found = self._step(reader, stack)
            if found is not None:
                return found
            if len(stack) > STACK_LIMIT or reader.at < 0:
                break
        raise ValueError("an expression too long")

    def _step(self, reader: Reader, stack: list[int]) -> Located | None:
        at = reader.at
        opcode = reader.number(1)
        last = reader.at >= len(self.code)
        if opcode in (0x9B, 0xE0):  # form_tls_address, GNU_push_tls_address
            return Located(tls=stack.pop())
        if 0x50 <= opcode <= 0x6F and last:
            return self._in_register(opcode - 0x50)
        if opcode == 0x90:
            return self._in_register(reader.uleb())
        if opcode == 0x9F:  # stack_value
            if not last:
                raise Unlocated("is in pieces, which cannot be put together here")
            return Located(value=(stack.pop() & MASK).to_bytes(8, "little"))
        if opcode == 0x9E:  # implicit_value
            size = reader.uleb()
            return Located(value=reader.data[reader.at : reader.at + size])
        if opcode in (0x93, 0x9D):
            raise Unlocated("is in pieces, which cannot be put together here")
        if opcode in (0xA0, 0xF2):
            raise Unlocated("has no address: the compiler keeps only what it points to")
        if opcode in (0xA3, 0xF3):
            raise Unlocated("has no value here: it was known when its function was entered")
        if opcode == 0x91:
            stack.append(self._frame_base() + reader.sleb() & MASK)
            self.moved = True
        elif opcode == 0x9C:
            stack.append(self._cfa())
            self.moved = True
        elif opcode in (0xA1, 0xA2, 0xFB, 0xFC):  # addrx, constx, and GNU's
            stack.append(self.unit.sections.address(self.unit, reader.uleb()))
        else:
            if 0x70 <= opcode <= 0x8F or opcode == 0x92:
                self.moved = True
            reader.at = at
            step(reader, stack, self._register, self._word)
        return None

    def _in_register(self, number: int) -> Located:
        if self.thread is None:
            raise Unlocated(_REGISTER)
        return Located(register=number)

    def _register(self, number: int) -> int:
        if self.thread is None:
            raise Unlocated("lives in a stack frame: it needs a live frame")
        return self.thread.register(number)

    def _word(self, address: int, size: int) -> int:
        if self.thread is None:
            raise Unlocated("needs the program's memory")
        return self.thread.read(address if self.moved else address + self.thread.bias, size)

    def _cfa(self) -> int:
        found = self.thread.cfa() if self.thread is not None else None
        if found is None:
            raise Unlocated("lives in a stack frame: it needs a live frame")
        return found

    def _frame_base(self) -> int:
        if self.thread is None or self.function is None:
            raise Unlocated("lives in a stack frame: it needs a live frame")
        code = self.function.find(AT.frame_base).block(AT.frame_base)
        if not code:
            raise Unlocated("lives in a stack frame whose place is not described")
        if 0x50 <= code[0] <= 0x6F:
            return self._register(code[0] - 0x50)
        found = _Machine(self.unit, code, self.thread, None).run()
        if found.register is not None:
            return self._register(found.register)
        if found.address is None:
            raise ValueError("a frame base that is no address")
        return found.address
