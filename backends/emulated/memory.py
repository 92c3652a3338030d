"""The address space of an emulated program: what /proc/PID/maps would show, kept beside the engine's own map.

The engine knows permissions to the byte, and the debug unit takes some away to see accesses; what the program
itself asked for is known here alone (`prot_at`). The engine keeps translated code for good (it does not notice
that bytes were mapped anew), so fresh addresses are never given out twice, and code that comes back different at
an address where code has been raises `CodeRewritten`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Protocol

from backends.emulated.engine import EXEC, READ, WRITE, Engine, EngineError
from backends.emulated.regions import PAGE, USER_END, Backing, Region, Regions, page_down, page_up
from backends.emulated.shared import SharedMemory
from backends.model import Mapping

__all__ = ["AddressSpace", "CodeRewritten", "KernelWatch"]

_STACK_STEP = 64 * PAGE


class CodeRewritten(Exception):
    """Executable bytes changed in place: the engine would go on running the old ones."""

    def __init__(self, address: int) -> None:
        super().__init__(f"code at {address:#x} was changed in place")
        self.address = address


def _nothing(start: int, end: int) -> None:
    pass


class KernelWatch(Protocol):
    """Who has to know of the kernel's own accesses to user memory: the debug registers of the CPU it runs on."""

    def touched(self, address: int, size: int, prot: int) -> Sequence[Any]:
        """Before the access (READ or WRITE): the slots it will hit."""
        ...

    def accessed(self, touched: Sequence[Any]) -> None:
        """After it, with what `touched` said."""
        ...


