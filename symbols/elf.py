"""Program files as the ELF specification lays them out: headers, segments, sections, notes.

Files of 64 bits, and where that is asked for (`NAMED`) of 32-bit x86, which differ in the widths of their fields.

`ElfImage` refuses what no loader could run, with one line that says why; what only costs names (section headers,
notes) is read lazily and is empty where it is broken. Layout: System V ABI chapter 4 and 5, `elf.h`.
"""

from __future__ import annotations

import os
import stat
import struct
import weakref
from functools import cached_property
from typing import Literal

from symbols.compressed import ZLIB, ZSTD, inflate, knows_zstd
from symbols.dataclass import dataclass

__all__ = ["ElfError", "ElfImage", "Section", "Segment"]

PT_LOAD, PT_INTERP, PT_NOTE, PT_GNU_EH_FRAME = 1, 3, 4, 0x6474E550
PF_X, PF_W = 1, 2
SHT_NOTE, SHT_NOBITS = 7, 8
SHF_EXECINSTR, SHF_COMPRESSED = 4, 0x800
EM_386, EM_X86_64 = 3, 62
NAMED = (EM_X86_64, EM_386)  # machines whose programs have their names read, and may run here
NT_GNU_BUILD_ID = 3

PAGE = 4096
ADDRESS_LIMIT = 1 << 47  # user addresses of four-level x86-64 paging
MEMORY_LIMIT = 1 << 30
HEADERS_LIMIT = 65536  # bytes of program headers that Linux reads (fs/binfmt_elf.c, load_elf_phdrs)
INTERPRETER_LIMIT = 4096  # PATH_MAX
SECTIONS_LIMIT = 65536
SECTION_BYTES_LIMIT = 1 << 29

_MACHINES = {
    3: "32-bit x86",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC64",
    22: "s390",
    40: "ARM",
    183: "aarch64",
}
_MACHINES |= {2: "SPARC", 43: "SPARC V9", 243: "RISC-V", 247: "BPF", 258: "LoongArch"}
_TYPES = {1: "a relocatable object, not a program (link it first)", 4: "a core file, not a program"}


# By class: a program header, (place of e_shoff, place of e_shentsize, a section header), the kind and size of a compressed section.
_PHDR = {64: struct.Struct("<IIQQQQQQ"), 32: struct.Struct("<8I")}
_SECTIONS = {64: (40, 58, struct.Struct("<IIQQQQIIQQ")), 32: (32, 46, struct.Struct("<10I"))}
_CHDR = {64: struct.Struct("<I4xQ8x"), 32: struct.Struct("<II4x")}


class ElfError(ValueError):
    """A file that cannot be used as a program; the message is one line and starts with the path."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header (Elf64_Phdr, Elf32_Phdr). Addresses and sizes in bytes, before any load bias."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section header (Elf64_Shdr, Elf32_Shdr). `link` is the index of the section it refers to."""

    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    entsize: int


