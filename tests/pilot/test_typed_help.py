"""F1 while a command is being typed: what it is, what its words mean, an example that can be typed."""

from __future__ import annotations

import re

import pytest

from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app.screens.reader import Reader
from tui.app.typed_help import WORDS, typed_help
from tui.session.commands import COMMANDS, find

# Words in capitals that are what is to be typed, or explained by the command's help alone.
_THEMSELVES = {"C", "CONTROL", "DR", "DR0", "DR1", "DR2", "DR3", "DR7", "X", "Y", "Z"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.word)
def test_every_command_has_usage_words_and_an_example_of_itself(command: object) -> None:
    word = command.word  # type: ignore[attr-defined]
    found = find(word)[0]
    lines = typed_help(word)
    assert found.grammar in lines[0]
    text = "\n".join(lines)
    for capital in set(re.findall(r"[A-Z][A-Z0-9]*", found.grammar)) - _THEMSELVES:
        assert re.search(rf"^{capital} +{re.escape(WORDS[capital])}$", text, re.MULTILINE), capital
    examples = text.partition("\nexample ")[2].strip().split("\n")
    examples = [each.strip() for each in examples if each.strip() and not each.startswith("also")]
    assert examples, "no example"
    assert word == "rwatch" or any(find(example)[0] is found for example in examples), (
        examples
    )  # x86 has none


def test_what_is_no_command_yet_lists_those_that_begin_so() -> None:
    assert any("condition N" in line for line in typed_help("co"))
    assert any("continue" in line for line in typed_help("co"))
    assert "unknown command 'frob\\x1b'" in typed_help("frob\x1b x")[0]
    assert typed_help("  ") == ()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_f1_explains_the_typed_command_and_leaves_it_typed(size: tuple[int, int]) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await pilot.press("colon", *"condition 0 value", "f1")
        await settle(pilot)
        assert isinstance(app.screen, Reader)
        text = screen_text(app)
        assert "condition N [CONDITION]" in text
        assert "comparisons joined by &&" in text
        if size[1] > 30:
            assert "Tab completes" in text, "the line itself is explained below"
        await pilot.press("escape")
        await settle(pilot)
        assert app.command_line.value == "condition 0 value"
        assert app.where == "command"


async def test_f1_in_a_filter_explains_filters() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("2")
        await settle(pilot)
        await pilot.press("slash", *"tid=44", "f1")
        await settle(pilot)
        assert 'joined by "and"' in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert app.command_line.value == "tid=44"
