"""Help for the command that is being typed: its usage, what the words of the usage mean, what it does, an example."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from tui.app.screens.reader import HEADING
from tui.session.escape import one_line

if TYPE_CHECKING:
    from tui.session.commands.table import Command

__all__ = ["WORDS", "typed_help"]

WORDS: Final = {
    "ADDR": "an address of the kernel: 0xffffffff81000000",
    "ADDRESS": "a number: 0x401000",
    "BIT": "a bit of DR7 by its name: G0, L3, RW1, LEN2, GE",
    "BYTES": "machine code in hexadecimal",
    "CONDITION": "comparisons joined by &&: value > 100 && tid == 44 && ip in set",
    "COUNT": "how many",
    "CPU": "the number of a CPU, from 0",
    "DIR": "a directory",
    "EVENT": "the name of a trace event",
    "EXPR": "a C expression: counter, cfg.limits[3], head->next, *(long *)0x404028, $rsp+8; a function",
    "FD": "the descriptor of a perf event, as `info slots` shows it",
    "FIELD": "a field of the event",
    "FILE": "a source file as the program was compiled from: counter.c",
    "FLAG": "an attribute of perf_event_open(2)",
    "HIT": "the number of a hit, from 1",
    "HZ": "the timer's ticks a second: 100, 250, 300 or 1000",
    "LEN": "bytes from 1; what no single register covers is split into aligned windows",
    "LINE": "the number of a line",
    "N": "a number: of a watch as `info watchpoints` lists them, of frames, instructions or hits to count",
    "NAME": "a name of what the command is about",
    "NUMBER": "a digit",
    "PACKET": "a packet of gdb's remote protocol",
    "PERIOD": "every how many hits one is recorded",
    "PLACE": "a variable or a place in memory: cfg.limits[3], *(int *)0x404028; of code: main, counter.c:42",
    "REGISTER": "a register of the CPU: rax, rip, eflags",
    "SECONDS": "how long at most",
    "SIZE": "1, 2, 4 or 8 bytes",
    "SYMBOL": "a symbol of the kernel",
    "TEXT": "any text",
    "TID": "the number of a task, as the view of tasks lists them",
    "TRACER": "the name of a tracer of ftrace",
    "TYPE": "a type: struct node, long; of a breakpoint w, rw or x",
    "VALUE": "a number, or an expression that is one",
    "WATCH": "EXPR[/LEN][:w|rw|x] [if CONDITION] [ignore N] [limit N]: counter, cfg.limits[3]/4:rw, main:x",
    "WORD": "a command",
}
"""What stands in capitals in a usage. What is not here is spelled out by the command's own help."""


def typed_help(text: str) -> tuple[str, ...]:
    """Lines about the command that a command line begins with; none where nothing is typed."""
    from tui.session.commands import COMMANDS, find

    line = text.strip()
    if not line:
        return ()
    try:
        command, _rest = find(line)
    except HwbpError as error:
        word = line.split()[0]
        near = [each for each in COMMANDS if each.word.startswith(word)]
        said = [f"{each.grammar:<44} {each.summary}" for each in near]
        return (f"{HEADING}{one_line(error.message)}", *said, "")
    return _about(command)


def _about(command: Command) -> tuple[str, ...]:
    about, example = _parted(command.help)
    if about and about[0].rstrip(".").lower() == command.summary.lower():
        del about[0]
    lines = [f"{HEADING}{command.grammar}", command.summary, *about, ""]
    words = dict.fromkeys(re.findall(r"[A-Z][A-Z0-9]*", command.grammar))
    if "WATCH" in words:
        words |= dict.fromkeys(("EXPR", "LEN", "CONDITION"))
    lines += [f"{word:<11} {WORDS[word]}" for word in words if word in WORDS]
    if lines[-1]:
        lines.append("")
    if command.aliases:
        lines.append(f"{'also':<11} {', '.join(command.aliases)}")
    lines += [f"{'example' if not number else '':<11} {each}" for number, each in enumerate(example)]
    return (*lines, "")


def _parted(help_text: str) -> tuple[list[str], list[str]]:
    """A help's text and its examples, which stand behind `Example: `, two blanks between two of them."""
    text, sign, examples = help_text.partition("Example: ")
    found = [each.strip() for each in re.split(r"\s{2,}|\n", examples) if each.strip()] if sign else []
    return [line for line in text.rstrip().split("\n") if line], found
