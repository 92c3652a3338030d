"""Scenes that teach one thing each, played step by step by the app and, with the same commands, by `script`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from backends.base import HwbpError
from tui.session.escape import escape

__all__ = ["DEMOS", "Demo", "Step", "find_demo", "live_demos", "program_of", "read_scene"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is said, what is done, and what is waited for (the argument of `wait`; None for nothing).

    `expect_errno` is the errno with which the command must fail; None where it must succeed. `expect` are texts that the
    answer must have in one of its lines.
    """

    say: str
    command: str = ""
    wait: str | None = None
    expect_errno: str | None = None
    expect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demo:
    """A scene: `program` is the built-in program it runs on, `backends` those that can play it."""

    name: str
    title: str
    backends: tuple[str, ...]
    program: str
    steps: tuple[Step, ...]

    @property
    def wide(self) -> bool:
        """Whether it has events of whole CPUs, which the kernel opens only for the privileged."""
        return any(" -C " in step.command for step in self.steps)

    def script(self) -> tuple[str, ...]:
        """The same scene as the lines of a script."""
        lines = [f"# program {self.program}"]
        for step in self.steps:
            lines += [f"# {line}" for line in step.say.split("\n")]
            if step.command:
                lines.append(f"! {step.expect_errno} {step.command}" if step.expect_errno else step.command)
            lines += [f"expect {text}" for text in step.expect]
            if step.wait is not None:
                lines.append(f"wait {step.wait}".rstrip())
        return tuple(lines)


_ORDER: Final = ("contention", "starve", "moves", "free", "leak", "split", "kgdb", "guest", "sigtrap")
"""The scenes as they are listed: files of `scenes/`, each a script with its narration as comments."""
_LIVE: Final = ("contention", "starve", "leak", "split")
"""Those with a scene for the running kernel beside it, in `scenes/perf/`."""


def read_scene(name: str, text: str) -> Demo:
    """A scene from its file: `# demo NAME: TITLE`, `# program NAME`, then steps, a blank line between two of them.

    Comments are said; `! ERRNO COMMAND` must fail; `expect TEXT` and `wait` belong to the command before them. Raises ValueError.
    """
    lines = text.splitlines()
    if not lines[0].startswith(f"# demo {name}: ") or not lines[1].startswith("# program "):
        raise ValueError(f"{name}: a scene begins with its name, title and program")
    steps: list[Step] = []
    for block in "\n".join(lines[2:]).split("\n\n"):
        say, expect, command, wait, errno = [], [], "", None, None
        for line in block.strip("\n").split("\n"):
            if line.startswith("# "):
                say.append(line[2:])
            elif line.split()[:1] == ["wait"]:
                wait = line[4:].strip()
            elif line.startswith("expect "):
                expect.append(line[7:])
            elif line and not command:
                command = line
            elif line:
                raise ValueError(f"{name}: two commands in one step: {line}")
        if command.startswith("! "):
            errno, command = command[2:].split(" ", 1)
        if say:
            steps.append(Step("\n".join(say), command, wait, errno, tuple(expect)))
    backends = ("emulated", "perf") if name in _LIVE else ("emulated",)
    return Demo(name, lines[0].partition(": ")[2], backends, lines[1].split()[2], tuple(steps))


def program_of(lines: Sequence[str]) -> str | None:
    """The built-in program that a script asks for by `# program NAME` before its first command."""
    for line in lines:
        if line.startswith("# program "):
            return line[len("# program ") :].strip()
        if line.strip() and not line.startswith("#"):
            break
    return None


def _scenes(names: tuple[str, ...], folder: str) -> tuple[Demo, ...]:
    place = files("tui.session") / folder
    return tuple(read_scene(name, (place / f"{name}.hwbp").read_text(encoding="utf-8")) for name in names)


DEMOS: Final = _scenes(_ORDER, "scenes")


def live_demos() -> tuple[Demo, ...]:
    """Those that this machine's own kernel can play, in scenes of their own: its tasks and descriptors have other names."""
    return _scenes(_LIVE, "scenes/perf")


def find_demo(name: str, backend: str = "emulated") -> Demo:
    """A demo by its name, as that backend plays it. Raises HwbpError that names the others."""
    demos = live_demos() if backend == "perf" else DEMOS
    for demo in demos:
        if demo.name == name:
            return demo
    names = [demo.name for demo in demos]
    where = " for a live machine" if backend == "perf" else ""
    near = difflib.get_close_matches(name, names, 1) or names
    raise HwbpError(
        f"there is no demo '{escape(name)}'{where}", errno="ENOENT", remedy=f"there is {', '.join(near)}"
    )
