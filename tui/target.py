"""What a command line opens: a program or process, its watches, and the machine.

What the options are (`tui.text.arguments`) is known by now. The machine's process is started as soon as they are not
refused, and imports while the target is put together here: what is imported before that makes the start slower.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tui.text.words import COMPATIBLE, LIVE_ONLY, CommandLineError

if TYPE_CHECKING:
    from backends.base import Attach, HwbpError, Launch
    from backends.root.start import RootProcess
    from backends.spawn import Spawned
    from tui.session.session import Session
    from tui.session.watch import Watch

__all__ = [
    "attach",
    "builtin",
    "launch",
    "program_named",
    "root_process",
    "script_builtin",
    "session",
    "start_machine",
    "watches",
]


def program_named(options: SimpleNamespace, program: list[str] | None, word: str) -> list[str] | None:
    """The program that was named, also without `--` where `--bare` allows that; with `--bare` the built-in one where none was.

    Raises CommandLineError for what `word` cannot open, and for a `--bare` that has no place there.
    """
    named = getattr(options, "bare_program", None)
    if getattr(options, "bare", False):
        if (getattr(options, "backend", None) or "emulated") != "emulated":
            raise CommandLineError("--bare is a mode of the emulated machine")
        if getattr(options, "pid", None) is not None or word == "demo":
            raise CommandLineError(
                f"{word} has no bare mode: --bare runs a program from its first instruction"
            )
        if getattr(options, "watch", []):
            raise CommandLineError(
                "-w has no place in bare mode: the debug registers belong to the program, and what it watches is shown"
            )
    else:
        if named is not None:
            raise CommandLineError(f"a program comes after --: hwbp-tui {word} -- {named}")
        return program
    if named is not None and program is not None:
        raise CommandLineError(f"two programs: {named} and {' '.join(program)}")
    if named is not None:
        return [named]
    if program is not None and not program:
        raise CommandLineError("there is no program after --")
    if program is not None:
        return program
    return [builtin("selfdebug", options)[0].program]


def script_builtin(lines: Sequence[str], options: SimpleNamespace) -> Launch:
    """The built-in program that a script asks for, or the usual one. Raises HwbpError where there is none of that name."""
    from backends.emulated.programs import PROGRAMS
    from tui.session.demos import program_of

    name = program_of(lines) or "counter"
    if name not in PROGRAMS or PROGRAMS[name].bare:
        raise _refuse(f"the script asks for a built-in program '{name}'", f"there is {', '.join(PROGRAMS)}")
    return builtin(name, options)[0]


def builtin(name: str, options: SimpleNamespace, **more: Any) -> tuple[Launch, tuple[Watch, ...]]:
    """A built-in program, and the watches that suit it; `more` are fields of `Launch`."""
    from backends.emulated.programs import find
    from tui.session.watch import Watch

    program = find(name)
    if program is None:
        raise _refuse(f"the built-in program '{name}' is missing: install hwbp-tui again")
    suggested = tuple(Watch.parse(text) for text in program.suggested_watches)
    return launch([str(program.path)], options, **more), suggested


def launch(program: Sequence[str], options: SimpleNamespace, **more: Any) -> Launch:
    """A program with its arguments, as the options have it; `more` are further fields of `Launch`."""
    from backends.base import Launch

    env = dict(_variable(text) for text in getattr(options, "env", []))
    if getattr(options, "backend", None) == "perf":  # a live program has our environment
        env = {**os.environ, **_compatible(options), **env}
    return Launch(
        program=program[0],
        argv=tuple(program[1:]),
        env=tuple(env.items()),
        stdin=getattr(options, "stdin", None),
        allow=tuple(dict.fromkeys(getattr(options, "allow", []))),
        **{name: getattr(options, name) for name in ("cpus", "quantum") if hasattr(options, name)},
        children=getattr(options, "children", False),
        kernel=getattr(options, "kernel", False),
        guard=getattr(options, "guard", False),
        **more,
    )


def attach(options: SimpleNamespace, **more: Any) -> Attach:
    """The process that the options name; `more` are further fields of `Attach`."""
    from backends.base import Attach

    return Attach(
        pid=options.pid,
        children=getattr(options, "children", False),
        kernel=getattr(options, "kernel", False),
        guard=getattr(options, "guard", False),
        **more,
    )


def _variable(text: str) -> tuple[str, str]:
    """NAME=VALUE, or NAME for the value it has here."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name, "")


def _compatible(options: SimpleNamespace) -> dict[str, str]:
    """With --compat: the CPU features that glibc chooses its functions by are those of the emulated CPU."""
    return {"GLIBC_TUNABLES": COMPATIBLE} if getattr(options, "compat", False) else {}


def watches(options: SimpleNamespace) -> tuple[Watch, ...]:
    """What `-w` asks for. Raises WatchError for a text that is no watch."""
    if not (texts := getattr(options, "watch", [])):
        return ()
    from tui.session.watch import Watch

    return tuple(Watch.parse(text) for text in texts)


def start_machine(options: SimpleNamespace) -> Spawned:
    """Start the backend's process: it imports while we do. With --sudo, the root process comes first.

    Raises HwbpError for what this machine cannot do, and for a process that is not there.
    """
    backend: str = getattr(options, "backend", None) or (
        "perf" if getattr(options, "pid", None) else "emulated"
    )
    if backend == "emulated":
        if getattr(options, "pid", None):
            raise _refuse(
                "the emulated machine cannot attach to a live process", "give it a program after --"
            )
        for name in LIVE_ONLY:
            if getattr(options, name, False):
                raise _refuse(f"--{name} is for live programs", "--backend perf, or -p PID")
        if getattr(options, "bare", False):
            backend = "bare"
    elif getattr(options, "bare", False):
        raise _refuse("--bare is for the emulated machine", "leave out --backend perf, or -p")
    if getattr(options, "sudo", False):
        _check_target(getattr(options, "pid", None))
        root = root_process(getattr(options, "pid", None) or "launched", options)
    else:
        root = None
    from backends.spawn import spawn

    return spawn(backend, root=root)


def _check_target(pid: int | None) -> None:
    """Nobody is to be asked for a password in vain."""
    if pid is not None and not os.path.exists(f"/proc/{pid}"):
        raise _refuse(f"no process {pid}", "`ps -e` lists those that run")


def root_process(target: int | str, options: SimpleNamespace) -> RootProcess:
    """Start the root process of --sudo, which may ask for a password in the terminal."""
    from backends.root.start import start_root

    return start_root(
        target, children=getattr(options, "children", False), kernel=getattr(options, "kernel", False)
    )


def session(
    target: Launch | Attach,
    wanted: tuple[Watch, ...],
    spawned: Spawned,
    *,
    patient: bool = False,
    fitting: bool = False,
) -> Callable[[], Session]:
    """What opens the session: on the process that is starting, and on a fresh one each further time."""
    starting = [spawned]
    root = spawned.root

    def open_it() -> Session:
        from backends.spawn import spawn
        from tui.session.open import open_session

        process = starting.pop() if starting else spawn(spawned.backend, root=root)
        return open_session(process, target, wanted, patient=patient, fitting=fitting)

    return open_it


def _refuse(message: str, remedy: str = "") -> HwbpError:
    from backends.base import HwbpError

    return HwbpError(message, remedy=remedy)
