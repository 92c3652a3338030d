"""RDMSR and WRMSR: the few that this CPU has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.emulated.bare import state as at
from backends.emulated.bare.faults import GP, GuestFault
from backends.emulated.bare.memory import CANONICAL

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["read_msr", "write_msr"]


def read_msr(cpu: BareCpu, number: int) -> int:
    """RDMSR; #GP for one that this CPU has not."""
    if number == at.TSC:
        return cpu.instructions
    if number in (at.FS_BASE, at.GS_BASE):
        return cpu.engine.get("FS_BASE" if number == at.FS_BASE else "GS_BASE")
    if number not in cpu.state.msr:
        raise GuestFault(GP, 0, why=f"there is no MSR {number:#x}")
    return cpu.state.msr[number]


def write_msr(cpu: BareCpu, number: int, value: int) -> None:
    """WRMSR; #GP for one that this CPU has not, and for bits it has not."""
    if number in at.ADDRESSES and value >> 47 not in CANONICAL:
        raise GuestFault(GP, 0, why=f"{value:#x} is not canonical")
    if number in (at.FS_BASE, at.GS_BASE):
        cpu.engine.set("FS_BASE" if number == at.FS_BASE else "GS_BASE", value)
        return
    if number not in cpu.state.msr:
        raise GuestFault(GP, 0, why=f"there is no MSR {number:#x}")
    if number == at.EFER and (value ^ cpu.state.msr[number]) & ~1:
        raise GuestFault(GP, 0, why=f"EFER {value:#x}: only SCE can be changed")
    if number == at.DEBUGCTL and value & ~at.DEBUGCTL_BTF:
        raise GuestFault(GP, 0, why=f"DEBUGCTL {value:#x}: only BTF is there")
    cpu.state.msr[number] = value
