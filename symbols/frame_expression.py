"""The DWARF expressions that call-frame rules use (DWARF 5 section 2.5), bounded.

PLT stubs need them: how far the stack is depends on which of the stub's instructions the pc is at.
"""

from __future__ import annotations

from collections.abc import Callable

from symbols.line_program import Reader

__all__ = ["evaluate", "step"]

STEPS_LIMIT = 512
STACK_LIMIT = 64
MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _divide(left: int, right: int) -> int:
    a, b = _signed(left), _signed(right)
    if not b:
        raise ValueError("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _modulo(left: int, right: int) -> int:
    if not right:
        raise ValueError("division by zero")
    return left % right


_TWO: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1B: _divide,
    0x1C: lambda a, b: a - b,
    0x1D: _modulo,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: _signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: _signed(a) == _signed(b),
    0x2A: lambda a, b: _signed(a) >= _signed(b),
    0x2B: lambda a, b: _signed(a) > _signed(b),
    0x2C: lambda a, b: _signed(a) <= _signed(b),
    0x2D: lambda a, b: _signed(a) < _signed(b),
    0x2E: lambda a, b: a != b,
}
_ONE: dict[int, Callable[[int], int]] = {
    0x19: lambda a: abs(_signed(a)),
    0x1F: lambda a: -a,
    0x20: lambda a: ~a,
}
_CONSTANTS = {
    0x08: (1, False),
    0x09: (1, True),
    0x0A: (2, False),
    0x0B: (2, True),
    0x0C: (4, False),
    0x0D: (4, True),
}
_CONSTANTS |= {0x0E: (8, False), 0x0F: (8, True), 0x03: (8, False)}


def evaluate(
    code: bytes, register: Callable[[int], int], read: Callable[[int, int], int], start: tuple[int, ...] = ()
) -> int:
    """The value an expression leaves on top. `start` is what the stack begins with (the CFA for a register's place).

    `register` and `read(address, size)` may raise ValueError, which goes through. Raises ValueError for anything
    broken, unknown or too long.
    """
    reader = Reader(code)
    stack = list(start)
    try:
        for _ in range(STEPS_LIMIT):
            if reader.at == len(code):
                return stack[-1] & MASK
            step(reader, stack, register, read)
            if len(stack) > STACK_LIMIT or reader.at < 0:
                break
    except IndexError:
        raise ValueError("an expression with too few values") from None
    raise ValueError("an expression too long")


def step(
    reader: Reader, stack: list[int], register: Callable[[int], int], read: Callable[[int, int], int]
) -> None:
    opcode = reader.number(1)
    if opcode in _TWO:
        right = stack.pop()
        left = stack.pop()
        stack.append(int(_TWO[opcode](left, right)) & MASK)
    elif opcode in _ONE:
        stack.append(_ONE[opcode](stack.pop()) & MASK)
    elif 0x30 <= opcode <= 0x4F:
        stack.append(opcode - 0x30)
    elif 0x70 <= opcode <= 0x8F:
        stack.append(register(opcode - 0x70) + reader.sleb() & MASK)
    elif opcode in _CONSTANTS:
        size, signed = _CONSTANTS[opcode]
        value = reader.number(size)
        stack.append((value - (1 << 8 * size) if signed and value >> 8 * size - 1 else value) & MASK)
    elif opcode in (0x28, 0x2F):  # bra, skip
        distance = (reader.number(2) ^ 0x8000) - 0x8000
        if opcode == 0x2F or stack.pop():
            reader.at += distance
    else:
        _other(opcode, reader, stack, register, read)


def _other(
    opcode: int,
    reader: Reader,
    stack: list[int],
    register: Callable[[int], int],
    read: Callable[[int, int], int],
) -> None:
    if opcode == 0x06:
        stack.append(read(stack.pop(), 8))
    elif opcode == 0x94:
        size = reader.number(1)
        if not 1 <= size <= 8:
            raise ValueError("a read of an unknown size")
        stack.append(read(stack.pop(), size))
    elif opcode == 0x10:
        stack.append(reader.uleb() & MASK)
    elif opcode == 0x11:
        stack.append(reader.sleb() & MASK)
    elif opcode == 0x12:
        stack.append(stack[-1])
    elif opcode == 0x13:
        stack.pop()
    elif opcode == 0x14:
        stack.append(stack[-2])
    elif opcode == 0x15:
        stack.append(stack[-1 - reader.number(1)])
    elif opcode == 0x16:
        stack[-1], stack[-2] = stack[-2], stack[-1]
    elif opcode == 0x17:
        stack[-1], stack[-2], stack[-3] = stack[-2], stack[-3], stack[-1]
    elif opcode == 0x23:
        stack.append(stack.pop() + reader.uleb() & MASK)
    elif opcode == 0x92:
        number = reader.uleb()
        stack.append(register(number) + reader.sleb() & MASK)
    elif opcode != 0x96:  # nop
        raise ValueError("an unknown operation")
