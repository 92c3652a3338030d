"""#DB, faults and software interrupts of a bare CPU: DR6, RF in the frame, double and triple faults, and the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from backends import dr
from backends.emulated.bare.faults import DB, DF, PF, GuestFault, MachineEnds, name_of
from backends.emulated.bare.journal import Journal
from backends.emulated.bare.state import DEBUGCTL, DEBUGCTL_BTF
from backends.emulated.bare.tables import deliver
from backends.emulated.rflags import RF
from backends.model import DebugException

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["Exceptions"]

_MOST_IN_PLACE: Final = 1000
"""#DB faults on one instruction that never got to run."""
_MOST_UNRETURNED: Final = 1000
"""#DB one after another without a single IRET."""


class Exceptions:
    """Delivers exceptions into a CPU. `last_db` says in words what the last #DB was."""

    def __init__(self, cpu: BareCpu) -> None:
        self._cpu = cpu
        self.journal = Journal()
        self.last_db = ""
        self.last_dr6 = dr.DR6_BASE
        self._in_place = 0
        self._in_place_at = -1
        self._unreturned = 0

    # -- #DB

    def trap(self, hits: int, step: bool) -> None:
        """What is pending from the instruction before, as one #DB."""
        what = [f"DR{n}" for n in range(4) if hits >> n & 1] + (["single step"] if step else [])
        self._db("trap", " and ".join(what), hits, step=step, rf=bool(self._cpu.state.flags & RF))

    def execute(self, hits: int) -> None:
        """The instruction at pc is one that execute slots watch: RF stays out of the frame (SDM 3B 17.3.1.1)."""
        self._stuck(self._cpu.engine.pc, "RF is not set in the frame it returns by")
        self._db("fault", "execute " + " and ".join(f"DR{n}" for n in range(4) if hits >> n & 1), hits)

    def general_detect(self, hits: int) -> None:
        """A MOV to or from a debug register, with DR7.GD set. What MOV SS held back comes with it."""
        self._stuck(self._cpu.engine.pc, "it sets DR7.GD again")
        self._db("fault", "general detect", hits, general_detect=True, rf=True)

    def icebp(self, hits: int) -> None:
        """INT1: a #DB that sets nothing in DR6 by itself. What MOV SS held back comes with it."""
        self._db("trap", "icebp", hits)

    def _db(
        self,
        kind: Literal["fault", "trap"],
        cause: str,
        hits: int,
        *,
        step: bool = False,
        general_detect: bool = False,
        rf: bool = False,
    ) -> None:
        cpu = self._cpu
        self._count_unreturned()
        before = cpu.unit.dr7
        cpu.unit.db(hits, step=step, general_detect=general_detect)
        if cpu.unit.dr7 != before:
            cpu.dr7_changed(before, "entry to #DB")
        cpu.state.msr[DEBUGCTL] &= ~DEBUGCTL_BTF
        self.last_db = f"{kind}: {cause}"
        self.last_dr6 = cpu.unit.dr6
        self.journal.add(
            DebugException(
                number=self.journal.total,
                time_ns=cpu.instructions,
                ip=cpu.engine.pc,
                insn_ip=cpu.last_pc if kind == "trap" else cpu.engine.pc,
                kind=kind,
                cause=cause,
                dr6=cpu.unit.dr6,
                dr7=before,
                rf=rf,
                cpl=cpu.state.cpl,
            )
        )
        self._enter(GuestFault(DB), rf=rf)

    # -- all others

    def fault(self, fault: GuestFault) -> None:
        """The instruction at pc cannot be done. Every fault but an execute #DB has RF set in its frame (SDM 3B 17.3.1.1)."""
        self._enter(fault, rf=True)

    def software(self, vector: int) -> None:
        """INT n and INT3: pc is past the instruction. Raises GuestFault where its gate is not for it."""
        cpu = self._cpu
        if vector == DB:
            self._count_unreturned()
        deliver(cpu, vector, None, software=True)

    def _enter(self, fault: GuestFault, *, rf: bool) -> None:
        """Deliver, and what that leads to: a second fault, a double fault, shutdown (SDM 3A 6.15)."""
        cpu = self._cpu
        story = [str(fault)]
        where = cpu.engine.pc
        while True:
            if fault.vector == PF and fault.address is not None:
                cpu.state.control[2] = fault.address
            try:
                deliver(cpu, fault.vector, fault.error, rf=rf)
                return
            except GuestFault as second:
                story[-1] += f": {second.why}" if second.why else ""
                if fault.vector == DF:
                    raise MachineEnds(f"triple fault at {where:#x}: {', then '.join(story)}") from second
                fault = GuestFault(DF, 0) if fault.doubles(second) else second
                rf = True
                story.append(name_of(fault.vector))

    # -- programs that never get on

    def frame_left(self) -> None:
        """IRET."""
        self._unreturned = 0

    def retired(self, pc: int) -> None:
        """The instruction at pc has run."""
        if pc == self._in_place_at:
            self._in_place = 0

    def _stuck(self, pc: int, why: str) -> None:
        if pc != self._in_place_at:
            self._in_place_at, self._in_place = pc, 0
        self._in_place += 1
        if self._in_place > _MOST_IN_PLACE:
            raise MachineEnds(
                f"its #DB handler loops: {_MOST_IN_PLACE} #DB at {pc:#x}, and the instruction there never ran ({why})"
            )

    def _count_unreturned(self) -> None:
        self._unreturned += 1
        if self._unreturned > _MOST_UNRETURNED:
            raise MachineEnds(
                f"its #DB handler loops: {_MOST_UNRETURNED} #DB inside each other, the last at {self._cpu.engine.pc:#x}, "
                "and not one IRET"
            )
