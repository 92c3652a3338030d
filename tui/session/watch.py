"""The text of a watch: `EXPR[/LEN][:r|w|rw|x] [if CONDITION] [ignore N] [limit N] [pending]` (docs/cli.md).

What comes before `if`, `ignore`, `limit` and `pending` is read from the right: first `:type`, then `/DECIMAL`, the rest is EXPR. A colon that belongs to EXPR is told apart by
what follows it: digits (`prog.c:42`) or another colon (`file.c::v`, `func::v`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, cast

from backends.base import HwbpError
from backends.model import WatchType
from symbols.dataclass import dataclass
from symbols.expression import parse
from symbols.nodes import Binary, Node, Number, SourceLine, TypeName, Unary
from symbols.target import ExpressionError
from tui.session.condition import parts
from tui.session.escape import escape

__all__ = ["Watch", "WatchError"]

_TYPE: Final = re.compile(r"(?<!:):\s*([^\W\d]\w*|)$")
_LENGTH: Final = re.compile(r"/\s*([0-9]+)$")
_BAD_LENGTH: Final = re.compile(r"/\s*(0[xXbBoO]\w*|[-+][0-9]+|[0-9]+\.[0-9]*|)$")
_ONCE: Final = re.compile(r"\s*-l(?:ocation)?\s+")
_WATCH: Final = "EXPR[/LEN][:w|rw|x]"
_TAIL: Final = re.compile(
    r"(?P<place>.*?)(?:\s+if(?:\s+(?P<condition>.*?))?)?"
    r"(?:\s+ignore(?:\s+(?P<ignore>(?!(?:limit|pending)\b)\S*))?)?"
    r"(?:\s+limit(?:\s+(?P<limit>(?!pending\b)\S*))?)?(?P<pending>\s+pending)?\s*",
    re.DOTALL,
)
_MOST: Final = (1 << 63) - 1
_LONGEST: Final = 19  # decimal digits of 2**63


class WatchError(HwbpError):
    """A watch that can be told to be wrong from its text alone. One line. `span`: the part of `expr` that is at fault."""

    def __init__(
        self, message: str, remedy: str = "", expr: str = "", span: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message, errno="EINVAL", remedy=remedy)
        self.expr = expr
        self.span = span


@dataclass(frozen=True, slots=True)
class Watch:
    """What to watch, as it was written. `length` in bytes and `type` are None where the text leaves them open.

    `condition` says what a hit must be like, `ignore` how many of those are left out first, `limit` how many are wanted then ("", 0 and
    None: every one). `pending`: where it means nothing
    yet, it waits for a library that says what it means.
    `Watch.parse(str(watch)) == watch` for every watch there is; WatchError for one that could not be written.
    """

    expr: str
    length: int | None = None
    type: WatchType | None = None
    condition: str = ""
    limit: int | None = None
    pending: bool = False
    ignore: int = 0

    def __post_init__(self) -> None:
        if not self.expr:
            raise WatchError(
                "a watch needs an expression", "write EXPR[/LEN][:w|rw|x], for example counter/4:rw"
            )
        shown = escape(self.expr)
        if self.length is not None and self.length < 1:
            raise WatchError(f"{shown}: LEN is {self.length}, and a watch covers at least 1 byte")
        if self.length is not None and len(str(self.length)) > _LONGEST:
            raise WatchError(f"{shown}: LEN is larger than an address space")
        if self.type == "x" and self.length not in (None, 1):
            raise WatchError(
                f"{shown}: LEN is {self.length}, and an execute watch has length 1 (SDM 3B 17.2.4)",
                f"write {shown}:x",
            )
        bad_end = self.length is None and _BAD_LENGTH.search(self.expr)
        if bad_end or _split(self.place) != (self.expr, self.length, self.type):
            raise WatchError(
                f"{shown}: this expression cannot be told from a LEN or a type; put it in parentheses"
            )

    @classmethod
    def parse(cls, text: str) -> Watch:
        """Read a watch. Raises WatchError. gdb's `-l` says what is so anyway: the place is found once."""
        text = _ONCE.sub("", text, count=1) if _ONCE.match(text) else text
        text, wanted, ignore, limit, pending = _tail(text)
        expr, length, kind = _split(text)
        shown = escape(expr)
        if kind == "r":
            raise WatchError(
                f"{shown}: x86 cannot watch reads alone: R/W has encodings for execute, write, and read or write",
                f"use {shown}{'' if length is None else f'/{length}'}:rw, which reports writes as well",
            )
        if kind not in (None, "w", "rw", "x"):
            raise WatchError(f"{shown}: unknown type '{escape(kind)}'", "types are w, rw and x")
        if length is None and (bad := _BAD_LENGTH.search(expr)):
            raise WatchError(f"{shown}: LEN '{bad[1]}' is not a decimal number from 1")
        if expr:
            _check(expr)
        if wanted:
            parts(wanted, expr)
        return cls(expr, length, cast("WatchType | None", kind), wanted, limit, pending, ignore)

    def __str__(self) -> str:
        condition = f" if {self.condition}" if self.condition else ""
        ignore = f" ignore {self.ignore}" if self.ignore else ""
        limit = "" if self.limit is None else f" limit {self.limit}"
        return f"{self.place}{condition}{ignore}{limit}{' pending' if self.pending else ''}"

    @property
    def place(self) -> str:
        """`EXPR[/LEN][:TYPE]`: without what its hits must be like."""
        length = "" if self.length is None else f"/{self.length}"
        return f"{self.expr}{length}{'' if self.type is None else f':{self.type}'}"


