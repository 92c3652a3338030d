"""The command line: arguments only. Each word imports what it needs when it is chosen (design section 5.1)."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from backends.base import HwbpError, Launch
    from tui.session.session import Session
    from tui.session.watch import Watch

__all__ = ["main"]

_BACKENDS: Final = ("emulated", "perf")
_ALLOWED: Final = ("write", "network", "exec", "kill")
_NOT_BUILT: Final = ("children", "kernel", "guard", "bare", "sudo")
_USAGE: Final = 2


class _UsageError(Exception):
    """What can be told from the command line alone: exit code 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `hwbp-tui`; returns the exit code. Errors are one line on standard error."""
    _open_standard_streams()
    try:
        if (foreign := _foreign_package()) is not None:
            return _complain(foreign)
        return _main(list(sys.argv[1:] if argv is None else argv))
    except _UsageError as error:
        return _complain(str(error), _USAGE)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HWBP_TUI_DEBUG") == "1":
            raise
        return _unexpected(error)


def _main(argv: list[str]) -> int:
    words, program = _split(argv)
    options = _parser().parse_args(words)
    try:
        return _commands()[options.command](options, program)
    except Exception as error:
        from backends.base import HwbpError
        from tui.session.watch import WatchError

        if not isinstance(error, HwbpError) or os.environ.get("HWBP_TUI_DEBUG") == "1":
            raise
        remedy = f" ({error.remedy})" if error.remedy else ""
        held = f"; held by: {'; '.join(error.holders)}" if error.holders else ""
        return _complain(f"{error.message}{held}{remedy}", _USAGE if isinstance(error, WatchError) else 1)


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
            return f"the package {name!r} is missing: install hwbp-tui again"
        if os.path.join(here, name) not in map(os.path.realpath, where):
            found = where[0] if where else spec.origin
            return f"another package named {name!r} is in the way: {found}; take its folder out of PYTHONPATH"
    return None


def _split(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """What comes before `--`, and the program after it."""
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "hwbp-tui",
        description="See who holds the four x86 debug registers, and who writes your variable.",
        epilog="WATCH is EXPR[/LEN][:w|rw|x]: counter, cfg.limits[3], box+32/8:rw, main:x, prog.c:42.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    _screen_options(parser)
    _machine_options(parser)
    parser.set_defaults(command="", json=False)
    words = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    demo = _word(words, "demo", "a narrated, replayable scene in the app", "hwbp-tui demo [NAME] [--list]")
    demo.add_argument("name", nargs="?", metavar="NAME")
    demo.add_argument("--list", action="store_true", help="name the demos, and what each backend can play")
    _screen_options(demo)
    demo.add_argument("--backend", choices=_BACKENDS)

    run = _word(words, "run", "the app on a program", "hwbp-tui run [-w WATCH]... -- PROGRAM [ARG]...")
    _machine_options(run)
    _screen_options(run)

    attach = _word(words, "attach", "the app on a live process", "hwbp-tui attach PID [-w WATCH]...")
    attach.add_argument("pid", metavar="PID", type=_pid)
    _machine_options(attach)
    _screen_options(attach)

    trace = _word(
        words,
        "trace",
        "one line a hit, no screen",
        "hwbp-tui trace [-w WATCH]... (-p PID | -- PROGRAM [ARG]...)",
    )
    _machine_options(trace)
    trace.add_argument("-p", "--pid", type=_pid, metavar="PID", help="a live process")
    trace.add_argument("--json", action="store_true", help="one JSON object a line")
    trace.add_argument("--stack", action="store_true", help="call stacks with the hits")
    trace.add_argument("--limit", type=_count, metavar="N", help="stop after N printed hits")
    trace.add_argument("--duration", type=_seconds, metavar="S", help="stop after S seconds")
    trace.add_argument("-o", "--output", metavar="FILE", help="write hits and summary there")
    trace.add_argument("--compat", action="store_true", help="a live run with the emulated CPU's features")

    script = _word(
        words, "script", "the app's commands from a file", "hwbp-tui script FILE [-- PROGRAM [ARG]...]"
    )
    script.add_argument("file", metavar="FILE", help="- for standard input")
    script.add_argument("--json", action="store_true", help="one JSON object a line")
    script.add_argument("-p", "--pid", type=_pid, metavar="PID", help="a live process")
    _machine_options(script)

    slots = _word(words, "slots", "who holds this machine's debug registers", "hwbp-tui slots [PID] [--json]")
    slots.add_argument("pid", nargs="?", type=_pid, metavar="PID")
    slots.add_argument("--json", action="store_true")

    doctor = _word(words, "doctor", "what this machine allows and forbids", "hwbp-tui doctor [--json]")
    doctor.add_argument("--json", action="store_true")
    _word(words, "serve", "the app in a web browser, on the loopback address", "hwbp-tui serve")
    return parser


def _word(words: Any, name: str, summary: str, usage: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = words.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", usage=usage, allow_abbrev=False
    )
    parser.set_defaults(command=name)
    return parser


def _machine_options(parser: argparse.ArgumentParser) -> None:
    # A default that is suppressed lets -w stand before the word as well as after it.
    parser.add_argument(
        "-w", "--watch", action=_Append, metavar="WATCH", default=argparse.SUPPRESS, help="watch this"
    )
    parser.add_argument(
        "--backend", choices=_BACKENDS, default=argparse.SUPPRESS, help="emulated (the default) or perf"
    )
    parser.add_argument(
        "--stdin", metavar="FILE", default=argparse.SUPPRESS, help="the program's standard input"
    )
    parser.add_argument(
        "--allow",
        action=_Append,
        choices=_ALLOWED,
        default=argparse.SUPPRESS,
        help="let an emulated program do this",
    )
    for name in _NOT_BUILT:
        parser.add_argument(
            f"--{name}", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def _screen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ascii", action="store_true", default=argparse.SUPPRESS, help="draw with ASCII only"
    )
    parser.add_argument(
        "--fps", type=_fps, metavar="N", default=argparse.SUPPRESS, help="pictures a second (15)"
    )


class _Append(argparse.Action):
    """Appends also to what an option before the word has put there."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, []), values])


