"""What is typed to filter or to find hits, as conditions over the ring's columns: `add_limit tid=44,45 value>0x10 !r`.

Words are joined by "and", values after a comma by "or", `!` before a word turns it round. A word without an operator is
looked for in the instruction's name and source, the watch and the thread's name; a number also among the values.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from backends.base import HwbpError
from backends.ring import ACCESS_CODES, FLAG_KERNEL, FLAG_UNSEEN, NO_SLOT
from tui.session.escape import escape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]
    Columns = Mapping[str, npt.NDArray[np.unsignedinteger]]

__all__ = ["FIELDS", "FIELDS_WITH_VALUES", "Filter", "Texts", "parse"]

_SIGNS: Final = ("!=", "<=", ">=", "=", "<", ">")
_WORD: Final = re.compile(r"(!?)([a-z#]+)(!=|<=|>=|=|<|>)(.+)", re.DOTALL)

_NUMBERS: Final = {
    "#": ("number", "number of the hit, from 1"),
    "value": ("value", "the value after"),
    "new": ("value", "the same"),
    "old": ("old", "the value before"),
    "tid": ("tid", "task"),
    "pid": ("pid", "process"),
    "cpu": ("cpu", "CPU"),
    "dr": ("slot", "debug register"),
    "time": ("time", "the machine's clock"),
    "stack": ("stack", "number of the call stack"),
    "bp": ("breakpoint", "number of the breakpoint"),
    "at": ("insn_ip", "address of the instruction"),
    "addr": ("address", "address of the armed window"),
}
_TEXTS: Final = {
    "by": ("place", "function of the instruction"),
    "src": ("source", "source file and line"),
    "watch": ("watch", "what is watched"),
    "comm": ("comm", "name of the thread"),
}
_FLAGS: Final = {
    "changed": "the value after is another one",
    "same": "it was written, and is the same",
    "kernel": "the access was made in kernel mode",
    "unseen": "something that made no hit had changed the window before",
    **{code: f"the access: {code}" for code in ACCESS_CODES},
}
FIELDS: Final = {
    **{name: about for name, (_column, about) in {**_NUMBERS, **_TEXTS}.items()},
    "acc": "the access: x, r, w or rw",
    **_FLAGS,
}
"""Every word of the language, and what it is about."""
FIELDS_WITH_VALUES: Final = frozenset({*_NUMBERS, *_TEXTS, "acc"})
"""Those that a sign and a value follow."""

_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "number": ("seq",),
    "value": ("value", "value_from", "length"),
    "old": ("old", "old_from", "length"),
    "insn_ip": ("insn_ip", "ip"),
    "place": ("insn_ip", "ip"),
    "source": ("insn_ip", "ip"),
    "watch": ("breakpoint", "address"),
    "comm": ("comm",),
    "access": ("access",),
    "changed": ("value", "old", "value_from", "old_from"),
    "same": ("value", "old", "value_from", "old_from"),
    "kernel": ("flags",),
    "unseen": ("flags",),
    "any": (
        *("insn_ip", "ip", "breakpoint", "address", "comm"),
        *("value", "old", "value_from", "old_from", "length"),
    ),
}


class Texts(Protocol):
    """What the numbers of a hit are called. Each answers, for a column, which rows hold the text (any case)."""

    def places(self, columns: Columns, text: str, source: bool | None) -> Bools:
        """By the instruction: its source, or its name, or (None) either."""

    def watches(self, columns: Columns, text: str) -> Bools:
        """By what is watched."""

    def comms(self, columns: Columns, text: str) -> Bools:
        """By the name of the thread."""


class Term(NamedTuple):
    """One word: `subject` is a column, a text, a flag, or "any"."""

    subject: str
    sign: str
    numbers: tuple[int, ...]
    texts: tuple[str, ...]
    negated: bool


class Filter(NamedTuple):
    """What was typed, understood. `columns` are the ring's fields that it looks at."""

    text: str
    terms: tuple[Term, ...]
    columns: frozenset[str]

    @property
    def named(self) -> bool:
        """Whether names decide: then it has to look again when more of them are known."""
        return any(term.subject in ("place", "source", "any") for term in self.terms)

    def mask(self, columns: Columns, texts: Texts) -> Bools:
        """Which rows meet it. `columns` has `self.columns`, of one length; at least one word was typed."""
        import numpy as np

        met: Bools = np.ones(len(next(iter(columns.values()))), np.bool_)
        for term in self.terms:
            found = _met(term, len(met), columns, texts)
            met &= ~found if term.negated else found
        return met


def parse(text: str) -> Filter:
    """Understand a filter. Raises HwbpError (EINVAL) with what is wrong, for the person who types it."""
    try:
        words = shlex.split(text) if '"' in text or "'" in text else text.split()
    except ValueError as error:
        raise HwbpError(f"{error}".lower(), errno="EINVAL") from None
    terms = tuple(_term(word) for word in words)
    wanted = {column for term in terms for column in _COLUMNS.get(term.subject, (term.subject,))}
    return Filter(text.strip(), terms, frozenset(wanted))