def _tail(text: str) -> tuple[str, str, int, int | None, bool]:
    """What stands before `if`, `ignore`, `limit` and `pending`; the condition, how many are ignored, the limit, whether it may wait."""
    match = _TAIL.fullmatch(text)
    assert match is not None
    place = match["place"]
    words = text[len(place) :].split()
    condition = " ".join((match["condition"] or "").split())
    if not condition and words[:1] == ["if"]:
        raise WatchError(f"{escape(place)}: nothing stands after `if`", "write one like value > 100")
    bare = words[: -1 if match["pending"] else None]
    ignore = _hits(place, "ignore", match["ignore"], bare)
    limit = _hits(place, "limit", match["limit"], bare)
    return place, condition, ignore or 0, limit, match["pending"] is not None


def _hits(place: str, word: str, text: str | None, words: list[str]) -> int | None:
    """The number of hits behind a word, None where the word is not there."""
    if text is None:
        if word in words[-1:] or (word == "ignore" and "ignore limit" in " ".join(words)):
            raise WatchError(f"{escape(place)}: how many hits? `{word} N`, from 1")
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= _MOST):
        raise WatchError(f"{escape(place)}: '{escape(text)}' is no number of hits from 1")
    return int(text)


def _split(text: str) -> tuple[str, int | None, str | None]:
    """EXPR, LEN and the word after the last colon, as far as each is there."""
    rest, length, kind = text.strip(), None, None
    if match := _TYPE.search(rest):
        rest, kind = rest[: match.start()].rstrip(), match[1]
    if match := _LENGTH.search(rest):
        if len(match[1].lstrip("0")) > _LONGEST:
            raise WatchError(f"{escape(rest[: match.start()])}: LEN is larger than an address space")
        rest, length = rest[: match.start()].rstrip(), int(match[1])
    return rest, length, kind


def _check(expr: str) -> None:
    """Refuse what no program could give a meaning: WatchError."""
    shown = escape(expr)
    if match := _TYPE.search(expr):
        raise WatchError(f"{shown}: the type comes last, and once", f"write {_WATCH}", expr, match.span())
    try:
        node = parse(expr)
    except ExpressionError as error:
        raise WatchError(escape(str(error)), "", expr, error.span) from error
    if isinstance(node, SourceLine):
        return
    for part in _parts(node):
        if isinstance(part, Binary) and part.operator == "/":
            at = expr.find("/", part.left.span[1])
            if not _inside(expr[:at]):
                raise WatchError(
                    f"{shown}: LEN comes last, and once; a division stands in parentheses",
                    f"write {_WATCH}",
                    expr,
                    (at, at + 1),
                )
        if isinstance(part, Unary) and part.operator == "*" and part.of == Number(0):
            raise WatchError(f"{shown}: 0 is a null pointer", "", expr, part.span)


def _parts(node: Node | TypeName) -> Iterator[Node]:
    """An expression and all that it is made of."""
    if isinstance(node, TypeName):
        return
    yield node
    for name in ("of", "left", "right", "index", "count"):
        part = getattr(node, name, None)
        if part is not None and not isinstance(part, str | int | float):
            yield from _parts(part)


def _inside(before: str) -> bool:
    """Whether parentheses or brackets are open after a text."""
    return sum(before.count(sign) for sign in "([") > sum(before.count(sign) for sign in ")]")
