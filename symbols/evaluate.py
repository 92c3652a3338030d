"""What an expression means: C's rules for places and values, on types as plain data.

Names, memory and registers come from a `Resolver`. A variable is a place until its value is needed, so a program
whose memory cannot be read still has addresses.
"""

from __future__ import annotations

import math
from typing import Final

from symbols.arithmetic import arithmetic, common, fitted, promoted, wrapped
from symbols.ctype import BUILTIN, RECORDS, UNKNOWN, Type, pointer_to
from symbols.expression import spell
from symbols.nodes import (
    Binary,
    Cast,
    Index,
    Member,
    Name,
    Node,
    Number,
    Register,
    Repeat,
    SizeOf,
    TypeName,
    Unary,
)
from symbols.target import ExpressionError
from symbols.value import MASK, SCALARS, Resolver, Value, decode

__all__ = ["evaluate", "type_of"]

REPEAT_LIMIT: Final = 1 << 20
_LONG, _ULONG, _INT, _DOUBLE = (BUILTIN[name] for name in ("long", "unsigned long", "int", "double"))


def evaluate(node: Node, resolver: Resolver) -> Value:
    """The value of an expression. Raises ExpressionError, with the part of the text that is at fault."""
    try:
        return _Evaluation(resolver).of(node)
    except ExpressionError as error:
        if error.span is None:
            error.span = node.span
        raise
    except RecursionError:
        raise ExpressionError("an expression nested too deeply") from None


def type_of(named: TypeName, resolver: Resolver) -> Type:
    """The type that a name means. Raises ExpressionError."""
    found = _builtin(named.words) if len(named.words) > 1 else None
    found = found or resolver.type_named(named.words) or _builtin(named.words)
    if found is None:
        raise ExpressionError(f"no type {' '.join(named.words)}", span=named.span)
    for _ in range(named.stars):
        found = pointer_to(found)
    if named.counts:
        element = found
        found = Type("array", counts=named.counts, refers=lambda: element)
    return found


def _builtin(words: tuple[str, ...]) -> Type | None:
    text = " ".join(words)
    if text in BUILTIN:
        return BUILTIN[text]
    rest = [word for word in words if word not in ("signed", "unsigned", "int")]
    sign = "unsigned " if "unsigned" in words else "signed " if "signed" in words and rest == ["char"] else ""
    return BUILTIN.get(f"{sign}{' '.join(rest) or 'int'}")


