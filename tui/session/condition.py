"""The text of a condition: `value > 100 && thread == 4712 && ip in add_limit` (docs/cli.md, "Conditions").

What can be told from the text alone is told by `parts`; the numbers that its names stand for are found by `condition`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.condition import MOST_TERMS, Condition, Subject, Term
from symbols.dataclass import dataclass
from tui.session.escape import escape

if TYPE_CHECKING:
    from tui.session.names import Names

__all__ = ["ConditionError", "Part", "condition", "parts"]

_WORDS: Final[dict[str, Subject]] = {
    "value": "value", "thread": "thread", "tid": "thread", "process": "process", "pid": "process",
    "ip": "ip", "pc": "ip", "$pc": "ip", "$rip": "ip", "cpu": "cpu",
}  # fmt: skip
_COMPARED: Final = re.compile(r"(?P<left>.*?[^<>=!])\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<right>[^<>=].*)")
_INSIDE: Final = re.compile(r"(?P<left>\S+)\s+(?P<operator>in|not\s+in)\s+(?P<right>\S.*)")
_MASKED: Final = re.compile(r"\(?\s*(?P<left>[^()&]+?)\s*&\s*(?P<mask>[^()&]+?)\s*\)?")
_NUMBER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")
_WIDTHS: Final[dict[Subject, int]] = {"thread": 32, "process": 32, "ip": 64, "cpu": 32}


class ConditionError(HwbpError):
    """A condition that means nothing. One line."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, errno="EINVAL", remedy=remedy)


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison as it was written; `mask` is what the subject is ANDed with, None for nothing."""

    subject: Subject
    operator: str
    right: str
    mask: str | None = None


def parts(text: str, watched: str) -> tuple[Part, ...]:
    """The comparisons of a condition on a watch of the expression `watched`. Raises ConditionError."""
    if "||" in text:
        raise ConditionError(
            "a condition is comparisons joined by &&; || is not among them",
            "watch it twice, with a condition each, where slots allow",
        )
    found = tuple(_part(each.strip(), watched) for each in text.split("&&"))
    if len(found) > MOST_TERMS:
        raise ConditionError(f"a condition has {MOST_TERMS} comparisons at most, not {len(found)}")
    return found


def _part(text: str, watched: str) -> Part:
    match = _INSIDE.fullmatch(text) or _COMPARED.fullmatch(text)
    if match is None:
        raise ConditionError(
            f"'{escape(text)}' is no comparison", "write one like value > 100, thread == 4712 or ip in main"
        )
    left, operator, mask = match["left"].strip(), " ".join(match["operator"].split()), None
    if (masked := _MASKED.fullmatch(left)) is not None:
        left, mask = masked["left"], masked["mask"]
    plain = "".join(left.split())
    subject = "value" if plain == "".join(watched.split()) else _WORDS.get(plain)
    if subject is None:
        raise ConditionError(
            f"a condition speaks of value, thread, process, ip or cpu, not of '{escape(left)}'",
            "value is what the watched window holds after the hit",
        )
    if operator.endswith("in") and subject != "ip":
        raise ConditionError(f"only an ip can be in a function, not {subject}")
    return Part(subject, operator, match["right"].strip(), mask)


def condition(
    text: str, watched: str, names: Names, *, execute: bool, length: int, whole: bool, signed: bool
) -> Condition:
    """The condition on a watch, its names looked up now.

    `length` is the window's, in bytes; `whole`: it is all of the watch; `signed`: the watched object is a signed integer of
    that length. Raises HwbpError.
    """
    terms = []
    for part in parts(text, watched):
        if part.subject == "value" and execute:
            raise ConditionError("an execute watch has no value")
        if part.subject == "value" and not whole:
            raise ConditionError(
                "the watch has several windows, and a value is one window's", "watch a part of it: EXPR/LEN"
            )
        if part.operator.endswith("in"):
            terms.append(_inside(part, names, execute))
        else:
            terms.append(_compared(part, names, _WIDTHS.get(part.subject, 8 * length), signed))
    return Condition(text, tuple(terms))


def _inside(part: Part, names: Names, execute: bool) -> Term:
    """An ip in a function: a data hit's is behind its instruction, so one byte later from first to last."""
    target = names.resolve(part.right, typed=False)
    if target.kind != "code" or not target.size:
        raise ConditionError(f"{escape(part.right)} is no function whose length is known")
    return Term("ip", target.address + (not execute), target.size - 1, outside=part.operator != "in")


def _compared(part: Part, names: Names, bits: int, signed: bool) -> Term:
    every = (1 << bits) - 1
    number = _constant(part.right, names)
    if part.mask is not None:
        mask = _constant(part.mask, names) & every
        return _range(part, number, 0, every, mask, 0)
    if part.subject == "value" and (signed or number < 0):
        flip = 1 << bits - 1
        return _range(part, number, -flip, flip - 1, every, flip)
    return _range(part, number, 0, every, every, 0)


def _range(part: Part, number: int, least: int, most: int, mask: int, flip: int) -> Term:
    """All comparisons are ranges in the order that begins with `least`."""
    low, high = {
        "==": (number, number), "!=": (number, number), "<": (least, number - 1), "<=": (least, number),
        ">": (number + 1, most), ">=": (number, most),
    }[part.operator]  # fmt: skip
    low, high = max(low, least), min(high, most)
    outside = part.operator == "!="
    if low > high:
        if not outside:
            what = f"{part.subject} {part.operator} {escape(part.right)}"
            raise ConditionError(f"{what} can never be: {part.subject} lies between {least} and {most}")
        low, high, outside = least, most, False
    return Term(part.subject, low - least, high - low, mask, flip, outside)


def _constant(text: str, names: Names) -> int:
    if _NUMBER.fullmatch(text):
        return int(text, 16 if "x" in text.lower() else 10)
    value = names.value(text)
    if value.code and value.address is not None:
        return value.address
    if isinstance(value.number, int) and value.address is None:
        return value.number
    raise ConditionError(
        f"'{escape(text)}' is no constant: a condition is held at the hit, where only numbers are known"
    )
