"""The kernel's types as plain data, out of its BTF (Documentation/bpf/btf.rst)."""

from __future__ import annotations

from typing import Final

from symbols.btf import Btf, BtfError
from symbols.btf import Kind as BtfKind
from symbols.ctype import UNKNOWN, VOID, Kind, Member, Type

__all__ = ["BtfTypes"]

_KINDS: Final[dict[BtfKind, Kind]] = {
    BtfKind.INT: "int",
    BtfKind.PTR: "pointer",
    BtfKind.ARRAY: "array",
    BtfKind.STRUCT: "struct",
    BtfKind.UNION: "union",
    BtfKind.ENUM: "enum",
    BtfKind.ENUM64: "enum",
    BtfKind.TYPEDEF: "typedef",
    BtfKind.VOLATILE: "volatile",
    BtfKind.CONST: "const",
    BtfKind.RESTRICT: "restrict",
    BtfKind.FUNC_PROTO: "function",
    BtfKind.FUNC: "function",
    BtfKind.FLOAT: "float",
    BtfKind.TYPE_TAG: "restrict",
}
_SIZED: Final = (BtfKind.INT, BtfKind.STRUCT, BtfKind.UNION, BtfKind.ENUM, BtfKind.ENUM64, BtfKind.FLOAT)
_SIGNED, _CHAR, _BOOL = 1, 2, 4
_KEYWORDS: Final = {"struct": BtfKind.STRUCT, "union": BtfKind.UNION, "enum": BtfKind.ENUM}


class BtfTypes:
    """The types of one kernel by number and by name. What is damaged is "unknown"; nothing here raises."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._known: dict[int, Type] = {0: VOID}

    def named(self, words: tuple[str, ...]) -> Type | None:
        """The type that these words name: `struct task_struct`, `pid_t`, `u64`."""
        if len(words) == 2 and words[0] in _KEYWORDS:
            kinds: tuple[BtfKind, ...] = (_KEYWORDS[words[0]],)
            if words[0] == "enum":
                kinds = (BtfKind.ENUM, BtfKind.ENUM64)
        elif len(words) == 1:
            kinds = (BtfKind.TYPEDEF, BtfKind.STRUCT, BtfKind.UNION, BtfKind.INT, BtfKind.ENUM, BtfKind.FLOAT)
        else:
            kinds = (BtfKind.INT,)
            words = (" ".join(words),)
        for kind in kinds:
            try:
                return self.type(self._btf.find(kind, words[-1]))
            except BtfError:
                continue
        return None

    def variable(self, name: str) -> Type | None:
        """The type of a global or per-CPU variable, where the kernel's BTF describes it."""
        try:
            return self.type(self._btf.referred(self._btf.find(BtfKind.VAR, name)))
        except BtfError:
            return None

    def type(self, number: int) -> Type:
        """The type of a number."""
        known = self._known.get(number)
        if known is None:
            try:
                known = self._make(number)
            except BtfError:
                known = UNKNOWN
            self._known[number] = known
        return known

    def _make(self, number: int) -> Type:
        btf = self._btf
        kind = btf.kind(number)
        name = btf.name(number)
        if kind is BtfKind.FWD:
            return Type("union" if btf.flag(number) else "struct", name, declared=True)
        known = _KINDS.get(kind)
        if known is None:
            return UNKNOWN
        size = btf.size(number) if kind in _SIZED else 8 if kind is BtfKind.PTR else None
        signed = False
        if kind is BtfKind.INT:
            encoding = btf.encoding(number)
            signed = bool(encoding & _SIGNED)
            if encoding & _BOOL:
                known = "bool"
            elif size == 1 and ("char" in name or encoding & _CHAR):
                known = "char"
        elif known == "enum":
            signed = btf.flag(number)
        counts: tuple[int | None, ...] = ()
        refers = btf.referred(number) if kind not in (*_SIZED, BtfKind.ARRAY) else 0
        if kind is BtfKind.ARRAY:
            element, count = btf.array(number)
            refers, counts = element, (count,)
        return Type(
            known,
            name if kind not in (BtfKind.TYPE_TAG,) else "",
            size,
            signed,
            counts,
            refers=lambda: self.type(refers),
            holds=lambda: self._members(number),
            lists=lambda: self._enumerators(number),
        )

    def _members(self, number: int) -> tuple[Member, ...]:
        try:
            return tuple(
                Member(name, bit // 8, self.type(kind), (bit, bits) if bits else None)
                for name, bit, kind, bits in self._btf.members(number)
            )
        except BtfError:
            return ()

    def _enumerators(self, number: int) -> tuple[tuple[str, int], ...]:
        try:
            return tuple(self._btf.enumerators(number))
        except BtfError:
            return ()
