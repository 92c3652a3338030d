"""Frozen, slotted dataclasses that cost next to nothing to define.

`dataclasses.dataclass` writes six functions for each class and compiles them, half a millisecond a class. Every
command of ours defines dozens before it does anything; here they share one set of functions. A drop-in for
`dataclasses.dataclass(frozen=True, slots=True)`, for type checkers too: `fields`, `replace` and `asdict` work.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_set = object.__setattr__


def _init(self: Any, *args: Any, **named: Any) -> None:
    cls = type(self)
    names, defaults = cls.__match_args__, cls._defaults_
    for name, value in zip(names, args, strict=False):
        _set(self, name, value)
    if len(args) > len(names):
        raise TypeError(f"{cls.__name__} takes {len(names)} values, not {len(args)}")
    for name in names[len(args) :]:
        if name in named:
            _set(self, name, named.pop(name))
        elif name in defaults:
            default, factory = defaults[name]
            _set(self, name, default if factory is None else factory())
        else:
            raise TypeError(f"{cls.__name__} needs {name!r}")
    if named:
        raise TypeError(f"{cls.__name__} takes no {next(iter(named))!r}, or takes it once")
    if cls._checked_:
        self.__post_init__()


def _repr(self: Any) -> str:
    cls = type(self)
    return (
        f"{cls.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in cls.__match_args__)})"
    )


def _eq(self: Any, other: object) -> Any:
    values = type(self)._values_
    return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(type(self)._values_(self))


def _setattr(self: Any, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool):
        """Only `frozen=True, slots=True`."""
        assert frozen
        assert slots

        def make(cls: type) -> type:
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
            fields = dataclasses.fields(made)
            made._defaults_ = {
                each.name: (each.default, None)
                if each.default_factory is dataclasses.MISSING
                else (None, each.default_factory)
                for each in fields
                if each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
            }
            made._checked_ = hasattr(made, "__post_init__")
            compared = [each.name for each in fields if each.compare]
            made._values_ = staticmethod(attrgetter(*compared) if compared else lambda _self: ())
            made.__init__, made.__repr__, made.__eq__, made.__hash__ = _init, _repr, _eq, _hash
            made.__setattr__, made.__delattr__ = _setattr, _delattr
            return made

        return make
