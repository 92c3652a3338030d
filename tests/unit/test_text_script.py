"""`script`: the objects of docs/cli.md, and what `!` expects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends.base import HwbpError
from tests.unit.scripted import Access, ScriptedBackend, open_session
from tui.session.demos import DEMOS, find_demo
from tui.text.script import read_script, run_script


class Scripted:
    """Runs a script on a scripted machine."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *script: Access) -> None:
        self.capfd = capfd
        self.backend = ScriptedBackend(script)
        self.error: HwbpError | None = None

    def run(self, *lines: str, as_json: bool = True) -> list[str]:
        try:
            run_script(lines, lambda: open_session(self.backend), json=as_json, name="test.hw")
        except HwbpError as error:
            self.error = error
        return self.capfd.readouterr().out.splitlines()

    def objects(self, *lines: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*lines)]


@pytest.fixture
def scripted(capfd: pytest.CaptureFixture[str]) -> Scripted:
    return Scripted(capfd, *(Access(0x404000, value=n) for n in range(3)))


def test_each_command_is_one_object_after_the_header(scripted: Scripted) -> None:
    header, *objects = scripted.objects("# a comment", "", "watch counter", "continue")
    assert header == {"schema": 1, "kind": "script"}
    assert [(obj["line"], obj["command"], obj["ok"]) for obj in objects] == [
        (3, "watch counter", True),
        (4, "continue", True),
    ]
    assert set(objects[0]) == {"line", "command", "ok", "result"}
    assert objects[1]["result"]["hits"] == 3
    assert scripted.error is None
    assert scripted.backend.closed


def test_a_script_stops_at_the_first_command_that_fails(scripted: Scripted) -> None:
    objects = scripted.objects("watch nosuch", "watch counter")
    assert len(objects) == 2
    assert objects[1] == {
        "line": 1,
        "command": "watch nosuch",
        "ok": False,
        "errno": None,
        "error": "no symbol nosuch: did you mean counter?",
        "holders": [],
    }
    assert scripted.error is not None
    assert scripted.error.message.startswith("test.hw:1: ")


def test_enospc_names_the_holders(scripted: Scripted) -> None:
    last = scripted.objects(*["watch counter"] * 5)[-1]
    assert (last["ok"], last["errno"]) == (False, "ENOSPC")
    assert len(last["holders"]) == 4


@pytest.mark.parametrize("line", ["! watch counter/0", "! EINVAL watch counter/0", "!EINVAL rwatch counter"])
def test_a_failure_that_was_expected_is_fine(scripted: Scripted, line: str) -> None:
    found = scripted.objects(line, "info slots")[1]
    assert (found["ok"], found["expected"], found["errno"]) == (True, True, "EINVAL")
    assert found["error"]
    assert scripted.error is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("! watch counter", "a failure was expected, and it succeeded"),
        ("! ENOSPC watch counter", "ENOSPC was expected, and it succeeded"),
        ("! ENOSPC watch counter/0", "ENOSPC was expected, not EINVAL"),
    ],
)
def test_an_expectation_that_is_not_met_stops_the_script(scripted: Scripted, line: str, said: str) -> None:
    objects = scripted.objects(line, "info slots")
    assert len(objects) == 2
    assert objects[1]["ok"] is False
    assert said in objects[1]["error"]
    assert scripted.error is not None


def test_an_errno_that_does_not_exist_is_told(scripted: Scripted) -> None:
    scripted.run("! ENOTHING watch counter")
    assert scripted.error is not None
    assert "no errno ENOTHING" in scripted.error.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wotch counter", "test.hw:2: unknown command 'wotch'"),
        ("info nothing\x1b", "test.hw:2: unknown info 'nothing\\x1b'"),
        ("! ENOTHING watch counter", "test.hw:2: there is no errno ENOTHING"),
        ("! ENOSPC", "test.hw:2: no command behind `! ENOSPC`: what must fail?"),
        ("!", "test.hw:2: no command behind `!`: what must fail?"),
    ],
)
def test_a_line_that_is_no_command_is_found_before_anything_runs(
    scripted: Scripted, line: str, said: str
) -> None:
    assert scripted.run("watch counter", line) == []
    assert scripted.error is not None
    assert scripted.error.message.startswith(said)
    assert not scripted.backend.closed  # it was not even opened
    assert scripted.backend.view().breakpoints == ()


def test_text_shows_the_command_and_its_answer(scripted: Scripted) -> None:
    lines = scripted.run("watch counter", "! rwatch counter", as_json=False)
    assert lines[0] == "   1  watch counter"
    assert lines[1].strip().startswith("watch 0: counter")
    assert any("refused as expected: EINVAL" in line for line in lines)


def test_quit_ends_a_script(scripted: Scripted) -> None:
    assert len(scripted.objects("quit", "nosuch")) == 2
    assert scripted.error is None


def test_what_the_program_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    backend = ScriptedBackend()
    backend.printed = b"hello\n"
    backend._moved()
    run_script(["info slots"], lambda: open_session(backend), json=True)
    captured = capfd.readouterr()
    assert captured.err == "hello\n"
    assert "hello" not in captured.out


@pytest.mark.parametrize("path", ["/nonexistent", "/tmp"])
def test_a_script_that_cannot_be_read_is_told(path: str) -> None:
    with pytest.raises(HwbpError, match=path):
        read_script(path)


def test_every_demo_says_something_at_each_step_and_names_its_backends() -> None:
    for demo in DEMOS:
        assert demo.backends
        assert all(step.say for step in demo.steps)
        assert find_demo(demo.name) is demo


def test_an_unknown_demo_names_the_others() -> None:
    with pytest.raises(HwbpError) as caught:
        find_demo("contentoin")
    assert "contention" in caught.value.remedy
