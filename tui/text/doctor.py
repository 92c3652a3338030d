"""`hwbp-tui doctor`: what this machine allows, what it forbids, and what would change that (docs/cli.md)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Final

from tui.session.escape import one_line
from tui.session.hit_lines import dump
from tui.text.checks.check import Check
from tui.text.checks.kernel import (
    bpf,
    breakpoint_pmu,
    btf,
    capability,
    kernel,
    lockdown,
    paranoid,
    ptrace_scope,
)
from tui.text.checks.program import colours, emulator, python, system, terminal, utf8
from tui.text.checks.registers import descriptors, fires, ring_memory, slots_free
from tui.text.output import print_lines

__all__ = ["CHECKS", "Check", "doctor"]

_WIDTH: Final = 80
_INDENT: Final = 25

CHECKS: Final[tuple[Callable[[], Check], ...]] = (
    python,
    system,
    kernel,
    emulator,
    breakpoint_pmu,
    fires,
    slots_free,
    paranoid,
    capability("CAP_SYS_ADMIN", "watches any process and kernel addresses, and reads the kernel's own books"),
    capability("CAP_PERFMON", "watches any process with perf events"),
    capability("CAP_BPF", "captures values at the hit with a small BPF program"),
    capability("CAP_SYS_PTRACE", "attaches to any process"),
    ptrace_scope,
    lockdown,
    btf,
    bpf,
    ring_memory,
    descriptors,
    terminal,
    colours,
    utf8,
)


def doctor(*, json: bool = False) -> int:
    """Print the checks. Failed ones are the answer, not a failure: always 0."""
    checks = [_made(check) for check in CHECKS]
    if json:
        return print_lines([dump({"schema": 1, "checks": [asdict(check) for check in checks]})])
    return print_lines(line for check in checks for line in _lines(check))


def _made(check: Callable[[], Check]) -> Check:
    """A check that fails in a way of its own is a finding too: the others are made all the same."""
    try:
        return check()
    except Exception as error:
        name = getattr(check, "__name__", "check")
        return Check(name, None, one_line(f"could not be made: {type(error).__name__}: {error}"), "")


def _lines(check: Check) -> Iterator[str]:
    mark = {True: "ok", False: "NO", None: "?"}[check.ok]
    yield from _wrapped(check.found, f"{mark:<3} {check.name:<20} ")
    yield from _wrapped(check.means, " " * _INDENT)
    if check.remedy:
        yield from _wrapped(f"-> {check.remedy}", " " * _INDENT)


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