def _term(word: str) -> Term:
    found = _WORD.fullmatch(word)
    if found is None:
        return _bare(word.removeprefix("!"), word.startswith("!"))
    negated, name, sign, value = bool(found[1]), found[2], found[3], found[4]
    values = tuple(value.split(","))
    if name in ("acc", "access"):
        return _access(values, sign, negated)
    if name in _TEXTS:
        if sign not in ("=", "!="):
            raise HwbpError(f"{name} is text: = or !=", errno="EINVAL")
        return Term(_TEXTS[name][0], "=", (), tuple(v.lower() for v in values), negated ^ (sign == "!="))
    if name not in _NUMBERS:
        raise HwbpError(f"no field {escape(name)}: {' '.join(FIELDS)}", errno="EINVAL")
    numbers = tuple(_number(name, each) for each in values)
    if len(numbers) > 1 and sign not in ("=", "!="):
        raise HwbpError(f"{name}{sign} takes one number", errno="EINVAL")
    if min(numbers) < 0 and (name not in ("value", "new", "old") or sign not in ("=", "!=")):
        raise HwbpError(f"{name}{sign} takes no negative number", errno="EINVAL")
    return Term(_NUMBERS[name][0], "=" if sign == "!=" else sign, numbers, (), negated ^ (sign == "!="))


def _bare(word: str, negated: bool) -> Term:
    if not word:
        raise HwbpError("a word is missing after !", errno="EINVAL")
    if word in ACCESS_CODES:
        return _access((word,), "=", negated)
    if word in _FLAGS:
        return Term(word, "", (), (), negated)
    if word[-1] in "=<>":
        raise HwbpError(f"{escape(word)} needs a value", errno="EINVAL")
    number = _plain(word)
    return Term("any", "=", () if number is None else (number,), (word.lower(),), negated)


def _access(values: Sequence[str], sign: str, negated: bool) -> Term:
    if sign not in ("=", "!=") or not set(values) <= set(ACCESS_CODES):
        raise HwbpError("acc takes x, r, w or rw", errno="EINVAL")
    codes = tuple(ACCESS_CODES.index(value) for value in values)
    return Term("access", "=", codes, (), negated ^ (sign == "!="))


def _plain(text: str) -> int | None:
    try:
        number = int(text, 0)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 64 else None


def _number(name: str, text: str) -> int:
    number = _plain(text)
    if number is None:
        raise HwbpError(f"{name} takes numbers, not {escape(text) or 'nothing'}", errno="EINVAL")
    return number - 1 if name == "#" else number


def _met(term: Term, count: int, columns: Columns, texts: Texts) -> Bools:
    import numpy as np

    subject = term.subject
    if subject == "number":
        return _compare(columns["seq"], term)
    if subject in ("value", "old"):
        known: Bools = columns[f"{subject}_from"] != 0
        return known & _values(columns[subject], columns["length"], term)
    if subject in ("changed", "same"):
        both: Bools = (columns["value_from"] != 0) & (columns["old_from"] != 0)
        alike: Bools = columns["value"] == columns["old"]
        return both & (alike if subject == "same" else ~alike)
    if subject in ("kernel", "unseen"):
        flagged: Bools = (columns["flags"] & (FLAG_KERNEL if subject == "kernel" else FLAG_UNSEEN)) != 0
        return flagged
    if subject == "insn_ip":
        place = np.where(columns["insn_ip"] != 0, columns["insn_ip"], columns["ip"])
        return _compare(place, term)
    if subject == "slot":
        told: Bools = columns["slot"] != NO_SLOT
        return told & _compare(columns["slot"], term)
    by_text: dict[str, Callable[[str], Bools]] = {
        "place": lambda text: texts.places(columns, text, False),
        "source": lambda text: texts.places(columns, text, True),
        "watch": lambda text: texts.watches(columns, text),
        "comm": lambda text: texts.comms(columns, text),
        "any": lambda text: (
            texts.places(columns, text, None) | texts.watches(columns, text) | texts.comms(columns, text)
        ),
    }
    if subject not in by_text:
        return _compare(columns[subject], term)
    found: Bools = np.zeros(count, np.bool_)
    for text in term.texts:
        found |= by_text[subject](text)
    if subject == "any" and term.numbers:
        for name in ("value", "old"):
            found |= (columns[f"{name}_from"] != 0) & _values(columns[name], columns["length"], term)
    return found


def _compare(column: npt.NDArray[np.unsignedinteger], term: Term) -> Bools:
    import numpy as np

    largest = np.iinfo(column.dtype).max
    numbers = term.numbers
    if term.sign == "=":
        found: Bools = np.zeros(len(column), np.bool_)
        for number in numbers:
            if 0 <= number <= largest:
                found |= column == column.dtype.type(number)
        return found
    number = numbers[0]
    if number > largest:
        return np.full(len(column), term.sign in ("<", "<="))
    against = column.dtype.type(number)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[term.sign]
    ordered: Bools = compare(column, against)
    return ordered


def _values(
    column: npt.NDArray[np.unsignedinteger], lengths: npt.NDArray[np.unsignedinteger], term: Term
) -> Bools:
    """A negative number is what its two's complement is in the bytes that were watched."""
    found = _compare(column, term)
    for number in term.numbers:
        if number < 0:
            for length in (1, 2, 4, 8):
                if number >= -(1 << 8 * length - 1):
                    wanted = column.dtype.type(number & (1 << 8 * length) - 1)
                    found |= (lengths == length) & (column == wanted)
    return found
