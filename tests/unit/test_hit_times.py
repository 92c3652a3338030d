"""Hits by time against a plain count, on rings that went round; spans that scroll and zoom from seconds to single ticks."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from tests.unit.test_hit_filter import Writer
from tui.app.hit_times import counts, first_time, numbers_at, read_window
from tui.app.time_span import TimeSpan, span_text


@pytest.mark.parametrize("hits", [0, 1, 500, 4000, 20_000])
@pytest.mark.parametrize("scale", [1, 36, 37, 1000, 100_000])
def test_each_column_has_the_hits_of_its_time(hits: int, scale: int) -> None:
    writer = Writer(1 << 12)
    writer.write(hits, random.Random(1))
    kept = writer.kept()
    last = kept[-1].time if kept else 0
    start = max(0, last - 60 * scale)
    found = counts(writer.reader, start, scale, 64).tolist()
    oldest = kept[0].time if kept else 0
    for column, count in enumerate(found):
        low, high = start + column * scale, start + (column + 1) * scale
        if count < 0:
            assert low < oldest
            assert writer.reader.first > 0
        else:
            assert count == sum(low <= row.time < high for row in kept)
    assert first_time(writer.reader) == oldest
    os.close(writer.fd)


def test_a_moment_is_found_by_halving() -> None:
    writer = Writer(1 << 10)
    writer.write(3000, random.Random(2))
    kept = writer.kept()
    times = [0, kept[0].time, kept[0].time + 1, kept[500].time, kept[-1].time, kept[-1].time + 1, 1 << 63]
    found = numbers_at(writer.reader, np.array(times, np.uint64)).tolist()
    expected = [next((r.seq for r in kept if r.time >= moment), 3000) for moment in times]
    assert found == expected
    os.close(writer.fd)


def test_a_window_with_too_many_hits_takes_every_so_many_and_says_so() -> None:
    writer = Writer(1 << 12)
    writer.write(4000, random.Random(3))
    whole = read_window(writer.reader, 370, 37_000, ("seq", "value"))
    assert (whole.first, whole.total, whole.every) == (10, 990, 1)
    assert whole.columns["seq"].tolist() == list(range(10, 1000))
    some = read_window(writer.reader, 370, 37_000, ("seq",), most=300)
    assert (some.total, some.every) == (990, 4)
    assert some.columns["seq"].tolist() == list(range(10, 1000, 4))
    assert read_window(writer.reader, 5, 5, ("seq",)).total == 0
    os.close(writer.fd)


def test_a_span_zooms_from_seconds_to_single_ticks_and_follows_again() -> None:
    span, now = TimeSpan(), 3_600_000_000_000
    span.fit(100, 0, now)
    assert span.of(100, now)[1] == now
    assert span.of(100, now)[0] <= 0
    for _ in range(60):
        span.zoom(-1, 100, now)
    assert span.scale == 1
    span.scroll(-1, 100, now)
    assert span.of(100, now + 50) == (now - 150, now - 50)
    assert not span.following
    span.scroll(1, 100, now)
    assert span.following
    for _ in range(100):
        span.zoom(1, 100, now)
    assert span.of(100, now)[0] >= 0


@pytest.mark.parametrize(
    ("ticks", "text"),
    [
        (1, "1 ns"),
        (9_999, "9,999 ns"),
        (10_500, "10.5 us"),
        (12_000_000, "12 ms"),
        (90_000_000_000, "90.0 s"),
    ],
)
def test_spans_are_in_the_unit_that_suits_them(ticks: int, text: str) -> None:
    assert span_text(ticks, "ns") == text
    assert span_text(ticks, "instructions") == f"{ticks:,} insns"
