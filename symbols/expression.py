"""What a person writes to name a place: symbols, C paths, source lines, addresses. Text in, plain data out.

`parse` knows only the grammar; what a name means is decided by `symbols.space` and `symbols.dwarf`.
"""

from __future__ import annotations

import re
from typing import Literal

from symbols.dataclass import dataclass

__all__ = ["Address", "ExpressionError", "Parsed", "Path", "SourceLine", "Step", "Target", "parse", "spell"]

TEXT_LIMIT = 1024
DEPTH_LIMIT = 32


class ExpressionError(ValueError):
    """An expression that means nothing here; one line. `candidates` are expressions that would mean something."""

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


@dataclass(frozen=True, slots=True)
class Target:
    """A place in memory: `size` in bytes, None where the expression does not say; `type_name` as C writes it, or "".

    `kind` is "code" for functions and source lines.
    """

    address: int
    size: int | None
    kind: Literal["data", "code"]
    type_name: str = ""


Step = str | int | None
"""One step of a C path: a member's name, an index, or None for following a pointer."""


@dataclass(frozen=True, slots=True)
class Address:
    """A bare address, after arithmetic."""

    value: int


@dataclass(frozen=True, slots=True)
class SourceLine:
    """`file.c:42`, or `function:42` for line 42 of the file that the function is in."""

    place: str
    line: int


@dataclass(frozen=True, slots=True)
class Path:
    """A named object or function, steps into it, and bytes added. `scope` is what stands before each `::`."""

    scope: tuple[str, ...]
    name: str
    steps: tuple[Step, ...] = ()
    offset: int | None = None


Parsed = Address | SourceLine | Path

_LINE = re.compile(r"(?P<place>'[^']+'|[^':][^']*?):(?P<line>[0-9]{1,9})")
_SCOPE = re.compile(r"'([^']+)'::|([^:\s\[\]()*&+'>]+)::")
_VERSION = r"@@?[\w.]+|\.[0-9]+|\.(?:constprop|isra|part|lto_priv|llvm)\.[0-9]+"
_NAME = re.compile(rf"[^\W\d](?:[\w$]|\$)*(?:{_VERSION})*|[$][\w$]+")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}(?![\w])")
_ARITHMETIC = re.compile(r"[(\s]*[-~0-9]")
_OPERATOR = re.compile(r"<<|>>|[-+*/%&|^]")
_PRECEDENCE = {"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_SPACE = re.compile(r"\s*")


def parse(text: str) -> Parsed:
    """Read one expression. Raises ExpressionError."""
    text = text.strip()
    if not text:
        raise ExpressionError("an empty expression: give a variable, a function, file.c:42 or an address")
    if len(text) > TEXT_LIMIT:
        raise ExpressionError(f"an expression of {len(text)} characters, at most {TEXT_LIMIT}")
    line = _LINE.fullmatch(text)
    if line and not line["place"].endswith(":"):
        return SourceLine(line["place"].strip("'"), int(line["line"]))
    return _Reader(text).whole()


def spell(path: Path) -> str:
    """A path as it is written; a followed pointer is written `->`."""
    text = "::".join((*path.scope, path.name))
    arrow = False
    for step in path.steps:
        if step is None:
            text, arrow = (f"(*{text})" if arrow else text), True
        elif isinstance(step, int):
            text, arrow = f"{'(*' + text + ')' if arrow else text}[{step}]", False
        else:
            text, arrow = f"{text}{'->' if arrow else '.'}{step}", False
    return f"*{text}" if arrow else text


class _Reader:
    """Recursive descent over one line of text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def whole(self) -> Parsed:
        start = self.at
        try:
            value: Parsed = Address(self._constant())
            if self._skip() < len(self.text):
                raise self._error()
        except ExpressionError:
            self.at, self.depth = start, 0
            if _ARITHMETIC.match(self.text):
                raise
            value = self._place()
            if self._take("+"):
                offset = self._checked(self._constant())
                value = Path(value.scope, value.name, value.steps, offset)
            if self._skip() < len(self.text):
                raise self._error() from None
        if isinstance(value, Address):
            self._checked(value.value)
        return value

    def _place(self) -> Path:
        self._deeper()
        if self._take("*"):
            path = self._place()
            self.depth -= 1
            return Path(path.scope, path.name, (*path.steps, None))
        if self._take("("):
            path = self._place()
            self._expect(")")
        else:
            path = self._named()
        steps = list(path.steps)
        while True:
            if self._take("["):
                steps.append(self._constant())
                self._expect("]")
            elif self._take("->"):
                steps += [None, self._word()]
            elif self._take("."):
                steps.append(self._word())
            else:
                self.depth -= 1
                return Path(path.scope, path.name, tuple(steps))

    def _named(self) -> Path:
        scope = []
        self._skip()
        while match := _SCOPE.match(self.text, self.at):
            scope.append(match[1] or match[2])
            self.at = match.end()
        match = _NAME.match(self.text, self.at)
        if not match:
            raise self._error()
        self.at = match.end()
        name = match[0]
        return Path(tuple(scope), name if name.endswith("@plt") else name.split("@", 1)[0])

    def _word(self) -> str:
        self._skip()
        match = re.compile(r"[^\W\d][\w$]*").match(self.text, self.at)
        if not match:
            raise self._error()
        self.at = match.end()
        return match[0]

    def _constant(self, floor: int = 1) -> int:
        self._deeper()
        left = self._operand()
        while True:
            self._skip()
            match = _OPERATOR.match(self.text, self.at)
            if not match or _PRECEDENCE[match[0]] < floor:
                self.depth -= 1
                return left
            self.at = match.end()
            left = self._apply(match[0], left, self._constant(_PRECEDENCE[match[0]] + 1))

    def _operand(self) -> int:
        self._deeper()
        if self._take("-"):
            value = -self._operand()
        elif self._take("~"):
            value = ~self._operand()
        elif self._take("("):
            value = self._constant()
            self._expect(")")
        else:
            self._skip()
            match = _NUMBER.match(self.text, self.at)
            if not match:
                raise self._error()
            self.at = match.end()
            value = int(match[0], 16 if match[0][:2] in ("0x", "0X") else 10)
        self.depth -= 1
        return value

    def _apply(self, operator: str, left: int, right: int) -> int:
        if operator in "/%" and right == 0:
            raise ExpressionError(f"division by zero in {self.text!r}")
        if operator in ("<<", ">>") and not 0 <= right < 64:
            raise ExpressionError(f"a shift by {right} in {self.text!r}")
        quotient = 0
        if operator in "/%":  # C truncates, Python floors
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        results = {"+": left + right, "-": left - right, "*": left * right, "/": quotient, "&": left & right}
        results |= {"|": left | right, "^": left ^ right}
        if operator == "%":
            value = left - quotient * right
        elif operator == "<<":
            value = left << right
        elif operator == ">>":
            value = left >> right
        else:
            value = results[operator]
        if abs(value) >= 1 << 64:
            raise ExpressionError(f"a number beyond 64 bits in {self.text!r}")
        return value

    def _checked(self, value: int) -> int:
        if not 0 <= value < 1 << 64:
            raise ExpressionError(f"{value:#x} is not an address or an offset in {self.text!r}")
        return value

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise ExpressionError("an expression nested too deeply")

    def _skip(self) -> int:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def _take(self, token: str) -> bool:
        self._skip()
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._error(f", {token!r} expected")

    def _error(self, more: str = "") -> ExpressionError:
        if self.at >= len(self.text):
            return ExpressionError(f"{self.text!r} ends too early{more}")
        return ExpressionError(f"cannot read {self.text!r} from {self.text[self.at :]!r} on{more}")
