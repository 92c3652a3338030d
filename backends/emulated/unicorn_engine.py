"""Unicorn behind the engine interface: a second opinion about what instructions do, where it is installed (extra `unicorn`).

What was measured of Unicorn 2.1.4 and shapes this module (docs/emulator.md has the list):

* It is always run by count. After an uncounted run a count of 1 runs away, and stopping it by time or from another thread
  leaves wrong registers.
* It runs VEX.128 instructions as SSE ones, silently wrong: the decoder in front refuses them.
* Its permissions are per page. So it cannot carry data slots by denying bytes, and serves bare mode, which takes hits from
  decoded accesses.
* The reasons for an error come by hooks; one that is added late is not seen by translated code, so all are added first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import unicorn
from unicorn import x86_const

from backends.emulated.engine import Engine, EngineError, Event, EventKind
from backends.emulated.x87.unit import Unit

__all__ = ["UnicornEngine"]

_PAGE = 4096
_NOWHERE = (1 << 64) - 1
_RENAMED = {"RFLAGS": "EFLAGS", "FS_OFFSET": "FS_BASE", "GS_OFFSET": "GS_BASE"}
_LOW_BYTE = re.compile(r"(R\d+)L")
_WRITES = (unicorn.UC_MEM_WRITE_UNMAPPED, unicorn.UC_MEM_WRITE_PROT)
_DENIED = (unicorn.UC_MEM_WRITE_PROT, unicorn.UC_MEM_READ_PROT)
_FETCHES = (unicorn.UC_MEM_FETCH_UNMAPPED, unicorn.UC_MEM_FETCH_PROT)


def _number(register: str) -> int:
    name = _RENAMED.get(register, _LOW_BYTE.sub(r"\1B", register))
    return int(getattr(x86_const, f"UC_X86_REG_{name}"))


class UnicornEngine(Engine):
    """One Unicorn CPU in 64-bit mode. `protect` takes whole pages only (EngineError for less)."""

    name = "unicorn"

    def __init__(self) -> None:
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._event = Event(EventKind.LIMIT)
        self._numbers: dict[str, int] = {}
        self.x87 = Unit()
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.read_register: Callable[[str], int] = self.get
        self.raw_read: Callable[[int, int], bytes] = self.read

    def _invalid(self, _uc: Any, access: int, address: int, _size: int, _value: int, _data: Any) -> bool:
        if access in _FETCHES:
            kind = EventKind.NO_EXEC if access == unicorn.UC_MEM_FETCH_PROT else EventKind.UNMAPPED
        else:
            kind = EventKind.DENIED if access in _DENIED else EventKind.UNMAPPED
        self._event = Event(kind, address=address, write=access in _WRITES)
        return False

    def _interrupt(self, uc: Any, number: int, _data: Any) -> None:
        kind = EventKind.DIVIDE if number == 0 else EventKind.INTERRUPT
        self._event = Event(kind, value=number)
        uc.emu_stop()

    # -- memory

    def map(self, address: int, size: int, prot: int) -> None:
        self._try(self._uc.mem_map, address, size, prot)

    def unmap(self, address: int, size: int) -> None:
        for start, end, _ in list(self._uc.mem_regions()):
            low, high = max(start, address), min(end + 1, address + size)
            if low < high:
                self._try(self._uc.mem_unmap, low, high - low)

    def protect(self, address: int, size: int, prot: int) -> None:
        if address % _PAGE or size % _PAGE:
            raise EngineError(f"{address:#x}, {size} bytes: this engine's permissions are per page")
        self._try(self._uc.mem_protect, address, size, prot)

    def prepared_protect(self, address: int, size: int, prot: int) -> Callable[[], object]:
        return partial(self.protect, address, size, prot)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._try(self._uc.mem_read, address, size))

    def write(self, address: int, data: bytes) -> None:
        self._try(self._uc.mem_write, address, data)

    @staticmethod
    def _try(call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (unicorn.UcError, OverflowError, ValueError) as error:
            raise EngineError(f"{arguments[0]:#x}: {error}") from error

    # -- registers

    @property
    def pc(self) -> int:
        """The instruction pointer."""
        return self.get("RIP")

    @pc.setter
    def pc(self, value: int) -> None:
        self.set("RIP", value)

    def get(self, register: str) -> int:
        number = self._numbers.get(register)
        if number is None:
            number = self._numbers[register] = _number(register)
        return int(self._uc.reg_read(number))

    def set(self, register: str, value: int) -> None:
        self._uc.reg_write(_number(register), value)

    # -- running

    def run(self, budget: int) -> EventKind:
        self._event = Event(EventKind.LIMIT)
        pc = self.pc
        try:
            self._uc.emu_start(pc, _NOWHERE, count=budget)
        except unicorn.UcError as error:
            if self._event.kind is EventKind.LIMIT:
                invalid = error.errno == unicorn.UC_ERR_INSN_INVALID
                self._event = Event(EventKind.INVALID if invalid else EventKind.UNSUPPORTED)
        return self._event.kind

    def single(self) -> EventKind:
        return self.run(1)

    def event(self) -> Event:
        return self._event

    def add_breakpoint(self, address: int) -> None:
        raise EngineError("bare mode stops by count: this engine has no breakpoints")

    def remove_breakpoint(self, address: int) -> None:
        raise EngineError("bare mode stops by count: this engine has no breakpoints")
