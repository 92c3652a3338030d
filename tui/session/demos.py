"""Scenes that teach one thing each, played step by step by the app and, with the same commands, by `script`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from backends.base import HwbpError
from tui.session.escape import escape

__all__ = ["DEMOS", "Demo", "Step", "find_demo"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is said, what is done, and what is waited for (the argument of `wait`; None for nothing).

    `expect_errno` is the errno with which the command must fail; None where it must succeed.
    """

    say: str
    command: str = ""
    wait: str | None = None
    expect_errno: str | None = None


@dataclass(frozen=True, slots=True)
class Demo:
    """A scene: `program` is the built-in program it runs on, `backends` those that can play it."""

    name: str
    title: str
    backends: tuple[str, ...]
    program: str
    steps: tuple[Step, ...]

    def script(self) -> tuple[str, ...]:
        """The same scene as the lines of a script."""
        lines: list[str] = []
        for step in self.steps:
            lines += [f"# {line}" for line in step.say.split("\n")]
            if step.command:
                lines.append(f"! {step.expect_errno} {step.command}" if step.expect_errno else step.command)
            if step.wait is not None:
                lines.append(f"wait {step.wait}".rstrip())
        return tuple(lines)


DEMOS: Final = (
    Demo(
        "contention",
        "five wishes and four registers: who gets ENOSPC, and why",
        ("emulated",),
        "counter",
        (
            Step("An x86 CPU has four debug registers. This machine's are all free.", "info slots"),
            Step("A profiler opens a perf event on a counter. It takes one slot.", "perf open counter"),
            Step(
                "And another one. The kernel picks the register, not the profiler.",
                "perf open total:rw",
            ),
            Step(
                "A debugger comes: ptrace writes the task's u_debugreg, and takes a slot as well.",
                "ptrace watch cfg.limits[2]",
            ),
            Step("One more, and all four are held.", "ptrace watch seed"),
            Step("Four slots, two owners.", "info owners"),
            Step(
                "The fifth wish is refused: ENOSPC. The kernel says no more than that; here you see who holds the slots.",
                "perf open cfg.limits[3]",
                expect_errno="ENOSPC",
            ),
            Step("Disabling an event does not help: a disabled event still holds its slot.", "disable 0"),
            Step("So it is refused again.", "perf open cfg.limits[3]", expect_errno="ENOSPC"),
            Step(
                "ptrace cannot give a slot back before the task execs or exits, whatever is written to DR7.",
                "ptrace clear",
            ),
            Step("Still full.", "perf open cfg.limits[3]", expect_errno="ENOSPC"),
            Step("Closing a perf event frees its slot at once.", "delete 0"),
            Step("And now the fifth wish fits.", "perf open cfg.limits[3]"),
            Step("The same register has a new tenant.", "info slots"),
        ),
    ),
)


def find_demo(name: str) -> Demo:
    """A demo by its name. Raises HwbpError that names the others."""
    for demo in DEMOS:
        if demo.name == name:
            return demo
    names = [demo.name for demo in DEMOS]
    near = difflib.get_close_matches(name, names, 1) or names
    raise HwbpError(
        f"there is no demo {escape(name)!r}", errno="ENOENT", remedy=f"there is {', '.join(near)}"
    )
