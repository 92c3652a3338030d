"""Memory and registers of a process that a person looks at, and changes while it stands still."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from backends.base import HwbpError, Register
from backends.emulated.cpu import Cpu
from backends.emulated.engine import Engine, EngineError
from backends.emulated.mm import Mm

__all__ = ["read_memory", "read_registers", "write_memory", "write_register"]

_MOST_WRITTEN: Final = 1 << 16
_READ_LIMIT: Final = 1 << 20
_REGISTERS: Final = (
    *("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP"),
    *(f"R{n}" for n in range(8, 16)),
)
_OTHERS: Final = (("eflags", "RFLAGS"), ("fs_base", "FS_BASE"), ("gs_base", "GS_BASE"))


def read_memory(mm: Mm, address: int, size: int) -> bytes:
    """1 byte to 1 MiB (EINVAL, EFAULT)."""
    if not 0 < size <= _READ_LIMIT:
        raise HwbpError(f"{size} bytes: between 1 and {_READ_LIMIT}", errno="EINVAL")
    try:
        mm.space.catch_up()
        return mm.engine.read(address, size)
    except EngineError as error:
        raise HwbpError(f"{address:#x}: nothing is mapped there", errno="EFAULT") from error


def write_memory(mm: Mm, cpus: Iterable[Cpu], address: int, data: bytes) -> None:
    """1 byte to 64 KiB (EINVAL, EFAULT). No debug register sees it."""
    if not 0 < len(data) <= _MOST_WRITTEN:
        raise HwbpError(f"{len(data)} bytes: between 1 and {_MOST_WRITTEN}", errno="EINVAL")
    try:
        mm.space.poke(address, data)
    except EngineError as error:
        raise HwbpError(str(error), errno="EFAULT") from error
    for cpu in cpus:
        cpu.unit.forget_values()


def read_registers(engine: Engine) -> tuple[Register, ...]:
    """The registers as the engine has them now."""
    rows = [Register(name.lower(), engine.get(name)) for name in _REGISTERS]
    rows.append(Register("rip", engine.pc))
    rows.extend(Register(shown, engine.get(name)) for shown, name in _OTHERS)
    return tuple(rows)


def write_register(engine: Engine, name: str, value: int) -> None:
    """Change one of those that `read_registers` gives (EINVAL)."""
    if name != "rip" and name.upper() not in _REGISTERS and name not in dict(_OTHERS):
        raise HwbpError(f"there is no register {name}", errno="EINVAL")
    if not 0 <= value < 1 << 64:
        raise HwbpError(f"{value} does not fit 64 bits", errno="EINVAL")
    if name == "rip":
        engine.pc = value
    else:
        engine.set(dict(_OTHERS).get(name, name.upper()), value)
