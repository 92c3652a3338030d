"""Today's ftrace owner: wprobe events (kernel/trace/trace_wprobe.c of linux-next, series of 2025), modelled from source.

`w[:[GROUP/]EVENT] [r|w|rw]@ADDRESS[:LENGTH] [ARGS]` goes into dynamic_events. Slots are taken when the event is enabled,
on every CPU, not when it is defined. Errors point at a column, as in tracing/error_log.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.events import PerfEvent, Regs
from backends.emulated.kernel.slots import TASK_SIZE_MAX
from backends.emulated.kernel.tasks import Task
from backends.emulated.kernel.wide import register_wide, unregister_wide
from backends.model import Owner

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["Wprobe", "WprobeError", "Wprobes"]

_TYPES: Final = {"r": 1, "w": 2, "rw": 3, "": 3}
_LENGTHS: Final = (1, 2, 4, 8)
_MAX_ARGS: Final = 128
_KEPT: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARGUMENT: Final = re.compile(r"(?:[A-Za-z_]\w*=)?(?:\$addr|\$value|@[\w+-]+|\\\w+|[+-]u?\d+\(.+\))(?::\w+)?")
_PINNED: Final = 1 << FLAGS["pinned"]


class WprobeError(HwbpError):
    """A definition that is wrong. `column` (from 0) is where; `word` is the kernel's name for the error."""

    def __init__(self, line: str, column: int, word: str, why: str, errno: str = "EINVAL") -> None:
        super().__init__(f"wprobe: {word}: {why}", errno=errno, remedy=f"{line[:column]}^{line[column:]}")
        self.column = column
        self.word = word


@dataclass(slots=True)
class Wprobe:
    """One definition. `events` are its slots while it is enabled."""

    group: str
    name: str
    type: int
    mode: str
    where: str
    address: int
    length: int
    arguments: tuple[str, ...]
    events: list[PerfEvent] = field(default_factory=list)
    enabled: bool = False
    hits: int = 0

    def __str__(self) -> str:
        text = f"w:{self.group}/{self.name} {self.mode}@{self.where}:{self.length}"
        return " ".join((text, *self.arguments))


