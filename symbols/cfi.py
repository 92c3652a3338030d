"""Call-frame rules of one image: for a pc, how to find its caller (DWARF 5 section 6.4, LSB's .eh_frame).

The one FDE that covers the pc is found by the binary search table of .eh_frame_hdr, or by an index of .eh_frame made
once where there is none, and only that FDE and its CIE are read.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cached_property

from symbols.dataclass import dataclass
from symbols.elf import PT_GNU_EH_FRAME, ElfImage
from symbols.line_program import Reader

__all__ = ["CallFrames", "Place", "Row"]

HEADER_LIMIT = 1 << 26
ENTRY_LIMIT = 1 << 16  # bytes of one CIE or FDE
INDEX_LIMIT = 1 << 20
STATES_LIMIT = 64
MASK = (1 << 64) - 1
SP = 7  # DWARF's number of rsp (psABI figure 3.36)

Place = tuple[str, int] | tuple[str, bytes] | None
"""Where a register of the caller is: ("at", CFA offset), ("is", CFA offset), ("register", number),
("expression", code) for an address, ("value", code); None for undefined."""


@dataclass(frozen=True, slots=True)
class Row:
    """The rules that hold at one pc. `cfa` is (register, offset) or an expression; `places` by DWARF register number.

    `return_register` names the entry of `places` that is the return address; `signal` marks a signal trampoline.
    """

    cfa: tuple[int, int] | bytes
    places: dict[int, Place]
    return_register: int
    signal: bool
    saved: tuple[tuple[int, int], ...] | None = None
    """(register, CFA offset) of every saved register but rsp and the return address, where there is no other rule."""


@dataclass(frozen=True, slots=True)
class _Cie:
    code_align: int
    data_align: int
    return_register: int
    encoding: int
    signal: bool
    augmented: bool
    instructions: tuple[int, int]
    data: bytes


class CallFrames:
    """.eh_frame of one image, else .debug_frame. Broken entries have no rules; nothing here raises."""

    def __init__(self, image: ElfImage) -> None:
        self._image = image

    def row(self, vaddr: int) -> Row | None:
        """The rules at a file address, None where there are none."""
        for frames in (self._eh, self._debug):
            try:
                entry = self._entry(frames, vaddr)
                if entry is not None:
                    return entry
            except (ValueError, struct.error, IndexError):
                continue
        return None

    def bounds(self, vaddr: int) -> tuple[int, int] | None:
        """Where the code around a file address that one entry covers begins and ends; None where none covers it.

        Compilers write one entry for each function, assemblers' authors sometimes one for several.
        """
        place = self._search(vaddr)
        if place is None:
            return None
        try:
            found = self._eh.bounds(place[1] - self._eh.address)
        except (ValueError, struct.error, IndexError):
            return None
        return found if found is not None and found[0] <= vaddr < found[1] else None

    # Where the entries are

    @cached_property
    def _eh(self) -> _Block:
        return _Block(self._image, ".eh_frame", True)

    @cached_property
    def _debug(self) -> _Block:
        return _Block(self._image, ".debug_frame", False)

    def _search(self, vaddr: int) -> tuple[int, int] | None:
        """(function's first address, address of its FDE) by .eh_frame_hdr."""
        starts, entries = self._header
        place = bisect_right(starts, vaddr) - 1
        return (starts[place], entries[place]) if place >= 0 else None

    @cached_property
    def _header(self) -> tuple[list[int], list[int]]:
        for segment in self._image.segments:
            if segment.type == PT_GNU_EH_FRAME:
                data = self._image.read(segment.vaddr, min(segment.memsz, HEADER_LIMIT))
                if len(data) < 12 or data[0] != 1 or data[2] != 0x03 or data[3] != 0x3B:
                    break  # only udata4 counts and sdata4 pairs relative to the section exist in practice
                skip = {0x1B: 8, 0x0B: 8, 0x03: 8, 0x1C: 12, 0x0C: 12}.get(data[1])
                if skip is None:
                    break
                (count,) = struct.unpack_from("<I", data, skip)
                body = data[skip + 4 : skip + 4 + min(count, len(data) // 8) * 8]
                flat = struct.unpack(f"<{len(body) // 4}i", body[: len(body) // 4 * 4])
                base = segment.vaddr
                starts = [base + value for value in flat[0 : len(flat) // 2 * 2 : 2]]
                if starts != sorted(starts):
                    break
                return starts, [base + value for value in flat[1::2]]
        return [], []

    def _entry(self, block: _Block, vaddr: int) -> Row | None:
        if block.eh and self._header[0]:
            place = self._search(vaddr)
            if place is None:
                return None
            at = place[1] - block.address
        else:
            found = block.find(vaddr)
            if found is None:
                return None
            at = found
        return block.row(at, vaddr)


class _Block:
    """One section of CIEs and FDEs."""

    def __init__(self, image: ElfImage, name: str, eh: bool) -> None:
        self.eh = eh
        section = image.sections.get(name)
        self.address = section.addr if section else 0
        self._image = image
        self._whole = image.section_bytes(section) if section and not eh else None
        self._size = section.size if section else 0
        self._section = section
        self._cies: dict[int, _Cie | None] = {}
        if eh and section is None:
            self._size = 1 << 40  # no section headers: .eh_frame_hdr gives addresses, segments give bytes

    def find(self, vaddr: int) -> int | None:
        """The offset of the FDE that covers an address."""
        place = bisect_right(self._index[0], vaddr) - 1
        if place < 0 or vaddr >= self._index[1][place][1]:
            return None
        return self._index[1][place][2]

    def bounds(self, at: int) -> tuple[int, int] | None:
        """The addresses that the FDE at an offset covers."""
        data, start = self._read(at)
        parsed = self._fde(data, at, start)
        return None if parsed is None else (parsed[1], parsed[2])

    def row(self, at: int, vaddr: int) -> Row | None:
        """The rules at an address by the FDE at an offset, None where it does not cover it."""
        data, start = self._read(at)
        parsed = self._fde(data, at, start)
        if parsed is None:
            return None
        cie, low, high, program = parsed
        if not low <= vaddr < high:
            return None
        machine = _Machine(cie)
        machine.run(cie.data, *cie.instructions, 0, None)
        machine.initial = dict(machine.places)
        machine.run(data, program, len(data), low, vaddr)
        return machine.row()

    @cached_property
    def _index(self) -> tuple[list[int], list[tuple[int, int, int]]]:
        """(start, end, offset) of every FDE, sorted."""
        found: list[tuple[int, int, int]] = []
        if self._section is None:
            return [], []
        if self._whole is None:
            self._whole = self._image.section_bytes(self._section)
        at = 0
        while at + 4 <= len(self._whole) and len(found) < INDEX_LIMIT:
            (length,) = struct.unpack_from("<I", self._whole, at)
            if length == 0xFFFFFFFF or at + 4 + length > len(self._whole):
                break
            if length:
                try:
                    data, start = self._read(at)
                    parsed = self._fde(data, at, start)
                    if parsed:
                        found.append((parsed[1], parsed[2], at))
                except (ValueError, struct.error, IndexError):
                    pass
            at += 4 + length
        found.sort()
        return [start for start, _, _ in found], found

    def _read(self, at: int) -> tuple[bytes, int]:
        """One entry with its length word, and where its contents begin."""
        if not 0 <= at < self._size:
            raise ValueError("outside the section")
        if self._whole is not None:
            (length,) = struct.unpack_from("<I", self._whole, at)
            data = self._whole[at : at + 4 + min(length, ENTRY_LIMIT)]
        else:
            (length,) = struct.unpack("<I", self._image.read(self.address + at, 4))
            data = self._image.read(self.address + at, 4 + min(length, ENTRY_LIMIT))
        if length < 5 or length > ENTRY_LIMIT or len(data) != 4 + length:
            raise ValueError("a broken entry")
        return data, 4

    def _fde(self, data: bytes, at: int, start: int) -> tuple[_Cie, int, int, int] | None:
        (pointer,) = struct.unpack_from("<I", data, start)
        if pointer == (0 if self.eh else 0xFFFFFFFF):
            return None
        place = at + start - pointer if self.eh else pointer
        if place not in self._cies:
            self._cies[place] = self._cie(place)
        cie = self._cies[place]
        if cie is None:
            return None
        reader = Reader(data, start + 4)
        base = self.address + at if self.eh else 0
        low = self._pointer(reader, cie.encoding, base)
        size = self._pointer(reader, cie.encoding & 0x0F, 0)
        if cie.augmented:
            reader.skip(reader.uleb())
        return cie, low, low + size, reader.at

    def _cie(self, at: int) -> _Cie | None:
        try:
            data, start = self._read(at)
            reader = Reader(data, start)
            if reader.number(4) != (0 if self.eh else 0xFFFFFFFF):
                return None
            version = reader.number(1)
            augmentation = reader.string()
            if version not in (1, 3, 4) or (augmentation and augmentation[:1] != b"z"):
                return None
            if version == 4:
                reader.skip(2)
            code, factor = reader.uleb(), reader.sleb()
            register = reader.number(1) if version == 1 else reader.uleb()
            encoding, end = 0, reader.at
            if augmentation:
                size = reader.uleb()
                end = reader.at + size
                for letter in augmentation[1:]:
                    if letter == ord("R"):
                        encoding = reader.number(1)
                    elif letter == ord("P"):
                        self._pointer(reader, reader.number(1) & 0x7F, self.address + at)
                    elif letter == ord("L"):
                        reader.number(1)
                    elif letter not in b"SB":
                        break
            signal = b"S" in augmentation
            return _Cie(code, factor, register, encoding, signal, bool(augmentation), (end, len(data)), data)
        except (ValueError, struct.error):
            return None

    @staticmethod
    def _pointer(reader: Reader, encoding: int, base: int) -> int:
        """An encoded pointer (LSB 10.5.1): absolute or relative to its own place, which is `base` + its offset."""
        at = reader.at
        form = encoding & 0x0F
        if form == 0x01:
            value = reader.uleb()
        elif form == 0x09:
            value = reader.sleb()
        else:
            size = {0x00: 8, 0x02: 2, 0x03: 4, 0x04: 8, 0x0A: 2, 0x0B: 4, 0x0C: 8}.get(form)
            if size is None:
                raise ValueError("an unknown pointer encoding")
            value = reader.number(size)
            if form >= 0x0A and value >> (8 * size - 1):
                value -= 1 << 8 * size
        relative = encoding & 0x70
        if relative not in (0, 0x10):
            raise ValueError("an unknown pointer base")
        return (value + (base + at if relative else 0)) & MASK


class _Machine:
    """The call-frame instructions (DWARF 5, 6.4.2)."""

    def __init__(self, cie: _Cie) -> None:
        self.cie = cie
        self.cfa: tuple[int, int] | bytes = (7, 8)
        self.places: dict[int, Place] = {}
        self.initial: dict[int, Place] = {}
        self.stack: list[tuple[tuple[int, int] | bytes, dict[int, Place]]] = []

    def row(self) -> Row:
        back = self.cie.return_register
        others = [(number, place) for number, place in self.places.items() if number != back]
        saved = [
            (number, place[1]) for number, place in others if place and place[0] == "at" and number != SP
        ]
        plain = tuple((n, offset) for n, offset in saved if isinstance(offset, int))
        return Row(self.cfa, self.places, back, self.cie.signal, plain if len(plain) == len(others) else None)

    def run(self, data: bytes, at: int, end: int, location: int, target: int | None) -> None:
        """Run until the rules at `target` are complete; all of it for None."""
        reader = Reader(data, at, end)
        code, factor = self.cie.code_align, self.cie.data_align
        while reader.at < end:
            opcode = reader.number(1)
            high, low = opcode & 0xC0, opcode & 0x3F
            if high == 0x40 or opcode in (1, 2, 3, 4):
                if opcode == 1:  # set_loc
                    location = reader.number(8)
                else:
                    location += code * (low if high else reader.number({2: 1, 3: 2, 4: 4}[opcode]))
                if target is not None and location > target:
                    return
            elif high == 0x80:
                self.places[low] = ("at", reader.uleb() * factor)
            elif high == 0xC0:
                self._restore(low)
            else:
                self._other(opcode, reader, factor)

    def _restore(self, register: int) -> None:
        if register in self.initial:
            self.places[register] = self.initial[register]
        else:
            self.places.pop(register, None)

    def _other(self, opcode: int, reader: Reader, factor: int) -> None:
        if opcode in (0x00, 0x2D):
            return
        if opcode == 0x05:
            register = reader.uleb()
            self.places[register] = ("at", reader.uleb() * factor)
        elif opcode == 0x06:
            self._restore(reader.uleb())
        elif opcode == 0x07:
            self.places[reader.uleb()] = None
        elif opcode == 0x08:
            self.places.pop(reader.uleb(), None)
        elif opcode == 0x09:
            register = reader.uleb()
            self.places[register] = ("register", reader.uleb())
        elif opcode == 0x0A:
            if len(self.stack) >= STATES_LIMIT:
                raise ValueError("too many remembered states")
            self.stack.append((self.cfa, dict(self.places)))
        elif opcode == 0x0B:
            if not self.stack:
                raise ValueError("no remembered state")
            self.cfa, self.places = self.stack.pop()
        elif opcode in (0x0C, 0x12):
            register = reader.uleb()
            self.cfa = (register, reader.uleb() if opcode == 0x0C else reader.sleb() * factor)
        elif opcode in (0x0D, 0x0E, 0x13):
            if isinstance(self.cfa, bytes):
                raise ValueError("no register to change")
            register, offset = self.cfa
            if opcode == 0x0D:
                register = reader.uleb()
            else:
                offset = reader.uleb() if opcode == 0x0E else reader.sleb() * factor
            self.cfa = (register, offset)
        elif opcode == 0x0F:
            self.cfa = self._block(reader)
        elif opcode in (0x10, 0x16):
            register = reader.uleb()
            self.places[register] = ("expression" if opcode == 0x10 else "value", self._block(reader))
        elif opcode in (0x11, 0x14, 0x15):
            register = reader.uleb()
            offset = reader.uleb() if opcode == 0x14 else reader.sleb()
            self.places[register] = ("at" if opcode == 0x11 else "is", offset * factor)
        elif opcode == 0x2E:  # GNU_args_size
            reader.uleb()
        elif opcode == 0x2F:  # GNU_negative_offset_extended
            register = reader.uleb()
            self.places[register] = ("at", -reader.uleb() * factor)
        else:
            raise ValueError("an unknown instruction")

    @staticmethod
    def _block(reader: Reader) -> bytes:
        size = reader.uleb()
        at = reader.at
        reader.skip(size)
        return reader.data[at : reader.at]