class ElfImage:
    """One ELF file, held open for reading.

    `entry`, segment and section addresses are the file's own virtual addresses. Raises ElfError from `open` only.
    """

    path: str
    kind: Literal["EXEC", "DYN"]
    machine: int
    bits: Literal[32, 64]
    entry: int
    phoff: int
    phentsize: int
    phnum: int
    segments: tuple[Segment, ...]
    interpreter: str | None

    def __init__(
        self, path: str, fd: int, size: int, machines: tuple[int, ...], loadable: bool = True
    ) -> None:
        self.path = path
        self._fd = fd
        self.size = size
        self._finalizer = weakref.finalize(self, os.close, fd)
        self._read_header(machines, (2, 3) if loadable else (1, 2, 3))
        self.segments = ()
        if loadable or self.phnum:
            self._read_segments(loadable)
        self.interpreter = self._read_interpreter() if loadable else None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        machines: tuple[int, ...] = (EM_X86_64,),
        loadable: bool = True,
    ) -> ElfImage:
        """Open and check a program or shared library. Raises ElfError with one line that starts with the path.

        With `loadable` false, files that hold only names will do: separate debug files, objects.
        """
        name = os.fsdecode(path)
        try:
            mode = os.stat(path).st_mode  # before opening: opening a device or a FIFO may have effects
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if stat.S_ISREG(mode) else -1
        except OSError as error:
            raise ElfError(f"{name}: {(error.strerror or 'cannot be opened').lower()}") from None
        except ValueError:
            raise ElfError(f"{name}: not a usable path") from None
        if fd < 0:
            raise ElfError(
                f"{name}: {'a directory, not a program' if stat.S_ISDIR(mode) else 'not a regular file'}"
            )
        return cls(name, fd, os.fstat(fd).st_size, machines, loadable)

    @classmethod
    def of_bytes(cls, name: str, data: bytes) -> ElfImage:
        """An image that lies in memory, such as the vdso. Raises ElfError."""
        fd = os.memfd_create("image", os.MFD_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        except OSError as error:
            os.close(fd)
            raise ElfError(f"{name}: {(error.strerror or 'cannot be kept').lower()}") from None
        return cls(name, fd, len(data), NAMED, False)

    @property
    def inode(self) -> int:
        """The file's inode, by which a mapping can be compared with it."""
        return os.fstat(self._fd).st_ino

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at a file offset; fewer at the end of the file, none where it cannot be read."""
        size = min(size, self.size - offset)
        if size <= 0 or offset < 0:
            return b""
        try:
            data = os.pread(self._fd, size, offset)
            while len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
                data += more
        except (OSError, OverflowError):
            return b""
        return data

    def read(self, vaddr: int, size: int) -> bytes:
        """Up to `size` bytes that the file puts at `vaddr`, zeros in .bss; empty outside every segment."""
        for segment in self.segments:
            if segment.type == PT_LOAD and 0 <= vaddr - segment.vaddr < segment.memsz:
                skip = vaddr - segment.vaddr
                size = min(size, segment.memsz - skip)
                data = self.read_at(segment.offset + skip, min(size, max(0, segment.filesz - skip)))
                return (
                    data.ljust(min(size, SECTION_BYTES_LIMIT), b"\0")
                    if skip + size > segment.filesz
                    else data
                )
        return b""

    def section_bytes(self, section: Section | None) -> bytes:
        """The contents of a section, decompressed; empty where it is missing, too large or broken."""
        if section is None or section.type == SHT_NOBITS or section.size > SECTION_BYTES_LIMIT:
            return b""
        data = self.read_at(section.offset, section.size)
        if section.name.startswith(".zdebug") and data[:4] == b"ZLIB" and len(data) >= 12:
            algorithm, size, data = ZLIB, int.from_bytes(data[4:12], "big"), data[12:]  # before gABI's: GNU's
        elif not section.flags & SHF_COMPRESSED:
            return data
        else:
            header = _CHDR[self.bits]
            if len(data) < header.size:
                return b""
            algorithm, size = header.unpack_from(data)
            data = data[header.size :]
        return inflate(algorithm, data, size) if size <= SECTION_BYTES_LIMIT else b""

    @cached_property
    def needs_zstd(self) -> bool:
        """Whether debug information is there that cannot be read, because nothing here knows zstd."""
        return (
            any(
                section.name.startswith(".debug_")
                and section.flags & SHF_COMPRESSED
                and self.read_at(section.offset, 4) == struct.pack("<I", ZSTD)
                for section in self.section_table
            )
            and not knows_zstd()
        )

    @cached_property
    def load_range(self) -> tuple[int, int]:
        """Lowest and highest+1 address of the loaded segments, whole pages."""
        loads = [s for s in self.segments if s.type == PT_LOAD]
        high = max(s.vaddr + s.memsz for s in loads)
        return min(s.vaddr for s in loads) & -PAGE, (high + PAGE - 1) & -PAGE

    @cached_property
    def build_id(self) -> str | None:
        """The NT_GNU_BUILD_ID note in hexadecimal, None where there is none."""
        places = [(s.offset, s.filesz) for s in self.segments if s.type == PT_NOTE]
        # A separate debug file keeps the program headers of its program, and its notes elsewhere.
        places += [(s.offset, s.size) for s in self.section_table if s.type == SHT_NOTE]
        for offset, size in places:
            data = self.read_at(offset, min(size, 65536))
            at = 0
            while at + 12 <= len(data):
                namesz, descsz, kind = struct.unpack_from("<III", data, at)
                desc = at + 12 + (namesz + 3 & -4)
                if kind == NT_GNU_BUILD_ID and data[at + 12 : at + 16] == b"GNU\0":
                    if found := data[desc : desc + min(descsz, 64)].hex():
                        return found
                    break
                at = desc + (descsz + 3 & -4)
        return None

    @cached_property
    def debug_link(self) -> tuple[str, int] | None:
        """.gnu_debuglink: the name of the file with the debug information, and its CRC-32."""
        data = self.section_bytes(self.sections.get(".gnu_debuglink"))[:4096]
        name, end, _ = data.partition(b"\0")
        at = len(name) + 4 & -4
        if not end or not name or b"/" in name or len(data) < at + 4:
            return None
        return os.fsdecode(name), int.from_bytes(data[at : at + 4], "little")

    @cached_property
    def alternate_link(self) -> tuple[str, str] | None:
        """.gnu_debugaltlink: path and build id of the file that dwz moved shared entries to."""
        data = self.section_bytes(self.sections.get(".gnu_debugaltlink"))[:4096]
        name, end, build_id = data.partition(b"\0")
        return (os.fsdecode(name), build_id[:64].hex()) if end and name else None

    @cached_property
    def section_table(self) -> tuple[Section, ...]:
        """All sections by index, as `link` counts them; empty where the table is missing or broken."""
        header = self.read_at(0, 64)
        place, counts, row = _SECTIONS[self.bits]
        if len(header) < counts + 6:
            return ()
        (shoff,) = struct.unpack_from("<Q" if self.bits == 64 else "<I", header, place)
        entsize, count, names_index = struct.unpack_from("<HHH", header, counts)
        if not shoff or entsize != row.size:
            return ()
        first = self.read_at(shoff, row.size)
        if len(first) == row.size:  # more than 0xff00 sections: the real numbers are in section 0
            _, _, _, _, _, size, link, *_ = row.unpack(first)
            count = count or size
            names_index = link if names_index == 0xFFFF else names_index
        data = self.read_at(shoff, min(count, SECTIONS_LIMIT) * row.size)
        raw = list(row.iter_unpack(data[: len(data) // row.size * row.size]))
        names = (
            self.read_at(raw[names_index][4], min(raw[names_index][5], 1 << 24))
            if names_index < len(raw)
            else b""
        )
        table = []
        for name, kind, flags, addr, offset, size, link, _, _, entry in raw:
            text = names[name : name + 256].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            table.append(Section(text, kind, flags, addr, offset, size, link, entry))
        return tuple(table)

    @cached_property
    def sections(self) -> dict[str, Section]:
        """Sections by name, the first of each name."""
        found: dict[str, Section] = {}
        for section in self.section_table:
            found.setdefault(section.name, section)
        return found

    def _refuse(self, why: str) -> ElfError:
        return ElfError(f"{self.path}: {why}")

    def _read_header(self, machines: tuple[int, ...], kinds: tuple[int, ...]) -> None:
        header = self.read_at(0, 64)
        if not header:
            raise self._refuse("empty" if self.size == 0 else "cannot be read")
        if header[:4] != b"\x7fELF":
            raise self._refuse("not an ELF program" + (" (a script)" if header[:2] == b"#!" else ""))
        if len(header) < 20 or (len(header) < 64 and header[4] == 2):
            raise self._refuse("truncated: no whole ELF header")
        if header[5] == 2:
            raise self._refuse("a big-endian ELF; only little-endian x86-64 programs can be used")
        kind, machine = struct.unpack_from("<HH", header, 16)
        if header[4] == 1 and (machine != EM_386 or EM_386 not in machines):
            raise self._refuse(
                f"a 32-bit ELF ({_MACHINES.get(machine, f'machine {machine}')}); only 64-bit can be used"
            )
        if header[4] not in (1, 2) or header[5] != 1 or header[6] != 1:
            raise self._refuse("not an ELF program (unknown class, byte order or version)")
        if machine not in machines or (machine == EM_386) != (header[4] == 1):
            found = _MACHINES.get(machine, f"machine {machine}")
            raise self._refuse(f"a program for {found}; only x86-64 can be used")
        if kind not in kinds:
            raise self._refuse(_TYPES.get(kind, f"not a program (ELF type {kind})"))
        self.kind = "EXEC" if kind == 2 else "DYN"
        self.machine = machine
        self.bits = 64 if header[4] == 2 else 32
        layout, at = ("<QQ", 54) if self.bits == 64 else ("<II", 42)
        if len(header) < at + 4:
            raise self._refuse("truncated: no whole ELF header")
        self.entry, self.phoff = struct.unpack_from(layout, header, 24)
        self.phentsize, self.phnum = struct.unpack_from("<HH", header, at)

    def _read_segments(self, loadable: bool) -> None:
        if not self.phnum:
            raise self._refuse("nothing to load (no program headers)")
        row = _PHDR[self.bits]
        if self.phentsize != row.size:
            raise self._refuse(f"program headers of {self.phentsize} bytes, {row.size} expected")
        if self.phnum * row.size > HEADERS_LIMIT:
            raise self._refuse(f"{self.phnum} program headers, more than Linux reads")
        data = self.read_at(self.phoff, self.phnum * row.size)
        if len(data) < self.phnum * row.size:
            raise self._refuse("truncated: its program headers lie beyond the end of the file")
        if self.bits == 64:
            self.segments = tuple(
                Segment(t, f, o, v, fs, ms, a) for t, f, o, v, _, fs, ms, a in row.iter_unpack(data)
            )
        else:
            self.segments = tuple(
                Segment(t, f, o, v, fs, ms, a) for t, o, v, _, fs, ms, f, a in row.iter_unpack(data)
            )
        if not loadable:
            return
        total = end = 0
        for number, segment in enumerate(self.segments):
            if segment.type == PT_LOAD:
                self._check_segment(number, segment, end)
                end = segment.vaddr + segment.memsz
                total += segment.memsz
        if not total:
            raise self._refuse("nothing to load (no PT_LOAD segment)")
        if total > MEMORY_LIMIT:
            raise self._refuse(f"segments of {total >> 20} MiB in all, more than 1024 MiB")

    def _check_segment(self, number: int, segment: Segment, end: int) -> None:
        where = f"segment {number}"
        if segment.filesz and segment.offset + segment.filesz > self.size:
            raise self._refuse(f"truncated: {where} lies beyond the end of the file")
        if segment.memsz < segment.filesz:
            raise self._refuse(f"{where} has more bytes in the file than in memory")
        if segment.vaddr + segment.memsz >= ADDRESS_LIMIT:
            raise self._refuse(f"{where} ends at {segment.vaddr + segment.memsz:#x}, beyond user addresses")
        if segment.memsz > MEMORY_LIMIT:
            raise self._refuse(f"{where} is {segment.memsz >> 20} MiB, more than 1024 MiB")
        if segment.vaddr < end:
            raise self._refuse(f"{where} overlaps the one before it, or they are out of order")
        if (segment.vaddr - segment.offset) % PAGE:
            raise self._refuse(f"{where} cannot be mapped: its address and its offset differ within the page")

    def _read_interpreter(self) -> str | None:
        for segment in self.segments:
            if segment.type == PT_INTERP:
                data = self.read_at(segment.offset, min(segment.filesz, INTERPRETER_LIMIT + 1))
                if len(data) > INTERPRETER_LIMIT:
                    raise self._refuse("the name of its interpreter is too long")
                if len(data) < 2 or len(data) < segment.filesz or data.find(b"\0") != len(data) - 1:
                    raise self._refuse("the name of its interpreter is not terminated")
                return os.fsdecode(data[:-1])
        return None
