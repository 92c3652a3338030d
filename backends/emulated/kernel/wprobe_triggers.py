"""set_wprobe and clear_wprobe: triggers that point a wprobe at an address which another event brings (kernel/trace/
trace_wprobe.c of linux-next, series of 2025), modelled from source.

A trigger's wprobe holds its slots from the moment the trigger is there, on a dummy address; a hit of the event then only
re-points it in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from backends.base import HwbpError
from backends.emulated.kernel.slots import TASK_SIZE_MAX
from backends.emulated.kernel.tasks import Task
from backends.emulated.kernel.wprobe import Wprobe, Wprobes

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["EVENTS", "Trigger", "TriggerError", "Triggers"]

EVENTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "fprobes/arm": {"address": 8, "size": 4},
        "fprobes/disarm": {"address": 8},
        "kmem/kfree": {"ptr": 8, "call_site": 8},
        "sched/sched_switch": {"prev_pid": 4, "next_pid": 4},
        "kprobes/p_probe": {"arg1": 8},
    }
)
"""The emulated kernel's other events: their fields, and each one's size in bytes. They happen when they are told to."""
_KPROBES: Final = "kprobes/"
_POINTER: Final = 8
_MASK64: Final = (1 << 64) - 1
_DUMMY: Final = 0xFFFF_FFFF_8220_0000
_LINE: Final = re.compile(r"(!?)(set|clear)_wprobe:([^:]*)(?::([^:]*))?")
_FIELD: Final = re.compile(r"(\w+)(?:([+-])(\d+))?")


class TriggerError(HwbpError):
    """A trigger that cannot be. `word` is the kernel's name for the error."""

    def __init__(self, word: str, why: str, errno: str) -> None:
        super().__init__(f"trigger: {word}: {why}", errno=errno)
        self.word = word


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of an event: where the address comes from, and by how much it is shifted."""

    event: str
    kind: Literal["set", "clear"]
    wprobe: str
    field: str
    shift: int


class Triggers:
    """events/GROUP/EVENT/trigger, as far as wprobes go. `armed` is where each triggered wprobe points now; `missed` counts sets
    that came in an NMI or with an address that cannot be watched."""

    def __init__(self, kernel: Kernel, wprobes: Wprobes) -> None:
        self._kernel = kernel
        self._wprobes = wprobes
        self._triggers: list[Trigger] = []
        self.armed: dict[str, int] = {}
        self.missed = 0

    def write(self, event: str, line: str, caller: Task | None = None) -> None:
        """`[!]set_wprobe:EVENT:FIELD[+|-N]` or `[!]clear_wprobe:EVENT[:FIELD[+|-N]]` (ENOENT, EINVAL, EBUSY, EEXIST, ENOSPC)."""
        fields = EVENTS.get(event)
        if fields is None:
            raise HwbpError(f"no event {event!r}", errno="ENOENT", remedy=f"there is {', '.join(EVENTS)}")
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise HwbpError(f"{line!r}: [!]set_wprobe:EVENT:FIELD or clear_wprobe:EVENT", errno="EINVAL")
        remove, kind, name, where = match.groups()
        if event.startswith(_KPROBES):
            raise HwbpError(f"{event} is a kprobe, in which nothing can be re-pointed", errno="EOPNOTSUPP")
        probe = self._probe(name)
        field, shift = self._field(fields, kind, where)
        trigger = Trigger(event, "set" if kind == "set" else "clear", probe.name, field, shift)
        if remove:
            self._remove(trigger, probe)
        else:
            self._add(trigger, probe, caller)

    def _probe(self, name: str) -> Wprobe:
        try:
            return self._wprobes.find(name)
        except HwbpError as error:
            raise TriggerError("WPROBE_NOT_FOUND", f"no wprobe {name!r}", "ENOENT") from error

    def _field(self, fields: Mapping[str, int], kind: str, where: str | None) -> tuple[str, int]:
        if not where:
            if kind == "set":
                raise TriggerError("WPROBE_NEED_FIELD", "which field has the address?", "EINVAL")
            return "", 0
        match = _FIELD.fullmatch(where)
        if match is None or match[1] not in fields:
            raise TriggerError("NO_EVENT_FIELD", f"the event has no field {where!r}", "ENOENT")
        if fields[match[1]] != _POINTER:
            raise HwbpError(f"{match[1]} is not the size of a pointer", errno="ENOEXEC")
        shift = int(match[3] or 0)
        return match[1], -shift if match[2] == "-" else shift

    def _add(self, trigger: Trigger, probe: Wprobe, caller: Task | None) -> None:
        if trigger in self._triggers:
            raise HwbpError("that trigger exists already", errno="EEXIST")
        held = any(each.wprobe == probe.name for each in self._triggers)
        if probe.enabled and not held:
            raise TriggerError("WPROBE_BUSY", f"wprobe {probe.name} is enabled", "EBUSY")
        if not held:
            self._wprobes.enable(probe.name, caller, address=_DUMMY)
        self._triggers.append(trigger)

    def _remove(self, trigger: Trigger, probe: Wprobe) -> None:
        if trigger not in self._triggers:
            raise HwbpError("there is no such trigger", errno="ENOENT")
        self._triggers.remove(trigger)
        if all(each.wprobe != probe.name for each in self._triggers):
            self.armed.pop(probe.name, None)
            self._wprobes.disable(probe.name)

    def fire(self, event: str, values: Mapping[str, int], cpu: int = 0) -> None:
        """The event happens on a CPU, with these values in its fields."""
        for trigger in tuple(self._triggers):
            if trigger.event != event:
                continue
            probe = self._wprobes.find(trigger.wprobe)
            address = values.get(trigger.field, 0) + trigger.shift & _MASK64
            if trigger.kind == "set":
                if probe.name not in self.armed:
                    self._set(probe, address, cpu)
            elif probe.name in self.armed and (not trigger.field or self.armed[probe.name] == address):
                del self.armed[probe.name]
                self._point(probe, _DUMMY)

    def _set(self, probe: Wprobe, address: int, cpu: int) -> None:
        if self._kernel.in_nmi(cpu) or address < TASK_SIZE_MAX or address % probe.length:
            self.missed += 1
            return
        self.armed[probe.name] = address
        self._point(probe, address)

    def _point(self, probe: Wprobe, address: int) -> None:
        """modify_wide_hw_breakpoint_local, on each CPU."""
        for event in probe.events:
            self._kernel.perf.control.modify_breakpoint(
                event, event.attr.changed(bp_addr=address), None, check=False
            )

    def listing(self) -> tuple[str, ...]:
        """All of them."""
        rows = []
        for each in self._triggers:
            shift = f"{each.shift:+}" if each.shift else ""
            field = f":{each.field}{shift}" if each.field else ""
            rows.append(f"{each.event}: {each.kind}_wprobe:{each.wprobe}{field}")
        return tuple(rows)
