"""A refusal that needs more room than there is: what gives way, and what never does."""

from __future__ import annotations

import pytest

from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app.widgets.message import MOST, Note, brief_holder

HOLDER = "watch {0}: a_variable_with_a_name_{0} (0x40305{0}), perf fd {1}, task 1000"
REMEDY = "`delete 3` frees 1 slot; a disabled breakpoint still holds its slot"


def _refusal(holders: int) -> Note:
    names = tuple(HOLDER.format(number, 3 + number) for number in range(holders))
    return Note("refusal", "watch seed: ENOSPC: no free debug register", names, REMEDY)


@pytest.mark.parametrize(
    ("holders", "addresses", "more"), [(1, True, False), (4, False, False), (40, False, True)]
)
async def test_what_is_to_be_done_next_is_told_however_many_hold_the_slots(
    holders: int, addresses: bool, more: bool
) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.message.show(_refusal(holders))
        app.arrange()
        await settle(pilot)
        text = screen_text(app)
        assert "watch seed: ENOSPC: no free debug register" in text
        assert REMEDY in text
        assert ("(0x403050)" in text) is addresses
        assert ("0 shows all" in text) is more
        if not more:
            for number in range(holders):
                assert f"a_variable_with_a_name_{number}" in text
        assert app.message.size.height <= MOST


def test_a_holder_in_few_words_keeps_its_name_and_that_it_is_off() -> None:
    assert brief_holder("watch 1: total (0x403048), perf fd 4, task 1000") == "watch 1: total"
    assert brief_holder("watch 1: total (0x403048), perf fd 4, disabled") == "watch 1: total, disabled"
