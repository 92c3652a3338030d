"""`trace`: every field of docs/cli.md, the summary, and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from backends.base import HwbpError
from backends.model import Stop
from tests.unit.scripted import PROGRAM, Access, ScriptedBackend, open_session
from tui.session.session import Session
from tui.session.watch import Watch
from tui.text.trace import TraceOptions, trace

SCRIPT = (
    Access(0x401200, 1, "x", insn_ip=0x401200),
    Access(0x404000, value=5),
    Access(0x404008, 4, "r"),
    Access(0x404066, 4, value=0x01020304),
)
WATCHES = ("counter", "small:rw", "odd+1/2", "add_limit:x")
FIELDS = [
    *(
        "hit",
        "time_ns",
        "cpu",
        "pid",
        "tid",
        "comm",
        "mode",
        "watch",
        "window",
        "slot",
        "access",
        "address",
        "length",
    ),
    *(
        "ip",
        "module",
        "module_offset",
        "insn_ip",
        "insn_module",
        "insn_module_offset",
        "insn",
        "symbol",
        "source",
    ),
    *("value", "old", "value_from", "old_from"),
]


class Traced:
    """A scripted program, traced into a file."""

    def __init__(
        self, tmp_path: Path, *script: Access, watches: tuple[str, ...] = WATCHES, **machine: Any
    ) -> None:
        self.file = tmp_path / "hits"
        self.backend = ScriptedBackend(script or SCRIPT, **machine)
        self.watches = tuple(map(Watch.parse, watches))
        self.code = -1

    def open(self) -> Session:
        self.backend.reader.set_flow(True)
        session = open_session(self.backend)
        session.open_watches(self.watches)
        return session

    def run(self, **options: Any) -> list[str]:
        self.code = trace(TraceOptions(output=str(self.file), **options), self.open)
        return self.file.read_text().splitlines()

    def objects(self, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(json=True, **options)]


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


def test_the_first_object_says_schema_and_kind_and_the_last_is_the_summary(traced: Traced) -> None:
    first, *_, last = traced.objects()
    assert first == {"schema": 1, "kind": "trace"}
    summary = last["summary"]
    assert summary.pop("duration_s") >= 0
    assert summary == {"hits": 4, "lost": 0, "exit_status": 0, "clock": "instructions", "instructions": 4}
    assert traced.code == 0


def test_a_hit_has_every_field_of_the_contract_and_no_other(traced: Traced) -> None:
    for hit in traced.objects()[1:-1]:
        assert list(hit) == FIELDS


def test_a_write_hit(traced: Traced) -> None:
    hit = traced.objects()[2]
    assert hit == {
        "hit": 2,
        "time_ns": 2,
        "cpu": 0,
        "pid": 41,
        "tid": 41,
        "comm": "counter",
        "mode": "user",
        "watch": 0,
        "window": 0,
        "slot": 0,
        "access": "w",
        "address": 0x404000,
        "length": 8,
        "ip": 0x401214,
        "module": PROGRAM,
        "module_offset": 0x401214,
        "insn_ip": 0x401210,
        "insn_module": PROGRAM,
        "insn_module_offset": 0x401210,
        "insn": "nop",
        "symbol": "add_limit+0x10",
        "source": "counter.c:16",
        "value": 5,
        "old": 0,
        "value_from": "exact",
        "old_from": "exact",
    }


def test_an_execute_hit_has_length_one_no_values_and_the_instruction_itself_as_ip(traced: Traced) -> None:
    hit = traced.objects()[1]
    assert (hit["watch"], hit["access"], hit["length"], hit["ip"], hit["insn_ip"]) == (
        3,
        "x",
        1,
        0x401200,
        0x401200,
    )
    assert [hit[name] for name in ("value", "old", "value_from", "old_from")] == [None] * 4


def test_a_read_hit_has_equal_values(traced: Traced) -> None:
    hit = traced.objects()[3]
    assert (hit["access"], hit["value"], hit["old"]) == ("r", 0, 0)


def test_hits_of_a_split_watch_name_their_window(tmp_path: Path) -> None:
    access = Access(0x404066, 4, value=0x01020304)
    hits = Traced(tmp_path, access, watches=("odd+1/4",)).objects()[1:-1]
    assert [(hit["watch"], hit["window"], hit["address"], hit["length"], hit["value"]) for hit in hits] == [
        (0, 0, 0x404066, 2, 0x0304),
        (0, 1, 0x404068, 2, 0x0102),
    ]


def test_a_stack_begins_at_the_instruction_and_names_return_addresses_by_the_byte_before(
    traced: Traced,
) -> None:
    hit = traced.objects(stack=True)[2]
    assert hit["stack"] == [[0x401210, "add_limit+0x10"], [0x401120, "main+0x1f"], [0x401130, "main+0x2f"]]
    assert list(hit) == [*FIELDS, "stack"]


def test_text_is_one_aligned_line_a_hit(traced: Traced) -> None:
    header, *hits, summary = traced.run()
    assert len(hits) == 4
    assert header.index("source") == hits[1].index("counter.c:16")
    assert "counter" in hits[1]
    assert "0 -> 5" in hits[1]
    assert summary.startswith("4 hits, 0 lost, ")
    assert "exit status 0" in summary


def test_the_stack_stands_behind_a_text_line(traced: Traced) -> None:
    assert traced.run(stack=True)[2].endswith("| add_limit+0x10 < main+0x1f < main+0x2f")


def test_the_limit_counts_printed_hits(traced: Traced) -> None:
    objects = traced.objects(limit=2)
    assert [obj["hit"] for obj in objects[1:-1]] == [1, 2]
    assert objects[-1]["summary"]["hits"] == 2


def test_the_duration_ends_a_program_that_does_not(tmp_path: Path) -> None:
    traced = Traced(tmp_path, endless=True)
    summary = traced.objects(duration=0.02)[-1]["summary"]
    assert summary["exit_status"] is None
    assert traced.backend.state == "stopped"
    assert traced.backend.closed


def test_a_program_killed_by_a_signal_is_reported_and_no_failure(tmp_path: Path) -> None:
    traced = Traced(tmp_path, exit_status=-11)
    assert "died by signal 11" in traced.run()[-1]
    assert traced.code == 0


def test_a_machine_that_cannot_go_on_fails_after_its_summary(tmp_path: Path) -> None:
    traced = Traced(tmp_path, endless=True)

    def fail() -> None:
        traced.backend.state = "failed"
        traced.backend.why = Stop("unsupported", "fld tbyte at main+0x4: db 28")
        traced.backend._moved()

    traced.backend.resume = fail  # type: ignore[method-assign]
    with pytest.raises(HwbpError, match="fld tbyte"):
        traced.run(json=True)
    assert "summary" in json.loads(traced.file.read_text().splitlines()[-1])
    assert traced.backend.closed


def test_a_file_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    def never() -> Session:
        raise AssertionError

    with pytest.raises(HwbpError, match="No such file"):
        trace(TraceOptions(output=str(tmp_path / "no" / "file")), never)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    from dataclasses import replace

    traced = Traced(tmp_path)
    view = traced.backend._view
    traced.backend._view = lambda: replace(view(), comms=("\x1b]0;\udcff\\",))  # type: ignore[method-assign]
    line = traced.run(json=True)[1]
    assert json.loads(line)["comm"] == "\\x1b]0;\\xff\\\\"


def test_a_closed_pipe_on_standard_output_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tui.text.output

    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(tui.text.output, "STDOUT", writing)
    traced = Traced(tmp_path, endless=True)
    assert trace(TraceOptions(), traced.open) == 0
    assert traced.backend.closed
    os.close(writing)
