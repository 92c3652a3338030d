"""Symbol versions: which row of .dynsym is `memcpy@GLIBC_2.2.5` and which `memcpy@@GLIBC_2.14` (LSB 10.7)."""

from __future__ import annotations

import struct

from symbols.elf import ElfImage

__all__ = ["Versions"]

ENTRIES_LIMIT = 1 << 16
HIDDEN = 0x8000


class Versions:
    """.gnu.version and the names it counts. Broken sections have none; nothing here raises."""

    def __init__(self, image: ElfImage) -> None:
        self._indexes = image.section_bytes(image.sections.get(".gnu.version"))
        self._needed = _needed(image) if self._indexes else {}
        self._defined = _defined(image) if self._indexes else {}

    def of(self, row: int) -> str:
        """`@@GLIBC_2.14` for a default version, `@GLIBC_2.2.5` for another or one that is needed, "" for a symbol without one."""
        if not 0 <= row < len(self._indexes) // 2:
            return ""
        (index,) = struct.unpack_from("<H", self._indexes, row * 2)
        if name := self._defined.get(index & ~HIDDEN, ""):
            return f"{'@' if index & HIDDEN else '@@'}{name}"
        name = self._needed.get(index & ~HIDDEN, "")
        return f"@{name}" if name else ""


def _strings(image: ElfImage, section_name: str) -> tuple[bytes, bytes]:
    section = image.sections.get(section_name)
    table = image.section_table
    if section is None or section.link >= len(table):
        return b"", b""
    return image.section_bytes(section), image.section_bytes(table[section.link])


def _text(strings: bytes, at: int) -> str:
    return (
        strings[at : strings.find(b"\0", at)].decode("utf-8", "surrogateescape") if at < len(strings) else ""
    )


def _defined(image: ElfImage) -> dict[int, str]:
    """Elf64_Verdef and the first Elf64_Verdaux of each."""
    data, strings = _strings(image, ".gnu.version_d")
    found: dict[int, str] = {}
    at = 0
    for _ in range(ENTRIES_LIMIT):
        if at + 20 > len(data):
            break
        _, flags, index, _, _, first, following = struct.unpack_from("<HHHHIII", data, at)
        if not flags & 1 and at + first + 4 <= len(data):  # VER_FLG_BASE names the file itself
            found[index] = _text(strings, struct.unpack_from("<I", data, at + first)[0])
        if not following:
            break
        at += following
    return found


def _needed(image: ElfImage) -> dict[int, str]:
    """Elf64_Verneed with its Elf64_Vernaux."""
    data, strings = _strings(image, ".gnu.version_r")
    found: dict[int, str] = {}
    at = 0
    left = ENTRIES_LIMIT
    while left and at + 16 <= len(data):
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        place = at + first
        for _ in range(count):
            left -= 1
            if place + 16 > len(data) or left <= 0:
                break
            _, _, index, name, more = struct.unpack_from("<IHHII", data, place)
            found[index & ~HIDDEN] = _text(strings, name)
            if not more:
                break
            place += more
        left -= 1
        if not following or left <= 0:
            break
        at += following
    return found
