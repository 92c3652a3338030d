"""The #DB exceptions of a bare program in the place of the owners: it has no kernel, and so no owners but itself."""

from __future__ import annotations

from textual.strip import Strip

from backends.dr import dr6_fields
from backends.model import DebugException, MachineView
from tui.app.panel import Panel

__all__ = ["sequence_lines"]

_ACTIVE_LOW = ("BLD", "RTM")


def _bits(dr6: int) -> str:
    names = [field.name for field in dr6_fields() if bool(field.of(dr6)) != (field.name in _ACTIVE_LOW)]
    return " ".join(names) or "no bit"


def sequence_lines(panel: Panel, view: MachineView, width: int, height: int) -> list[Strip]:
    """A rule, and the newest #DB below the ones before it, as many as there is room for."""
    cpu = view.cpus[0]
    rows = (view.debug_exceptions or ())[-max(1, height - 1) :]
    head = panel.rule(width, "#DB", after=f"{cpu.db_count:,} so far", right=":info db lists them")
    if not rows:
        return [head, panel.line(width).add("  none yet", panel.ink.muted).strip()]
    return [head, *(_row(panel, row, width) for row in rows)]


def _row(panel: Panel, row: DebugException, width: int) -> Strip:
    ink = panel.ink
    where = panel.scene.names.of(row.ip).symbol
    line = panel.line(width).add(f" {row.number + 1:>5} ", ink.muted)
    if width < 80:
        line.add(f"{row.cause:<15} ", ink.warn if row.kind == "fault" else ink.strong)
        return line.add(f"{_bits(row.dr6):<7} ", ink.base).add(where, ink.muted).strip()
    line.add(f"{row.kind:<5} ", ink.warn if row.kind == "fault" else ink.base)
    line.add(f"{row.cause:<15} ", ink.strong)
    line.add(f"{row.ip:#x} ", ink.muted).add(f"{where}  ", ink.base)
    line.add(f"DR6 {row.dr6:08x} ", ink.base).add(_bits(row.dr6), ink.strong)
    if width >= 100:
        line.add(f"  DR7 {row.dr7:08x}  RF {row.rf:d}  level {row.cpl}", ink.muted)
    return line.strip()