class Wprobes:
    """tracefs/dynamic_events and events/wprobes, as far as wprobes go."""

    def __init__(self, kernel: Kernel, symbols: Callable[[str], int | None]) -> None:
        self._kernel = kernel
        self._symbols = symbols
        self._probes: list[Wprobe] = []
        self._trace: deque[str] = deque(maxlen=_KEPT)

    def write(self, line: str) -> Wprobe | None:
        """A line for dynamic_events: a definition, or `-:[GROUP/]EVENT` to remove one (EINVAL, ENOENT, EBUSY)."""
        line = line.strip()
        if line.startswith("-:"):
            self._remove(line[2:])
            return None
        probe = self._parse(line)
        if any((each.group, each.name) == (probe.group, probe.name) for each in self._probes):
            raise HwbpError(f"wprobe {probe.group}/{probe.name} exists already", errno="EBUSY")
        self._probes.append(probe)
        return probe

    def _parse(self, line: str) -> Wprobe:
        words = [(match.start(), match.group()) for match in re.finditer(r"\S+", line)]
        head = words[0][1] if words else ""
        if not head.startswith("w"):
            raise WprobeError(line, 0, "BAD_PROBE", "a wprobe begins with w")
        if len(head) > 1 and head[1] != ":":
            raise WprobeError(line, 1, "WPROBE_NO_MAXACT", "wprobes have no maxactive")
        if len(words) < 2:
            raise WprobeError(line, 0, "NO_ARG_BODY", "what should be watched?")
        at, spec = words[1]
        mode, sign, rest = spec.partition("@")
        if not sign:
            raise WprobeError(line, at, "BAD_ACCESS_FMT", "[r|w|rw]@ADDRESS[:LENGTH] is expected")
        if mode not in _TYPES:
            raise WprobeError(line, at, "BAD_ACCESS_TYPE", f"'{mode}' is not r, w or rw")
        where, colon, size = rest.partition(":")
        begin = at + len(mode) + 1
        length = int(size) if colon and size.isdigit() else 4
        if (colon and not size.isdigit()) or length not in _LENGTHS:
            raise WprobeError(line, begin + len(where) + 1, "BAD_ACCESS_LEN", "LENGTH is 1, 2, 4 or 8")
        address = self._address(line, begin, where, length)
        group, name = self._name(line, head[2:], where)
        arguments = self._arguments(line, words[2:])
        return Wprobe(group, name, _TYPES[mode], mode or "rw", where, address, length, arguments)

    def _address(self, line: str, begin: int, where: str, length: int) -> int:
        """ADDRESS, or SYMBOL with +OFFSET or -OFFSET. -1 is the placeholder for triggers."""
        if where == "-1":
            return (1 << 64) - 1
        if re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", where):
            address = int(where, 0) if not where.isdigit() else int(where)
        else:
            symbol, sign, offset = re.match(r"([^+-]*)([+-]?)(.*)", where).groups()  # type: ignore[union-attr]
            base = self._symbols(symbol)
            if base is None:
                raise WprobeError(
                    line, begin, "BAD_ACCESS_ADDR", f"no kernel symbol '{symbol}'", errno="ENOENT"
                )
            if sign and not re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", offset):
                raise WprobeError(line, begin + len(symbol), "BAD_PROBE_ADDR", f"'{offset}' is no offset")
            shift = int(offset, 16 if "x" in offset.lower() else 10) if sign else 0
            address = base - shift if sign == "-" else base + shift
        if address < TASK_SIZE_MAX or address >= 1 << 64 or address % length:
            raise WprobeError(
                line,
                begin,
                "BAD_ACCESS_ADDR",
                "the address must lie in the kernel and be aligned to its length",
            )
        return address

    def _name(self, line: str, text: str, where: str) -> tuple[str, str]:
        group, slash, name = text.rpartition("/")
        if not name:
            name = f"w_{where}" if where[:1].isdigit() else re.split(r"[+-]", where)[0]
        for part in (group if slash else "wprobes", name):
            if not _NAME.fullmatch(part):
                raise WprobeError(line, 2, "BAD_EVENT_NAME", f"'{part}' is no name")
        return group if slash else "wprobes", name

    def _arguments(self, line: str, words: list[tuple[int, str]]) -> tuple[str, ...]:
        if len(words) > _MAX_ARGS:
            raise WprobeError(line, words[_MAX_ARGS][0], "TOO_MANY_ARGS", f"more than {_MAX_ARGS} arguments")
        for at, word in words:
            if not _ARGUMENT.fullmatch(word):
                shift = word.index("=") + 1 if "=" in word else 0
                raise WprobeError(
                    line, at + shift, "BAD_VAR", f"'{word}': $addr, $value, @SYMBOL, +OFFSET(...)"
                )
        return tuple(word for _, word in words)

    def find(self, name: str) -> Wprobe:
        """By [GROUP/]EVENT (ENOENT)."""
        group, slash, event = name.rpartition("/")
        for probe in self._probes:
            if probe.name == event and (not slash or probe.group == group):
                return probe
        raise HwbpError(f"no wprobe '{name}'", errno="ENOENT")

    def _remove(self, name: str) -> None:
        probe = self.find(name)
        if probe.enabled:
            raise HwbpError(f"wprobe {name} is enabled", errno="EBUSY", remedy="disable it first")
        self._probes.remove(probe)

    def enable(self, name: str, caller: Task | None = None, *, address: int | None = None) -> None:
        """`echo 1 > events/GROUP/EVENT/enable`: now the slots are taken (ENOSPC; EINVAL for r, which x86 lacks).

        `address` is where it points first, where that is not its own: a trigger's.
        """
        probe = self.find(name)
        if probe.enabled:
            return
        attr = Attr(
            sample_period=1,
            flags=_PINNED,
            bp_type=probe.type,
            bp_addr=probe.address if address is None else address,
            bp_len=probe.length,
        )
        owner = Owner("ftrace", comm=f"{probe.group}/{probe.name}")
        probe.events = register_wide(self._kernel, attr, owner, caller, self._hit(probe), probe.where)
        probe.enabled = True

    def disable(self, name: str) -> None:
        """`echo 0 > events/GROUP/EVENT/enable`: the slots are free again."""
        probe = self.find(name)
        unregister_wide(self._kernel, probe.events)
        probe.enabled = False

    def _hit(self, probe: Wprobe) -> Callable[[PerfEvent, Regs, int], None]:
        def handler(_event: PerfEvent, regs: Regs, cpu: int) -> None:
            probe.hits += 1
            task = self._kernel.current(cpu)
            who = f"{task.comm}-{task.tid}" if task is not None else "<idle>-0"
            self._trace.append(f"{who:>20} [{cpu:03}] {probe.name}: ({regs.ip:#x})")

        return handler

    def listing(self) -> tuple[str, ...]:
        """What dynamic_events reads back."""
        return tuple(str(probe) for probe in self._probes)

    def trace(self) -> tuple[str, ...]:
        """Recorded hits, oldest first."""
        return tuple(self._trace)
