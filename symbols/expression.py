"""What a person writes to name a place or a value: symbols, C expressions, source lines, addresses.

`parse` knows only the grammar, which is C's with gdb's names (`file.c::v`, `$rip`, `array[0]@4`); what a name means
is decided by `symbols.evaluate` and those it asks.
"""

from __future__ import annotations

import re

from symbols.nodes import (
    Binary,
    Cast,
    Index,
    Member,
    Name,
    Node,
    Number,
    Parsed,
    Register,
    Repeat,
    SizeOf,
    SourceLine,
    TypeName,
    Unary,
)
from symbols.target import ExpressionError

__all__ = ["parse", "parse_type", "spell"]

TEXT_LIMIT = 1024
DEPTH_LIMIT = 32


_LINE = re.compile(r"(?P<place>'[^']+'|[^':?][^':?()\[\]]*(?:\([^:]*\))?|\w+(?:::\w+)+):(?P<line>[0-9]{1,9})")
_PLAIN_SCOPE = re.compile(r"(~?[^\W\d][\w$]*(?:<[^<>()]*(?:<[^<>]*>[^<>()]*)*>)?)::(?!:)")
_FILE_SCOPE = re.compile(r"([^:\s\[\]()*&+'<>,=!|^%?@$]*[./][^:\s\[\]()*&+'<>,=!|^%?@$]*)::(?!:)")
_QUOTED = re.compile(r"'([^']+)'")
_VERSION = r"@@?(?=[A-Za-z_])[\w.]+|\.[0-9]+|\.(?:constprop|isra|part|lto_priv|llvm)\.[0-9]+"
_NAME = re.compile(rf"~?[^\W\d](?:[\w$]|\$)*(?:{_VERSION})*")
_REGISTER = re.compile(r"\$([A-Za-z]\w*)")
_WORD = re.compile(r"~?[^\W\d][\w$]*")
_FLOAT = re.compile(r"[0-9]+\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?[fFlL]?(?![\w.])")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]{1,32}|[0-9]{1,40})(?:[uU]?[lL]{0,2}|[lL]{1,2}[uU])(?![\w])")
_BINARY = re.compile(r"<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^<>]")
_PRECEDENCE = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7,
    "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip
_SPACE = re.compile(r"\s*")
_TYPE_WORDS = frozenset(
    ["const", "volatile", "unsigned", "signed", "long", "short", "int", "char", "float", "double", "void", "bool", "_Bool", "__int128", "struct", "union", "enum", "class"]
)  # fmt: skip
_TAGS = frozenset(("struct", "union", "enum", "class"))
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, "a": 7, "b": 8, "e": 27, "f": 12, "v": 11}
_OPERAND = re.compile(r"\s*[\w$('~!]")


def parse(text: str) -> Parsed:
    """Read one expression. Raises ExpressionError."""
    if len(text) > TEXT_LIMIT:
        raise ExpressionError(f"an expression of {len(text)} characters, at most {TEXT_LIMIT}")
    if not text.strip():
        raise ExpressionError("an empty expression: give a variable, a function, file.c:42 or an address")
    line = _LINE.fullmatch(text.strip())
    if line and not line["place"].endswith(":"):
        return SourceLine(line["place"].strip("'"), int(line["line"]))
    return _Reader(text).whole()


def parse_type(text: str) -> TypeName | None:
    """Read the name of a type; None where it is none by its words alone."""
    if len(text) > TEXT_LIMIT:
        return None
    reader = _Reader(text)
    try:
        found = reader.type_name()
        return found if found is not None and reader.skip() >= len(text) else None
    except ExpressionError:
        return None


def spell(node: Node | TypeName | SourceLine) -> str:
    """An expression as it is written; reads back to the same."""
    if isinstance(node, Number):
        return str(node.value)
    if isinstance(node, Name):
        scope = "".join(
            f"{each if _PLAIN_SCOPE.fullmatch(each + '::') or _FILE_SCOPE.fullmatch(each + '::') else repr_quoted(each)}::"
            for each in node.scope
        )
        return scope + (f"'{node.name}'" if node.quoted else node.name)
    if isinstance(node, Register):
        return f"${node.name}"
    if isinstance(node, Unary):
        of = _inner(node.of)
        return f"{node.operator}{f'({of})' if of.startswith('&') else of}"  # `&&` is another operator
    if isinstance(node, Binary):
        return f"{_inner(node.left)} {node.operator} {_inner(node.right)}"
    if isinstance(node, Index):
        return f"{_postfixed(node.of)}[{spell(node.index)}]"
    if isinstance(node, Member):
        return f"{_postfixed(node.of)}{'->' if node.arrow else '.'}{node.name}"
    if isinstance(node, Cast):
        return f"({spell(node.type)}){_inner(node.of)}"
    if isinstance(node, SizeOf):
        return f"sizeof ({spell(node.of)})"
    if isinstance(node, Repeat):
        return f"{_inner(node.of)}@{_inner(node.count)}"
    if isinstance(node, SourceLine):
        return f"{node.place}:{node.line}"
    counts = "".join(f"[{count}]" for count in node.counts)
    return " ".join(node.words) + (" " if node.stars or counts else "") + "*" * node.stars + counts


