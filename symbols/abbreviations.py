"""Abbreviations: what the entries of one code hold, and how to step over one (DWARF 5 sections 7.5.3 to 7.5.6)."""

from __future__ import annotations

from symbols.dwarf_names import AT, FORM
from symbols.line_program import Reader

__all__ = [
    "BLOCK_SIZES", "LEB", "SKIP_BLOCK", "SKIP_INDIRECT", "SKIP_LEB", "SKIP_STRING", "Abbreviation", "form_size", "read_abbreviations",
]  # fmt: skip

ATTRIBUTES_LIMIT = 512
ABBREVIATIONS_LIMIT = 1 << 16

_FIXED = {
    **dict.fromkeys((0x0B, 0x0C, 0x11, 0x25, 0x29), 1),
    **dict.fromkeys((0x05, 0x12, 0x26, 0x2A), 2),
    **dict.fromkeys((0x27, 0x2B), 3),
    **dict.fromkeys((0x06, 0x13, 0x1C, 0x28, 0x2C), 4),
    **dict.fromkeys((0x01, 0x07, 0x14, 0x20, 0x24), 8),
    0x1E: 16,
    0x19: 0,
    0x21: 0,
}
_WORDS = (0x0E, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21)
LEB = (0x0D, 0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23, 0x1F01, 0x1F02)
BLOCK_SIZES = {0x0A: 1, 0x03: 2, 0x04: 4}
SKIP_LEB, SKIP_STRING, SKIP_BLOCK, SKIP_INDIRECT = -1, -2, -3, -4


class Abbreviation:
    """What entries of one code hold: (attribute, form, implicit constant)..., and how to step over one."""

    __slots__ = ("attributes", "children", "sibling", "skip", "specs", "tag")

    def __init__(
        self, tag: int, children: bool, specs: list[tuple[int, int, int]], word: int, version: int
    ) -> None:
        self.tag = tag
        self.children = children
        self.specs = specs
        self.attributes = frozenset(attribute for attribute, _, _ in specs)
        self.sibling = AT.sibling in self.attributes
        self.skip: list[int] = []
        for _, form, _ in specs:
            size = form_size(form, word, version)
            if size is not None:
                if self.skip and self.skip[-1] >= 0:
                    self.skip[-1] += size
                else:
                    self.skip.append(size)
            elif form in LEB:
                self.skip.append(SKIP_LEB)
            elif form == FORM.string:
                self.skip.append(SKIP_STRING)
            elif form in (0x09, 0x18):
                self.skip.append(SKIP_BLOCK)
            elif form in BLOCK_SIZES:
                self.skip.append(-10 - BLOCK_SIZES[form])
            elif form == 0x16:
                self.skip.append(SKIP_INDIRECT)
            else:
                raise ValueError("an unknown form")


def form_size(form: int, word: int, version: int) -> int | None:
    if form == FORM.ref_addr:
        return word if version > 2 else 8
    return word if form in _WORDS else _FIXED.get(form)


def read_abbreviations(data: bytes, offset: int, word: int, version: int) -> dict[int, Abbreviation]:
    reader = Reader(data, offset)
    found: dict[int, Abbreviation] = {}
    while len(found) < ABBREVIATIONS_LIMIT:
        code = reader.uleb()
        if not code:
            return found
        tag, children = reader.uleb(), bool(reader.number(1))
        specs: list[tuple[int, int, int]] = []
        while True:
            attribute, form = reader.uleb(), reader.uleb()
            constant = reader.sleb() if form == 0x21 else 0
            if not attribute and not form:
                break
            specs.append((attribute, form, constant))
            if len(specs) > ATTRIBUTES_LIMIT:
                raise ValueError("too many attributes")
        found.setdefault(code, Abbreviation(tag, children, specs, word, version))
    raise ValueError("too many abbreviations")
