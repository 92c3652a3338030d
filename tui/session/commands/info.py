"""gdb's `info`: one table of topics, each drawn from the machine's view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from backends.base import HwbpError, Register
from backends.dr import dr6_fields, dr7_fields
from tui.session.arming import free_slots, ignoring, numbered, owner_text, wanted_text
from tui.session.commands.debug_exceptions import debug_exceptions
from tui.session.commands.table import Command, answer
from tui.session.commands.tasks import cpus, journal, tasks
from tui.session.commands.words import count, number
from tui.session.escape import escape, escape_bytes
from tui.session.frames import OF_A_THREAD, chosen_frame
from tui.session.result import Answer
from tui.session.slot_queue import needed_text

if TYPE_CHECKING:
    from backends.model import Owner, Refusal
    from tui.session.hits import HitView
    from tui.session.session import Session

__all__ = ["COMMANDS", "hit_data", "hit_line", "hit_typed"]

_OUTPUT_A_CALL: Final = 65536
_MODELLED: Final = ("kgdb", "ftrace", "kvm")
"""Owners that no kernel here could be asked about: the emulated machine has them from Linux's source."""
_SHOWN_SITES: Final = 100


def hit_line(hit: HitView, typed: str | None = None) -> str:
    """One hit in one line. People count hits from 1. `typed` says what changed by its type."""
    slot = "?" if hit.slot is None else hit.slot
    change = ""
    if hit.value is not None:
        change = f"  {hit.value}" if hit.old is None or hit.access == "r" else f"  {hit.old} -> {hit.value}"
    if typed is not None:
        change = f"  {typed}"
    if hit.unseen:
        change += "  (changed unseen before)"
    source = f"  {hit.source}" if hit.source else ""
    return f"{hit.seq + 1}  DR{slot}  tid {hit.tid}  {hit.access}  {hit.label}{change}  {hit.symbol}{source}"


def _watchpoints(session: Session, _text: str) -> Answer:
    counts = {bp.id: bp for bp in session.view.breakpoints}
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    for watch in session.watches.armed:
        mine = [counts[id] for id in watch.breakpoints if id in counts]  # noqa: A001 - the model's word
        hits, on = sum(bp.hits for bp in mine), all(bp.enabled for bp in mine)
        slots = [bp.slot for bp in mine]
        where = "+".join("-" if slot is None else f"DR{slot}" for slot in slots)
        filtered = sum(bp.filtered for bp in mine)
        state = ("" if on else "  disabled") + ("  stops" if watch.stop else "")
        ignored = ignoring(session.view, watch)
        wanted = wanted_text(replace(watch.watch, ignore=ignored))
        sifted = filtered or watch.watch.condition
        lines.append(
            f"{watch.index:3}  {where:<12} {watch.type:<2} {watch.length:<4} {watch.address:#x}  {watch.label}  "
            f"{watch.owner}, {hits} hits{f', {filtered} filtered' if sifted else ''}{wanted}{state}"
        )
        rows.append(
            {
                "watch": watch.index,
                "expr": watch.label,
                "type": watch.type,
                "address": watch.address,
                "length": watch.length,
                "owner": watch.owner,
                "slots": slots,
                "enabled": on,
                "stop": watch.stop,
                "hits": hits,
                "filtered": filtered,
                "condition": escape(watch.watch.condition) or None,
                "ignore": ignored,
                "limit": watch.watch.limit,
            }
        )
    for watch in session.watches.waiting:
        what = "a library" if watch.waits == "library" else f"{needed_text(watch)} to come free"
        lines.append(f"{watch.index:3}  {'-':<12} {escape(str(watch.watch))}  waits for {what}")
    waiting = [
        {"watch": watch.index, "expr": watch.label, "for": watch.waits, "slots": len(watch.windows) or None}
        for watch in session.watches.waiting
    ]
    return answer(*(lines or ["no watches"]), watches=rows, waiting=waiting)


