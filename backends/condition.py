"""What a hit must be like to be recorded: `value > 100 && thread == 4712`, as numbers that a BPF program can hold too.

Every comparison is one range check, so that one instruction sequence does for all of them: with x the subject, it holds where
`((x & mask) ^ flip) - low`, in 64 bits without sign, is at most `span` (or, with `outside`, is not). `flip` is the sign bit
where the comparison is signed: it turns signed order into unsigned order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

__all__ = ["MOST_TERMS", "SUBJECTS", "Condition", "Subject", "Term", "matching"]

Subject = Literal["value", "thread", "process", "ip", "cpu"]
SUBJECTS: Final[tuple[Subject, ...]] = ("value", "thread", "process", "ip", "cpu")
"""What a term may speak of: the window's bytes after the hit, without sign; the task's tid and pid; the ip that the hardware
reports; the CPU."""
MOST_TERMS: Final = 6
_ALL: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Term:
    """One range check. All numbers are of 64 bits, without sign."""

    subject: Subject
    low: int
    span: int
    mask: int = _ALL
    flip: int = 0
    outside: bool = False

    def holds(self, value: int) -> bool:
        """Whether it is true of a subject with this value."""
        return (((value & self.mask ^ self.flip) - self.low & _ALL) <= self.span) != self.outside


@dataclass(frozen=True, slots=True)
class Condition:
    """All of its terms (1 to MOST_TERMS) must hold. `text` is how it was written."""

    text: str
    terms: tuple[Term, ...]

    def holds(self, value: int | None, thread: int, process: int, ip: int, cpu: int) -> bool:
        """Whether a hit like this is wanted. A value that is not known is no reason to drop it."""
        known: dict[Subject, int | None] = {
            "value": value, "thread": thread, "process": process, "ip": ip, "cpu": cpu,
        }  # fmt: skip
        return all(each is None or term.holds(each) for term in self.terms for each in (known[term.subject],))


def matching(
    condition: Condition, columns: Mapping[Subject, npt.NDArray[Any]], value_known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """The same for arrays of hits."""
    import numpy as np

    wanted = np.ones(len(value_known), bool)
    for term in condition.terms:
        x = columns[term.subject].astype(np.uint64) & np.uint64(term.mask) ^ np.uint64(term.flip)
        inside = x - np.uint64(term.low) <= np.uint64(term.span)
        holds = inside != term.outside
        wanted &= holds | ~value_known if term.subject == "value" else holds
    return wanted
