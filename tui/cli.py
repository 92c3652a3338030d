"""The command line: arguments only. Each word imports what it needs when it is chosen (docs/cli.md)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from tui.text.words import LIVE_ONLY, CommandLineError, split

if TYPE_CHECKING:
    from backends.base import Attach, HwbpError, Launch
    from backends.root.start import RootProcess
    from backends.spawn import Spawned
    from tui.session.session import Session
    from tui.session.settings import Settings
    from tui.session.watch import Watch

__all__ = ["main"]

_USAGE: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run `hwbp-tui`; returns the exit code. Errors are one line on standard error."""
    _open_standard_streams()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # `tui.__main__` blocked it
        if (foreign := _foreign_package()) is not None:
            return _complain(foreign)
        return _main(list(sys.argv[1:] if argv is None else argv))
    except CommandLineError as error:
        return _complain(str(error), _USAGE)
    except KeyboardInterrupt:  # an end like any other (docs/cli.md)
        return 0
    except Exception as error:
        if os.environ.get("HWBP_TUI_DEBUG") == "1":
            raise
        return _unexpected(error)


def _main(argv: list[str]) -> int:
    words, program = split(argv)
    try:
        options = _parse(words)
        return _commands()[options.command](options, program)
    except SystemExit:  # argparse has printed a help
        return 0
    except Exception as error:
        from backends.base import HwbpError
        from tui.session.watch import WatchError

        if not isinstance(error, HwbpError) or os.environ.get("HWBP_TUI_DEBUG") == "1":
            raise
        remedy = f" ({error.remedy})" if error.remedy else ""
        held = f"; held by: {'; '.join(error.holders)}" if error.holders else ""
        rule = "ENOSPC: " if error.errno == "ENOSPC" else ""
        return _complain(
            f"{rule}{error.message}{held}{remedy}", _USAGE if isinstance(error, WatchError) else 1
        )


def _parse(words: list[str]) -> SimpleNamespace:
    if not words:  # the app at once, without argparse
        return SimpleNamespace(command="", version=False)
    from tui.text.arguments import command_line

    if words[0] != "serve":
        return command_line().parse_args(words, SimpleNamespace())
    from tui.web.asked import own_words

    own, shown = own_words(words[1:])
    return command_line().parse_args(["serve", *own], SimpleNamespace(app=shown))


def _complain(message: str, code: int = 1) -> int:
    from tui.session.escape import one_line

    line = f"hwbp-tui: error: {one_line(message)}\n".encode("utf-8", "backslashreplace")
    with contextlib.suppress(OSError):  # nobody can be told then; the exit code still says it
        os.write(2, line)
    return code


def _unexpected(error: Exception) -> int:
    return _complain(
        f"{type(error).__name__}: {error} (this is a fault in hwbp-tui; HWBP_TUI_DEBUG=1 shows where)"
    )


def _open_standard_streams() -> None:
    """A closed descriptor 0, 1 or 2 would be given to the next file that is opened, and be written into."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _foreign_package() -> str | None:
    """The line that says that another `backends` or `symbols` is in the way, None when ours are found."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    for name in ("backends", "symbols"):
        spec = find_spec(name)
        where = list(spec.submodule_search_locations or ()) if spec else []
        if spec is None:
            return f"the package '{name}' is missing: install hwbp-tui again"
        if os.path.join(here, name) not in map(os.path.realpath, where):
            found = where[0] if where else spec.origin
            return f"another package named '{name}' is in the way: {found}; take its folder out of PYTHONPATH"
    return None


def _commands() -> dict[str, Callable[[SimpleNamespace, list[str] | None], int]]:
    return {
        "": _plain,
        "demo": _demo,
        "tour": _tour,
        "run": _run,
        "attach": _attach,
        "trace": _trace,
        "script": _script,
        "slots": _slots,
        "doctor": _doctor,
        "settings": _show_settings,
        "serve": _serve,
    }