def _registers(session: Session, text: str) -> Answer:
    wanted = text.replace("$", "").split()
    registers = session.backend.registers(None)
    if (frame := chosen_frame(session)) is not None:
        known = frame.registers
        here = (each for each in registers if each.name in known or each.name in OF_A_THREAD)
        registers = tuple(Register(each.name, known.get(each.name, each.value)) for each in here)
        if lost := set(wanted) - {register.name for register in registers}:
            raise HwbpError(
                f"{escape(sorted(lost)[0])} is not known in frame {frame.number}", errno="ENODATA"
            )
    if unknown := set(wanted) - {register.name for register in registers}:
        raise HwbpError(f"there is no register {escape(sorted(unknown)[0])}", errno="EINVAL")
    chosen = [register for register in registers if not wanted or register.name in wanted]
    lines = [f"{register.name:<8} {register.value:#018x}  {register.value}" for register in chosen]
    return answer(*lines, registers={register.name: register.value for register in chosen})


def _dr(session: Session, _text: str) -> Answer:
    lines: list[str] = []
    for cpu in session.view.cpus[session.cpu : session.cpu + 1]:
        head = f"CPU {cpu.cpu}: " if len(session.view.cpus) > 1 else ""
        lines += [f"{head}DR{number} {value:#018x}" for number, value in enumerate(cpu.dr)]
        if not cpu.readable:
            lines.append(
                f"{head}DR6, DR7: not readable from user space; the kernel's copy of DR7 {cpu.cpu_dr7:#010x}"
            )
            continue
        bare = session.view.debug_exceptions is not None
        copy = "" if bare else f"kernel's copy of DR7 {cpu.cpu_dr7:#010x}, "
        six = ", ".join(f"{field.name} {field.of(cpu.dr6)}" for field in dr6_fields())
        seven = ", ".join(f"{field.name} {field.of(cpu.dr7)}" for field in dr7_fields())
        lines += [f"{head}DR6 {cpu.dr6:#010x}  {six}", f"{head}DR7 {cpu.dr7:#010x}  {seven}"]
        lines.append(f"{head}{copy}{cpu.db_count} #DB, {cpu.dr_writes} DR writes")
    rows = [
        {
            "cpu": cpu.cpu,
            "dr": list(cpu.dr),
            "dr6": cpu.dr6 if cpu.readable else None,
            "dr7": cpu.dr7 if cpu.readable else None,
            "cpu_dr7": cpu.cpu_dr7,
        }
        for cpu in session.view.cpus
    ]
    return answer(*lines, cpus=rows)


def _owner(owner: Owner) -> dict[str, Any]:
    return {**asdict(owner), "comm": None if owner.comm is None else escape(owner.comm)}


def _slots(session: Session, _text: str) -> Answer:
    lines: list[str] = []
    for cpu in session.view.cpus[session.cpu : session.cpu + 1]:
        head = f"CPU {cpu.cpu} " if len(session.view.cpus) > 1 else ""
        used = {slot.index: slot for slot in cpu.slots}
        by_id = {bp.id: bp for bp in session.view.breakpoints}
        for index in range(4):
            slot = used.get(index)
            if slot is None or not (slot.local or slot.global_ or slot.breakpoint is not None):
                lines.append(f"{head}DR{index}  free")
                continue
            bp = by_id.get(slot.breakpoint) if slot.breakpoint is not None else None
            what = numbered(session, bp) if bp else session.names.describe_data(slot.address)
            nobody = f"of the guest {escape(cpu.guest)}" if cpu.guest else "in nobody's books"
            who = f"{owner_text(bp)}, {bp.hits} hits" if bp else nobody
            if slot.type == "io":
                bare = session.view.debug_exceptions is not None
                what = f"port {slot.address & 0xFFFF:#x}"
                who = "program" if bare else "in nobody's books"
            enable = ("L" if slot.local else "") + ("G" if slot.global_ else "") or "off"
            lines.append(
                f"{head}DR{index}  {slot.type:<2} {slot.length} {slot.address:#x} {enable}  {what}  {who}"
            )
    shown = {slot.breakpoint for cpu in session.view.cpus for slot in cpu.slots}
    for bp in session.view.breakpoints:
        if bp.id not in shown:
            state = "reserved" if bp.enabled else "reserved, disabled"
            lines.append(
                f"--   {bp.type:<2} {bp.length} {bp.address:#x} {state}  {numbered(session, bp)}  {owner_text(bp)}"
            )
    lines += [f"!    {escape(each)}" for each in session.view.disagreements]
    free: int | None = free_slots(session.view)
    if session.view.can.reads_dr:
        lines.append(f"{free} free")
    elif session.view.cpus:
        lines.append(f"{free} free for a CPU-wide request")
    else:
        free = None
        lines.append(
            "how many are free is not known: the kernel's books are closed here (as root, or --sudo)"
        )
    rows = [
        {
            "breakpoint": bp.id,
            "slot": bp.slot,
            "address": bp.address,
            "length": bp.length,
            "type": bp.type,
            "enabled": bp.enabled,
            "label": session.watch_label(bp.id),
            "owner": _owner(bp.owner),
            "tid": bp.tid,
            "cpu": bp.cpu,
            "hits": bp.hits,
        }
        for bp in session.view.breakpoints
    ]
    said = [escape(each) for each in session.view.disagreements]
    return answer(*lines, free=free, slots=rows, disagreements=said)


