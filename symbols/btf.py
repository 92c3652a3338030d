"""BTF, the kernel's description of its own types: where a member lies, where a per-CPU variable lies.

Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h. A header, a section of type records that are numbered from
1 by their position, and a section of zero-terminated strings that records name by offset. Only little-endian data is
read: x86. Every length, offset and type number in it is checked before it is used, and a chain of types that leads back
to itself ends in `BtfError`.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from typing import ClassVar, Final, Self

from symbols.dataclass import dataclass

__all__ = ["VMLINUX", "Btf", "BtfError", "Field", "Kind"]

VMLINUX: Final = "/sys/kernel/btf/vmlinux"
"""The running kernel's own BTF, readable by everybody (CONFIG_DEBUG_INFO_BTF)."""

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TRIPLE: Final = struct.Struct("<III")
_LONGEST_CHAIN: Final = 64
"""Typedefs and qualifiers in a row, and anonymous structures inside each other: kernels have less than ten."""
_LARGEST: Final = 1 << 30


class BtfError(ValueError):
    """BTF that is missing, damaged, or does not describe what was asked for; one line."""


class Kind(IntEnum):
    """BTF_KIND_* (include/uapi/linux/btf.h)."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_ALIASES: Final = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
_SIZED: Final = frozenset(
    (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FLOAT, Kind.ENUM64, Kind.DATASEC)
)
_POINTER_SIZE: Final = 8

# 32-bit words of a record: three, and this many more, and this many more for each of its vlen parts.
_MORE: Final = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_EACH: Final = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
    Kind.ENUM64: 3,
}
_FIXED_WORDS: Final = [3 + _MORE.get(Kind(k), 0) if 1 <= k <= 19 else 0 for k in range(32)]
_PART_WORDS: Final = [_EACH.get(Kind(k), 0) if 1 <= k <= 19 else 0 for k in range(32)]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a member lies in its structure: `offset` and `size` in bytes, and its type's number.

    A bit field has `bits` > 0: `offset` and `size` are then those of the bytes that hold it, and `shift` counts from the
    lowest bit of those bytes read as one little-endian number.
    """

    offset: int
    size: int
    type_id: int
    bits: int = 0
    shift: int = 0

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size

    def value(self, data: bytes, base: int = 0) -> int:
        """The unsigned number at this member of a structure that begins at `base` in `data` (IndexError if short)."""
        start = base + self.offset
        if start < 0 or start + self.size > len(data):
            raise IndexError("the structure ends before this member")
        whole = int.from_bytes(data[start : start + self.size], "little")
        return whole >> self.shift & (1 << self.bits) - 1 if self.bits else whole


