"""What the emulated machine needs of a CPU engine: memory with byte-exact permissions, registers, and exact steps.

Debug registers, system calls, CPUID and everything privileged are ours, on top of this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.emulated.x87.unit import Unit

__all__ = ["EXEC", "READ", "WRITE", "Engine", "EngineError", "Event", "EventKind", "Unsupported"]

READ, WRITE, EXEC = 1, 2, 4
"""Permission bits, as in mmap(2)'s PROT_*."""


class EngineError(Exception):
    """The engine cannot do what was asked, or met a state it does not know."""


class Unsupported(Exception):
    """The machine cannot do rightly what the program asks for: the task stops here, and says so."""


class EventKind(Enum):
    """Why `Engine.run` came back."""

    LIMIT = auto()  # the budget is used up
    BREAKPOINT = auto()  # pc is at an address given to `add_breakpoint`; that instruction has not run
    DENIED = (
        auto()
    )  # the instruction at pc touched bytes that exist but may not be accessed that way; it has not finished
    UNMAPPED = auto()  # it touched memory that does not exist
    NO_EXEC = auto()  # pc is in memory that may not be executed
    SYSCALL = auto()  # the syscall instruction, pc still at it
    INTERRUPT = auto()  # int3 (value 3), icebp (value 1), int n (value n), pc still at it
    DIVIDE = auto()  # #DE
    INVALID = auto()  # the engine decodes no such instruction (#UD, or one it lacks)
    UNSUPPORTED = auto()  # decoded, but the engine cannot run it
    GAVE_UP = auto()  # the translator could not translate what comes next; nothing of it has run
    REWRITTEN = auto()  # code that was already translated is being written


@dataclass(frozen=True, slots=True)
class Event:
    """`address` is the fault address of DENIED and UNMAPPED (unreliable: decode the instruction instead)."""

    kind: EventKind
    address: int = 0
    write: bool = False
    value: int = 0


class Engine(ABC):
    """One CPU with one address space. Page size is 4,096; `protect` works on single bytes."""

    name: str
    """What it is called on the screen."""
    pc: int
    read_register: Callable[[str], int]
    """Any general register by its name, parts of one too (EAX, AL); FS_OFFSET and GS_OFFSET are the segment bases."""
    raw_read: Callable[[int, int], bytes]
    """`read` that raises the engine's own error."""
    x87: Unit
    """The x87 unit: ours, no engine's."""

    @abstractmethod
    def map(self, address: int, size: int, prot: int) -> None:
        """Map zeroed pages over free addresses (EngineError when anything is there already)."""

    @abstractmethod
    def unmap(self, address: int, size: int) -> None:
        """Unmap pages; pages that are not mapped are passed over."""

    @abstractmethod
    def protect(self, address: int, size: int, prot: int) -> None:
        """Change the permission of these bytes, exactly these."""

    @abstractmethod
    def prepared_protect(self, address: int, size: int, prot: int) -> Callable[[], object]:
        """`protect` as a call without arguments, for the hit path."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Read regardless of permissions (EngineError where nothing is mapped)."""

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Write regardless of permissions (EngineError where nothing is mapped, or over translated code)."""

    @abstractmethod
    def get(self, register: str) -> int:
        """A register by its manual name in capitals: RAX..R15, RFLAGS, FS_BASE, GS_BASE, MXCSR."""

    @abstractmethod
    def set(self, register: str, value: int) -> None:
        """Set a register."""

    def flags(self, value: int | None) -> int:
        """RFLAGS: read with None, else written."""
        if value is not None:
            self.set("RFLAGS", value)
            return value
        return self.get("RFLAGS")

    @abstractmethod
    def run(self, budget: int) -> EventKind:
        """Run at most `budget` instructions (an element of a `rep` counts as one here)."""

    @abstractmethod
    def single(self) -> EventKind:
        """Run exactly the instruction at pc, or one element of a `rep`, whether or not a breakpoint is there."""

    @abstractmethod
    def event(self) -> Event:
        """The particulars of what `run` came back with."""

    @abstractmethod
    def add_breakpoint(self, address: int) -> None:
        """Make `run` come back before the instruction at this address."""

    @abstractmethod
    def remove_breakpoint(self, address: int) -> None:
        """Take that back."""
