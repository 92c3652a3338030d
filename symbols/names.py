"""What one file knows about its own addresses: symbols, source lines, frame rules, variables."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from symbols.elf import ElfImage
from symbols.table import SymbolTable

if TYPE_CHECKING:
    from symbols.cfi import CallFrames
    from symbols.debug_sections import DebugSections
    from symbols.dwarf import DebugInfo
    from symbols.lines import LineTable

__all__ = ["Names"]


class Names:
    """Everything one file knows about its own addresses, each part read when it is first needed."""

    def __init__(self, image: ElfImage) -> None:
        self.image = image

    @cached_property
    def debug_image(self) -> ElfImage:
        """The file with the debug information: this one, or the separate one that was found for it."""
        if ".debug_info" in self.image.sections or ".zdebug_info" in self.image.sections:
            return self.image
        from symbols.debug_files import debug_file

        return debug_file(self.image) or self.image

    @cached_property
    def sections(self) -> DebugSections:
        from symbols.debug_files import alternate_file
        from symbols.debug_sections import DebugSections

        shared = alternate_file(self.debug_image)
        return DebugSections(self.debug_image, DebugSections(shared) if shared is not None else None)

    @cached_property
    def table(self) -> SymbolTable:
        stripped = ".symtab" not in self.image.sections
        return SymbolTable(self.image, self.debug_image if stripped else None)

    @cached_property
    def lines(self) -> LineTable:
        from symbols.lines import LineTable

        return LineTable(self.image, self.table, self.sections)

    @cached_property
    def frames(self) -> CallFrames:
        from symbols.cfi import CallFrames

        return CallFrames(self.image)

    @cached_property
    def debug(self) -> DebugInfo:
        from symbols.dwarf import DebugInfo

        return DebugInfo(self.image, self.table, self.sections)
