"""Tasks that do what they are told: their accesses are hits like others, and the clock goes on with what they do."""

from __future__ import annotations

from typing import Final

from backends import dr
from backends.emulated.breakpoints import Breakpoints
from backends.emulated.capture import ACCESS_R, ACCESS_W, ACCESS_X, EXACT, Capture
from backends.emulated.engine import EngineError
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.tasks import Task
from backends.emulated.machine import Machine
from backends.ring import FLAG_KERNEL, FLAG_SAME_DB

__all__ = ["Told"]

_ACCESS: Final = {"r": ACCESS_R, "w": ACCESS_W, "x": ACCESS_X}


class Told:
    """Writes what told tasks hit into the ring. A told access changes no memory: it shows what the bytes of the program hold."""

    def __init__(self, machine: Machine, breakpoints: Breakpoints, capture: Capture) -> None:
        self._machine = machine
        self._breakpoints = breakpoints
        self._capture = capture

    def passes(self, nanoseconds: int) -> None:
        """The machine's clock goes on."""
        self._machine.advance(nanoseconds)

    def hits(
        self,
        cpu: int,
        task: Task | None,
        kind: str,
        matched: int,
        fired: list[tuple[int, PerfEvent]],
        *,
        user: bool,
    ) -> None:
        """One access's #DB: the registers that matched (a bit each), and those whose owners counted a hit, with their events."""
        capture = self._capture
        before = capture.pid, capture.tid, capture.cpu, capture.comm
        capture.pid, capture.tid, capture.cpu = (
            (task.tgid, task.tid, cpu) if task is not None else (0, 0, cpu)
        )
        capture.comm = self._machine.comm_number(task.comm if task is not None else "<idle>")
        flags = 0 if user else FLAG_KERNEL
        on = self._machine.cpus[cpu]
        on.last_dr6 = dr.DR6_BASE | matched
        for slot, event in fired:
            value, known = self._value(event)
            sink = capture.sink((event.parent or event).id)
            ip = event.address if kind == "x" else 0
            capture.hit(
                sink, self._machine.instructions, ip, ip, event.address, event.length, slot, _ACCESS[kind], value, value, 0,
                flags, known=known,
            )  # fmt: skip
            flags |= FLAG_SAME_DB
        capture.pid, capture.tid, capture.cpu, capture.comm = before
        capture.publish()
        on.db_count += 1
        on.last_db = "fault: execute" if kind == "x" else f"trap: data{'' if user else ', in kernel mode'}"

    def _value(self, event: PerfEvent) -> tuple[int, int]:
        if event.type == "x":
            return 0, 0
        engine = self._machine.linux.first.process.mm.engine
        try:
            return int.from_bytes(engine.read(event.address, event.length), "little"), EXACT
        except EngineError:
            return 0, 0
