"""Bare images: a 64-bit ELF file at fixed addresses, put into RAM as a boot loader would.

The machine: RAM from 1 to 16 MiB, identity mapped, everything readable, writable and executable at every privilege level; long
mode, interrupts off, the boot GDT (`state.BOOT_GDT`), no IDT, RSP at the end of RAM. `tests/machine/bare/boot.S` makes
the same of an emulated PC.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

from backends.base import HwbpError, Launch
from backends.emulated.bare.state import BOOT_GDT, SystemState
from backends.emulated.engine import EXEC, READ, WRITE, Engine
from backends.model import Mapping
from symbols.elf import ElfError, ElfImage

__all__ = ["RAM_END", "RAM_START", "BareImage", "load_bare"]

RAM_START: Final = 0x10_0000
RAM_END: Final = 0x100_0000
_BOOT_PAGE: Final = 0x7000
_PT_LOAD: Final = 1


@dataclass(frozen=True, slots=True)
class BareImage:
    """What was loaded: the file, where it begins, and its segments as mappings."""

    path: str
    entry: int
    mappings: tuple[Mapping, ...]


def load_bare(launch: Launch, engine: Engine, state: SystemState) -> BareImage:
    """Put the program into RAM and set the registers; HwbpError says in one line why that cannot be."""
    path = os.path.realpath(launch.program)
    elf = _open(path, launch.program)
    engine.map(_BOOT_PAGE, 0x1000, READ | WRITE | EXEC)
    engine.map(RAM_START, RAM_END - RAM_START, READ | WRITE | EXEC)
    mappings: list[Mapping] = []
    for segment in elf.segments:
        if segment.type != _PT_LOAD or not segment.memsz:
            continue
        end = segment.vaddr + segment.memsz
        if segment.vaddr < RAM_START or end > RAM_END or segment.filesz > segment.memsz:
            raise _refused(
                launch.program,
                f"a segment lies at {segment.vaddr:#x}-{end:#x}, and RAM is {RAM_START:#x}-{RAM_END:#x}",
                "link it with -Ttext=0x200000",
            )
        data = elf.read_at(segment.offset, segment.filesz)
        engine.write(segment.vaddr, data.ljust(segment.filesz, b"\0"))
        start = segment.vaddr & -0x1000
        perms = "".join(
            letter if on else "-"
            for letter, on in zip(
                "rwx", (segment.flags & 4, segment.flags & 2, segment.flags & 1), strict=True
            )
        )
        offset = segment.offset - (segment.vaddr - start)
        mappings.append(Mapping(start, end + 0xFFF & -0x1000, f"{perms}p", max(offset, 0), path))
    if not mappings:
        raise _refused(launch.program, "no segment is to be loaded", "")
    if not RAM_START <= elf.entry < RAM_END:
        raise _refused(launch.program, f"its entry point {elf.entry:#x} is not in RAM", "")
    engine.write(_BOOT_PAGE, struct.pack(f"<{len(BOOT_GDT)}Q", *BOOT_GDT))
    state.gdt.base, state.gdt.limit = _BOOT_PAGE, 8 * len(BOOT_GDT) - 1
    engine.set("RSP", RAM_END)
    engine.set("RFLAGS", 2)
    engine.pc = elf.entry
    return BareImage(path, elf.entry, _all_ram(mappings))


def _all_ram(segments: list[Mapping]) -> tuple[Mapping, ...]:
    """The segments, and the rest of RAM around them."""
    out: list[Mapping] = []
    at = RAM_START
    for segment in sorted(segments, key=lambda segment: segment.start):
        if segment.start > at:
            out.append(Mapping(at, segment.start, "rwxp", 0, "[ram]"))
        if segment.end > at:
            out.append(
                segment
                if segment.start >= at
                else Mapping(
                    at, segment.end, segment.perms, segment.offset + at - segment.start, segment.path
                )
            )
        at = max(at, segment.end)
    if at < RAM_END:
        out.append(Mapping(at, RAM_END, "rwxp", 0, "[ram]"))
    return tuple(out)


def _refused(name: str, why: str, remedy: str) -> HwbpError:
    return HwbpError(f"{name}: not a bare image: {why}", errno="ENOEXEC", remedy=remedy)


def _open(path: str, name: str) -> ElfImage:
    if not os.path.exists(path):
        raise HwbpError(f"{name}: no such file", errno="ENOENT")
    try:
        elf = ElfImage.open(path)
    except ElfError as error:
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            raise HwbpError(str(error), errno="EACCES") from error
        with open(path, "rb") as file:
            head = file.read(5)
        if head == b"\x7fELF\x01":
            raise _refused(name, "32-bit code; this CPU is in 64-bit mode and cannot leave it", "") from error
        raise _refused(name, "no ELF file" if head[:4] != b"\x7fELF" else str(error), "") from error
    if elf.interpreter is not None:
        raise _refused(
            name, f"it asks for {elf.interpreter}, so for an operating system", "run it without --bare"
        )
    if elf.kind != "EXEC":
        raise _refused(name, "it is not linked for a fixed address", "link it with -static -no-pie")
    return elf
