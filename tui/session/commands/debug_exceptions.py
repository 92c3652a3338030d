"""`info db`: the #DB exceptions that a bare program took, in order."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from backends.base import HwbpError
from backends.dr import dr6_fields
from backends.model import DebugException
from tui.session.commands.table import answer
from tui.session.commands.words import count
from tui.session.result import Answer

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["db_line", "debug_exceptions", "last_debug_exceptions"]

_ACTIVE_LOW: Final = ("BLD", "RTM")
_MOST: Final = 10_000


def last_debug_exceptions(session: Session, wanted: int) -> tuple[DebugException, ...]:
    """The last `wanted`, oldest first. Raises HwbpError where the machine keeps none."""
    total = session.view.cpus[0].db_count if session.view.cpus else 0
    first, rows = max(0, total - wanted), list[DebugException]()
    while True:
        more = session.backend.debug_exceptions(first)
        rows += more
        if not more or len(rows) >= wanted:
            return tuple(rows[-wanted:])
        first = more[-1].number + 1


def bits(dr6: int) -> str:
    """`B0 BS`: what happened, by name."""
    names = [field.name for field in dr6_fields() if bool(field.of(dr6)) != (field.name in _ACTIVE_LOW)]
    return " ".join(names) or "-"


def db_line(session: Session, row: DebugException) -> str:
    """One #DB in one line. People count from 1."""
    by = session.names.instruction(row.insn_ip) or "?"
    return (
        f"{row.number + 1:>5} {row.time_ns:>9}  {row.kind:<5} {row.cause:<18} rip {row.ip:#x} {session.describe(row.ip)}  "
        f"DR6 {row.dr6:08x} {bits(row.dr6)}  DR7 {row.dr7:08x}  RF {row.rf:d}  by {by}"
    )


def _facts(session: Session, row: DebugException) -> dict[str, Any]:
    return {
        **asdict(row),
        "number": row.number + 1,
        "bits": bits(row.dr6).split() if bits(row.dr6) != "-" else [],
        "symbol": session.describe(row.ip),
        "insn": session.names.instruction(row.insn_ip),
    }


def debug_exceptions(session: Session, text: str) -> Answer:
    """`info db [N]`."""
    wanted = count(text, "info db [N]", 20, _MOST)
    try:
        rows = last_debug_exceptions(session, wanted)
    except HwbpError as error:
        if error.errno != "EOPNOTSUPP":
            raise
        lines = [
            f"CPU {cpu.cpu}: {cpu.db_count} #DB, the last: {cpu.last_db or '-'}" for cpu in session.view.cpus
        ]
        return answer(
            *lines, error.message, total=sum(cpu.db_count for cpu in session.view.cpus), exceptions=[]
        )
    total = session.view.cpus[0].db_count
    lines = [db_line(session, row) for row in rows]
    if len(rows) < total:
        lines.insert(0, f"the last {len(rows)} of {total} #DB")
    return answer(*(lines or ["no #DB yet"]), total=total, exceptions=[_facts(session, row) for row in rows])