def _refuse(message: str, remedy: str = "") -> HwbpError:
    from backends.base import HwbpError

    return HwbpError(message, remedy=remedy)


def _no_program(program: list[str] | None, word: str) -> None:
    if program is not None:
        raise CommandLineError(
            f"{word} takes no program" if word else "to open a program: hwbp-tui run -- PROGRAM"
        )


def _start_machine(options: SimpleNamespace) -> Spawned:
    """Start the backend's process: it imports while we do. Raises HwbpError for what is not built yet."""
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
        root = _start_root(getattr(options, "pid", None) or "launched", options)
    else:
        root = None
    from backends.spawn import spawn

    return spawn(backend, root=root)


def _check_target(pid: int | None) -> None:
    """Nobody is to be asked for a password in vain."""
    if pid is not None and not os.path.exists(f"/proc/{pid}"):
        raise _refuse(f"no process {pid}", "`ps -e` lists those that run")


def _start_root(target: int | str, options: SimpleNamespace) -> RootProcess:
    """Start the root process of --sudo, which may ask for a password in the terminal."""
    from backends.root.start import start_root

    return start_root(
        target, children=getattr(options, "children", False), kernel=getattr(options, "kernel", False)
    )


def _bare(options: SimpleNamespace, program: list[str] | None, word: str) -> list[str] | None:
    """The program that was named, also without `--` where `--bare` allows that; the built-in one where none was."""
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
    return [_builtin("selfdebug", options)[0].program]


def _watches(options: SimpleNamespace) -> tuple[Watch, ...]:
    if not (texts := getattr(options, "watch", [])):
        return ()
    from tui.session.watch import Watch

    return tuple(Watch.parse(text) for text in texts)


