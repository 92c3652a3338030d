"""What icicle itself looks like from Python: the module's own constants, and how a virtual machine is made.

Imported when the first program runs, because making a virtual machine takes a fifth of a second.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import get_ident
from typing import Any

import icicle

from backends.emulated.engine import EXEC, READ, WRITE, EngineError, EventKind
from backends.emulated.sleigh import Mismatch, mended_languages

__all__ = [
    "BREAK",
    "DENIED_READ",
    "DENIED_WRITE",
    "KINDS",
    "LIMIT",
    "PROT",
    "SYSCALL",
    "WRITES",
    "MemoryException",
    "create",
    "leave",
    "rewrites",
]

_MP = icicle.MemoryProtection
PROT = (
    _MP.NoAccess,
    _MP.ReadOnly,
    _MP.ReadWrite,
    _MP.ReadWrite,
    _MP.ExecuteOnly,
    _MP.ExecuteRead,
    _MP.ExecuteReadWrite,
    _MP.ExecuteReadWrite,
)
"""By permission bits."""
LIMIT = icicle.RunStatus.InstructionLimit
BREAK = icicle.RunStatus.Breakpoint
MemoryException = icicle.MemoryException
_EC = icicle.ExceptionCode
DENIED_WRITE, DENIED_READ = _EC.WritePerm, _EC.ReadPerm
KINDS = {
    int(code): kind
    for code, kind in (
        (_EC.ReadPerm, EventKind.DENIED),
        (_EC.WritePerm, EventKind.DENIED),
        (_EC.ReadUnmapped, EventKind.UNMAPPED),
        (_EC.WriteUnmapped, EventKind.UNMAPPED),
        (_EC.AddressOverflow, EventKind.UNMAPPED),
        (_EC.ExecViolation, EventKind.NO_EXEC),
        (_EC.DivisionException, EventKind.DIVIDE),
        (_EC.InvalidInstruction, EventKind.INVALID),
        (_EC.SelfModifyingCode, EventKind.REWRITTEN),
        (_EC.JitError, EventKind.GAVE_UP),
    )
}
"""Event kinds by exception code."""
SYSCALL = int(_EC.Syscall)
WRITES = (int(_EC.WritePerm), int(_EC.WriteUnmapped))
_MEM_CAPACITY_PAGES = 600_000
_left: dict[int, list[Any]] = {}
"""By thread: virtual machines that it made and nobody wants any more."""


def create(*, jit: bool) -> Any:
    """A virtual machine: a translator, or an interpreter. Raises EngineError where icicle is not what it should be."""
    _left.pop(get_ident(), None)
    options = {"optimize_block": False} if jit else {"jit": False, "optimize_instructions": False}
    try:
        with mended_languages(Path(icicle.__file__).parent) as folder:
            os.environ["GHIDRA_SRC"] = str(folder)  # read while the machine is made
            vm = icicle.Icicle("x86_64", **options)
    except (Mismatch, OSError) as error:
        raise EngineError(f"the engine's description of instructions: {error}") from error
    vm.mem_capacity = _MEM_CAPACITY_PAGES
    return vm


def leave(vm: Any, thread: int) -> None:
    """Keep a virtual machine until the thread that made it makes another: icicle's objects go away in their own thread,
    or (PyO3's `unsendable`) with a warning and never."""
    _left.setdefault(thread, []).append(vm)


def rewrites(error: Exception) -> bool:
    """Whether a write failed because it would have changed code that was translated."""
    return bool(getattr(error, "code", None) == icicle.MemoryExceptionCode.SelfModifyingCode)


assert PROT[READ | WRITE] == _MP.ReadWrite
assert PROT[READ | EXEC] == _MP.ExecuteRead
