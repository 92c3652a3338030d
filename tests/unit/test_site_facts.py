"""Tasks and stacks of each site against a plain count of every record."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict

from tests.unit.test_hit_filter import Writer
from tui.app.site_facts import SiteFacts


def test_tasks_and_stacks_of_each_site_are_counted_once_as_hits_come() -> None:
    writer, chance, facts = Writer(1 << 12), random.Random(1), SiteFacts()
    for count in (100, 3000, 5, 900, 3000):
        writer.write(count, chance)
        while not facts.work(writer.reader, 0.0):
            pass
    assert facts.missed == 0
    tasks: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    stacks: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for row in writer.rows:
        site = row.breakpoint, row.insn_ip or row.ip
        tasks[site][row.tid] += 1
        stacks[site][row.stack] += 1
    assert len(tasks) > 10
    for site in tasks:
        found = facts.of(*site)
        assert {group.key: group.hits for group in found.tasks} == tasks[site]
        assert {group.key: group.hits for group in found.stacks} == stacks[site]
        assert [g.hits for g in found.tasks] == sorted(tasks[site].values(), reverse=True)
        first = next(r for r in writer.rows if (r.breakpoint, r.insn_ip or r.ip) == site)
        assert min(found.stacks, key=lambda group: group.first).key == first.stack
    assert facts.of(77, 0x401000).tasks == ()
    assert facts.of(1, 0x999).stacks == ()
    os.close(writer.fd)


def test_hits_that_went_by_before_they_were_counted_are_told() -> None:
    writer, chance, facts = Writer(1 << 8), random.Random(1), SiteFacts()
    writer.write(10, chance)
    facts.work(writer.reader, 1.0)
    writer.write(1000, chance)
    facts.work(writer.reader, 1.0)
    assert facts.counted + facts.missed == 1010
    assert facts.missed > 700
    os.close(writer.fd)
