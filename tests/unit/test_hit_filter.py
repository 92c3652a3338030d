"""Filtering, listing and grouping hits against a plain reading of every record, on rings that go round."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends.base import HwbpError
from backends.ring import ACCESS_CODES, HEADER, RECORD, RingMemory, create_memfd
from backends.ring_reader import RingReader
from tui.app.hit_filter import FIELDS, parse
from tui.app.hit_groups import GROUPS, GroupCounter
from tui.app.hit_index import HitIndex, SceneTexts
from tui.app.hit_list import HELD, HitList
from tui.app.names import Name
from tui.app.records import Record
from tui.app.scene import Scene

PLACES = {
    0x401000: Name("add_limit+0x4", "counter.c:36"),
    0x401010: Name("reset_one+0x0", "counter.c:61"),
    0x401020: Name("memcpy+0x2f", ""),
}
LABELS = {1: "cfg.limits[3]", 2: "lock", 3: "evil[red]"}
COMMS = ("counter", "worker/1")


class Writer:
    """A ring and its records as a plain list, so that every answer can be held against it."""

    def __init__(self, capacity: int) -> None:
        self.fd = create_memfd(capacity)
        self.memory = RingMemory(self.fd)
        self.reader = RingReader(self.fd)
        self.scene = Scene()
        self.scene.ring = self.reader
        self.scene._labels.update(LABELS)
        self.scene.view = SimpleNamespace(comms=COMMS, breakpoints=())  # type: ignore[assignment]
        self.rows: list[Record] = []

    def write(self, count: int, chance: random.Random) -> None:
        for _ in range(count):
            seq = len(self.rows)
            access = chance.randrange(4)
            known = access != 0
            length = chance.choice([1, 2, 4, 8])
            place = chance.choice([*PLACES])
            row = Record(
                seq, 37 * seq, place + 5, chance.choice([place, 0]), 0x404000,
                chance.randrange(20) if chance.random() < 0.7 else (1 << 8 * length) - chance.randrange(1, 4),
                chance.randrange(20), chance.choice([*LABELS]), 1000, 1000 + chance.randrange(3), chance.randrange(3),
                chance.randrange(2), chance.randrange(2), length, chance.choice([0, 1, 0xFF]), access,
                int(known), int(known and chance.random() < 0.8), chance.choice([0, 1, 4, 5, 8]),
            )  # fmt: skip
            RECORD.pack_into(self.memory.records, (seq & self.memory.capacity - 1) * RECORD.size, *row)
            self.rows.append(row)
        self.memory.words[HEADER["head"]] = len(self.rows)

    def kept(self) -> list[Record]:
        return self.rows[self.reader.first :]

    def learn(self) -> None:
        self.scene.names.take_wanted()
        self.scene.names.learn({place + more: name for place, name in PLACES.items() for more in (0, 5)})


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer(1 << 12)
    made.learn()
    yield made
    os.close(made.fd)


def name_of(row: Record) -> Name:
    return PLACES[row.place if row.insn_ip else row.ip - 5]


def known(row: Record) -> int | None:
    return row.value if row.value_from else None


CASES: dict[str, Any] = {
    "tid=1001": lambda r: r.tid == 1001,
    "tid=1000,1002": lambda r: r.tid in (1000, 1002),
    "tid!=1001": lambda r: r.tid != 1001,
    "!tid=1001": lambda r: r.tid != 1001,
    "value>0x5": lambda r: known(r) is not None and r.value > 5,
    "value>=5 value<9": lambda r: known(r) is not None and 5 <= r.value < 9,
    "new=7": lambda r: known(r) == 7,
    "value=-1": lambda r: known(r) is not None and r.value == (1 << 8 * r.length) - 1,
    "old<=3": lambda r: r.old_from and r.old <= 3,
    "dr=1": lambda r: r.slot == 1,
    "dr!=1": lambda r: r.slot != 1,
    "w": lambda r: r.access_text == "w",
    "acc=r,rw": lambda r: r.access_text in ("r", "rw"),
    "!x": lambda r: r.access_text != "x",
    "changed": lambda r: r.value_from and r.old_from and r.value != r.old,
    "same": lambda r: r.value_from and r.old_from and r.value == r.old,
    "kernel": lambda r: r.flags & 1,
    "unseen": lambda r: r.flags & 4,
    "add_limit": lambda r: "add_limit" in name_of(r).symbol,
    "ADD_LIMIT cpu=1": lambda r: "add_limit" in name_of(r).symbol and r.cpu == 1,
    "by=add,reset": lambda r: name_of(r).symbol.startswith(("add", "reset")),
    "src=counter.c": lambda r: "counter.c" in name_of(r).source,
    "!src=counter.c": lambda r: "counter.c" not in name_of(r).source,
    "watch=limits": lambda r: r.breakpoint == 1,
    "[red]": lambda r: r.breakpoint == 3,
    "comm=worker": lambda r: r.comm == 1,
    "lock stack=2": lambda r: r.breakpoint == 2 and r.stack == 2,
    "at=0x401000": lambda r: (r.insn_ip or r.ip) == 0x401000,
    "#>100 #<=200": lambda r: 100 < r.seq + 1 <= 200,
    "time>=1000": lambda r: r.time >= 1000,
    "13": lambda r: known(r) == 13 or (r.old_from and r.old == 13),
    "value>99999999999999999999999999": None,
    "cpu=70000": lambda r: False,
    "bp=2": lambda r: r.breakpoint == 2,
}


@pytest.mark.parametrize("text", CASES)
def test_a_filter_finds_what_a_plain_reading_finds(writer: Writer, text: str) -> None:
    if CASES[text] is None:
        with pytest.raises(HwbpError):
            parse(text)
        return
    chance = random.Random(text)
    index = HitIndex(parse(text), SceneTexts(writer.scene))
    met = 0
    for count in (0, 1, 700, 40, 5000, 16, 2000, 9000):
        writer.write(count, chance)
        while not index.work(writer.reader, 0.001):
            pass
        expected = [row.seq for row in writer.kept() if CASES[text](row)]
        assert index.all().tolist() == expected
        met += len(expected)
        for first in (0, 3, max(0, len(expected) - 7)):
            assert index.numbers(first, 20).tolist() == expected[first : first + 20]
        if expected:
            assert index.position(expected[-1]) == len(expected) - 1
            assert index.position(expected[0]) == 0
    assert met or text in ("#>100 #<=200", "cpu=70000")


def test_names_that_come_late_let_hits_through_that_were_passed_over() -> None:
    writer = Writer(1 << 10)
    writer.write(300, random.Random(1))
    index = HitIndex(parse("reset_one"), SceneTexts(writer.scene))
    assert index.work(writer.reader, 1.0)
    assert len(index) == 0
    assert writer.scene.names.wanted, "the names are asked for"
    writer.learn()
    assert index.work(writer.reader, 1.0)
    assert len(index) == sum("reset" in name_of(row).symbol for row in writer.kept()) > 0
    os.close(writer.fd)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tid=abc", "tid takes numbers"),
        ("tid=", "needs a value"),
        ("nofield=3", "no field nofield"),
        ("acc=q", "acc takes x, r, w or rw"),
        ("by>3", "by is text"),
        ("cpu=-1", "no negative number"),
        ("tid>1,2", "takes one number"),
        ("!", "a word is missing"),
        ('"open', "no closing quotation"),
        ("\x1b[31m=3", None),
        ("value=\x1b[31m", "\\x1b"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, said: str | None) -> None:
    if said is None:
        parse(text)  # a word like any other: it is looked for
        return
    with pytest.raises(HwbpError) as caught:
        parse(text)
    assert said in caught.value.message
    assert caught.value.message.isprintable()


def test_every_documented_field_is_understood() -> None:
    for name in FIELDS:
        text = name if name in ("changed", "same", "kernel", "unseen", *ACCESS_CODES) else f"{name}=1"
        assert parse(text if name != "acc" else "acc=w").terms


@pytest.mark.parametrize("by", GROUPS)
@pytest.mark.parametrize("text", ["", "tid=1001", "add_limit"])
def test_groups_count_every_hit_once_also_when_it_was_overwritten(writer: Writer, by: str, text: str) -> None:
    chance = random.Random(by)
    wanted = parse(text) if text else None
    groups = GroupCounter(by, wanted, SceneTexts(writer.scene))
    key = {
        "site": lambda r: r.insn_ip or r.ip,
        "task": lambda r: r.tid,
        "value": known,
        "stack": lambda r: r.stack,
        "CPU": lambda r: r.cpu,
    }[by]
    for count in (1000, 3000, 17, 2000):
        writer.write(count, chance)
        while not groups.work(writer.reader, 0.001):
            pass
    rows = [r for r in writer.rows if not text or CASES[text](r)]
    rows = [r for r in rows if key(r) is not None]  # type: ignore[no-untyped-call]
    expected = Counter(key(r) for r in rows)  # type: ignore[no-untyped-call]
    assert groups.missed == 0
    assert groups.tally.counted == len(rows)
    found = groups.tally.top("count", 10_000)
    assert {group.key: group.hits for group in found} == expected
    assert [group.hits for group in found] == sorted(expected.values(), reverse=True)
    for group in found:
        seqs = [r.seq for r in rows if key(r) == group.key]  # type: ignore[no-untyped-call]
        assert (group.first, group.last) == (seqs[0], seqs[-1])


def test_groups_beyond_the_bound_are_counted_together(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.app.hit_groups.MOST", 5)
    writer.write(3000, random.Random(1))
    groups = GroupCounter("value", None, SceneTexts(writer.scene))
    assert groups.work(writer.reader, 10.0)
    assert len(groups) == 5
    assert groups.tally.others > 0
    assert sum(g.hits for g in groups.tally.top("count", 10)) + groups.tally.others == groups.tally.counted


def test_a_frozen_list_keeps_what_is_being_read(writer: Writer) -> None:
    chance = random.Random(3)
    writer.write(6000, chance)
    hits = HitList(writer.scene)
    hits.advance()
    hits.move(-3, 20)
    before = [record for _number, record in hits.window(hits.top, 20)]
    assert [r.seq for r in before if r] == list(range(5980, 6000))
    writer.write(20_000, chance)  # the ring goes round several times
    hits.advance()
    assert hits.newer == 20_000
    assert [record for _number, record in hits.window(hits.top, 20)] == before
    assert hits.selected() == writer.rows[5996]
    hits.to(0, 20)
    assert hits.selected() == writer.rows[writer.reader.first - 20_000] or HELD < 4096
    hits.follow()
    hits.advance()
    assert hits.selected() == writer.rows[-1]


def test_a_frozen_list_is_sorted_with_the_unknown_last(writer: Writer) -> None:
    writer.write(3000, random.Random(4))
    hits = HitList(writer.scene)
    hits.advance()
    hits.freeze(20)
    job = hits.sort_job("value")
    assert job is not None
    hits.take_order("value", job())
    rows = [record for _n, record in hits.window(0, 3000) if record is not None]
    numbers = [row.value for row in rows if row.value_from]
    assert numbers == sorted(numbers)
    assert all(row.value_from == 0 for row in rows[len(numbers) :])
    back = hits.sort_job("")
    assert back is not None
    hits.take_order("", back())
    assert [n for n, _r in hits.window(0, 3000)] == list(range(writer.reader.first, 3000))


def test_finding_goes_both_ways_and_ends(writer: Writer) -> None:
    writer.write(4000, random.Random(5))
    hits = HitList(writer.scene)
    hits.advance()
    hits.freeze(20)
    hits.to(0, 20)
    wanted = parse("value=7 tid=1001")
    forward = []
    while found := [p for p in hits.find(wanted, 1, 0.0) if p is not None]:
        hits.to(found[0], 20)
        record = hits.selected()
        assert record is not None
        forward.append(record.seq)
    expected = [r.seq for r in writer.kept()[1:] if known(r) == 7 and r.tid == 1001]
    assert forward == expected
    back = []
    while found := [p for p in hits.find(wanted, -1, 0.0) if p is not None]:
        hits.to(found[0], 20)
        record = hits.selected()
        assert record is not None
        back.append(record.seq)
    assert back == expected[-2::-1]


def test_marks_keep_their_hit_and_are_walked_in_order(writer: Writer) -> None:
    writer.write(200, random.Random(6))
    hits = HitList(writer.scene)
    hits.advance()
    for position in (150, 30, 90):
        hits.to(position, 20)
        hits.mark()
    assert sorted(hits.marks) == [30, 90, 150]
    walked = []
    for _ in range(4):
        assert hits.next_mark(20)
        record = hits.selected()
        assert record is not None
        walked.append(record.seq)
    assert walked == [150, 30, 90, 150]
    hits.mark()
    assert sorted(hits.marks) == [30, 90]


def test_before_the_first_hit_there_is_nothing_left_to_look_at(writer: Writer) -> None:
    hits = HitList(writer.scene)
    hits.advance()
    hits.filter_by(parse("w"))
    hits.advance()
    assert hits.done, "else the panel would look for ever"
    assert hits.count == 0


def test_the_document_names_every_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "app.md").read_text()
    section = text.split("## Hits: filter, find, group")[1].split("\n## ")[0]
    assert [name for name in FIELDS if f"`{name}`" not in section] == []


def test_the_documents_example_means_what_it_says() -> None:
    wanted = parse("add_limit tid=44,45 value>0x10 !r")
    assert [(term.subject, term.sign, term.numbers, term.negated) for term in wanted.terms] == [
        ("any", "=", (), False),
        ("tid", "=", (44, 45), False),
        ("value", ">", (16,), False),
        ("access", "=", (ACCESS_CODES.index("r"),), True),
    ]
