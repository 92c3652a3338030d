"""Exceptions of the guest, and the two ways in which a bare machine ends."""

from __future__ import annotations

from typing import Final

__all__ = [
    "DB",
    "DF",
    "GP",
    "NP",
    "PF",
    "SS",
    "TS",
    "UD",
    "GeneralDetect",
    "GuestFault",
    "MachineEnds",
    "name_of",
]

DE, DB, BP, OF, UD, DF, TS, NP, SS, GP, PF = 0, 1, 3, 4, 6, 8, 10, 11, 12, 13, 14
_NAMES: Final = {
    0: "#DE",
    1: "#DB",
    2: "NMI",
    3: "#BP",
    4: "#OF",
    5: "#BR",
    6: "#UD",
    7: "#NM",
    8: "#DF",
    10: "#TS",
    11: "#NP",
    12: "#SS",
    13: "#GP",
    14: "#PF",
    16: "#MF",
    17: "#AC",
    18: "#MC",
    19: "#XM",
}
_CONTRIBUTORY: Final = frozenset({DE, TS, NP, SS, GP})


def name_of(vector: int) -> str:
    """`#GP` for 13; `int 0x80` for a vector that no exception has."""
    return _NAMES.get(vector, f"int {vector:#x}")


class GuestFault(Exception):
    """An exception of the instruction at pc. Nothing of the instruction has happened.

    `error` is the error code that is pushed, None for vectors without one; `address` is what CR2 takes (#PF). `why` is
    for people.
    """

    def __init__(
        self, vector: int, error: int | None = None, *, address: int | None = None, why: str = ""
    ) -> None:
        super().__init__(why)
        self.vector = vector
        self.error = error
        self.address = address
        self.why = why

    def __str__(self) -> str:
        return f"{name_of(self.vector)} ({self.why})" if self.why else name_of(self.vector)

    def doubles(self, second: GuestFault) -> bool:
        """Whether `second`, met while this one is delivered, makes a double fault (SDM 3A 6.15, table 6-5)."""
        if self.vector in _CONTRIBUTORY:
            return second.vector in _CONTRIBUTORY
        return self.vector == PF and (second.vector == PF or second.vector in _CONTRIBUTORY)


class GeneralDetect(Exception):
    """A MOV to or from a debug register met DR7.GD: #DB before anything of it has happened."""


class MachineEnds(Exception):
    """The machine stands still for good. `status` is what the program wrote to the exit port; None: it did not end by itself."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
