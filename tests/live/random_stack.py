"""Random pieces that move the stack into the data, call, and take signals."""

from __future__ import annotations

import struct

from tests.live.random_base import Pieces

__all__ = ["StackPieces"]


class StackPieces(Pieces):
    """Stacks, frames, segments and handlers."""

    def stack(self) -> bytes:
        """rsp into the data, some pushes and pops, and back."""
        body = b""
        depth = 0
        for _ in range(self.chance.randrange(1, 5)):
            kind = self.chance.randrange(4)
            if kind == 0 and depth:
                body += bytes([0x58 + self._register()])
                depth -= 1
            elif kind == 1:
                body += b"\xff" + self._memory(6)  # push [m]
                depth += 1
            elif kind == 2:
                body += b"\x6a" + self.chance.randbytes(1)
                depth += 1
            else:
                body += bytes([0x50 + self._register()])
                depth += 1
        return self._on_data(body)

    def call(self) -> bytes:
        """call over a jump, into a function that returns: nop; jmp end; f: ... ret."""
        inside = self.load()
        after = b"\xeb" + bytes([len(inside) + 1])
        return self._on_data(b"\xe8" + struct.pack("<i", len(after)) + after + inside + b"\xc3")

    def frames(self) -> bytes:
        """enter of each depth, leave, pushes and pops of other sizes and of flags, on the data."""
        kind = self.chance.randrange(7)
        if kind == 0:
            return self._on_data_with_frame(
                b"\xc8" + struct.pack("<HB", self.chance.randrange(0, 24, 8), self.chance.randrange(4))
            )
        if kind == 1:
            return self._on_data_with_frame(b"\xc9")
        if (
            kind == 2 and not self.stepped
        ):  # flags without TF; Linux leaves TF set behind a popf that was stepped (step.c)
            return self._on_data(b"\x68" + struct.pack("<I", self.chance.getrandbits(32) & 0x8D5) + b"\x9d")
        if kind == 3 and not self.stepped:  # pushf shows the TF of a step on silicon
            return self._on_data(self.chance.choice([b"\x9c", b"\x66\x9c", b"\x9c\x58", b"\x9c\x8f\x43\x08"]))
        if kind == 4:
            return self._on_data(
                b"\x66\x68" + self.chance.randbytes(2) + b"\x66" + bytes([0x58 + self._register()])
            )
        if kind == 5:
            return self._on_data(b"\x8f" + self._memory(0) + b"\x66\xff" + self._memory(6))
        away = self.chance.choice([b"\xc2\x08\0", b"\xc2\x10\0", b"\xc3"])
        return self._on_data(b"\xe8\x02\0\0\0\xeb" + bytes([len(away)]) + away)

    def _on_data_with_frame(self, body: bytes) -> bytes:
        """rsp and rbp in the data: r14 keeps rsp."""
        stack = b"\x48\x8d\x63" + struct.pack("b", self.chance.randrange(0, 48) & -8)
        # away from rsp: an enter of several levels that hits copies twice on an AMD Zen 5
        frame = b"\x48\x8d\x6b" + struct.pack("b", self.chance.randrange(-100, -40))
        return b"\x49\x89\xe6" + stack + frame + body + b"\x4c\x89\xf4"

    def move_ss(self) -> bytes:
        """MOV SS from memory, with what comes in its shadow: no access there, before which an AMD Zen 5 loses some matches."""
        at = struct.pack("b", self.chance.randrange(-16, 40))
        load = b"\x66\xc7\x43" + at + b"\x2b\0" + b"\x8e\x53" + at
        return load + self.chance.choice([b"\x90", b"\x8e\x53" + at + b"\x90", self._compare(), b"\xeb\0"])

    def segments(self) -> bytes:
        """The bases of fs and gs become the middle of the data: arch_prctl(ARCH_SET_FS and ARCH_SET_GS)."""
        call = b"\x48\x89\xde\xb8\x9e\0\0\0\x0f\x05"
        without_step = b"\x49\x81\xe3\xff\xfe\xff\xff"  # and r11, ~TF, which is there when the call was stepped on silicon
        return b"\xbf\x02\x10\0\0" + call + b"\xbf\x01\x10\0\0" + call + without_step

    def handled(self) -> bytes:
        """A signal by an exception, with a handler that stores, and returns behind the instruction; on a stack of its own."""
        inside = b"\x48\xc7" + self._memory(0) + self.chance.randbytes(4) + self.load()
        fault, skip = self.chance.choice(
            [(b"\x0f\x0b", 2), (b"\xcc", 0), (b"\xf4", 1), (b"\x8b\x04\x25\0\0\0\0", 7)]
        )
        number = {b"\x0f\x0b": 4, b"\xcc": 5}.get(fault, 11)
        handler = b"\x48\x83\x82\xa8\0\0\0" + bytes([skip]) + inside + b"\xc3"
        restorer = b"\xb8\x0f\0\0\0\x0f\x05"
        area = 0x1000_0000
        tail = handler + restorer
        map_ = (
            b"\xbf"
            + struct.pack("<I", area)
            + b"\xbe\0\0\1\0\xba\3\0\0\0\x41\xba\x32\0\0\0\x41\xb8\xff\xff\xff\xff\x45\x31\xc9\xb8\x09\0\0\0\x0f\x05"
        )
        skip_tail = b"\xe9" + struct.pack("<i", len(tail))
        head = b"\x48\x8d\x05" + struct.pack("<i", -len(tail) - 7)  # lea rax, handler
        head += b"\x48\xa3" + struct.pack("<Q", area)
        head += b"\x48\x05" + struct.pack("<i", len(handler)) + b"\x48\xa3" + struct.pack("<Q", area + 16)
        head += b"\xb8\x04\0\0\x84\x48\xa3" + struct.pack("<Q", area + 8)
        act = (
            b"\xbf"
            + struct.pack("<I", number)
            + b"\xbe"
            + struct.pack("<I", area)
            + b"\x31\xd2\x41\xba\x08\0\0\0\xb8\x0d\0\0\0\x0f\x05"
        )
        run = b"\x48\x89\xe5\xbc" + struct.pack("<I", area + 0x10000) + fault + b"\x48\x89\xec"
        return map_ + skip_tail + tail + head + act + run
