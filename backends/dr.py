"""DR6 and DR7 as bit fields, and the match rule: pure functions, each with its source.

SDM is Intel's Software Developer's Manual volume 3B, chapter 17 "Debug, Branch Profile, TSC, and Intel RDT Features".
"""

from __future__ import annotations

from typing import Final, Literal

from symbols.dataclass import dataclass

__all__ = [
    "CR4_DE",
    "DR6_BASE",
    "DR6_BD",
    "DR6_BLD",
    "DR6_BS",
    "DR6_BT",
    "DR6_RTM",
    "DR7_BASE",
    "DR7_BITS",
    "DR7_GD",
    "DR7_GE",
    "DR7_GLOBALS",
    "DR7_LE",
    "Field",
    "SlotType",
    "dr6_after_db",
    "dr6_fields",
    "dr6_written",
    "dr7_after_db",
    "dr7_encode",
    "dr7_fields",
    "dr7_written",
    "enabled",
    "io_matches",
    "matches",
    "slot_length",
    "slot_range",
    "slot_type",
]

SlotType = Literal["x", "w", "io", "rw"]

CR4_DE: Final = 1 << 3
"""Debugging extensions: DR4 and DR5 are undefined instead of aliases, and R/W 10 means I/O (SDM 17.2.2, 17.2.4)."""
DR6_BASE: Final = 0xFFFF0FF0
"""DR6 after reset and after Linux's handler: nothing happened (asm/debugreg.h DR6_RESERVED)."""
DR6_BLD, DR6_BD, DR6_BS, DR6_BT, DR6_RTM = 1 << 11, 1 << 13, 1 << 14, 1 << 15, 1 << 16
_DR6_FIXED = 0xFFFE07F0
_DR6_VOLATILE = 0x0001E80F

DR7_BASE: Final = 0x400
"""DR7 after reset: bit 10 reads 1 (SDM 17.2.4)."""
DR7_GLOBALS: Final = 0xAA
"""G0 to G3: what Linux enables with (SDM 17.2.4)."""
DR7_LE, DR7_GE, DR7_RTM, DR7_GD = 1 << 8, 1 << 9, 1 << 11, 1 << 13
_DR7_WRITABLE = 0xFFFF2BFF

_TYPES: Final[tuple[SlotType, ...]] = ("x", "w", "io", "rw")
_LENGTHS: Final = (1, 2, 8, 4)
"""LEN 10b is 8 bytes, 11b is 4 (SDM 17.2.4)."""

DR7_BITS: Final = {
    **{f"{kind}{n}": 2 * n + (kind == "G") for n in range(4) for kind in "LG"},
    "LE": 8,
    "GE": 9,
    "RTM": 11,
    "GD": 13,
}
"""The single-bit fields of DR7 by name."""


@dataclass(frozen=True, slots=True)
class Field:
    """A named bit field: `shift` and `width` in bits."""

    name: str
    shift: int
    width: int

    def of(self, value: int) -> int:
        """The field's value in a register's value."""
        return value >> self.shift & (1 << self.width) - 1


_DR7_FIELDS = (
    *(
        Field(f"{name}{n}", 16 + 4 * n + shift, 2)
        for n in (3, 2, 1, 0)
        for name, shift in (("LEN", 2), ("RW", 0))
    ),
    *(Field("GD", 13, 1), Field("RTM", 11, 1), Field("GE", 9, 1), Field("LE", 8, 1)),
    *(Field(f"{kind}{n}", 2 * n + (kind == "G"), 1) for n in (3, 2, 1, 0) for kind in "GL"),
)
_DR6_FIELDS = (
    *(Field(f"B{n}", n, 1) for n in range(4)),
    *(Field("BLD", 11, 1), Field("BD", 13, 1), Field("BS", 14, 1), Field("BT", 15, 1), Field("RTM", 16, 1)),
)


def dr7_fields() -> tuple[Field, ...]:
    """DR7's fields from bit 31 down, without reserved bits (SDM 17.2.4)."""
    return _DR7_FIELDS


def dr6_fields() -> tuple[Field, ...]:
    """DR6's fields from bit 0 up. BLD and RTM are active low: 0 means it happened (SDM 17.2.3)."""
    return _DR6_FIELDS


