"""`hwbp-tui script`: the app's own commands from a file, one result a line (docs/cli.md)."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from backends.base import HwbpError
from tui.session.escape import escape, one_line
from tui.session.hit_lines import dump
from tui.session.result import Result
from tui.session.session import Session
from tui.text.output import ClosedOutputError, Output, ProgramOutput, note

__all__ = ["read_script", "run_script"]

_LONGEST: Final = 4 << 20
"""Bytes of a script: a device or a pipe may never end."""
_ERRNOS: Final = frozenset(name for name in dir(errno) if name.startswith("E"))


def read_script(path: str) -> tuple[str, ...]:
    """The lines of a script, `-` for standard input. Raises HwbpError."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_LONGEST + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(_LONGEST + 1)
    except OSError as error:
        raise HwbpError(f"{escape(path)}: {error.strerror}") from error
    if len(data) > _LONGEST:
        raise HwbpError(f"{escape(path)}: no script: more than {_LONGEST >> 20} MiB", errno="EFBIG")
    return tuple(data.decode("utf-8", "surrogateescape").split("\n"))


def run_script(
    lines: Iterable[str],
    open_session: Callable[[], Session],
    *,
    json: bool = False,
    name: str = "script",
    launched: bool = False,
) -> int:
    """Run a script; returns the exit code. Raises HwbpError for the first command that failed.

    A line that cannot be a command is found before the first one runs, and before the machine is there.
    `launched`: a live program is one that we have started, and that goes on without us: whoever did not end it is told.
    """
    steps = tuple(_steps(lines, name))
    output = Output()
    try:
        with contextlib.closing(open_session()) as session:
            try:
                if json:
                    output.line(dump({"schema": 1, "kind": "script"}))
                return _run(steps, session, output, json, name)
            finally:
                if launched:
                    _tell_of_what_is_left(session)
    except ClosedOutputError:
        return 0
    finally:
        output.close()


def _tell_of_what_is_left(session: Session) -> None:
    pid = session.names.process
    if pid is not None and session.ring.state in ("running", "stopped"):
        note(f"{session.view.program} runs on by itself, unwatched: `kill {pid}` ends it")


class _Step(NamedTuple):
    """A line of a script. `wanted` is the errno that it must fail with, None for any."""

    number: int
    must_fail: bool
    wanted: str | None
    command: str


def _steps(lines: Iterable[str], name: str) -> Iterator[_Step]:
    """The commands of a script, in order. Raises HwbpError with the line and the word at fault."""
    from tui.session.commands import find

    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            step = _Step(number, *_expectation(line))
            ends = not step.must_fail and find(step.command)[0].word == "quit"
        except HwbpError as error:
            raise HwbpError(
                f"{escape(name)}:{number}: {one_line(error.message)}",
                errno=error.errno,
                remedy=one_line(error.remedy),
            ) from error
        yield step
        if ends:
            return


def _run(steps: Iterable[_Step], session: Session, output: Output, json: bool, name: str) -> int:
    program = ProgramOutput(session.backend, session.ring, keep=False)
    for number, must_fail, wanted, command in steps:
        result = session.execute(command)
        facts = _facts(number, command, result, must_fail, wanted)
        if json:
            output.line(dump(facts))
        else:
            for text in _text(number, command, facts, result):
                output.line(text)
        output.flush()
        program.pump()
        if not facts["ok"]:
            raise HwbpError(
                f"{escape(name)}:{number}: {facts['error']}", errno=result.errno, remedy=result.remedy
            )
        if result.data.get("quit"):
            break
    return 0


def _expectation(line: str) -> tuple[bool, str | None, str]:
    """`! [ERRNO] COMMAND`: whether it must fail, with which errno, and the command."""
    if not line.startswith("!"):
        return False, None, line
    rest = line[1:].strip()
    first, _, command = rest.partition(" ")
    wanted = None
    if re.fullmatch(r"E[A-Z0-9]+", first) and (first in _ERRNOS or command.strip()):
        if first not in _ERRNOS:
            raise HwbpError(f"there is no errno {first}", errno="EINVAL")
        wanted, rest = first, command.strip()
    if not rest:
        raise HwbpError(
            f"no command behind `{line}`: what must fail?", errno="EINVAL", remedy="! [ERRNO] COMMAND"
        )
    return True, wanted, rest


def _facts(number: int, command: str, result: Result, must_fail: bool, wanted: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"line": number, "command": escape(command)}
    if not must_fail:
        if result.ok:
            return {**facts, "ok": True, "result": result.data}
        return {
            **facts,
            "ok": False,
            "errno": result.errno,
            "error": result.error,
            "holders": list(result.holders),
        }
    expected = wanted or "a failure"
    if result.ok:
        error = f"{escape(command)}: {expected} was expected, and it succeeded"
        return {**facts, "ok": False, "errno": None, "error": error, "holders": [], "expected": False}
    if wanted is not None and result.errno != wanted:
        error = f"{wanted} was expected, not {result.errno or 'a failure without errno'}: {result.error}"
        return {
            **facts,
            "ok": False,
            "errno": result.errno,
            "error": error,
            "holders": list(result.holders),
            "expected": False,
        }
    return {
        **facts,
        "ok": True,
        "errno": result.errno,
        "error": result.error,
        "holders": list(result.holders),
        "expected": True,
    }


def _text(number: int, command: str, facts: dict[str, Any], result: Result) -> Iterable[str]:
    yield f"{number:>4}  {escape(command)}"
    if result.ok:
        for line in result.lines:
            yield f"      {line}"
        return
    mark = "refused as expected" if facts.get("expected") else "refused"
    yield f"      {mark}: {f'{result.errno}: ' if result.errno else ''}{result.error}"
    for shown in result.pointer:
        yield f"        {shown}"
    for holder in result.holders:
        yield f"        held by {holder}"
    if result.remedy:
        yield f"        {result.remedy}"
