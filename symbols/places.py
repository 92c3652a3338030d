"""The place that an expression means: what a watch is put on."""

from __future__ import annotations

from symbols.evaluate import evaluate
from symbols.expression import spell
from symbols.nodes import Binary, Node, Number, Unary
from symbols.target import ExpressionError, Target
from symbols.value import MASK, Resolver, Value

__all__ = ["place"]


def place(node: Node, resolver: Resolver) -> Target:
    """The place that an expression means. `object + constant` counts bytes, as nm and perf do.

    A value that is no place is an address; that of a pointer, what it points to. Raises ExpressionError.
    """
    offset, base, right = 0, node, None
    while isinstance(base, Binary) and base.operator == "+" and _is_constant(base.right):
        offset, right, base = offset + _whole(base.right, resolver), base.right, base.left
    if right is None and isinstance(base, Binary) and (hit := _object_plus(base, resolver)):
        raise hit
    value = evaluate(base, resolver)
    if right is not None and value.address is None:
        return _target(evaluate(node, resolver), node)
    if right is not None and not 0 <= offset < 1 << 63:
        raise ExpressionError(
            f"{offset:#x} is not an address or an offset in '{spell(node)}'", span=right.span
        )
    target = _target(value, base)
    if right is None:
        return target
    size = target.size - offset if target.size is not None and offset < target.size else None
    also = tuple(address + offset & MASK for address in target.also)
    return Target(
        target.address + offset & MASK,
        size,
        target.kind,
        also=also,
        frame=target.frame,
        per_thread=target.per_thread,
    )


def _is_constant(node: Node) -> bool:
    if isinstance(node, Binary):
        return _is_constant(node.left) and _is_constant(node.right)
    return isinstance(node, Number) or (
        isinstance(node, Unary) and node.operator in "-+~!" and _is_constant(node.of)
    )


def _whole(node: Node, resolver: Resolver) -> int:
    value = evaluate(node, resolver).number
    if not isinstance(value, int):
        raise ExpressionError(f"{spell(node)} is no whole number", span=node.span)
    return value


def _object_plus(node: Binary, resolver: Resolver) -> ExpressionError | None:
    """What to say of `box+i` and `box-4`, which mean bytes to some and elements to others."""
    left = evaluate(node.left, resolver) if node.operator in "+-" else None
    if left is None or left.address is None:
        return None
    return ExpressionError(
        f"{spell(node)} could mean bytes or elements: write {spell(node.left)}+BYTES, {spell(node.left)}[INDEX] or &{spell(node.left)}",
        span=node.span,
    )


def _target(value: Value, node: Node) -> Target:
    kind = value.type
    if value.address is not None:
        size = value.length
        return Target(
            value.address & MASK,
            size or None,
            "code" if value.code else "data",
            "" if kind is None or value.code else str(kind),
            kind,
            value.bits,
            value.also,
            value.frame,
            value.per_thread,
        )
    if value.why:
        raise ExpressionError(f"{spell(node)} {value.why}", span=node.span)
    number = value.number
    if not isinstance(number, int):
        raise ExpressionError(f"{spell(node)} is a value, not a place", span=node.span)
    if not -(1 << 63) <= number < 1 << 64 or (number < 0 and (kind is None or kind.plain.kind != "pointer")):
        raise ExpressionError(
            f"{number:#x} is not an address or an offset in '{spell(node)}'", span=node.span
        )
    if kind is not None and kind.plain.kind == "pointer":
        to = kind.plain.target
        code = to.plain.kind == "function"
        return Target(number & MASK, to.size or None, "code" if code else "data", "" if code else str(to), to)
    return Target(number & MASK, None, "data")