class _Evaluation:
    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.depth = 0

    def of(self, node: Node) -> Value:
        self.depth += 1
        if self.depth > 200:
            raise ExpressionError("an expression nested too deeply")
        try:
            return self._of(node)
        except ExpressionError as error:
            if error.span is None:
                error.span = node.span
            raise
        finally:
            self.depth -= 1

    def _of(self, node: Node) -> Value:
        if isinstance(node, Number):
            if isinstance(node.value, float):
                return Value(_DOUBLE, number=node.value)
            small = node.value < 1 << 31
            return Value(_INT if small else _LONG if node.value < 1 << 63 else _ULONG, number=node.value)
        if isinstance(node, Name):
            return self._referred(self.resolver.object(node), node)
        if isinstance(node, Register):
            found = self.resolver.register(node.name)
            return found if isinstance(found, Value) else Value(_ULONG, number=found)
        if isinstance(node, Unary):
            return self._unary(node)
        if isinstance(node, Binary):
            return self._binary(node)
        if isinstance(node, Index):
            return self._index(node)
        if isinstance(node, Member):
            return self._member(node)
        if isinstance(node, Cast):
            return self._cast(type_of(node.type, self.resolver), self.of(node.of), node)
        if isinstance(node, SizeOf):
            return Value(_ULONG, number=self._size_of(node))
        return self._repeat(node)

    # Places

    def _referred(self, value: Value, node: Node) -> Value:
        """What a C++ reference refers to."""
        if value.type is None or value.type.plain.kind != "reference":
            return value
        return Value(value.type.plain.target, address=self._pointer(value, node))

    def _pointer(self, value: Value, node: Node) -> int:
        here = spell(node)
        if value.number is None and value.data is None and self.resolver.read is None:
            raise ExpressionError(
                f"{here} is a pointer: it can be followed only while the program's memory can be read",
                span=node.span,
            )
        number = int(self.load(value, node, "a pointer")) & MASK
        if not number:
            raise ExpressionError(f"{here} is a null pointer", span=node.span)
        return number

    def _index(self, node: Index) -> Value:
        value, index = self.of(node.of), int(self.load(self.of(node.index), node.index))
        return self._element(value, index, node.of, node.index)

    def _element(self, value: Value, index: int, of: Node, at: Node | None) -> Value:
        here, kind = spell(of), self._typed(value, of).plain
        span = at.span if at is not None else of.span
        if kind.kind == "array":
            count = kind.counts[0] if kind.counts else None
            if index < 0 or (count is not None and count > 0 and index >= count):
                raise ExpressionError(f"{here} has {count} elements, from 0: no [{index}]", span=span)
            element = kind.element
            skip = index * self._sized(element, of) if index else 0
            if value.address is not None:
                also = tuple(address + skip & MASK for address in value.also)
                return Value(
                    element,
                    address=value.address + skip & MASK,
                    also=also,
                    frame=value.frame,
                    per_thread=value.per_thread,
                )
            data = value.data[skip : skip + (element.size or 0)] if value.data is not None else None
            return Value(element, data=data, why=value.why)
        if kind.kind == "pointer":
            to = kind.target
            size = self._sized(to, of) if at is not None else 1
            return Value(
                to, address=self._pointer(value, of) + index * size & MASK, code=to.plain.kind == "function"
            )
        what = "an array" if at is not None else "a pointer"
        raise ExpressionError(f"{here} is {value.type}, not {what}", span=of.span)

    def _of_package(self, node: Member) -> Value | None:
        """Go's names have their package before a dot, also in DWARF."""
        if not isinstance(node.of, Name) or node.of.scope or node.arrow:
            return None
        try:
            return self.resolver.object(Name((), f"{node.of.name}.{node.name}", True))
        except ExpressionError:
            return None

    def _member(self, node: Member) -> Value:
        try:
            value = self.of(node.of)
        except ExpressionError:
            if (whole := self._of_package(node)) is None:
                raise
            return whole
        here, kind = spell(node.of), self._typed(value, node.of).plain
        if kind.kind == "pointer":
            value = Value(kind.target, address=self._pointer(value, node.of))
            here, kind = (f"*{here}" if not node.arrow else here), kind.target.plain
        elif node.arrow:
            raise ExpressionError(f"{here} is {value.type}, not a pointer", span=node.of.span)
        start = node.span[1] - len(node.name), node.span[1]
        if kind.kind not in RECORDS:
            raise ExpressionError(f"{here} is {value.type}: it has no member {node.name}", span=start)
        found = kind.find(node.name)
        if found is None:
            names = tuple(kind.member_names())
            near = _near(node.name, names)
            more = (
                f": did you mean {' or '.join(near)}?"
                if near
                else f" (it has {', '.join(names[:8]) or 'none'})"
            )
            raise ExpressionError(f"{here} has no member {node.name}{more}", near or names, start)
        base, member = found
        skip = base + member.offset
        bits = (member.bits[0] - member.offset * 8, member.bits[1]) if member.bits is not None else None
        if value.address is not None:
            also = tuple(address + skip & MASK for address in value.also)
            made = Value(
                member.type,
                address=value.address + skip & MASK,
                bits=bits,
                also=also,
                frame=value.frame,
                per_thread=value.per_thread,
            )
        else:
            data = value.data[skip : skip + (member.size or 0)] if value.data is not None else None
            made = Value(member.type, data=data, bits=bits, why=value.why)
        return self._referred(made, node)

    def _repeat(self, node: Repeat) -> Value:
        value, count = self.of(node.of), int(self.load(self.of(node.count), node.count))
        if value.address is None:
            raise ExpressionError(
                f"{spell(node.of)} is not in memory: only that can be repeated", span=node.of.span
            )
        if not 1 <= count <= REPEAT_LIMIT:
            raise ExpressionError(
                f"a count from 1 to {REPEAT_LIMIT} expected, not {count}", span=node.count.span
            )
        element = self._typed(value, node.of)
        return Value(
            Type("array", counts=(count,), refers=lambda: element), address=value.address, frame=value.frame
        )

    def _typed(self, value: Value, node: Node) -> Type:
        if value.code:
            name = spell(node)
            raise ExpressionError(f"{name} is a function: only {name}+BYTES can be used", span=node.span)
        if value.type is None:
            name = spell(node)
            raise ExpressionError(
                f"{name} is without type information: only {name}+BYTES can be used", span=node.span
            )
        return value.type

    def _sized(self, kind: Type, of: Node) -> int:
        if not kind.size:
            raise ExpressionError(f"{spell(of)} points to something of unknown size", span=of.span)
        return kind.size

    def _size_of(self, node: SizeOf) -> int:
        if isinstance(node.of, TypeName):
            size = type_of(node.of, self.resolver).size
        else:
            try:
                size = self.of(node.of).length
            except ExpressionError:
                if not isinstance(node.of, Name) or (kind := self._as_type(node.of)) is None:
                    raise
                size = kind.size
        if size is None:
            raise ExpressionError(f"{spell(node.of)} is of unknown size", span=node.of.span)
        return size

    def _as_type(self, node: Node) -> Type | None:
        """The type that a word in parentheses means, where it is no variable."""
        if not isinstance(node, Name) or node.quoted:
            return None
        words = ("::".join((*node.scope, node.name)),)
        return self.resolver.type_named(words) or _builtin(words)

    # Values

    def load(self, value: Value, node: Node, what: str = "a value") -> int | float:
        """A scalar as a number."""
        if value.number is not None:
            return value.number
        if value.code and value.address is not None:
            return value.address
        kind = self._typed(value, node)
        plain = kind.plain
        if plain.kind == "array" and value.address is not None:
            return value.address  # an array stands for the address of its first element
        size = value.length
        if plain.kind not in SCALARS or not size:
            raise ExpressionError(f"{spell(node)} is {kind}, not {what}", span=node.span)
        if value.data is not None:
            return decode(value.data[:size], kind, value.bits)
        if value.address is None:
            raise ExpressionError(f"{spell(node)} {value.why or 'has no value'}", span=node.span)
        if self.resolver.read is None:
            raise ExpressionError(
                f"{spell(node)} needs the program's memory, which cannot be read", span=node.span
            )
        try:
            data = bytes(self.resolver.read(value.address, size))
        except Exception:  # whatever the reader's own error is
            data = b""
        if len(data) != size:
            name = {"pointer": "a pointer", "reference": "a reference"}.get(plain.kind, str(kind))
            raise ExpressionError(
                f"{spell(node)} is {name} at {value.address:#x}, which cannot be read", span=node.span
            )
        return decode(data, kind, value.bits)

    def _unary(self, node: Unary) -> Value:
        value = self.of(node.of)
        if node.operator == "&":
            if value.address is None:
                why = value.why or "has no address: it is a value"
                raise ExpressionError(f"{spell(node.of)} {why}", span=node.of.span)
            if value.bits is not None:
                raise ExpressionError(
                    f"{spell(node.of)} is a bit-field, which has no address", span=node.of.span
                )
            kind = value.type or (Type("function") if value.code else UNKNOWN)
            return Value(pointer_to(kind), number=value.address)
        if node.operator == "*":
            if (
                isinstance(value.number, int)
                and value.type is not None
                and value.type.plain.kind not in ("pointer",)
            ):
                raise ExpressionError(
                    f"{spell(node.of)} is {value.type}, not a pointer: say of what, *(long *){spell(node.of)}",
                    span=node.of.span,
                )
            return self._referred(self._element(value, 0, node.of, None), node)
        number = self.load(value, node.of)
        if node.operator == "!":
            return Value(_INT, number=int(not number))
        kind = promoted(value)
        if node.operator == "~":
            if isinstance(number, float):
                raise ExpressionError(f"{spell(node.of)} is no whole number", span=node.of.span)
            return fitted(~number, kind)
        return fitted(-number if node.operator == "-" else number, kind)

    def _binary(self, node: Binary) -> Value:
        operator = node.operator
        if operator in "*&-+":
            try:
                left = self.of(node.left)
            except ExpressionError:  # `(u8)*p`: the grammar cannot know that u8 is a type
                if (kind := self._as_type(node.left)) is None:
                    raise
                right = Unary(operator, node.right, node.right.span)
                return self._cast(kind, self.of(right), node)
        else:
            left = self.of(node.left)
        if operator in ("&&", "||"):
            truth = bool(self.load(left, node.left))
            if truth == (operator == "&&"):
                truth = bool(self.load(self.of(node.right), node.right))
            return Value(_INT, number=int(truth))
        right_value = self.of(node.right)
        a, b = self.load(left, node.left), self.load(right_value, node.right)
        if operator in ("==", "!=", "<", ">", "<=", ">="):
            outcome = {"==": a == b, "!=": a != b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[
                operator
            ]
            return Value(_INT, number=int(outcome))
        pointer = self._pointer_arithmetic(operator, left, right_value, a, b, node)
        if pointer is not None:
            return pointer
        kind = common(left, right_value)
        return fitted(arithmetic(operator, a, b, node), kind)

    def _pointer_arithmetic(
        self, operator: str, left: Value, right: Value, a: int | float, b: int | float, node: Binary
    ) -> Value | None:
        to, other = _points_to(left), _points_to(right)
        if operator not in "+-" or (to is None and other is None):
            return None
        if not isinstance(a, int) or not isinstance(b, int):
            raise ExpressionError("a pointer and a fraction cannot be added", span=node.span)
        if to is not None and other is not None:
            if operator == "+":
                raise ExpressionError("two pointers cannot be added", span=node.span)
            return Value(_LONG, number=(a - b) // (to.size or 1))
        if to is None:
            if operator == "-":
                raise ExpressionError("a pointer cannot be subtracted from a number", span=node.span)
            assert other is not None
            return Value(pointer_to(other), number=b + a * (other.size or 1) & MASK)
        step = b * (to.size or 1)
        return Value(pointer_to(to), number=(a + step if operator == "+" else a - step) & MASK)

    def _cast(self, kind: Type, value: Value, node: Node) -> Value:
        plain = kind.plain
        if plain.kind in (*RECORDS, "array"):
            if value.address is None:
                raise ExpressionError(f"only what is in memory can be seen as {kind}", span=node.span)
            return Value(
                kind, address=value.address, also=value.also, frame=value.frame, per_thread=value.per_thread
            )
        if plain.kind not in SCALARS:
            raise ExpressionError(f"a value cannot be seen as {kind}", span=node.span)
        if value.type is None and not value.code and value.address is not None:
            size = kind.size or 8  # a symbol without a type: the cast says what it holds, as in gdb
            return Value(kind, address=value.address, size=size, also=value.also, per_thread=value.per_thread)
        number = self.load(value, node.of if isinstance(node, Cast) else node)
        if plain.kind == "float":
            return Value(kind, number=float(number))
        whole = int(number) if not isinstance(number, float) or math.isfinite(number) else 0
        if plain.kind == "bool":
            whole = int(bool(whole))
        return Value(kind, number=wrapped(whole, kind))


def _points_to(value: Value) -> Type | None:
    if value.type is None:
        return None
    plain = value.type.plain
    if plain.kind == "pointer":
        return plain.target
    return plain.element if plain.kind == "array" else None


def _near(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    import difflib

    return tuple(difflib.get_close_matches(name, names[:5000], 3, 0.7))
