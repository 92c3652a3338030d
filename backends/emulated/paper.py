"""A machine that has not run yet: memory and registers on paper, so that a program can be loaded and looked at at once.

Making the engine's virtual machine takes a fifth of a second, which nobody should wait for to see a loaded program.
The first run moves the state to a real one (`backends.emulated.icicle`).
"""

from __future__ import annotations

from typing import Any, NoReturn

from backends.emulated.engine import EngineError

__all__ = ["PaperVm"]

_PAGE = 4096


class PaperVm:
    """The part of icicle's interface that loading and looking need. Permissions are the engine's own business."""

    def __init__(self) -> None:
        self.pc = 0
        self.icount = 0
        self._pages: dict[int, bytearray] = {}
        self._registers: dict[str, int] = {}

    def mem_map(self, address: int, size: int, protection: Any) -> None:
        """Zeroed pages, made when they are first written."""
        for page in range(address, address + size, _PAGE):
            self._pages[page] = bytearray()

    def mem_unmap(self, address: int, size: int) -> None:
        """Forget pages."""
        for page in range(address, address + size, _PAGE):
            del self._pages[page]

    def mem_protect(self, address: int, size: int, protection: Any) -> None:
        """Nothing runs here, so nothing can be denied."""

    def mem_read(self, address: int, size: int) -> bytes:
        """EngineError where nothing is mapped."""
        parts = bytearray()
        while len(parts) < size:
            at = address + len(parts)
            page = self._page(at)
            start = at % _PAGE
            count = min(_PAGE - start, size - len(parts))
            parts += page[start : start + count].ljust(count, b"\0")
        return bytes(parts)

    def mem_write(self, address: int, data: bytes) -> None:
        """EngineError where nothing is mapped; nothing is written then."""
        for at in range(address & -_PAGE, address + len(data), _PAGE):
            self._page(at)
        done = 0
        while done < len(data):
            at = address + done
            page, start = self._page(at), at % _PAGE
            count = min(_PAGE - start, len(data) - done)
            if not page:
                page.extend(bytes(_PAGE))
            page[start : start + count] = data[done : done + count]
            done += count

    def _page(self, address: int) -> bytearray:
        page = self._pages.get(address & -_PAGE)
        if page is None:
            raise EngineError(f"{address:#x}: nothing is mapped there")
        return page

    def reg_read(self, name: str) -> int:
        """Registers are 0 until they are written."""
        return self._registers.get(name, 0)

    def reg_write(self, name: str, value: int) -> None:
        """Set a register."""
        self._registers[name] = value

    def add_breakpoint(self, address: int) -> None:
        """The engine keeps the list."""

    def remove_breakpoint(self, address: int) -> None:
        """The engine keeps the list."""

    def step(self, count: int) -> NoReturn:
        """Paper does not run."""
        raise EngineError("the machine has not been started")
