"""The x87 registers: control, status and tag words, the register stack, and how values come in and go out (SDM 1, 8.1).

Exceptions are masked, as every Linux program starts: their bits are set and the masked answer is returned. An
exception that a program has unmasked stops the task instead of being half delivered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from backends.emulated.engine import Unsupported
from backends.emulated.x87 import numbers as n
from backends.emulated.x87.numbers import Real

__all__ = ["C0", "C1", "C2", "C3", "STACK_FAULT", "Unit"]

STACK_FAULT: Final = 1 << 6
C0, C1, C2, C3 = 1 << 8, 1 << 9, 1 << 10, 1 << 14
"""Bits of the status word."""
_PRECISIONS: Final = {0: 24, 2: 53, 3: 64}


@dataclass(slots=True)
class Unit:
    """One task's x87 state. `registers` are the physical ones, as 80-bit encodings; bit i of `used`: not empty.

    `control` and `status` are the two words without TOP, which is `top`.
    """

    control: int = 0x37F
    status: int = 0
    top: int = 0
    used: int = 0
    registers: list[int] = field(default_factory=lambda: [0] * 8)

    # -- state

    def reset(self) -> None:
        """FNINIT."""
        self.control, self.status, self.top, self.used = 0x37F, 0, 0, 0

    def words(self) -> list[int]:
        """Everything, as integers."""
        return [self.control, self.status, self.top, self.used, *self.registers]

    def set_words(self, words: list[int]) -> None:
        """Back again."""
        self.control, self.status, self.top, self.used, *self.registers = words

    def status_word(self) -> int:
        """FSW with TOP, ES and B."""
        pending = self.status & ~self.control & 0x3F
        return self.status & 0x477F | self.top << 11 | (0x8080 if pending else 0)

    def tag_word(self) -> int:
        """The full tag word of FNSTENV: two bits for each physical register."""
        tags = 0
        for number, bits in enumerate(self.registers):
            if not self.used >> number & 1:
                tag = 3
            else:
                kind = n.decode(bits).kind
                tag = 1 if kind == "zero" else 0 if kind == "normal" else 2
            tags |= tag << 2 * number
        return tags

    def environment(self) -> bytes:
        """The 28 bytes of FNSTENV; instruction and data pointers are not kept and read as 0."""
        words = self.control | 0xFFFF0040, self.status_word() | 0xFFFF0000, self.tag_word() | 0xFFFF0000
        return b"".join(word.to_bytes(4, "little") for word in words) + bytes(12) + b"\0\0\xff\xff"

    def load_environment(self, image: bytes) -> None:
        """FLDENV."""
        control, status, tags = (int.from_bytes(image[at : at + 2], "little") for at in (0, 4, 8))
        self.load_words(control, status)
        self.used = sum(1 << number for number in range(8) if tags >> 2 * number & 3 != 3)

    def load_words(self, control: int, status: int) -> None:
        """The control and status words of an image."""
        self.control = control & 0x1F3F | 0x40
        self.status, self.top = status & 0x477F, status >> 11 & 7
        self.raise_(0)

    def image(self) -> bytes:
        """FNSAVE's 108 bytes."""
        return self.environment() + b"".join(self.bits(place).to_bytes(10, "little") for place in range(8))

    def load_image(self, image: bytes) -> None:
        """FRSTOR."""
        self.load_environment(image)
        for place in range(8):
            at = 28 + 10 * place
            self.registers[self.top + place & 7] = int.from_bytes(image[at : at + 10], "little")

    def fxsave(self) -> bytes:
        """The first 32 bytes of FXSAVE without MXCSR's eight, then the eight registers: 24 and 128 bytes."""
        head = self.control | 0x40, self.status_word(), self.used
        words = b"".join(word.to_bytes(2, "little") for word in head)
        return words.ljust(24, b"\0") + b"".join(
            self.bits(place).to_bytes(16, "little") for place in range(8)
        )

    def fxrstor(self, head: bytes, registers: bytes) -> None:
        """FXRSTOR's half: the image's first 24 bytes, and the 128 from offset 32."""
        control, status = (int.from_bytes(head[at : at + 2], "little") for at in (0, 2))
        self.load_words(control, status)
        self.used = head[4]
        for place in range(8):
            at = 16 * place
            self.registers[self.top + place & 7] = int.from_bytes(registers[at : at + 10], "little")

    # -- the stack

    def bits(self, place: int) -> int:
        """ST(place) as it is encoded."""
        return self.registers[self.top + place & 7]

    def empty(self, place: int) -> bool:
        """Whether ST(place) holds nothing."""
        return not self.used >> (self.top + place & 7) & 1

    def set(self, place: int, value: Real) -> None:
        """ST(place) = value, which fits 80 bits."""
        number = self.top + place & 7
        self.registers[number] = n.encode(value)
        self.used |= 1 << number

    def clear_c1(self) -> None:
        """Most instructions do, where they do not set it."""
        self.status &= ~C1

    def get(self, place: int) -> Real | None:
        """ST(place), None where that is empty (the stack fault is raised)."""
        if self.empty(place):
            self.raise_(n.INVALID, STACK_FAULT)
            return None
        return n.decode(self.bits(place))

    def push(self, value: Real | None, raised: int = 0) -> None:
        """The new ST(0); into a full stack, or from an empty register (None), it is the indefinite value."""
        if not self.empty(-1):
            self.raise_(n.INVALID, STACK_FAULT | (C1 if value is not None else 0))
            value = n.INDEFINITE
        else:
            self.raise_(raised)
        self.top = self.top - 1 & 7
        self.set(0, n.INDEFINITE if value is None else value)

    def pop(self) -> None:
        """ST(0) is empty, and what was ST(1) is ST(0)."""
        self.used &= ~(1 << self.top)
        self.top = self.top + 1 & 7

    def raise_(self, raised: int, also: int = 0) -> None:
        """Set exception bits, and others `also`. Raises Unsupported where one of them is unmasked."""
        unmasked = (self.status | raised) & ~self.control & 0x3F
        if unmasked:
            raise Unsupported("an x87 exception that the program has unmasked")
        self.status |= raised | also

    @property
    def mode(self) -> int:
        """Rounding control: nearest, down, up, truncate."""
        return self.control >> 10 & 3

    @property
    def _precision(self) -> int:
        return _PRECISIONS.get(self.control >> 8 & 3, 64)

    def round(self, value: Real, raised: int, *, precise: bool = False) -> Real:
        """To a register, under precision control unless `precise`; notes exceptions and C1."""
        done = n.rounded(value, self.mode, n.EXTENDED, 0 if precise else self._precision)
        self.raise_(raised | done.raised, C1 if done.up else 0)
        return done.value

    # -- memory

    @staticmethod
    def load(memory: bytes, size: int) -> tuple[Real, int]:
        """A float operand of 4, 8 or 10 bytes, and what converting it raises."""
        bits = int.from_bytes(memory, "little")
        if size == 10:
            return n.decode(bits), 0
        value = n.decode_short(bits, n.SINGLE if size == 4 else n.DOUBLE)
        if value.kind == "signaling":
            return n.one_nan(value), n.INVALID
        return value, n.DENORMAL if value.kind == "denormal" else 0

    def store(self, value: Real | None, size: int) -> bytes:
        """A float of 4, 8 or 10 bytes; None is an empty register."""
        if value is None:
            value = n.INDEFINITE
        if size == 10:
            return n.encode(value).to_bytes(10, "little")
        format_ = n.SINGLE if size == 4 else n.DOUBLE
        if value.kind == "unsupported":
            self.raise_(n.INVALID)
            value = n.INDEFINITE
        elif value.kind == "signaling":
            self.raise_(n.INVALID)
            value = n.one_nan(value)
        elif value.finite:
            done = n.rounded(value, self.mode, format_)
            self.raise_(done.raised, C1 if done.up else 0)
            value = done.value
        return n.encode_short(value, format_).to_bytes(size, "little")

    def store_integer(self, value: Real | None, size: int, mode: int) -> bytes:
        """An integer of 2, 4 or 8 bytes, rounded under `mode`."""
        indefinite = 1 << 8 * size - 1
        if value is None:
            return indefinite.to_bytes(size, "little")
        if value.finite and value.exponent < 64:
            whole, inexact, up = n.integer(value, mode)
            if -indefinite <= whole < indefinite:
                self.raise_(n.INEXACT if inexact else 0, C1 if up else 0)
                return whole.to_bytes(size, "little", signed=True)
        self.raise_(n.INVALID)
        return indefinite.to_bytes(size, "little")

    def store_decimal(self, value: Real | None) -> bytes:
        """Packed decimal: 18 digits and the sign in 10 bytes."""
        if value is not None and value.finite and value.exponent < 64:
            whole, inexact, up = n.integer(value, self.mode)
            if abs(whole) < 10**18:
                self.raise_(n.INEXACT if inexact else 0, C1 if up else 0)
                return int(str(abs(whole)), 16).to_bytes(9, "little") + (b"\x80" if value.negative else b"\0")
        if value is not None:
            self.raise_(n.INVALID)
        return b"\0" * 7 + b"\xc0\xff\xff"