def dr6_written(value: int) -> int:
    """What DR6 holds after software wrote `value`, on a CPU without RTM and bus-lock detection.

    (kvm/x86.c kvm_dr6_fixed: both bits are fixed to 1 where the feature is absent.)
    """
    return value & (_DR6_VOLATILE & ~(DR6_RTM | DR6_BLD)) | _DR6_FIXED | DR6_RTM | DR6_BLD


def dr6_after_db(dr6: int, hits: int, *, step: bool = False, general_detect: bool = False) -> int:
    """DR6 as a #DB delivers it: B0-B3 are replaced, every other bit is only ever set (SDM 17.2.3)."""
    return dr6 & ~0xF | hits & 0xF | (DR6_BS if step else 0) | (DR6_BD if general_detect else 0) | DR6_RTM


def dr7_after_db(dr7: int) -> int:
    """DR7 once a #DB handler is entered: GD is clear, so that the handler may use the registers (SDM 17.2.4)."""
    return dr7 & ~DR7_GD


def dr7_written(value: int) -> int:
    """What DR7 holds after software wrote `value`: bits 12, 14 and 15 vanish, bit 10 is 1 (kvm_host.h DR7_VOLATILE).

    RTM (bit 11) is not offered by this CPU and stays 0.
    """
    return value & _DR7_WRITABLE & ~DR7_RTM | DR7_BASE


def enabled(dr7: int, slot: int) -> bool:
    """Ln or Gn: both mean the same outside of hardware task switches (SDM 17.2.4)."""
    return bool(dr7 >> 2 * slot & 3)


def slot_type(dr7: int, slot: int) -> SlotType:
    """The R/W field. "io" needs CR4.DE, else it is undefined (SDM 17.2.4)."""
    return _TYPES[dr7 >> 16 + 4 * slot & 3]


def slot_length(dr7: int, slot: int) -> int:
    """The LEN field in bytes."""
    return _LENGTHS[dr7 >> 18 + 4 * slot & 3]


def dr7_encode(slot: int, length: int, kind: SlotType) -> int:
    """The bits Linux sets for a slot: LEN, R/W, Gn and GE; never Ln (x86 hw_breakpoint.c encode_dr7)."""
    return (_LENGTHS.index(length) << 2 | _TYPES.index(kind)) << 16 + 4 * slot | 2 << 2 * slot | DR7_GE


def slot_range(dr7: int, slot: int, address: int) -> tuple[int, int]:
    """First byte and length of what a data slot covers: LEN masks the low address bits (SDM 17.2.5)."""
    length = slot_length(dr7, slot)
    return address & ~(length - 1), length


def matches(
    dr7: int, addresses: tuple[int, int, int, int], address: int, size: int, access: Literal["x", "r", "w"]
) -> int:
    """The slots (as bits B0-B3) that an access of `size` bytes at `address` hits (SDM 17.2.5).

    "w" covers stores and read-modify-writes. An execute slot compares the first byte of the instruction exactly.
    Whether an instruction fetch overlaps a data slot never matters. I/O slots are not looked at.
    """
    hits = 0
    for slot in range(4):
        if not enabled(dr7, slot):
            continue
        kind = slot_type(dr7, slot)
        if access == "x":
            hit = kind == "x" and addresses[slot] == address
        elif kind == "rw" or (kind == "w" and access == "w"):
            start, length = slot_range(dr7, slot, addresses[slot])
            hit = address < start + length and start < address + size
        else:
            hit = False
        hits |= hit << slot
    return hits


def io_matches(dr7: int, addresses: tuple[int, int, int, int], port: int, size: int) -> int:
    """The I/O slots (as bits B0-B3) that `size` bytes at `port` hit; the caller has seen that CR4.DE is set.

    The port is zero-extended to the width of the register, and LEN masks its low bits (SDM 17.2.5).
    """
    hits = 0
    for slot in range(4):
        if enabled(dr7, slot) and slot_type(dr7, slot) == "io":
            start, length = slot_range(dr7, slot, addresses[slot])
            hits |= (port < start + length and start < port + size) << slot
    return hits
