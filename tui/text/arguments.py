"""The grammar of the command line (docs/cli.md): words, options, and what each value may be."""

from __future__ import annotations

import argparse
from typing import Any, Final, NoReturn

from tui.session.settings import KEYMAPS, THEMES
from tui.text.words import CommandLineError

__all__ = ["command_line"]

_BACKENDS: Final = ("emulated", "perf")
_ALLOWED: Final = ("write", "network", "exec", "kill", "perfmon")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandLineError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own passes over what could not be written."""
        from tui.text.output import print_lines

        print_lines(message.rstrip("\n").split("\n"))


def command_line() -> argparse.ArgumentParser:
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
    _sudo_option(demo)

    tour = _word(words, "tour", "a guided tour of the app, two minutes", "hwbp-tui tour")
    _screen_options(tour)

    run = _word(
        words,
        "run",
        "the app on a program",
        "hwbp-tui run [-w WATCH]... -- PROGRAM [ARG]...  |  hwbp-tui run --bare [PROGRAM]",
    )
    _machine_options(run)
    _bare_program(run)
    _screen_options(run)

    attach = _word(words, "attach", "the app on a live process", "hwbp-tui attach PID [-w WATCH]...")
    attach.add_argument("pid", metavar="PID", type=_pid)
    _machine_options(attach)
    _screen_options(attach)

    trace = _word(
        words,
        "trace",
        "one line a hit, no screen",
        "hwbp-tui trace [-w WATCH]... (-p PID | -- PROGRAM [ARG]... | --bare [PROGRAM])",
    )
    _machine_options(trace)
    _bare_program(trace)
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

    slots = _word(
        words, "slots", "who holds this machine's debug registers", "hwbp-tui slots [PID] [--json] [--disarm]"
    )
    slots.add_argument("pid", nargs="?", type=_pid, metavar="PID", help="only what concerns this process")
    slots.add_argument("--json", action="store_true", help="one JSON object")
    _sudo_option(slots)
    slots.add_argument(
        "--disarm", action="store_true", help="disarm the watches that a debugger left in the process"
    )

    doctor = _word(words, "doctor", "what this machine allows and forbids", "hwbp-tui doctor [--json]")
    doctor.add_argument("--json", action="store_true")
    settings = _word(
        words, "settings", "the settings, as a file to edit", "hwbp-tui settings [--default] [--config FILE]"
    )
    settings.add_argument("--default", action="store_true", help="as they are without a file")
    _screen_options(settings)
    serve = _word(
        words,
        "serve",
        "the app in a web browser, on the loopback address",
        "hwbp-tui serve [--port N] [the app's command line: run, attach, demo, -w WATCH ...]",
    )
    serve.add_argument("--port", type=_port, metavar="N", default=0, help="a free one without this")
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
        "--env",
        action=_Append,
        type=_variable,
        default=argparse.SUPPRESS,
        metavar="NAME[=VALUE]",
        help="a variable for the emulated program, whose environment is small and fixed otherwise; repeatable",
    )
    parser.add_argument(
        "--allow",
        action=_Append,
        choices=_ALLOWED,
        default=argparse.SUPPRESS,
        help="let an emulated program do this",
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        default=argparse.SUPPRESS,
        help="no operating system: the program runs at privilege level 0 and owns the debug registers",
    )
    parser.add_argument(
        "--cpus", type=_cpus, metavar="N", default=argparse.SUPPRESS, help="emulated CPUs, 1 to 64 (2)"
    )
    parser.add_argument(
        "--quantum",
        type=_count,
        metavar="N",
        default=argparse.SUPPRESS,
        help="instructions a task runs before another that waits for the CPU (10000)",
    )
    parser.add_argument(
        "--children", action="store_true", default=argparse.SUPPRESS, help="follow the program's children too"
    )
    parser.add_argument(
        "--kernel", action="store_true", default=argparse.SUPPRESS, help="live: hits in kernel mode too"
    )
    parser.add_argument(
        "--guard",
        action="store_true",
        default=argparse.SUPPRESS,
        help="live: disarm for part of the time what hits without pause",
    )
    _sudo_option(parser)


def _sudo_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sudo",
        action="store_true",
        default=argparse.SUPPRESS,
        help="live: a small root process opens what takes privileges, all else runs as you",
    )


def _bare_program(parser: argparse.ArgumentParser) -> None:
    """`--bare PROGRAM`: a bare program takes no arguments, so it may stand there without `--`."""
    parser.add_argument("bare_program", nargs="?", metavar="PROGRAM", help="with --bare: the image to run")


def _screen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ascii", action="store_true", default=argparse.SUPPRESS, help="draw with ASCII only"
    )
    parser.add_argument(
        "--fps", type=_fps, metavar="N", default=argparse.SUPPRESS, help="pictures a second (15)"
    )
    parser.add_argument("--theme", choices=THEMES, default=argparse.SUPPRESS, help="colours (dark)")
    parser.add_argument("--keymap", choices=KEYMAPS, default=argparse.SUPPRESS, help="keys (default)")
    parser.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="settings from this file (docs/app.md)"
    )


class _Append(argparse.Action):
    """Appends also to what an option before the word has put there."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, []), values])


def _whole(text: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 1000 and int(text) >= least):
        raise argparse.ArgumentTypeError(f"'{text}' is no {what} from {least}")
    if int(text) > most:
        raise argparse.ArgumentTypeError(f"{text} is too large a {what}: {most} at most")
    return int(text)


def _pid(text: str) -> int:
    return _whole(text, "process id", 1, (1 << 31) - 1)  # pid_t: which of them there are, the kernel says


def _count(text: str) -> int:
    return _whole(text, "count", 1, 10**18)


def _cpus(text: str) -> int:
    return _whole(text, "number of CPUs", 1, 64)


def _port(text: str) -> int:
    return _whole(text, "port", 0, 65_535)


def _variable(text: str) -> str:
    if not text.partition("=")[0]:
        raise argparse.ArgumentTypeError(f"'{text}' has no name: NAME or NAME=VALUE")
    return text


def _fps(text: str) -> int:
    return _whole(text, "rate", 1, 120)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds above 0")
    return seconds