def _owners(session: Session, _text: str) -> Answer:
    kinds: dict[str, list[str]] = {kind: [] for kind in ("perf", "ptrace", "kgdb", "ftrace", "kvm")}
    texts: dict[str, list[str]] = {}
    for bp in session.view.breakpoints:
        where = "" if bp.slot is None else f" in DR{bp.slot}"
        kinds.setdefault(bp.owner.kind, []).append(f"{session.watch_label(bp.id)}{where}")
        texts.setdefault(bp.owner.kind, []).append(f"{numbered(session, bp)}{where}")
    emulated = session.view.backend == "emulated"
    notes = {kind: "  (modelled from source)" if emulated and kind in _MODELLED else "" for kind in kinds}
    lines = [
        f"{kind:<7} {len(held)}  {', '.join(texts.get(kind, ()))}{notes[kind] if held else ''}".rstrip()
        for kind, held in kinds.items()
    ]
    return answer(*lines, owners=kinds, free=free_slots(session.view))


def hit_data(hit: HitView) -> dict[str, Any]:
    """A hit as JSON has it."""
    data = asdict(hit)
    del data["seq"]
    return {"hit": hit.seq + 1, **data}


def hit_typed(session: Session, hit: HitView) -> str | None:
    """What a hit changed, as the watched variable's type writes it; None where plain numbers say it."""
    from tui.session.typed import changed

    watch = session.watches.get(hit.watch) if hit.watch is not None else None
    if watch is None or hit.window is None or hit.value is None:
        return None
    return changed(session, watch, hit.window, hit.value, hit.old if hit.access != "r" else None)


def _hits(session: Session, text: str) -> Answer:
    session.look()
    wanted = count(text, "info hits [N]", 10, 10_000)
    head = session.ring.head
    rows = session.ring.read(head - wanted, wanted)
    hits = [session.hit_of(row) for row in rows]
    return answer(
        *([hit_line(hit, hit_typed(session, hit)) for hit in hits] or ["no hits yet"]),
        total=head,
        hits=[hit_data(h) for h in hits],
    )


def _sites(session: Session, _text: str) -> Answer:
    sites = session.backend.sites()
    lines = [
        f"{site.count:>10}  {session.watch_label(site.breakpoint)}  {session.describe(site.insn_ip)}"
        f"{'  ' + source if (source := session.source(site.insn_ip)) else ''}"
        for site in sites[:_SHOWN_SITES]
    ]
    rows = [
        {
            **asdict(site),
            "label": session.watch_label(site.breakpoint),
            "symbol": session.describe(site.insn_ip),
            "source": session.source(site.insn_ip),
        }
        for site in sites
    ]
    return answer(*(lines or ["no hits yet"]), sites=rows)


def _stack(session: Session, text: str) -> Answer:
    seq = (
        session.ring.head - 1 if not text.strip() else number(text, "a hit's number", "info stack [HIT]") - 1
    )
    hit = session.hit(seq) if seq >= 0 else None
    if hit is None:
        raise HwbpError(f"hit {seq + 1} is not in the ring" if seq >= 0 else "no hits yet", errno="ENOENT")
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    for depth, frame in enumerate(session.stack(hit.stack)):
        place = frame.ip if depth == 0 else frame.ip - 1
        for level in session.levels(place):
            at = f" at {level.source}" if level.source else ""
            lines.append(f"#{len(lines):<2} {frame.ip:#x} {level.text}{at}{'  ?' * frame.guessed}")
            rows.append({"ip": frame.ip, **level._asdict(), "guessed": frame.guessed})
    return answer(*(lines or [f"hit {seq + 1} has no stack"]), hit=seq + 1, frames=rows)


