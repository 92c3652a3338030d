"""icicle-emu behind the engine interface.

What was measured of icicle 0.0.11 and shapes this module (docs/emulator.md has the list):

* An instruction that faults is counted, and counted again when it is finished: `instructions_counted` is raw.
* A string instruction that faults has already advanced RSI and RDI; finishing it with one more step is right,
  writing pc before that is not.
* The translator (JIT) does not see a breakpoint that is added in the middle of a block it has translated. So a
  breakpoint that is new since the last run moves the state to a fresh virtual machine (`_move`).
* The interpreter runs cold code 20 times faster than the translator, which runs hot code 30 times faster.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any

from backends.emulated.engine import READ, WRITE, Engine, EngineError, Event, EventKind
from backends.emulated.paper import PaperVm
from backends.emulated.sleigh_flags import AF_BIT
from backends.emulated.x87.unit import Unit

__all__ = ["IcicleEngine"]

_PAGE = 4096
_FLAGS = (
    ("CF", 0),
    ("PF", 2),
    ("ZF", 6),
    ("SF", 7),
    ("DF", 10),
    ("OF", 11),
    ("AC", 18),
    ("ID", 21),
)
_ALWAYS_SET = ("F1", "IF")
"""EFLAGS bit 1, and interrupts enabled: what pushf shows in user mode."""
_SELECTORS = (("CS", 0x33), ("SS", 0x2B))
"""As Linux has them in 64-bit programs (arch/x86/include/asm/segment.h); the other segment registers hold 0."""
_RENAMED = {"FS_BASE": "FS_OFFSET", "GS_BASE": "GS_OFFSET"}
_SAVED = (
    *("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP"),
    *(f"R{n}" for n in range(8, 16)),
    *(name for name, _ in _FLAGS),
    "AF",
    *("FS_OFFSET", "GS_OFFSET", "MXCSR"),
    *(f"XMM{n}_Q{half}" for n in range(16) for half in "ab"),
)
"""What tasks differ in. The x87 unit is ours; programs cannot change `_ALWAYS_SET`."""
_END = 1 + len(_SAVED)
_GROUPS = tuple(
    (start, min(start + 16, _END), _SAVED[start - 1 : start + 15]) for start in range(1, _END, 16)
)
"""Parts of what `save` gives, each with the names of its registers; the pc comes before the first."""
_MEM_CAPACITY_PAGES = 600_000


class IcicleEngine(Engine):
    """One icicle virtual machine, replaced by another where its translated code can no longer be trusted.

    It begins on paper (`backends.emulated.paper`): the first run makes a virtual machine.

    `limit` is what the virtual machine's `step` returns when it ran as many instructions as it was told to. `hot`: it
    translates, and may `step` as it is, without `start`.
    `on_move` is called after the state has moved to another virtual machine: byte permissions set by `protect`
    on parts of a page are lost by a move and must be set again.
    """

    name = "icicle"

    def __init__(self, *, on_move: Callable[[], None] | None = None) -> None:
        self._jit = False
        self._on_move = on_move
        self._pages: dict[int, int] = {}
        self._breakpoints: set[int] = set()
        self._stale = True
        self._ran = False
        self.hot = False
        self.counted_before = 0
        self.native: Any = None
        self._thread = 0
        self._prot: tuple[Any, ...] = (None,) * 8
        self._errors: tuple[type[Exception], ...] = (OverflowError,)
        self.limit: Any = None
        self.x87 = Unit()
        self._attach(PaperVm())
        self.set("MXCSR", 0x1F80)
        for flag in _ALWAYS_SET:
            self.set(flag, 1)

    def __del__(self) -> None:
        if (
            self.native is not None and get_ident() != self._thread
        ):  # the garbage collector runs in any thread
            self.native.leave(self.vm, self._thread)

    def _attach(self, vm: Any) -> None:
        self.vm = vm
        self.read_register: Callable[[str], int] = vm.reg_read
        self.raw_read: Callable[[int, int], bytes] = vm.mem_read

    def set_on_move(self, on_move: Callable[[], None]) -> None:
        """Say who sets the byte permissions again after a move."""
        self._on_move = on_move

    @property
    def jit(self) -> bool:
        """Whether the translator runs the program."""
        return self._jit

    @property
    def pc(self) -> int:
        """The instruction pointer."""
        pc: int = self.vm.pc
        return pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.vm.pc = value

    @property
    def instructions_counted(self) -> int:
        """icicle's own count: an instruction that faulted counts twice, each element of a `rep` once."""
        counted: int = self.counted_before + self.vm.icount
        return counted

    # -- memory

    def map(self, address: int, size: int, prot: int) -> None:
        pages = range(address, address + size, _PAGE)
        if any(page in self._pages for page in pages):
            raise EngineError(f"{address:#x}: already mapped")
        try:
            self.vm.mem_map(address, size, self._prot[prot])
        except self._errors as error:
            raise EngineError(str(error)) from error
        self._pages.update(dict.fromkeys(pages, prot))

    def unmap(self, address: int, size: int) -> None:
        for start, end in self._runs(address, size):
            try:
                self.vm.mem_unmap(start, end - start)
            except self._errors as error:
                raise EngineError(str(error)) from error
            for page in range(start, end, _PAGE):
                del self._pages[page]

    def _runs(self, address: int, size: int) -> list[tuple[int, int]]:
        """The mapped stretches of a range."""
        runs: list[tuple[int, int]] = []
        for page in range(address & -_PAGE, address + size, _PAGE):
            if page in self._pages:
                if runs and runs[-1][1] == page:
                    runs[-1] = (runs[-1][0], page + _PAGE)
                else:
                    runs.append((page, page + _PAGE))
        return runs

    def protect(self, address: int, size: int, prot: int) -> None:
        try:
            self.vm.mem_protect(address, size, self._prot[prot])
        except self._errors as error:
            raise EngineError(str(error)) from error
        if not address % _PAGE and not size % _PAGE:
            for page in range(address, address + size, _PAGE):
                self._pages[page] = prot

    def read(self, address: int, size: int) -> bytes:
        try:
            return self.raw_read(address, size)
        except self._errors as error:
            raise EngineError(f"{address:#x}: nothing is mapped there") from error

    def write(self, address: int, data: bytes) -> None:
        try:
            self.vm.mem_write(address, data)
        except self._errors as error:
            if self.native.rewrites(error):
                raise EngineError(
                    f"{address:#x}: code that was already executed would be rewritten"
                ) from error
            raise EngineError(f"{address:#x}: nothing is mapped there") from error

    def has_breakpoint(self, address: int) -> bool:
        """Whether `run` stops there."""
        return address in self._breakpoints

    def prepared_protect(self, address: int, size: int, prot: int) -> Callable[[], object]:
        """`protect` as a call without arguments, for the hit path. Good until the next move."""
        return partial(self.vm.mem_protect, address, size, self._prot[prot])

    # -- registers

    def get(self, register: str) -> int:
        read = self.read_register
        if register == "RFLAGS":
            return 0x202 | read("AF") & AF_BIT | sum((read(name) & 1) << bit for name, bit in _FLAGS)
        if register.startswith("XMM"):
            return read(register + "_Qa") | read(register + "_Qb") << 64
        return read(_RENAMED.get(register, register))

    def set(self, register: str, value: int) -> None:
        write = self.vm.reg_write
        if register == "RFLAGS":
            for name, bit in _FLAGS:
                write(name, value >> bit & 1)
            write("AF", value & AF_BIT)
        elif register.startswith("XMM"):
            write(register + "_Qa", value & 0xFFFF_FFFF_FFFF_FFFF)
            write(register + "_Qb", value >> 64)
        else:
            write(_RENAMED.get(register, register), value)

    # -- running

    def start(self) -> None:
        """Make the virtual machine fit to run: the first one, or another in place of one that missed a breakpoint."""
        if self._stale:
            self.move(jit=False)
        self._ran = True
        self.hot = self._jit

    def run(self, budget: int) -> EventKind:
        self.start()
        return self.meaning(self.vm.step(budget))

    def meaning(self, status: Any) -> EventKind:
        """What the virtual machine's `step` has returned."""
        if status == self.limit:
            return EventKind.LIMIT
        if status == self.native.BREAK:
            return EventKind.BREAKPOINT
        return self.event_kind()

    def single(self) -> EventKind:
        """Run exactly the instruction at pc, or one element of a `rep`, whether or not a breakpoint is there."""
        self.start()
        pc = self.vm.pc
        if pc in self._breakpoints:
            # Removing it for one step is seen by translated code; removing it for longer would not be.
            self.vm.remove_breakpoint(pc)
            status = self.vm.step(1)
            self.vm.add_breakpoint(pc)
        else:
            status = self.vm.step(1)
        return EventKind.LIMIT if status == self.limit else self.event_kind()

    def event_kind(self) -> EventKind:
        """What the virtual machine's exception means."""
        code = int(self.vm.exception_code)
        kind: EventKind | None = self.native.KINDS.get(code)
        if kind is not None:
            return kind
        if code == self.native.SYSCALL:
            return EventKind.INTERRUPT if self.vm.exception_value else EventKind.SYSCALL
        return EventKind.UNSUPPORTED

    def event(self) -> Event:
        code = int(self.vm.exception_code)
        value = self.vm.exception_value
        return Event(self.event_kind(), address=value, write=code in self.native.WRITES, value=value)

    def add_breakpoint(self, address: int, *, fresh: bool = False) -> None:
        """`fresh` says that no code at this address can have been translated yet."""
        if address in self._breakpoints:
            return
        self._breakpoints.add(address)
        self.vm.add_breakpoint(address)
        if self._jit and self._ran and not fresh:
            self._stale = True
            self.hot = False

    def remove_breakpoint(self, address: int) -> None:
        if address in self._breakpoints:
            self._breakpoints.remove(address)
            self.vm.remove_breakpoint(address)

    def save(self) -> list[int]:
        """Every register, pc first. Only at an instruction boundary."""
        return [self.vm.pc, *map(self.vm.reg_read, _SAVED), *self.x87.words()]

    def after_syscall(self, *, result: int, stack: int, tls: int | None) -> list[int]:
        """Every register as a new task has them that begins where this one's system call (at pc) returns.

        `stack` 0 keeps the stack pointer, `tls` None the FS base.
        """
        saved = self.save()
        pc = saved[0] + 2
        changes = {"RAX": result, "RCX": pc, "R11": self.get("RFLAGS")}
        if stack:
            changes["RSP"] = stack
        if tls is not None:
            changes["FS_OFFSET"] = tls
        registers = [changes.get(name, value) for name, value in zip(_SAVED, saved[1:_END], strict=True)]
        return [pc, *registers, *saved[_END:]]

    def restore(self, saved: list[int], now: list[int] | None = None) -> None:
        """Put registers back that `save` gave, of this engine or of one like it.

        `now` is what they hold: those that would not change are left alone.
        """
        write = self.vm.reg_write
        if now is None:
            for name, value in zip(_SAVED, saved[1:_END], strict=True):
                write(name, value)
        else:
            for start, end, names in _GROUPS:
                if saved[start:end] != now[start:end]:
                    for name, value, there in zip(names, saved[start:end], now[start:end], strict=True):
                        if value != there:
                            write(name, value)
        if now is None or saved[_END:] != now[_END:]:
            self.x87.set_words(saved[_END:])
        self.vm.pc = saved[0]

    def saved(self, saved: list[int], register: str) -> int:
        """One register of those that `save` gave."""
        return saved[1 + _SAVED.index(register)]

    def copy(self) -> IcicleEngine:
        """Another engine, interpreting, with the same memory and registers. Only at an instruction boundary."""
        other = IcicleEngine()
        other._pages = dict(self._pages)
        other._breakpoints = set(self._breakpoints)
        other._carry(self.vm, jit=False)
        other.x87.set_words(self.x87.words())
        other.counted_before = 0
        return other

    def move(self, *, jit: bool) -> None:
        """Carry the state over to a fresh virtual machine. Only at an instruction boundary."""
        self._carry(self.vm, jit=jit)
        if self._on_move is not None:
            self._on_move()

    def _carry(self, old: Any, *, jit: bool) -> None:
        from backends.emulated import icicle_vm as native

        new = native.create(jit=jit)
        for start, end, prot in self._stretches():
            new.mem_map(start, end - start, native.PROT[READ | WRITE])
            new.mem_write(start, old.mem_read(start, end - start))
            new.mem_protect(start, end - start, native.PROT[prot])
        for name in (*_SAVED, *_ALWAYS_SET):
            new.reg_write(name, old.reg_read(name))
        for name, selector in _SELECTORS:
            new.reg_write(name, selector)
        new.pc = old.pc
        self.counted_before += old.icount
        for address in self._breakpoints:
            new.add_breakpoint(address)
        self._jit, self._stale, self._ran, self.hot = jit, False, False, False
        self.native = native
        self._prot, self._errors = native.PROT, (native.MemoryException, OverflowError)
        self.limit = native.LIMIT
        self._thread = get_ident()
        self._attach(new)

    def _stretches(self) -> list[tuple[int, int, int]]:
        """Mapped pages, joined where they follow each other with one permission, at most 1 MiB each."""
        out: list[tuple[int, int, int]] = []
        for page in sorted(self._pages):
            prot = self._pages[page]
            if out and out[-1][1] == page and out[-1][2] == prot and page - out[-1][0] < 1 << 20:
                out[-1] = (out[-1][0], page + _PAGE, prot)
            else:
                out.append((page, page + _PAGE, prot))
        return out
