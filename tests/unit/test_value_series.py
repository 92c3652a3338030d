"""Values by type, over time and by how often they came, against a plain reading."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
import pytest

from tui.app.value_series import RAW, ValueKind, decode, series, spread

INT = ValueKind("int", 4, signed=True)
LONG = ValueKind("int", 8, signed=True)
DOUBLE = ValueKind("float", 8)
FLOAT = ValueKind("float", 4)
STATE = ValueKind("enum", 4, names=(("OFF", 0), ("ON", 1)))


def bits(number: float, form: str = "<d") -> int:
    return int.from_bytes(struct.pack(form, number), "little")


@pytest.mark.parametrize(
    ("kind", "raw", "number", "text"),
    [
        (INT, 0xFFFF_FFFF, -1, "-1"),
        (INT, 7, 7, "7"),
        (LONG, (1 << 64) - 5, -5, "-5"),
        (ValueKind("int", 1, signed=True), 0x80, -128, "-128"),
        (ValueKind("int", 8), (1 << 64) - 1, (1 << 64) - 1, "0xffffffffffffffff"),
        (DOUBLE, bits(-2.5), -2.5, "-2.5"),
        (FLOAT, bits(0.25, "<f"), 0.25, "0.25"),
        (STATE, 1, 1, "ON"),
        (STATE, 9, 9, "9"),
        (ValueKind("bool", 1), 1, 1, "true"),
        (ValueKind("char", 1, signed=True), 65, 65, "65 'A'"),
        (ValueKind("pointer", 8), 0, 0, "NULL"),
        (ValueKind("pointer", 8), 0x7FFF0000, 0x7FFF0000, "0x7fff0000"),
        (RAW, 12, 12, "12"),
    ],
)
def test_a_value_is_the_number_and_the_text_of_its_type(
    kind: ValueKind, raw: int, number: float, text: str
) -> None:
    assert decode(np.array([raw], np.uint64), kind).tolist() == [number]
    assert kind.text(raw) == text


def test_each_column_has_the_lowest_the_highest_and_the_last_value() -> None:
    chance = random.Random(1)
    times = sorted(chance.randrange(10_000) for _ in range(500))
    values = [chance.randrange(-50, 50) for _ in times]
    found = series(np.array(times, np.uint64), np.array(values, np.int64), 3.0, 1000, 37, 100)
    for column in range(100):
        inside = [v for t, v in zip(times, values, strict=True) if (t - 1000) // 37 == column and t >= 1000]
        if not inside:
            assert math.isnan(found.low[column])
            continue
        shown = (found.low[column], found.high[column], found.last[column])
        assert shown == (min(inside), max(inside), inside[-1])
    assert found.before == 3.0


@pytest.mark.parametrize("kind", [LONG, ValueKind("int", 8)])
def test_every_value_is_in_one_bin_whatever_the_extremes(kind: ValueKind) -> None:
    chance = random.Random(2)
    for values in (
        [0, (1 << 64) - 1, 1 << 63, (1 << 63) - 1, *range(40)],
        [chance.getrandbits(64) for _ in range(500)],
        [chance.randrange(30) for _ in range(300)],
        [5],
    ):
        decoded = decode(np.array(values, np.uint64), kind)
        found = spread(decoded, 10)
        assert found is not None
        assert len(found.bins) <= 10
        assert sum(each.times for each in found.bins) == len(values)
        assert found.distinct == len(set(values))
        for each in found.bins:
            assert each.times == sum(each.low <= number <= each.high for number in decoded.tolist())


def test_floats_at_the_end_of_their_range_are_binned_too() -> None:
    values = [bits(x) for x in (1.7e308, -1.7e308, 5e-324, *range(30), math.inf, math.nan)]
    found = spread(decode(np.array(values, np.uint64), DOUBLE), 10)
    assert found is not None
    assert sum(each.times for each in found.bins) == 33
    assert all(math.isfinite(each.low) and math.isfinite(each.high) for each in found.bins)
    assert spread(decode(np.array([bits(math.nan)], np.uint64), DOUBLE), 10) is None
