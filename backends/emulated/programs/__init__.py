"""The programs that come along, so that something worth watching is there at once. Sources lie beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from symbols.dataclass import dataclass

__all__ = ["PROGRAMS", "Program", "find"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Program:
    """A built-in program. `suggested_watches` are WATCH texts worth trying, the best first, never more than four.

    `bare`: it runs at privilege level 0, without an operating system, and arms its debug registers itself.
    """

    name: str
    path: Path
    summary: str
    suggested_watches: tuple[str, ...]
    bare: bool = False


def _program(name: str, summary: str, *watches: str, bare: bool = False) -> Program:
    return Program(name, _HERE / name, summary, watches, bare)


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        program.name: program
        for program in (
            _program(
                "counter",
                "one counter, several writers, several call paths to them",
                *(
                    "counter",
                    "total",
                    "cfg+16/8",
                    "reset_one:x",
                ),  # by the symbol table: DWARF would delay the start
            ),
            _program(
                "overflow",
                "a heap buffer whose neighbour is overwritten by an off-by-one now and then",
                *("heap+24/4", "grants", "log_in:x"),
            ),
            _program(
                "lock",
                "a lock taken by cmpxchg, and a reference count that one path drops twice",
                *("lock", "object+8/4", "freed", "contended"),
            ),
            _program(
                "strings",
                "the same bytes copied by rep movsb, by 16-byte SSE moves and one by one",
                *("target/8", "source/8:rw", "checksum"),
            ),
            _program(
                "signals",
                "a program that watches itself through perf_event_open, and is signalled at each hit",
                *("act:x",),
            ),
            _program(
                "selfdebug",
                "a program at privilege level 0 that arms DR0 to DR3 itself and takes each #DB by its own IDT",
                bare=True,
            ),
        )
    }
)
"""Built-in programs by name, the first is what the app starts with."""


def find(name: str) -> Program | None:
    """The built-in program of this name, None where there is none."""
    return PROGRAMS.get(name)