class Btf:
    """One kernel's types. Raises `BtfError` (`error`) for data that is not sound BTF."""

    error: ClassVar[type[BtfError]] = BtfError
    """What is raised; a subclass may want another kind of it."""

    def __init__(self, data: bytes) -> None:
        try:
            self._types, self._strings = _sections(data)
            self._words = memoryview(self._types).cast("I")
            self._starts = _starts(self._words)
        except BtfError as error:
            raise self.error(str(error)) from None
        self._ids: dict[tuple[Kind, str], int] = {}
        self._fields: dict[tuple[str, str], Field] = {}

    @classmethod
    def load(cls, path: str = VMLINUX) -> Self:
        """The running kernel's. Raises `BtfError` where the kernel has none."""
        try:
            with open(path, "rb") as file:
                return cls(file.read())
        except OSError as error:
            raise cls.error(f"{path}: {error.strerror}") from error

    def __len__(self) -> int:
        """Types, type 0 ("void") included."""
        return len(self._starts)

    def kind(self, type_id: int) -> Kind:
        """What a type is. Raises `BtfError` for void and for numbers that no type has."""
        return Kind(self._words[self._start(type_id) + 1] >> 24 & 31)

    def name(self, type_id: int) -> str:
        """A type's name, empty for an anonymous one."""
        return self._string(self._words[self._start(type_id)])

    def flag(self, type_id: int) -> bool:
        """A record's kind_flag: a union that is only declared, a signed enumeration."""
        return bool(self._words[self._start(type_id) + 1] >> 31)

    def encoding(self, type_id: int) -> int:
        """BTF_INT_SIGNED 1, BTF_INT_CHAR 2, BTF_INT_BOOL 4 of an integer."""
        return self._words[self._start(type_id) + 3] >> 24 & 15

    def referred(self, type_id: int) -> int:
        """The type that a pointer, a name, a qualifier or a variable refers to, that a function returns."""
        return self._words[self._start(type_id) + 2]

    def array(self, type_id: int) -> tuple[int, int]:
        """An array's element type and its number of elements."""
        start = self._start(type_id)
        return self._words[start + 3], self._words[start + 5]

    def members(self, type_id: int) -> Iterator[tuple[str, int, int, int]]:
        """(name, bit offset, type, bits) of a structure's members; bits are 0 except for a bit field."""
        at = self._start(type_id)
        info = self._words[at + 1]
        for part in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
            name_at, member_type, place = self._words[part : part + 3]
            bit, bits = (place & 0xFFFFFF, place >> 24) if info >> 31 else (place, 0)
            yield self._string(name_at), bit, member_type, bits

    def enumerators(self, type_id: int) -> Iterator[tuple[str, int]]:
        """(name, value) of an enumeration."""
        at = self._start(type_id)
        info = self._words[at + 1]
        signed, wide = bool(info >> 31), self.kind(type_id) is Kind.ENUM64
        step, width = (3, 64) if wide else (2, 32)
        for part in range(at + 3, at + 3 + step * (info & 0xFFFF), step):
            value = self._words[part + 1] | (self._words[part + 2] << 32 if wide else 0)
            yield (
                self._string(self._words[part]),
                value - (1 << width) if signed and value >> width - 1 else value,
            )

    def find(self, kind: Kind, name: str) -> int:
        """The number of the first type of that kind and name. Raises `BtfError` where there is none."""
        key = (kind, name)
        if key not in self._ids:
            self._ids[key] = next(self._named(kind, name), 0)
        if not self._ids[key]:
            raise self.error(f"this kernel's BTF has no {kind.name.lower()} {name!r}")
        return self._ids[key]

    def has(self, kind: Kind, name: str) -> bool:
        """Whether there is such a type."""
        try:
            return bool(self.find(kind, name))
        except BtfError:
            return False

    def resolve(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        for _ in range(_LONGEST_CHAIN):
            if self.kind(type_id) not in _ALIASES:
                return type_id
            type_id = self._words[self._start(type_id) + 2]
        raise self.error("damaged BTF: a type is an alias of itself")

    def size(self, type_id: int) -> int:
        """Bytes that a value of this type takes. Raises `BtfError` for types without a size."""
        count = 1
        for _ in range(_LONGEST_CHAIN):
            type_id = self.resolve(type_id)
            start, kind = self._start(type_id), self.kind(type_id)
            if kind is Kind.PTR:
                return count * _POINTER_SIZE
            if kind in _SIZED:
                return count * self._words[start + 2]
            if kind is not Kind.ARRAY:
                raise self.error(f"type {type_id} ({kind.name.lower()}) has no size")
            count *= self._words[start + 5]
            if count > _LARGEST:
                raise self.error(f"damaged BTF: type {type_id} is an array of {count} elements")
            type_id = self._words[start + 3]
        raise self.error("damaged BTF: an array of itself")

    def field(self, structure: str, path: str) -> Field:
        """Where `path` lies in `struct structure`: members and array indices, joined by dots (`thread.ptrace_bps.2`).

        Members of anonymous structures and unions count as the outer one's own, as in C. Raises `BtfError` where there
        is no such member.
        """
        key = (structure, path)
        if key not in self._fields:
            self._fields[key] = self._find_field(structure, path)
        return self._fields[key]

    def has_field(self, structure: str, path: str) -> bool:
        """Whether there is such a member."""
        try:
            return bool(self.field(structure, path))
        except BtfError:
            return False

    def variable(self, name: str, section: str = ".data..percpu") -> Field:
        """Where a variable lies in a section: its offset from the section's start, its size, its type.

        For a per-CPU variable, its address on a CPU is that CPU's base (`percpu.PerCpu`) and this offset.
        """
        key = (section, name)
        if key not in self._fields:
            at = self._start(self.find(Kind.DATASEC, section))
            wanted = set(self._named(Kind.VAR, name))
            for part in range(at + 3, at + 3 + 3 * (self._words[at + 1] & 0xFFFF), 3):
                variable, offset, size = self._words[part : part + 3]
                if variable in wanted:
                    type_id = self._words[self._start(variable) + 2]
                    self._fields[key] = Field(offset, size, type_id)
                    break
            else:
                raise self.error(f"this kernel's BTF has no variable {name!r} in {section}")
        return self._fields[key]

    def has_variable(self, name: str, section: str = ".data..percpu") -> bool:
        """Whether there is such a variable."""
        try:
            return bool(self.variable(name, section))
        except BtfError:
            return False

    def _find_field(self, structure: str, path: str) -> Field:
        type_id = self.find(Kind.STRUCT, structure)
        found = Field(0, self.size(type_id), type_id)
        bit = 0
        for part in path.split("."):
            if found.bits:
                raise self.error(f"struct {structure}: a bit field has no member {part!r}")
            type_id = self.resolve(found.type_id)
            if self.kind(type_id) is Kind.ARRAY and part.isdecimal():
                element, _, count = self._words[self._start(type_id) + 3 : self._start(type_id) + 6]
                if count and int(part) >= count:
                    raise self.error(f"struct {structure}: {path} is past an array of {count}")
                size = self.size(element)
                bit += 8 * size * int(part)
                found = Field(bit // 8, size, element)
                continue
            member = self._member(type_id, part, set(), 0)
            if member is None:
                raise self.error(f"this kernel's struct {structure} has no member {path!r}")
            member_bit, member_type, bits = member
            bit += member_bit
            if bits:
                shift = bit % 8
                found = Field(bit // 8, (shift + bits + 7) // 8, member_type, bits, shift)
            else:
                found = Field(bit // 8, self.size(member_type), member_type)
        return found

    def _member(self, type_id: int, name: str, searched: set[int], depth: int) -> tuple[int, int, int] | None:
        """(bit offset, type, bits) of a member, those of anonymous members included. `searched` are types that were
        looked through in vain, so that a type made of itself many times over costs no more than once."""
        type_id = self.resolve(type_id)
        if depth > _LONGEST_CHAIN or type_id in searched:
            return None
        searched.add(type_id)
        if self.kind(type_id) not in (Kind.STRUCT, Kind.UNION):
            return None
        at = self._start(type_id)
        info = self._words[at + 1]
        inside: list[tuple[int, int]] = []
        for part in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
            name_at, member_type, place = self._words[part : part + 3]
            bit, bits = (place & 0xFFFFFF, place >> 24) if info >> 31 else (place, 0)
            if not name_at:
                inside.append((bit, member_type))
            elif self._string(name_at) == name:
                return bit, member_type, bits
        for bit, member_type in inside:
            found = self._member(member_type, name, searched, depth + 1)
            if found is not None:
                return bit + found[0], found[1], found[2]
        return None

    def _named(self, kind: Kind, name: str) -> Iterator[int]:
        """Types of a kind and name, by searching the bytes: few names are ever asked for, so no index is made.

        Writers of BTF store each name whole, so the tail of a longer string is no name.
        """
        wanted = b"\0" + name.encode() + b"\0"
        place = self._strings.find(wanted) if name else -1
        while place >= 0:
            for start in self._starts_with(place + 1):
                if self._words[start + 1] >> 24 & 31 == kind:
                    yield self._id_at(start)
            place = self._strings.find(wanted, place + 1)

    def _starts_with(self, name_at: int) -> Iterator[int]:
        pattern = name_at.to_bytes(4, "little")
        at = self._types.find(pattern)
        while at >= 0:
            if at % 4 == 0 and self._id_at(at // 4):
                yield at // 4
            at = self._types.find(pattern, at + 1)

    def _id_at(self, start: int) -> int:
        """The number of the record that begins at a word, 0 where none does."""
        index = bisect_left(self._starts, start, 1)
        return index if index < len(self._starts) and self._starts[index] == start else 0

    def _start(self, type_id: int) -> int:
        if not 0 < type_id < len(self._starts):
            raise self.error(
                "void has no size" if not type_id else f"damaged BTF: there is no type {type_id}"
            )
        return self._starts[type_id]

    def _string(self, at: int) -> str:
        end = self._strings.find(b"\0", at)
        if end < 0:
            raise self.error("damaged BTF: a name lies outside its section")
        return self._strings[at:end].decode("utf-8", "surrogateescape")


def _sections(data: bytes) -> tuple[bytes, bytes]:
    """Types and strings."""
    if len(data) < _HEADER.size:
        raise BtfError("damaged BTF: it ends inside its header")
    magic, version, _flags, header, type_at, type_size, string_at, string_size = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise BtfError("this is not little-endian BTF")
    if version != 1:
        raise BtfError(f"BTF version {version} is not known")
    if header < _HEADER.size:
        raise BtfError("damaged BTF: its header is too short")
    for at, size in ((type_at, type_size), (string_at, string_size)):
        if header + at + size > len(data):
            raise BtfError("damaged BTF: a section reaches past its end")
    types = data[header + type_at :][:type_size]
    strings = data[header + string_at :][:string_size]
    if type_at % 4 or type_size % 4:
        raise BtfError("damaged BTF: its types are not aligned")
    if not strings or strings[0] or strings[-1]:
        raise BtfError("damaged BTF: its strings do not begin and end with zero")
    return types, strings


def _starts(words: memoryview[int]) -> array[int]:
    """The word at which each type begins; the first is a place holder for void."""
    starts = array("I", [0])
    append, fixed, each = starts.append, _FIXED_WORDS, _PART_WORDS
    at, end = 0, len(words)
    while at < end:
        if at + 2 >= end:
            raise BtfError("damaged BTF: the last type is cut off")
        info = words[at + 1]
        kind = info >> 24 & 31
        size = fixed[kind]
        if not size:
            raise BtfError(f"BTF of an unknown kind {kind}: this kernel is newer than hwbp-tui knows")
        append(at)
        at += size + each[kind] * (info & 0xFFFF)
    if at > end:
        raise BtfError("damaged BTF: the last type is cut off")
    return starts