def _variable(text: str) -> tuple[str, str]:
    """NAME=VALUE, or NAME for the value it has here."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name, "")


def _launch(program: Sequence[str], options: SimpleNamespace, **more: Any) -> Launch:
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


def _attach_to(options: SimpleNamespace, **more: Any) -> Attach:
    from backends.base import Attach

    return Attach(
        pid=options.pid,
        children=getattr(options, "children", False),
        kernel=getattr(options, "kernel", False),
        guard=getattr(options, "guard", False),
        **more,
    )


def _session(
    target: Launch | Attach, watches: tuple[Watch, ...], spawned: Spawned, patient: bool = False
) -> Callable[[], Session]:
    """What opens the session: on the process that is starting, and on a fresh one each further time."""
    starting = [spawned]
    root = spawned.root

    def open_it() -> Session:
        from backends.spawn import spawn
        from tui.session.open import open_session

        process = starting.pop() if starting else spawn(spawned.backend, root=root)
        return open_session(process, target, watches, patient=patient)

    return open_it


def _compatible(options: SimpleNamespace) -> dict[str, str]:
    """With --compat: the CPU features that glibc chooses its functions by are those of the emulated CPU."""
    if not getattr(options, "compat", False):
        return {}
    from tui.text.words import COMPATIBLE

    return {"GLIBC_TUNABLES": COMPATIBLE}


def _builtin(name: str, options: SimpleNamespace, **more: Any) -> tuple[Launch, tuple[Watch, ...]]:
    """A built-in program, and the watches that suit it."""
    from backends.emulated.programs import find
    from tui.session.watch import Watch

    program = find(name)
    if program is None:
        raise _refuse(f"the built-in program '{name}' is missing: install hwbp-tui again")
    suggested = tuple(Watch.parse(text) for text in program.suggested_watches)
    return _launch([str(program.path)], options, **more), suggested


def _needs_terminal(word: str) -> None:
    without = [
        name
        for name, stream in (("input", sys.stdin), ("output", sys.stdout))
        if stream is None or not stream.isatty()
    ]
    if without:
        raise _refuse(
            f"{word or 'the app'} needs a terminal, and standard {without[0]} is none",
            "without one: hwbp-tui trace, hwbp-tui script",
        )
    from tui.text.terminal import why_not

    if (why := why_not(os.environ.get("TERM", ""))) is not None:
        raise _refuse(
            f"{word or 'the app'} needs a terminal that can move its cursor: {why}",
            "set TERM, for example TERM=xterm-256color; without a screen: hwbp-tui trace, hwbp-tui script",
        )


def _plain(options: SimpleNamespace, program: list[str] | None) -> int:
    if options.version:
        from importlib.metadata import version

        from tui.text.output import print_lines

        return print_lines([f"hwbp-tui {version('hwbp-tui')}"])
    _no_program(program, "")
    return _builtin_app(options, tour=None)


def _tour(options: SimpleNamespace, program: list[str] | None) -> int:
    _no_program(program, "tour")
    return _builtin_app(options, tour=True)


def _builtin_app(options: SimpleNamespace, tour: bool | None) -> int:
    """The app on the built-in program. `tour` None: offered to whoever is here for the first time and asks for nothing else."""
    watches = _watches(options)
    _needs_terminal("")
    bare = _bare(options, None, "")
    spawned = _start_machine(options)
    launch, suggested = _builtin("selfdebug" if bare else "counter", options)
    if tour is None and (watches or bare or spawned.backend != "emulated"):
        tour = False
    return _app(_session(launch, watches or suggested, spawned), options, startup=("continue",), tour=tour)


def _run(options: SimpleNamespace, program: list[str] | None) -> int:
    program = _bare(options, program, "run")
    if not program:
        raise CommandLineError("run needs a program: hwbp-tui run -- PROGRAM [ARG]...")
    watches = _watches(options)
    _needs_terminal("run")
    spawned = _start_machine(options)
    return _app(_session(_launch(program, options), watches, spawned), options)


def _demo(options: SimpleNamespace, program: list[str] | None) -> int:
    from tui.session.demos import DEMOS, find_demo

    _no_program(program, "demo")
    _bare(options, None, "demo")
    if options.list:
        from tui.text.output import print_lines

        return print_lines(f"{demo.name:<12} {', '.join(demo.backends):<15} {demo.title}" for demo in DEMOS)
    backend = getattr(options, "backend", None) or "emulated"
    demo = find_demo(options.name or DEMOS[0].name, backend)
    _needs_terminal("demo")
    spawned = _start_machine(options)
    launch, _suggested = _builtin(demo.program, options, scene=backend == "perf")
    return _app(_session(launch, (), spawned), options, demo=demo)


def _app(open_session: Callable[[], Session], options: SimpleNamespace, **more: Any) -> int:
    settings, problems = _settings(options)
    from tui.app.main import run_app

    return run_app(open_session, settings=settings, problems=problems, **{"tour": False, **more})


def _settings(options: SimpleNamespace) -> tuple[Settings, tuple[str, ...]]:
    """The user's settings, with the options of the command line over them."""
    from dataclasses import replace

    from tui.session.settings import load_settings

    settings, problems = load_settings(getattr(options, "config", None))
    names = ("theme", "keymap", "fps", "ascii")
    return replace(settings, **{n: getattr(options, n) for n in names if hasattr(options, n)}), problems


def _attach(options: SimpleNamespace, program: list[str] | None) -> int:
    _no_program(program, "attach")
    _bare(options, None, "attach")
    watches = _watches(options)
    _needs_terminal("attach")
    spawned = _start_machine(options)
    return _app(_session(_attach_to(options), watches, spawned), options)


