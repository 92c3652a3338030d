"""Our dataclasses behave as those of the standard library do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from symbols.dataclass import dataclass as ours

Make = Callable[..., Any]


@ours(frozen=True, slots=True)
class Mine:
    """A class with every kind of field."""

    first: int
    second: str = "two"
    rest: tuple[int, ...] = ()
    made: list[int] = field(default_factory=list)

    @property
    def both(self) -> str:
        """Behaviour stays."""
        return f"{self.first}{self.second}"


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """The same."""

    first: int
    second: str = "two"
    rest: tuple[int, ...] = ()
    made: list[int] = field(default_factory=list)

    @property
    def both(self) -> str:
        """Behaviour stays."""
        return f"{self.first}{self.second}"


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "b"), {}),
    ((1, "b", (3,), [4]), {}),
    ((), {"first": 1}),
    ((1,), {"rest": (2,), "second": "x"}),
    ((1,), {"made": [7]}),
]


@pytest.mark.parametrize(("args", "named"), CALLS)
def test_values_are_given_by_place_or_by_name_and_the_rest_by_default(
    args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    mine, theirs = Mine(*args, **named), Theirs(*args, **named)
    assert dataclasses.asdict(mine) == dataclasses.asdict(theirs)
    assert repr(mine) == repr(theirs).replace("Theirs", "Mine")
    assert mine.both == theirs.both
    assert mine == Mine(*args, **named)


@pytest.mark.parametrize(
    ("args", "named"),
    [((), {}), ((1, 2, 3, 4, 5), {}), ((1,), {"first": 2}), ((1,), {"other": 2}), ((), {"second": "x"})],
)
@pytest.mark.parametrize("make", [Mine, Theirs])
def test_a_wrong_call_is_a_type_error(make: Make, args: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        make(*args, **named)


@pytest.mark.parametrize("make", [Mine, Theirs])
def test_nothing_changes_after_it_was_made(make: Make) -> None:
    made = make(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.first
    with pytest.raises((AttributeError, TypeError)):
        made.other = 1
    assert dataclasses.replace(made, second="x").second == "x"


def test_equal_values_of_another_class_are_not_equal_and_hashes_follow_values() -> None:
    others: tuple[object, ...] = (Theirs(1), 1)
    assert all(Mine(1) != other for other in others)

    @ours(frozen=True, slots=True)
    class One:
        only: int

    assert One(5) == One(5) != One(6)
    assert hash(One(5)) == hash(One(5))
    assert len({One(5), One(5), One(6)}) == 2


def test_every_default_list_is_its_own() -> None:
    assert Mine(1).made is not Mine(1).made


def test_values_are_checked_when_they_are_made() -> None:
    @ours(frozen=True, slots=True)
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number <= 0:
                raise ValueError("not positive")

    assert Positive(1).number == 1
    with pytest.raises(ValueError, match="not positive"):
        Positive(0)
