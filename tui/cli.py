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

from tui import target
from tui.text.words import CommandLineError, split

if TYPE_CHECKING:
    from backends.base import Attach, Launch
    from tui.session.demos import Demo
    from tui.session.session import Session
    from tui.session.settings import Settings

__all__ = ["main"]

_USAGE: Final = 2
_AS_ROOT: Final = "sudo hwbp-tui demo {} --backend perf"


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


def _no_program(program: list[str] | None, word: str) -> None:
    if program is not None:
        raise CommandLineError(
            f"{word} takes no program" if word else "to open a program: hwbp-tui run -- PROGRAM"
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
    from tui.text.terminal import require_terminal

    watches = target.watches(options)
    require_terminal("")
    bare = target.program_named(options, None, "")
    spawned = target.start_machine(options)
    launch, suggested = target.builtin("selfdebug" if bare else "counter", options)
    if tour is None and (watches or bare or spawned.backend != "emulated"):
        tour = False
    return _app(
        target.session(launch, watches or suggested, spawned, fitting=True),
        options,
        startup=("continue",),
        tour=tour,
    )


def _run(options: SimpleNamespace, program: list[str] | None) -> int:
    from tui.text.terminal import require_terminal

    program = target.program_named(options, program, "run")
    if not program:
        raise CommandLineError("run needs a program: hwbp-tui run -- PROGRAM [ARG]...")
    watches = target.watches(options)
    require_terminal("run")
    spawned = target.start_machine(options)
    return _app(target.session(target.launch(program, options), watches, spawned, fitting=True), options)


def _demo(options: SimpleNamespace, program: list[str] | None) -> int:
    from tui.session.demos import DEMOS, find_demo
    from tui.text.terminal import require_terminal

    _no_program(program, "demo")
    target.program_named(options, None, "demo")
    if options.list:
        from tui.text.output import print_lines

        return print_lines(_listed(demo) for demo in DEMOS)
    backend = getattr(options, "backend", None) or "emulated"
    demo = find_demo(options.name or DEMOS[0].name, backend)
    if backend == "perf" and (lacks := _lacks(demo)):
        from backends.base import HwbpError

        raise HwbpError(f"demo {demo.name}: {lacks}", errno="EACCES", remedy=_AS_ROOT.format(demo.name))
    require_terminal("demo")
    spawned = target.start_machine(options)
    launch, _suggested = target.builtin(demo.program, options, scene=backend == "perf")
    return _app(target.session(launch, (), spawned), options, demo=demo)


def _listed(demo: Demo) -> str:
    from tui.session.demos import find_demo

    lacks = _lacks(find_demo(demo.name, "perf")) if "perf" in demo.backends else ""
    note = f" (perf: {_AS_ROOT.format(demo.name)})" if lacks else ""
    return f"{demo.name:<12} {', '.join(demo.backends):<15} {demo.title}{note}"


def _lacks(demo: Demo) -> str:
    """Why a scene cannot be played on this kernel by this user: its actors are processes of ours, with our own rights,
    and --sudo opens watches only. Empty where it can."""
    from tui.text.checks.kernel import may_watch_cpus

    if not demo.wide or may_watch_cpus() is not False:
        return ""
    return (
        "events of whole CPUs take CAP_PERFMON, and with --sudo the scene's other processes still have none"
    )


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
    from tui.text.terminal import require_terminal

    _no_program(program, "attach")
    target.program_named(options, None, "attach")
    watches = target.watches(options)
    require_terminal("attach")
    spawned = target.start_machine(options)
    return _app(target.session(target.attach(options), watches, spawned, fitting=True), options)


def _trace(options: SimpleNamespace, program: list[str] | None) -> int:
    program = target.program_named(options, program, "trace")
    if (options.pid is None) == (not program):
        raise CommandLineError(
            "trace needs either -p PID or a program: hwbp-tui trace [-w WATCH]... -- PROGRAM [ARG]..."
        )
    watches = target.watches(options)
    spawned = target.start_machine(options)
    opened: Launch | Attach
    how: dict[str, Any] = {"stacks": options.stack, "lossless": True}
    if program:
        if spawned.backend == "perf":
            how["output"] = "own" if options.output else "error"
        opened = target.launch(program, options, **how)
    else:
        opened = target.attach(options, **how)
    from tui.text.trace import TraceOptions, trace

    asked = TraceOptions(
        json=options.json,
        stack=options.stack,
        limit=options.limit,
        duration=options.duration,
        output=options.output,
    )
    return trace(asked, target.session(opened, watches, spawned))


def _script(options: SimpleNamespace, program: list[str] | None) -> int:
    if program is not None and not program:
        raise CommandLineError("there is no program after --")
    if options.pid is not None and program:
        raise CommandLineError("script takes either -p PID or a program, not both")
    watches = target.watches(options)
    program = target.program_named(options, program, "script")
    from tui.text.script import read_script, run_script

    lines = read_script(options.file)
    spawned = target.start_machine(options)
    opened: Launch | Attach
    if options.pid is not None:
        opened = target.attach(options)
    else:
        opened = target.launch(program, options) if program else target.script_builtin(lines, options)
    name = "standard input" if options.file == "-" else options.file
    return run_script(
        lines,
        target.session(opened, watches, spawned, patient=True),
        json=options.json,
        name=name,
        launched=options.pid is None,
    )


def _slots(options: SimpleNamespace, program: list[str] | None) -> int:
    _no_program(program, "slots")
    from tui.text.slots import disarm, slots

    if options.disarm:
        if options.pid is None:
            raise CommandLineError("--disarm needs the process: hwbp-tui slots PID --disarm")
        return disarm(options.pid, json=options.json)
    root = target.root_process("none", options) if getattr(options, "sudo", False) else None
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
    from backends.base import HwbpError
    from tui.text.arguments import command_line
    from tui.web.asked import app_line
    from tui.web.page import assets_folder

    line = app_line(words, program, command_line().parse_args(words, SimpleNamespace()))
    assets = assets_folder()
    if assets is None or find_spec("aiohttp") is None:
        raise HwbpError(
            "serve needs the extra 'serve', which is not installed",
            remedy=f"{sys.executable} -m pip install textual-serve",  # which brings aiohttp
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
        raise HwbpError(
            f"port {options.port}: {error.strerror}", remedy="serve --port N takes another"
        ) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