def _mappings(session: Session, _text: str) -> Answer:
    lines = [
        f"{m.start:#x}-{m.end:#x} {m.perms} {m.offset:#x} {escape(m.path)}".rstrip()
        for m in session.view.mappings
    ]
    return answer(*lines, mappings=[{**asdict(m), "path": escape(m.path)} for m in session.view.mappings])


def _output(session: Session, _text: str) -> Answer:
    end = session.ring.word("output")
    parts: list[bytes] = []
    first = max(0, end - _OUTPUT_A_CALL)
    for _stream, data in session.backend.output(first):
        parts.append(data)
    text = b"".join(parts)
    lines = [escape_bytes(line) for line in text.split(b"\n")]
    if lines and not lines[-1]:
        lines.pop()
    return answer(*(lines or ["nothing printed yet"]), output=escape_bytes(text), bytes=end)


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        **asdict(refusal),
        "what": escape(refusal.what),
        "why": escape(refusal.why),
        "holders": [escape(holder) for holder in refusal.holders],
    }


def _refusals(session: Session, _text: str) -> Answer:
    view = session.view
    lines: list[str] = []
    for refusal in view.refusals:
        lines.append(f"{escape(refusal.what)}: {refusal.errno}, {escape(refusal.why)}")
        lines += [f"    held by {escape(holder)}" for holder in refusal.holders]
    return answer(
        *(lines or ["nothing was refused"]),
        refused=view.refused,
        refusals=[_refusal(r) for r in view.refusals],
    )


def _program(session: Session, _text: str) -> Answer:
    view = session.view
    ran = "" if view.instructions is None else f", {view.instructions} instructions"
    ended = "" if view.exit_status is None else f", exit status {view.exit_status}"
    return answer(
        f"{escape(view.program)} {' '.join(escape(arg) for arg in view.argv[1:])}".rstrip(),
        f"{view.state}{f': {escape(view.stop.text)}' if view.stop.text else ''}{ran}, {view.hits} hits{ended}",
        f"machine: {view.backend}, engine {view.engine}, clock {view.clock}",
        *([view.notice] if view.notice else []),
        program=escape(view.program),
        argv=[escape(arg) for arg in view.argv],
        state=view.state,
        backend=view.backend,
        engine=view.engine,
        notice=view.notice or None,
        instructions=view.instructions,
        hits=view.hits,
        lost=view.lost,
        exit_status=view.exit_status,
    )


_TOPICS: Final[tuple[tuple[str, str, tuple[str, ...], str, Callable[[Session, str], Answer]], ...]] = (
    ("watchpoints", "", ("info breakpoints", "info b"), "the armed watches", _watchpoints),
    ("registers", "[NAME]...", ("info r",), "the task's registers", _registers),
    ("dr", "", (), "the debug registers of a CPU (see `cpu`), field by field", _dr),
    ("slots", "", (), "what sits in a CPU's DR0 to DR3 (see `cpu`), and who holds it", _slots),
    ("db", "[N]", (), "the #DB exceptions that a bare program took (--bare)", debug_exceptions),
    ("owners", "", (), "how many slots each interface holds", _owners),
    ("hits", "[N]", (), "the last hits", _hits),
    ("sites", "", (), "exact totals for each watch and instruction", _sites),
    ("stack", "[HIT]", ("backtrace", "bt", "where"), "the call stack of a hit", _stack),
    ("tasks", "", ("info threads",), "the tasks and their own debug state", tasks),
    ("cpus", "", (), "the CPUs: who holds DR0 to DR3, and who runs there", cpus),
    ("journal", "[N]", (), "who sat in which register from when to when, and what happened besides", journal),
    ("mappings", "", ("info proc mappings",), "the program's memory map", _mappings),
    ("output", "", (), "what the program has printed", _output),
    ("refusals", "", (), "requests that were refused, and why", _refusals),
    ("program", "", ("info files",), "the program and the machine it runs on", _program),
)


def _fresh(run: Callable[[Session, str], Answer]) -> Callable[[Session, str], Answer]:
    """The topic as of now, not as of the last picture."""

    def fresh(session: Session, text: str) -> Answer:
        session.look()
        return run(session, text)

    return fresh


COMMANDS = tuple(
    Command(
        f"info {word}",
        "looking",
        f"info {word} {arguments}".rstrip(),
        summary,
        f"{summary[0].upper()}{summary[1:]}. Example: info {word}",
        _fresh(run),
        aliases=aliases,
    )
    for word, arguments, aliases, summary, run in _TOPICS
)
