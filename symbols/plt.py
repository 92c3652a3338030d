"""Names for the stubs through which a program calls functions of its libraries (x86-64 psABI 5.2).

A stub is known by the GOT slot it jumps through, and that slot by its relocation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from symbols.arrays import np
from symbols.elf import ElfImage

__all__ = ["stubs"]

PLT_LIMIT = 1 << 22  # bytes
ROWS_LIMIT = 1 << 20
R_GLOB_DAT, R_JUMP_SLOT, R_IRELATIVE = 6, 7, 37
_SECTIONS = (".plt", ".plt.sec", ".plt.got", ".iplt")


def stubs(
    image: ElfImage, dynamic: Callable[[int], str], named: Callable[[int], str]
) -> list[tuple[int, int, str]]:
    """(address, size, name) of every stub, ascending.

    `dynamic` gives the name of a row of .dynsym, `named` that of the function at exactly an address; "" for none.
    """
    if image.bits == 32:  # its stubs go through ebx or absolute addresses, by relocations without addends
        return []
    sections = [image.sections[name] for name in _SECTIONS if name in image.sections]
    slots = _slots(image, dynamic, named) if sections else {}
    found: dict[int, tuple[int, int, str]] = {}
    for section in sections:
        data = image.section_bytes(section)[:PLT_LIMIT]
        step = 8 if section.name == ".plt.got" and section.entsize == 8 else 16
        for at in range(0, len(data) - 5, step):
            jump = data.find(b"\xff\x25", at, at + step)
            if 0 <= jump <= len(data) - 6:
                slot = section.addr + jump + 6 + struct.unpack_from("<i", data, jump + 2)[0]
                if name := slots.get(slot):
                    found[section.addr + at] = (section.addr + at, step, f"{name}@plt")
    return [found[address] for address in sorted(found)]


def _slots(image: ElfImage, dynamic: Callable[[int], str], named: Callable[[int], str]) -> dict[int, str]:
    slots: dict[int, str] = {}
    for section_name in (".rela.dyn", ".rela.plt"):
        section = image.sections.get(section_name)
        data = image.section_bytes(section)[: 24 * ROWS_LIMIT] if section else b""
        rows = np.frombuffer(
            data[: len(data) // 24 * 24], np.dtype([("at", "<u8"), ("info", "<u8"), ("add", "<i8")])
        )
        types = rows["info"] & np.uint64(0xFFFFFFFF)
        for at, info, addend in rows[np.isin(types, (R_GLOB_DAT, R_JUMP_SLOT, R_IRELATIVE))].tolist():
            name = named(addend) if info & 0xFFFFFFFF == R_IRELATIVE else dynamic(info >> 32)
            if name:
                slots[at] = name
    return slots
