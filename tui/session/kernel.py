"""`kernel(EXPR)`: what an expression is in the running kernel, by its symbols and types (kallsyms, BTF) and its memory."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from backends.base import HwbpError
from tui.session.escape import escape
from tui.session.names import ExpressionRefused

if TYPE_CHECKING:
    from symbols.ctype import Type
    from symbols.kernel import KernelNames
    from symbols.value import Value
    from tui.session.session import Session

__all__ = ["inside", "kernel_type", "kernel_value"]

_WRITTEN = re.compile(r"\s*kernel\s*\((.*)\)\s*", re.DOTALL)


def inside(text: str) -> tuple[str, int] | None:
    """What stands between the parentheses of `kernel(...)`, and where it begins; None where the text is something else."""
    found = _WRITTEN.fullmatch(text)
    return (found[1], found.start(1)) if found else None


@cache
def _names() -> KernelNames:
    from symbols.kernel import KernelNames

    return KernelNames.running()


def kernel_value(session: Session, text: str, most: int) -> tuple[Value, bytes | None]:
    """What the expression in `kernel(...)` is, and at most so many of its bytes. Raises HwbpError."""
    from backends.kernelview.now import KernelMemory
    from symbols.evaluate import evaluate
    from symbols.expression import parse
    from symbols.nodes import SourceLine
    from symbols.target import ExpressionError

    _need_live(session)
    asked = inside(text)
    assert asked is not None
    expr, start = asked
    memory = KernelMemory()
    names = _names().reading(memory.read, memory.task)
    try:
        parsed = parse(expr)
        if isinstance(parsed, SourceLine):
            raise ExpressionError("the kernel has no line information here")
        value = evaluate(parsed, names)
        data = value.data
        if (
            data is None
            and value.number is None
            and value.address is not None
            and value.length
            and not value.code
        ):
            data = memory.read(value.address, min(value.length, most))
        return value, data
    except ExpressionError as error:
        span = (error.span[0] + start, error.span[1] + start) if error.span else None
        raise ExpressionRefused(escape(" ".join(str(error).split())), text, span) from error
    finally:
        memory.close()


def kernel_type(session: Session, text: str) -> Type:
    """The type that the name in `kernel(...)` means, or that the expression has. Raises HwbpError."""
    from symbols.evaluate import type_of
    from symbols.expression import parse_type
    from symbols.target import ExpressionError

    _need_live(session)
    asked = inside(text)
    named = parse_type(asked[0]) if asked is not None else None
    if named is not None:
        try:
            return type_of(named, _names())
        except ExpressionError as error:
            if len(named.words) > 1 or named.stars:
                raise HwbpError(escape(str(error))) from error
    value, _ = kernel_value(session, text, 0)
    if value.type is None:
        raise HwbpError(f"{escape(text)} is without type information")
    return value.type


def _need_live(session: Session) -> None:
    if session.names.process is None:
        raise HwbpError(
            "kernel(...) asks the kernel that a live program runs on; this program is emulated",
            errno="EOPNOTSUPP",
            remedy="open a program with --backend perf, or attach with -p PID",
        )