def _trace(options: SimpleNamespace, program: list[str] | None) -> int:
    program = _bare(options, program, "trace")
    if (options.pid is None) == (not program):
        raise CommandLineError(
            "trace needs either -p PID or a program: hwbp-tui trace [-w WATCH]... -- PROGRAM [ARG]..."
        )
    watches = _watches(options)
    spawned = _start_machine(options)
    target: Launch | Attach
    how: dict[str, Any] = {"stacks": options.stack, "lossless": True}
    if program:
        if spawned.backend == "perf":
            how["output"] = "own" if options.output else "error"
        target = _launch(program, options, **how)
    else:
        target = _attach_to(options, **how)
    from tui.text.trace import TraceOptions, trace

    asked = TraceOptions(
        json=options.json,
        stack=options.stack,
        limit=options.limit,
        duration=options.duration,
        output=options.output,
    )
    return trace(asked, _session(target, watches, spawned))


def _asked_for(lines: Sequence[str]) -> str:
    """The built-in program that a script names, or the usual one."""
    from backends.emulated.programs import PROGRAMS
    from tui.session.demos import program_of

    name = program_of(lines) or "counter"
    if name not in PROGRAMS or PROGRAMS[name].bare:
        raise _refuse(f"the script asks for a built-in program '{name}'", f"there is {', '.join(PROGRAMS)}")
    return name


def _script(options: SimpleNamespace, program: list[str] | None) -> int:
    if program is not None and not program:
        raise CommandLineError("there is no program after --")
    if options.pid is not None and program:
        raise CommandLineError("script takes either -p PID or a program, not both")
    watches = _watches(options)
    program = _bare(options, program, "script")
    from tui.text.script import read_script, run_script

    lines = read_script(options.file)
    spawned = _start_machine(options)
    target: Launch | Attach
    if options.pid is not None:
        target = _attach_to(options)
    else:
        target = _launch(program, options) if program else _builtin(_asked_for(lines), options)[0]
    name = "standard input" if options.file == "-" else options.file
    return run_script(lines, _session(target, watches, spawned, patient=True), json=options.json, name=name)


def _slots(options: SimpleNamespace, program: list[str] | None) -> int:
    _no_program(program, "slots")
    from tui.text.slots import disarm, slots

    if options.disarm:
        if options.pid is None:
            raise CommandLineError("--disarm needs the process: hwbp-tui slots PID --disarm")
        return disarm(options.pid, json=options.json)
    root = _start_root("none", options) if getattr(options, "sudo", False) else None
    return slots(options.pid, json=options.json, root=root)


def _doctor(options: SimpleNamespace, program: list[str] | None) -> int:
    _no_program(program, "doctor")
    from tui.text.doctor import doctor

    return doctor(json=options.json)


def _show_settings(options: SimpleNamespace, program: list[str] | None) -> int:
    _no_program(program, "settings")
    from tui.session.settings import Settings, as_toml
    from tui.text.output import print_lines

    settings, problems = (Settings(), ()) if options.default else _settings(options)
    for problem in problems:
        _complain(problem)
    return print_lines(as_toml(settings)) or (1 if problems else 0)


def _serve(options: SimpleNamespace, program: list[str] | None) -> int:
    words: list[str] | None = getattr(options, "app", None)
    if words is None:
        raise CommandLineError("the app's options come behind serve: hwbp-tui serve --ascii")
    from tui.text.arguments import command_line
    from tui.web.asked import app_line
    from tui.web.page import assets_folder

    line = app_line(words, program, command_line().parse_args(words, SimpleNamespace()))
    assets = assets_folder()
    if assets is None or find_spec("aiohttp") is None:
        raise _refuse(
            "serve needs the extra 'serve', which is not installed",
            f"{sys.executable} -m pip install textual-serve",  # which brings aiohttp
        )
    from tui.text.output import print_lines
    from tui.web.seat import app_command
    from tui.web.server import serve

    title = f"hwbp-tui {' '.join(line)}".strip()

    def tell(address: str) -> None:
        print_lines([address, "One page at a time; a page that is closed ends its app. Ctrl+C ends all."])

    try:
        serve(app_command(line), title, assets, options.port, tell)
    except OSError as error:
        raise _refuse(f"port {options.port}: {error.strerror}", "serve --port N takes another") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