def repr_quoted(text: str) -> str:
    """A scope that is no word, in quotes."""
    return f"'{text}'"


def _inner(node: Node) -> str:
    text = spell(node)
    return f"({text})" if isinstance(node, Binary | Repeat | Cast) else text


def _postfixed(node: Node) -> str:
    text = spell(node)
    return text if isinstance(node, Name | Index | Member | Register) else f"({text})"


class _Reader:
    """Recursive descent over one line of text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        node = self._binary(1)
        if self.skip() < len(self.text):
            raise self._error()
        return node

    def _binary(self, floor: int) -> Node:
        self._deeper()
        left = self._unary()
        while True:
            if floor <= 11 and self._repeat_follows():
                right: Node = self._unary()
                left = Repeat(left, right, (left.span[0], right.span[1]))
                continue
            self.skip()
            match = _BINARY.match(self.text, self.at)
            if not match or _PRECEDENCE[match[0]] < floor:
                self.depth -= 1
                return left
            self.at = match.end()
            right = self._binary(_PRECEDENCE[match[0]] + 1)
            left = Binary(match[0], left, right, (left.span[0], right.span[1]))

    def _repeat_follows(self) -> bool:
        self.skip()
        if self.text.startswith("@", self.at) and re.match(r"\s*[0-9($]", self.text[self.at + 1 :]):
            self.at += 1
            return True
        return False

    def _unary(self) -> Node:
        self._deeper()
        self.skip()
        start = self.at
        node: Node
        operator = self.text[start : start + 1]
        if operator and operator in "-+~!&*" and self.text[start : start + 2] != "&&":
            self.at += 1
            of = self._unary()
            node = Unary(operator, of, (start, of.span[1]))
        elif re.match(r"sizeof\b", self.text[start:]):
            self.at += len("sizeof")
            node = self._size_of(start)
        elif operator == "(" and (cast := self._cast()) is not None:
            node = cast
        else:
            node = self._postfix()
        self.depth -= 1
        return node

    def _size_of(self, start: int) -> SizeOf:
        self.skip()
        before = self.at
        if self.take("(") and (named := self.type_name()) is not None and self.take(")"):
            certain = named.stars or set(named.words) & _TYPE_WORDS
            if certain:  # a single word may be a variable, which comes first
                return SizeOf(named, (start, self.at))
        self.at = before
        of = self._unary()
        return SizeOf(of, (start, self.at))

    def _cast(self) -> Cast | None:
        """`(type) operand`. A single word in parentheses counts only where an operand follows that cannot be infix."""
        start = self.at
        self.at += 1
        try:
            named = self.type_name()
        except ExpressionError:
            named = None
        if named is None or not self.take(")"):
            self.at = start
            return None
        certain = bool(named.stars or set(named.words) & _TYPE_WORDS)
        follows = (
            _OPERAND.match(self.text, self.at)
            if not certain
            else re.match(r"\s*[\w$('~!&*+-]", self.text[self.at :])
        )
        if not follows:
            self.at = start
            return None
        of = self._unary()
        return Cast(named, of, (start, of.span[1]))

    def type_name(self) -> TypeName | None:
        """The words, stars and counts of a type; None where there is none."""
        self.skip()
        start = self.at
        words: list[str] = []
        named = False
        while True:
            self.skip()
            match = re.compile(
                r"[^\W\d][\w$]*(?:(?:<[^<>()]*(?:<[^<>]*>[^<>()]*)*>)?::[^\W\d][\w$]*)*"
            ).match(self.text, self.at)
            if not match:
                break
            word = match[0]
            if word not in _TYPE_WORDS:
                if named or (words and not set(words) <= {"const", "volatile", *_TAGS}):
                    break
                named = True
            words.append(word)
            self.at = match.end()
            if word == "sizeof":
                return None
        if not words or set(words) <= {"const", "volatile", *_TAGS}:
            return None
        stars = 0
        while self.take("*"):
            stars += 1
            while re.match(r"\s*(const|volatile)\b", self.text[self.at :]):
                self.skip()
                self.at = _WORD.match(self.text, self.at).end()  # type: ignore[union-attr]
        if stars > DEPTH_LIMIT:
            raise ExpressionError("an expression nested too deeply")
        counts: list[int] = []
        while self.take("["):
            self.skip()
            match = _NUMBER.match(self.text, self.at)
            if not match:
                return None
            counts.append(_integer(match[1]))
            self.at = match.end()
            self.expect("]")
        words = [word for word in words if word not in ("const", "volatile")]
        return TypeName(tuple(words), stars, tuple(counts), (start, self.at))

    def _postfix(self) -> Node:
        self.skip()
        start = self.at
        node: Node
        if self.take("("):
            node = self._binary(1)
            self.expect(")")
        else:
            node = self._primary()
        while True:
            if self.take("["):
                index = self._binary(1)
                self.expect("]")
                node = Index(node, index, (start, self.at))
            elif self.take("->"):
                node = Member(node, self._word(), True, (start, self.at))
            elif self.text.startswith(".", self.at) or re.match(r"\s+\.", self.text[self.at :]):
                self.take(".")
                node = Member(node, self._word(), False, (start, self.at))
            else:
                return node

    def _primary(self) -> Node:
        self.skip()
        start = self.at
        if match := _FLOAT.match(self.text, start):
            self.at = match.end()
            return Number(float(match[0].rstrip("fFlL")), (start, self.at))
        # `my-file.c::v` and `4.c::v` look like arithmetic until the two colons.
        if not _FILE_SCOPE.match(self.text, start) and (match := _NUMBER.match(self.text, start)):
            self.at = match.end()
            value = _integer(match[1])
            if value >= 1 << 64:
                raise ExpressionError(f"{match[0]} is a number beyond 64 bits", span=(start, self.at))
            return Number(value, (start, self.at))
        if match := _REGISTER.match(self.text, start):
            self.at = match.end()
            return Register(match[1], (start, self.at))
        letter = re.compile(r"'(\\?.)'(?!::)").match(self.text, start)
        if letter and (len(letter[1]) == 1 or letter[1][1] in _ESCAPES):
            self.at = letter.end()
            value = ord(letter[1]) if len(letter[1]) == 1 else _ESCAPES[letter[1][1]]
            return Number(value, (start, self.at))
        return self._named()

    def _named(self) -> Name:
        start = self.at
        scope: list[str] = []
        while True:
            quoted = _QUOTED.match(self.text, self.at)
            if quoted and not self.text.startswith("::", quoted.end()):
                self.at = quoted.end()
                return Name(tuple(scope), quoted[1], True, (start, self.at))
            if quoted:
                scope.append(quoted[1])
                self.at = quoted.end() + 2
            elif match := _PLAIN_SCOPE.match(self.text, self.at) or _FILE_SCOPE.match(self.text, self.at):
                scope.append(match[1])
                self.at = match.end()
            else:
                break
            if len(scope) > DEPTH_LIMIT:
                raise ExpressionError("an expression nested too deeply")
        match = _NAME.match(self.text, self.at)
        if not match:
            raise self._error()
        self.at = match.end()
        return Name(tuple(scope), match[0], False, (start, self.at))

    def _word(self) -> str:
        self.skip()
        match = _WORD.match(self.text, self.at)
        if not match:
            raise self._error()
        self.at = match.end()
        return match[0]

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > 2 * DEPTH_LIMIT:
            raise ExpressionError("an expression nested too deeply")

    def skip(self) -> int:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def take(self, token: str) -> bool:
        self.skip()
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self._error(f", '{token}' expected")

    def _error(self, more: str = "") -> ExpressionError:
        self.skip()
        text = self.text.strip()
        if self.at >= len(self.text):
            return ExpressionError(
                f"'{text}' ends too early{more}", span=(len(self.text), len(self.text) + 1)
            )
        match = re.compile(r"[\w$]+|\S").match(self.text, self.at)
        span = match.span() if match else (self.at, self.at + 1)
        return ExpressionError(f"cannot read '{text}' from '{self.text[self.at :]}' on{more}", span=span)


def _integer(text: str) -> int:
    return int(text, 16 if text[:2] in ("0x", "0X") else 10)
