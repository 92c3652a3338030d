"""The user registers and stack of a task, as perf's records show them (arch/x86/kernel/perf_regs.c, events/core.c)."""

from __future__ import annotations

from backends.emulated.engine import EngineError
from backends.emulated.linux import Task

__all__ = ["UserState"]

_NAMES = (
    "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "", "RFLAGS", "", "", "", "", "", "",
    *(f"R{number}" for number in range(8, 16)),
)  # fmt: skip
"""PERF_REG_X86_* by number; the ip, CS and SS have no register of the engine's."""
_IP, _SEGMENTS = 8, {10: 0x33, 11: 0x2B}
_USER_END = 0x7FFF_FFFF_F000


class UserState:
    """A task whose registers are in its engine: the one on a CPU."""

    def __init__(self, task: Task) -> None:
        self._engine = task.engine

    def register(self, number: int) -> int:
        """One of PERF_REG_X86_*; those that user mode has not read as 0."""
        if number == _IP:
            return self._engine.pc
        if number in _SEGMENTS:
            return _SEGMENTS[number]
        name = _NAMES[number] if number < len(_NAMES) else ""
        return self._engine.get(name) if name else 0

    def callers(self, most: int) -> tuple[int, ...]:
        """Return addresses along the frame pointers (perf_callchain_user): it ends where the chain does."""
        found: list[int] = []
        frame = self._engine.get("RBP")
        while len(found) < most and not frame % 8 and 0 < frame < _USER_END - 16:
            try:
                words = self._engine.read(frame, 16)
            except EngineError:
                break
            found.append(int.from_bytes(words[8:], "little"))
            frame = int.from_bytes(words[:8], "little")
        return tuple(found)