class AddressSpace:
    """The mappings of one program. Methods raise OSError with the errno that Linux would return.

    `on_exec(start, end)` is called when bytes have become executable, `on_change(start, end)` after every change of
    mapping or permission (whoever denied single bytes there must do it again).
    """

    def __init__(
        self,
        engine: Engine,
        *,
        on_exec: Callable[[int, int], None] = _nothing,
        on_change: Callable[[int, int], None] = _nothing,
    ) -> None:
        self._engine = engine
        self.on_exec = on_exec
        self.on_change = on_change
        self._regions = Regions()
        self._code: dict[int, bytes] = {}
        self._sealed: set[int] = set()
        self._heap = (0, 0)
        self._stack_floor = USER_END
        self.kernel_watch: KernelWatch | None = None
        self.shares: list[SharedMemory] = []

    def copy(self, engine: Engine) -> AddressSpace:
        """The same mappings on an engine that has the same memory already: what fork(2) makes."""
        other = AddressSpace(engine)
        other._regions = self._regions.copy()
        other._code, other._heap, other._stack_floor = dict(self._code), self._heap, self._stack_floor
        other._sealed = set(self._sealed)
        other.shares = list(self.shares)
        for region in self._regions:
            if region.backing is not None and not region.backing.copied_by_fork:
                engine.unmap(region.start, region.size)
                other._regions.claim(region.start, region.end, None)
                other._regions.remove(region.start, region.end)
        return other

    # Looking

    def prot_at(self, address: int) -> int:
        """The permission that the program gave this byte; 0 where nothing is mapped."""
        region = self._regions.at(address)
        return region.prot if region else 0

    def mapped(self, address: int) -> bool:
        """Whether anything is mapped there, accessible or not."""
        return self._regions.at(address) is not None

    def occupied(self, address: int, size: int) -> bool:
        """Whether anything is mapped in this range."""
        return any(self._regions.within(address, address + size))

    def shares_memory(self) -> bool:
        """Whether a child of fork(2) would have to see what is written here, and could not: shared memory that was mapped executable."""
        return any(region.shared and region.backing is None for region in self._regions)

    def catch_up(self) -> None:
        """What other address spaces have written into memory that this one shares is there from now on."""
        for shared in self.shares:
            shared.catch_up(self)

    def places_of(self, backing: Backing) -> list[tuple[int, int, int]]:
        """Where a backing is mapped: address, offset in it, size."""
        return [(r.start, r.offset, r.size) for r in self._regions if r.backing is backing]

    def shared_at(self, address: int) -> tuple[Backing, int] | None:
        """The shared memory at an address, and the offset in it; None for memory of its own."""
        region = self._regions.at(address)
        if region is None or not region.shared or region.backing is None:
            return None
        return region.backing, region.offset + address - region.start

    def mappings(self) -> tuple[Mapping, ...]:
        """The lines of /proc/PID/maps."""
        return tuple(Mapping(r.start, r.end, _perms(r.prot), r.offset, r.path) for r in self._regions)

    def ends(self, start: int, end: int) -> list[int]:
        """Where mappings end inside start..end."""
        return [region.end for region in self._regions.within(start, end)]

    def check(self, address: int, size: int, prot: int) -> None:
        """EFAULT unless every byte of the range has these permissions."""
        end = address + size
        while address < end:
            region = self._regions.at(address)
            if region is None and self.grow_stack(address):
                region = self._regions.at(address)
            if region is None or region.prot & prot != prot:
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
            address = region.end

    def copy_out(self, address: int, size: int) -> bytes:
        """Read as the kernel reads user memory (EFAULT): an access in kernel mode to the debug registers."""
        self.check(address, size, READ)
        if not size:
            return b""
        if self.shares:
            self.catch_up()
        if self.kernel_watch is not None:
            self.kernel_watch.accessed(self.kernel_watch.touched(address, size, READ))
        return self._engine.read(address, size)

    def copy_in(self, address: int, data: bytes) -> None:
        """Write as the kernel writes user memory (EFAULT): an access in kernel mode to the debug registers."""
        self.check(address, len(data), WRITE)
        if not data:
            return
        if self.shares:
            self.catch_up()
        if self.kernel_watch is None:
            self._poke(address, data)
            return
        touched = self.kernel_watch.touched(address, len(data), WRITE)
        self._poke(address, data)
        self.kernel_watch.accessed(touched)

    def text(self, address: int, limit: int = PAGE) -> bytes:
        """A NUL-terminated string without its NUL (EFAULT, ENAMETOOLONG from `limit` bytes on)."""
        parts = bytearray()
        while len(parts) < limit:
            size = min(256 - address % 256, limit - len(parts))
            chunk = self.copy_out(address, size)
            end = chunk.find(b"\0")
            if end >= 0:
                return bytes(parts + chunk[:end])
            parts += chunk
            address += size
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    # Changing

    def map(
        self,
        address: int | None,
        size: int,
        prot: int,
        *,
        fixed: bool = False,
        data: bytes | None = None,
        offset: int = 0,
        path: str = "",
        shared: bool = False,
        backing: Backing | None = None,
    ) -> int:
        """Map `size` bytes, zeroed and then filled with `data`; the address is a hint unless `fixed`.

        ENOMEM past the limit or the end of the address space, EINVAL for size 0 or a fixed address off a page.
        """
        if size <= 0 or (fixed and (address is None or address % PAGE)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        size = page_up(size)
        start = self._regions.place(address, size, fixed=fixed)
        self._regions.claim(start, start + size, prot)
        if fixed:
            self._remove(start, start + size)
        # Filled while it is plain data: the engine refuses writes over what it may have translated.
        self._engine.map(start, size, READ | WRITE if data else prot & 7)
        if data:
            self._engine.write(start, data[:size])
            if prot & 7 != READ | WRITE:
                self._engine.protect(start, size, prot & 7)
        self._regions.insert(Region(start, start + size, prot & 7, offset, path, shared, backing))
        if isinstance(backing, SharedMemory):
            self.shares.append(backing)
            backing.begin(self)
        self._changed(start, start + size, bool(prot & EXEC))
        return start

    def unmap(self, address: int, size: int) -> None:
        """munmap(2): gaps are passed over (EINVAL for size 0 or an address off a page)."""
        size = page_up(size)
        if address % PAGE or size <= 0 or address + size > USER_END:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._regions.claim(address, address + size, None)
        self._remove(address, address + size)
        self.on_change(address, address + size)

    def protect(self, address: int, size: int, prot: int) -> None:
        """mprotect(2): ENOMEM where a page of the range is not mapped, EINVAL for an address off a page; no bytes are none."""
        end = address + page_up(size)
        if address % PAGE or end < address:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not size:
            return
        parts = list(self._regions.within(address, end))
        if sum(part.size for part in parts) != end - address:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self._regions.claim(address, end, prot)
        self._regions.remove(address, end)
        for part in parts:
            if part.prot & EXEC and not prot & EXEC:
                self._remember(part)
            self._protect_engine(part, prot & 7)
            self._regions.insert(replace(part, prot=prot & 7))
        if parts:
            fresh = any(not part.prot & EXEC for part in parts)
            self._changed(address, end, bool(prot & EXEC) and fresh)

    def _protect_engine(self, part: Region, prot: int) -> None:
        """Code that may have run and becomes writable is not writable to the engine, which would not notice a change."""
        pages = range(part.start, part.end, PAGE)
        if prot & EXEC and prot & WRITE and part.prot & EXEC:
            if part.prot & WRITE:
                return
            self._sealed.update(pages)
            prot &= ~WRITE
        elif self._sealed:
            self._sealed.difference_update(pages)
        self._engine.protect(part.start, part.size, prot)

    def sealed(self, address: int) -> bool:
        """Whether the program may write this byte and the engine may not: see `_protect_engine`."""
        return page_down(address) in self._sealed

    def engine_prot(self, address: int) -> int:
        """The permission that the engine gives this byte where nothing is watched."""
        prot = self.prot_at(address)
        return prot & ~WRITE if self._sealed and self.sealed(address) else prot

    def empty(self, address: int, size: int) -> None:
        """Let private data that came from no file read as zeros again (ENOMEM where a page is not mapped)."""
        end = address + size
        parts = list(self._regions.within(address, end))
        for part in parts:
            if part.path[:1] != "/" and not part.shared and not part.prot & EXEC:
                self._engine.unmap(part.start, part.size)
                self._engine.map(part.start, part.size, part.prot)
                self.on_change(part.start, part.end)
        if sum(part.size for part in parts) != size:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def set_heap(self, start: int) -> None:
        """Where brk(2) begins: the first page after the program."""
        self._heap = (page_up(start), page_up(start))

    def brk(self, address: int) -> int:
        """brk(2): move the end of the heap; returns where it is now, unchanged when that cannot be."""
        start, now = self._heap
        if address < start or address == now:
            return now
        old, new = page_up(now), page_up(address)
        try:
            if new > old:
                if any(self._regions.within(old, new)):
                    return now
                self.map(old, new - old, READ | WRITE, fixed=True, path="[heap]")
            elif new < old:
                self.unmap(new, old - new)
        except OSError:
            return now
        self._heap = (start, address)
        return address

    def set_stack(self, top: int, size: int, limit: int) -> None:
        """Map the first `size` bytes of a stack that may grow down to `limit` bytes below `top`."""
        self._stack_floor = top - limit
        self.map(top - size, size, READ | WRITE, fixed=True, path="[stack]")

    def grow_stack(self, address: int) -> bool:
        """Whether a fault at this unmapped address was cured by extending the stack down to it."""
        if not self._stack_floor <= address < USER_END:
            return False
        stack = self._regions.above(address)
        if stack is None or stack.path != "[stack]" or self.mapped(address):
            return False
        end = stack.start
        start = max(self._stack_floor, page_down(address) - _STACK_STEP)
        if any(self._regions.within(start, end)):
            start = page_down(address)
        self.map(start, end - start, READ | WRITE, fixed=True, path="[stack]")
        return True

    def peek(self, address: int, size: int) -> bytes:
        """Read whatever the permissions are, past the debug registers."""
        return self._engine.read(address, size)

    def release(self) -> None:
        """Nobody runs here any more: mappings that are more than memory learn of it."""
        for region in [region for region in self._regions if region.backing is not None]:
            self._remove(region.start, region.end)
            self.on_change(region.start, region.end)

    def poke(self, address: int, data: bytes) -> None:
        """Write whatever the permissions are, as the loader and a debugger do."""
        self._poke(address, data)

    def region_path(self, address: int) -> str:
        """The path of the mapping that holds this address; empty where there is none."""
        region = self._regions.at(address)
        return region.path if region else ""

    # Inside

    def _poke(self, address: int, data: bytes) -> None:
        try:
            self._engine.write(address, data)
        except EngineError as error:
            if self.prot_at(address) & EXEC:
                raise CodeRewritten(address) from error
            raise

    def _remove(self, start: int, end: int) -> None:
        if self._sealed:
            self._sealed.difference_update(range(start, end, PAGE))
        for part in list(self._regions.within(start, end)):
            if part.backing is not None:
                part.backing.unmapped(self, part.start, part.end)
            if part.prot & EXEC:
                self._remember(part)
            self._engine.unmap(part.start, part.size)
        self._regions.remove(start, end)
        if self.shares:
            self.shares = [shared for shared in self.shares if self.places_of(shared)]

    def _remember(self, part: Region) -> None:
        content = self._engine.read(part.start, part.size)
        for page in range(part.start, part.end, PAGE):
            self._code.setdefault(page, _digest(content[page - part.start : page - part.start + PAGE]))

    def _changed(self, start: int, end: int, executable: bool) -> None:
        if executable:
            for page in [page for page in self._code if start <= page < end]:
                if _digest(self._engine.read(page, PAGE)) != self._code[page]:
                    raise CodeRewritten(page)
            self.on_exec(start, end)
        self.on_change(start, end)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _perms(prot: int) -> str:
    return "".join(c if prot & bit else "-" for c, bit in (("r", READ), ("w", WRITE), ("x", EXEC))) + "p"