def _whole(text: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is no {what} from {least}")
    return int(text)


def _pid(text: str) -> int:
    return _whole(text, "process id", 1, 1 << 22)


def _count(text: str) -> int:
    return _whole(text, "count", 1, 10**18)


def _fps(text: str) -> int:
    return _whole(text, "rate", 1, 120)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _commands() -> dict[str, Callable[[argparse.Namespace, list[str] | None], int]]:
    return {
        "": _plain,
        "demo": _demo,
        "run": _run,
        "attach": _attach,
        "trace": _trace,
        "script": _script,
        "slots": _slots,
        "doctor": _doctor,
        "serve": _serve,
    }


def _refuse(message: str, remedy: str = "") -> HwbpError:
    from backends.base import HwbpError

    return HwbpError(message, remedy=remedy)


def _no_program(program: list[str] | None, word: str) -> None:
    if program is not None:
        raise _UsageError(
            f"{word} takes no program" if word else "to open a program: hwbp-tui run -- PROGRAM"
        )


def _check_machine(options: argparse.Namespace) -> str:
    """The backend's name. Raises HwbpError for what is not built yet."""
    backend: str = getattr(options, "backend", None) or (
        "perf" if getattr(options, "pid", None) else "emulated"
    )
    if backend == "perf":
        raise _refuse("the perf backend is not built yet", "--backend emulated works, on a program after --")
    if getattr(options, "pid", None):
        raise _refuse("the emulated machine cannot attach to a live process", "give it a program after --")
    for name in _NOT_BUILT:
        if getattr(options, name, False):
            raise _refuse(f"--{name} is not built yet")
    return backend


def _watches(options: argparse.Namespace) -> tuple[Watch, ...]:
    from tui.session.watch import Watch

    return tuple(Watch.parse(text) for text in getattr(options, "watch", []))


def _launch(program: Sequence[str], options: argparse.Namespace, **more: Any) -> Launch:
    from backends.base import Launch

    return Launch(
        program=program[0],
        argv=tuple(program[1:]),
        env=tuple(os.environ.items()),
        stdin=getattr(options, "stdin", None),
        allow=tuple(dict.fromkeys(getattr(options, "allow", []))),
        **more,
    )


def _session(
    launch: Launch, watches: tuple[Watch, ...], backend: str, patient: bool = False
) -> Callable[[], Session]:
    def open_it() -> Session:
        from tui.session.open import open_session

        return open_session(launch, watches, backend=backend, patient=patient)

    return open_it


def _builtin(name: str, options: argparse.Namespace) -> tuple[Launch, tuple[Watch, ...]]:
    """A built-in program, and the watches that suit it."""
    from backends.emulated.programs import find
    from tui.session.watch import Watch

    program = find(name)
    if program is None:
        raise _refuse(f"the built-in program {name!r} is missing: install hwbp-tui again")
    suggested = tuple(Watch.parse(text) for text in program.suggested_watches)
    return _launch([str(program.path)], options), suggested


def _needs_terminal(word: str) -> None:
    without = [
        name
        for name, stream in (("input", sys.stdin), ("output", sys.stdout), ("error", sys.stderr))
        if stream is None or not stream.isatty()
    ]
    if without:
        raise _refuse(
            f"{word or 'the app'} needs a terminal, and standard {without[0]} is none",
            "without one: hwbp-tui trace, hwbp-tui script",
        )


def _plain(options: argparse.Namespace, program: list[str] | None) -> int:
    if options.version:
        from importlib.metadata import version

        print(f"hwbp-tui {version('hwbp-tui')}")
        return 0
    _no_program(program, "")
    watches = _watches(options)
    _needs_terminal("")
    backend = _check_machine(options)
    launch, suggested = _builtin("counter", options)
    return _app(_session(launch, watches or suggested, backend), options)


def _run(options: argparse.Namespace, program: list[str] | None) -> int:
    if not program:
        raise _UsageError("run needs a program: hwbp-tui run -- PROGRAM [ARG]...")
    watches = _watches(options)
    _needs_terminal("run")
    backend = _check_machine(options)
    return _app(_session(_launch(program, options), watches, backend), options)


def _demo(options: argparse.Namespace, program: list[str] | None) -> int:
    from tui.session.demos import DEMOS, find_demo

    _no_program(program, "demo")
    if options.list:
        from tui.text.output import print_lines

        return print_lines(f"{demo.name:<14} {', '.join(demo.backends):<10} {demo.title}" for demo in DEMOS)
    demo = find_demo(options.name or DEMOS[0].name)
    _needs_terminal("demo")
    backend = _check_machine(options)
    launch, _suggested = _builtin(demo.program, options)
    return _app(_session(launch, (), backend), options, demo=demo)


def _app(open_session: Callable[[], Session], options: argparse.Namespace, **more: Any) -> int:
    from tui.app.main import run_app

    return run_app(
        open_session, ascii=getattr(options, "ascii", False), fps=getattr(options, "fps", 15), **more
    )


def _attach(options: argparse.Namespace, program: list[str] | None) -> int:
    _no_program(program, "attach")
    _watches(options)
    raise _refuse("attach is not built yet", "the emulated machine runs a program: hwbp-tui run -- PROGRAM")


def _trace(options: argparse.Namespace, program: list[str] | None) -> int:
    if (options.pid is None) == (not program):
        raise _UsageError(
            "trace needs either -p PID or a program: hwbp-tui trace [-w WATCH]... -- PROGRAM [ARG]..."
        )
    watches = _watches(options)
    backend = _check_machine(options)
    assert program
    launch = _launch(program, options, stacks=options.stack, lossless=True)
    from tui.text.trace import TraceOptions, trace

    asked = TraceOptions(
        json=options.json,
        stack=options.stack,
        limit=options.limit,
        duration=options.duration,
        output=options.output,
    )
    return trace(asked, _session(launch, watches, backend))


def _script(options: argparse.Namespace, program: list[str] | None) -> int:
    if program is not None and not program:
        raise _UsageError("there is no program after --")
    if options.pid is not None and program:
        raise _UsageError("script takes either -p PID or a program, not both")
    watches = _watches(options)
    backend = _check_machine(options)
    from tui.text.script import read_script, run_script

    lines = read_script(options.file)
    launch = _launch(program, options) if program else _builtin("counter", options)[0]
    name = "standard input" if options.file == "-" else options.file
    return run_script(lines, _session(launch, watches, backend, patient=True), json=options.json, name=name)


def _slots(_options: argparse.Namespace, program: list[str] | None) -> int:
    _no_program(program, "slots")
    from tui.text.slots import slots

    return slots()


def _doctor(options: argparse.Namespace, program: list[str] | None) -> int:
    _no_program(program, "doctor")
    from tui.text.doctor import doctor

    return doctor(json=options.json)


def _serve(_options: argparse.Namespace, program: list[str] | None) -> int:
    _no_program(program, "serve")
    raise _refuse("serve is not built yet", "the app runs in any terminal: hwbp-tui")


if __name__ == "__main__":
    sys.exit(main())
