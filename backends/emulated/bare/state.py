"""The registers of a CPU that an application never sees, as the boot stub leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from backends.emulated.engine import Engine
from backends.emulated.rflags import AC, ID, IF, IOPL, NT, RF, TF

__all__ = [
    "ARITHMETIC",
    "BOOT_GDT",
    "SystemState",
    "TableRegister",
    "general_registers",
]

ARITHMETIC: Final = 0xCD5
"""CF, PF, AF, ZF, SF, DF and OF: the flags that the engine keeps."""
SYSTEM: Final = TF | IF | IOPL | NT | RF | AC | ID
BOOT_GDT: Final = (0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
"""Selector 8 is 64-bit code, 16 is data, both of level 0 (SDM 3A 3.4.5)."""
EFER, STAR, LSTAR, FMASK = 0xC000_0080, 0xC000_0081, 0xC000_0082, 0xC000_0084
FS_BASE, GS_BASE, KERNEL_GS_BASE = 0xC000_0100, 0xC000_0101, 0xC000_0102
ADDRESSES: Final = frozenset({LSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE})
"""MSRs that take canonical addresses only."""
TSC, APIC_BASE, DEBUGCTL = 0x10, 0x1B, 0x1D9
DEBUGCTL_BTF: Final = 2
general_registers: Final = (
    *("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"),
    *(f"R{n}" for n in range(8, 16)),
)


@dataclass(slots=True)
class TableRegister:
    """GDTR, IDTR, or what TR has cached: a linear address, and the offset of the last byte."""

    base: int = 0
    limit: int = 0
    selector: int = 0


@dataclass(slots=True)
class SystemState:
    """What `backends.emulated.bare` keeps beside the engine. `flags` are RFLAGS' system bits."""

    cs: int = 8
    ss: int = 16
    segments: dict[str, int] = field(default_factory=lambda: {"DS": 16, "ES": 16, "FS": 0, "GS": 0})
    cpl: int = 0
    flags: int = 0
    control: dict[int, int] = field(default_factory=lambda: {0: 0x8000_0011, 2: 0, 3: 0x1000, 4: 0x620, 8: 0})
    """CR0: PG, ET, PE. CR4: PAE, OSFXSR, OSXMMEXCPT."""
    gdt: TableRegister = field(default_factory=TableRegister)
    idt: TableRegister = field(default_factory=TableRegister)
    tss: TableRegister = field(default_factory=TableRegister)
    msr: dict[int, int] = field(
        default_factory=lambda: {
            EFER: 0x500,  # LME, LMA
            **dict.fromkeys((STAR, LSTAR, FMASK, KERNEL_GS_BASE, DEBUGCTL), 0),
            APIC_BASE: 0xFEE0_0900,
        }
    )

    def rflags(self, engine: Engine) -> int:
        """The whole register."""
        return 2 | engine.get("RFLAGS") & ARITHMETIC | self.flags

    def set_rflags(self, engine: Engine, value: int) -> None:
        """Every bit that exists, whatever the privilege."""
        engine.set("RFLAGS", value & ARITHMETIC | 2)
        self.flags = value & SYSTEM
