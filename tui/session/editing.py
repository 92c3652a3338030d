"""Changing a watch that is armed, and the requests that stand for a bit of DR7 where the register itself is out of reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.dr import dr7_fields, slot_length, slot_type
from tui.session.arming import Planned, arm, asked, free_slots, owner_text, plan, record
from tui.session.escape import escape
from tui.session.watch import Watch

if TYPE_CHECKING:
    from backends.model import Breakpoint, WatchType
    from tui.session.session import Session
    from tui.session.watches import ArmedWatch

__all__ = ["bit_request", "edited", "plan_edit", "rearm", "replace"]

_LENGTHS: Final = {0: 1, 1: 2, 2: 8, 3: 4}
"""LEN of DR7 (SDM 3B 17.2.4)."""
_TYPES: Final[dict[int, WatchType]] = {0: "x", 1: "w", 3: "rw"}
_NEXT: Final[dict[str, WatchType]] = {"x": "w", "w": "rw", "rw": "x"}
_KERNELS: Final = {
    "LE": "CPUs ignore LE today, and Linux leaves it clear",
    "GE": "Linux sets GE with any slot, and clears it with the last one (x86 hw_breakpoint.c, encode_dr7)",
    "GD": "GD would trap the kernel's own accesses to the registers; Linux keeps it clear",
    "RTM": "debugging inside transactions is the kernel's to allow, and Linux does not",
}


def edited(old: ArmedWatch, text: str) -> Watch:
    """The watch that an edit means: a whole WATCH, or `/LEN` and `:type`, which leave the rest as it was."""
    text = text.strip()
    if not text.startswith(("/", ":")):
        return Watch.parse(text)
    changed = Watch.parse(f"{old.watch.expr}{text}")
    kind = changed.type or old.watch.type
    return Watch(
        changed.expr,
        changed.length if changed.length is not None or kind == "x" else old.watch.length,
        kind,
        changed.condition or old.watch.condition,
        changed.limit if changed.limit is not None else old.watch.limit,
    )


def plan_edit(session: Session, old: ArmedWatch, watch: Watch) -> Planned:
    """What the edited watch covers; a watch of data stays one of reads and writes unless it says otherwise."""
    planned = plan(session, watch)
    if watch.type is None and planned.type == "w" and old.type == "rw":
        return plan(session, watch, "rw")
    return planned


def replace(session: Session, old: ArmedWatch, watch: Watch, stop: bool) -> tuple[ArmedWatch, str]:
    """Another watch in the place of one of ours, and how that was done; where it is refused, the old one is armed as it was.

    Its registers move to the new place where there are as many as are needed: slots stay, and it works when none is free. Else
    the new one is armed first where there is room for both, so that nothing is missed; else the old one makes room.
    """
    if old.owner != "perf":
        raise HwbpError(
            f"watch {old.index} belongs to {old.owner}, and only {old.owner} can change it",
            errno="EPERM",
            remedy=f"arm another one: watch {escape(str(watch))}",
        )
    with session.queue.held():
        return _replace(session, old, watch, stop)


def _replace(session: Session, old: ArmedWatch, watch: Watch, stop: bool) -> tuple[ArmedWatch, str]:
    planned = plan_edit(session, old, watch)
    moved = ""
    if len(planned.windows) == len(old.breakpoints):
        try:
            return _move(session, old, planned, stop), "moved in place: its slots stay"
        except HwbpError as error:
            if error.errno not in ("EINVAL", "EOPNOTSUPP", "ENOTTY", "EPERM"):
                raise
            moved = f"armed anew, for it cannot move: {error.message}"
    disabled = any(not bp.enabled for bp in session.view.breakpoints if bp.id in old.breakpoints)
    both = len(planned.windows) <= free_slots(session.view)
    if not both:
        _remove(session, old)
    try:
        (armed,) = arm(session, (planned,), "perf", stop)
    except HwbpError as error:
        if both:
            raise
        raise _put_back(session, old, not disabled, error) from error
    if both:
        _remove(session, old)
    if disabled:
        for bp_id in armed.breakpoints:
            session.backend.enable(bp_id, False)
    session.look()
    return armed, moved


def _move(session: Session, old: ArmedWatch, planned: Planned, stop: bool) -> ArmedWatch:
    """PERF_EVENT_IOC_MODIFY_ATTRIBUTES. The hits up to now stay those of the old watch."""
    index = session.watches.next_index
    session.backend.move(old.breakpoints, asked(planned, index, "perf", stop))
    session.watches.remove(old.index)
    armed = record(session, planned, index, old.breakpoints, "perf", stop)
    session.look()
    return armed


def _put_back(session: Session, old: ArmedWatch, enabled: bool, error: HwbpError) -> HwbpError:
    """Arm again what had to make room for a request that was refused; the refusal says what became of it."""
    try:
        armed = rearm(session, old, enabled)
    except HwbpError as lost:
        fate = f"watch {old.index}: {old.label} is gone, somebody took its slot ({lost.message})"
    else:
        fate = f"watch {armed.index}: {old.label} is armed again"
    return HwbpError(
        f"{error.message}; {fate}", errno=error.errno, holders=error.holders, remedy=error.remedy
    )


def rearm(session: Session, watch: ArmedWatch, enabled: bool = True) -> ArmedWatch:
    """A watch that was removed, at the same place, under a new number."""
    planned = Planned(
        watch=watch.watch,
        label=watch.label,
        type=watch.type,
        address=watch.address,
        length=watch.length,
        windows=watch.windows,
        frame=watch.frame,
        condition=watch.condition,
    )
    (armed,) = arm(session, (planned,), watch.owner, watch.stop)
    if not enabled:
        for bp_id in armed.breakpoints:
            session.backend.enable(bp_id, False)
        session.look()
    return armed


def _remove(session: Session, watch: ArmedWatch) -> None:
    session.backend.disarm(watch.breakpoints)
    session.watches.remove(watch.index)
    session.look()


def bit_request(session: Session, name: str) -> str:
    """The command line that asks for what turning a bit of DR7 would do. Raises HwbpError where none can.

    `name` is a field (`G0`, `RW1`), whose next value is asked for, or a bit's number.
    """
    fields = {field.name: field for field in dr7_fields()}
    wanted = name.strip().upper()
    if wanted.isdecimal() and len(wanted) < 3:
        bit = int(wanted)
        field = next((f for f in fields.values() if f.shift <= bit < f.shift + f.width), None)
    else:
        field, bit = fields.get(wanted), -1
    if field is None:
        raise HwbpError(f"DR7 has no bit '{escape(name.strip())}' that can be asked for", errno="EINVAL")
    if field.name in _KERNELS:
        raise HwbpError(f"{field.name} is not for asking: {_KERNELS[field.name]}", errno="EPERM")
    slot = int(field.name[-1])
    cpu = session.view.cpus[session.cpu]
    bp = _in_slot(session, slot)
    found = session.watches.find(bp.id)
    if found is None or found[0].removed or found[0].owner != "perf":
        raise HwbpError(
            f"DR{slot} belongs to {owner_text(bp)}, and only {bp.owner.kind} can change it",
            errno="EPERM",
            remedy="`info owners` says who holds what",
        )
    watch, window = found
    if field.name.startswith("L") and field.width == 1:
        raise HwbpError(
            f"Linux enables slots by their G bit alone (x86 hw_breakpoint.c, encode_dr7): L{slot} stays clear",
            errno="EPERM",
            remedy=f"G{slot} enables and disables watch {watch.index}",
        )
    if field.name.startswith("G"):
        return f"{'disable' if bp.enabled else 'enable'} {watch.index}"
    if len(watch.windows) > 1:
        raise HwbpError(
            f"DR{slot} is window {window} of the {len(watch.windows)} of watch {watch.index}: they change together",
            errno="EINVAL",
            remedy=f"edit {watch.index} EXPR[/LEN][:w|rw|x]",
        )
    dr7 = cpu.dr7
    if field.name.startswith("RW"):
        return f"edit {watch.index} :{_next_type(dr7, slot, field.shift, bit)}"
    if watch.type == "x":
        raise HwbpError(f"DR{slot} is an execute slot, whose LEN must be 00 (SDM 3B 17.2.4)", errno="EINVAL")
    code = dr7 >> field.shift & 3
    length = _LENGTHS[code ^ 1 << bit - field.shift] if bit >= 0 else _longer(slot_length(dr7, slot))
    return f"edit {watch.index} /{length}"


def _in_slot(session: Session, slot: int) -> Breakpoint:
    cpu = session.view.cpus[session.cpu]
    held = next((each.breakpoint for each in cpu.slots if each.index == slot), None)
    for bp in session.view.breakpoints:
        if bp.id == held or (held is None and bp.slot == slot):
            return bp
    raise HwbpError(
        f"DR{slot} of CPU {cpu.cpu} is free: there is nothing to enable or change",
        errno="ENOENT",
        remedy="`watch EXPR` takes a slot; which one, the kernel says",
    )


def _next_type(dr7: int, slot: int, shift: int, bit: int) -> WatchType:
    if bit < 0:
        return _NEXT.get(slot_type(dr7, slot), "w")
    code = (dr7 >> shift & 3) ^ 1 << bit - shift
    if code not in _TYPES:
        raise HwbpError(
            f"RW{slot} = 10 watches I/O ports (with CR4.DE), and Linux offers no such breakpoint",
            errno="EINVAL",
            remedy=f"`dr7 ask RW{slot}` takes the next type that there is",
        )
    return _TYPES[code]


def _longer(length: int) -> int:
    return {1: 2, 2: 4, 4: 8}.get(length, 1)
