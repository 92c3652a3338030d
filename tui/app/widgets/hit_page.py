"""A hit in full, as text: for the page that Enter opens."""

from __future__ import annotations

from backends.ring import FROM_CODES
from tui.app import numbers
from tui.app.glyphs import Glyphs
from tui.app.inspection import Inspection
from tui.app.records import Record
from tui.app.scene import Scene
from tui.app.screens.reader import HEADING

__all__ = ["hit_page"]

_ACCESS = {"x": "executed", "r": "read", "w": "written", "rw": "read or written"}


def hit_page(
    scene: Scene, record: Record, inspection: Inspection | None, glyphs: Glyphs, typed: str = ""
) -> tuple[str, ...]:
    """Values, instructions and the whole stack."""
    label = scene.label_of_hit(record.breakpoint, record.address)
    unit = "instruction" if scene.view is None or scene.view.clock == "instructions" else "ns"
    lines = [
        f"{_ACCESS[record.access_text]}: {label}, {record.length} byte{'s' * (record.length != 1)} at {record.address:#x}",
        f"DR{record.slot_text}, CPU {record.cpu}, task {record.tid} of process {record.pid} {scene.comm(record.comm)}",
        f"time {record.time:,} ({unit})",
    ]
    if record.access_text != "x":
        for word, value, source in (
            ("old", record.old, FROM_CODES[record.old_from]),
            ("new", record.value, FROM_CODES[record.value_from]),
        ):
            signed = scene.signed(record.breakpoint, record.address)
            shown = f"{numbers.value(value, signed)}  ({value:#x}, {source})" if source else "unknown"
            lines.append(f"{word} {shown}")
        if typed:
            lines.append(f"by its type: {typed}")
    culprit = f"{record.insn_ip:#x}" if record.insn_ip else "unknown"
    lines += [
        f"done by the instruction at {culprit}; the CPU reported ip {record.ip:#x}",
        "",
        f"{HEADING}Code",
    ]
    if inspection is None:
        return (*lines, "still being read")
    for code in inspection.code:
        sign = {"culprit": "=>", "both": "=>", "ip": "ip", "armed": "*"}.get(code.mark, "")
        lines.append(f"{sign:<2} {code.address:16x}  {code.text}")
    if inspection.problem:
        lines.append(inspection.problem)
    if inspection.source:
        lines.append(f"   {inspection.source}")
    lines += ["", f"{HEADING}Stack, innermost first (~ marks a guess)"]
    for frame in inspection.frames:
        lines.append(f"{'~' if frame.guessed else ' '} {frame.symbol:<40} {frame.source}".rstrip())
    if not inspection.frames:
        lines.append("no stack was recorded")
    return tuple(lines)
