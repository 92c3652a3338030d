"""A small writer of BTF, for kernels that never were."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from backends.kernelview.btf import Kind


@dataclass
class BtfWriter:
    """Collects types, which are numbered from 1; `data()` is what a kernel would show."""

    types: bytearray = field(default_factory=bytearray)
    strings: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    count: int = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, size_or_type: int, *more: int, vlen: int = 0, flag: int = 0) -> int:
        words = (self.name(name), flag << 31 | kind << 24 | vlen, size_or_type, *more)
        self.types += struct.pack(f"<{len(words)}I", *words)
        self.count += 1
        return self.count

    def number(self, name: str, size: int) -> int:
        return self.add(Kind.INT, name, size, size * 8)

    def pointer(self, to: int) -> int:
        return self.add(Kind.PTR, "", to)

    def array(self, element: int, count: int) -> int:
        return self.add(Kind.ARRAY, "", 0, element, element, count)

    def structure(
        self,
        name: str,
        size: int,
        *members: tuple[str, int, int],
        kind: Kind = Kind.STRUCT,
        bit_fields: bool = False,
    ) -> int:
        """Members are (name, type, bit offset); with `bit_fields` the offset holds the bits in its high byte."""
        words = [word for text, type_id, place in members for word in (self.name(text), type_id, place)]
        return self.add(kind, name, size, *words, vlen=len(members), flag=int(bit_fields))

    def section(self, name: str, *variables: tuple[int, int, int]) -> int:
        """Variables are (type number of the VAR, offset, size)."""
        words = [word for variable in variables for word in variable]
        return self.add(Kind.DATASEC, name, 1 << 16, *words, vlen=len(variables))

    def data(self) -> bytes:
        header = struct.pack(
            "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return header + bytes(self.types) + bytes(self.strings)
