"""The 512 bytes of FXSAVE: x87, MXCSR and the XMM registers (SDM 2, FXSAVE, table 3-43)."""

from __future__ import annotations

import struct
from typing import Final, Protocol

from backends.emulated.x87.unit import Unit

__all__ = ["FXSAVE_SIZE", "MXCSR_MASK", "fxrstor", "fxsave"]

FXSAVE_SIZE: Final = 512
MXCSR_MASK: Final = 0x2FFFF
"""The bits of MXCSR that an AMD processor has: with bit 17, MM, which cannot be set here."""


class Machine(Protocol):
    """What has these registers."""

    x87: Unit

    def get(self, register: str) -> int:
        """MXCSR, XMM0..XMM15."""
        ...

    def set(self, register: str, value: int) -> None:
        """The same."""
        ...


def fxsave(machine: Machine) -> bytes:
    """The image; its last 96 bytes are for software."""
    x87 = machine.x87.fxsave()
    xmm = b"".join(machine.get(f"XMM{n}").to_bytes(16, "little") for n in range(16))
    return (x87[:24] + struct.pack("<II", machine.get("MXCSR"), MXCSR_MASK) + x87[24:] + xmm).ljust(
        FXSAVE_SIZE, b"\0"
    )


def fxrstor(machine: Machine, image: bytes) -> None:
    """Back again."""
    machine.x87.fxrstor(image[:24], image[32:160])
    machine.set("MXCSR", int.from_bytes(image[24:28], "little") & 0xFFFF)
    for n in range(16):
        machine.set(f"XMM{n}", int.from_bytes(image[160 + 16 * n : 176 + 16 * n], "little"))
