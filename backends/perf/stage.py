"""Everybody else who holds debug registers beside a live target's watches: the books, and owners whom a scene brings in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from backends.base import HwbpError
from backends.perf.actors import Actors
from backends.perf.capture import Carrier
from backends.perf.opener import Opener
from backends.perf.registers import BookedRegisters, Registers
from backends.perf.target import Target

__all__ = ["Stage"]


class Stage:
    """Other owners are brought in only for a program that we launched (HwbpError, EOPNOTSUPP)."""

    def __init__(self, opener: Opener) -> None:
        self._actors = Actors(opener.holders)
        self._registers = Registers(opener)

    def booked(self, carriers: Iterable[Carrier], seen: Mapping[int, tuple[int, int]]) -> BookedRegisters:
        """The machine's registers (`backends.perf.registers.Registers.view`)."""
        return self._registers.view(carriers, seen)

    def look_again(self) -> None:
        """Somebody has changed what is held: the next view scans."""
        self._registers.look_again()

    def close_other(self, id_: int, booked: BookedRegisters) -> None:
        """Close an event of the scene's (ENOENT). Whatever else is held is not ours to close (EPERM)."""
        others = {b.id: b.owner for b in booked.strangers}
        owner = others.get(id_)
        if owner is None:
            raise HwbpError(f"no breakpoint {id_}", errno="ENOENT")
        if owner.pid != os.getpid() or owner.fd is None or not self._actors.close_event(owner.fd):
            who = f"{owner.kind} {owner.pid or ''} {owner.comm or ''}".strip()
            raise HwbpError(f"this breakpoint belongs to {who}", errno="EPERM")
        self._registers.look_again()

    def peek(self, register: int, target: Target) -> int:
        """PTRACE_PEEKUSER of a debug register, by the scene's debugger."""
        return self._of(target).peek(register, target.pid)

    def poke(self, register: int, value: int, target: Target) -> None:
        """PTRACE_POKEUSER of a debug register, by the scene's debugger."""
        try:
            self._of(target).poke(register, value, target.pid)
        finally:
            self._registers.look_again()

    def play(self, owner: str, verb: str, arguments: tuple[str, ...], target: Target) -> tuple[str, ...]:
        """One word of another owner's; the answer in lines."""
        try:
            return self._of(target).play(owner, verb, arguments, target.pid)
        finally:
            self._registers.look_again()

    def _of(self, target: Target) -> Actors:
        if not target.child:
            raise HwbpError(
                "other owners are brought in for a program that we launched, not for one that was there before us",
                errno="EOPNOTSUPP",
                remedy="its debugger may watch it too: `hwbp-tui slots` shows what both hold",
            )
        return self._actors

    def leave(self) -> None:
        """End the other owners."""
        self._actors.close()

    def close(self) -> None:
        """Look into the books no more."""
        self._registers.close()
