"""What keys do: all of them come from one table, and the session's commands are what they run."""

from __future__ import annotations

import pytest

from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app.keymap import key_name, key_of, needs_argument
from tui.app.keymaps import KEYMAPS, Keymap
from tui.session.commands import COMMANDS
from tui.session.settings import Settings

MULTIPLEXERS = {"ctrl+a", "ctrl+b", "ctrl+h", "ctrl+j", "ctrl+k", "ctrl+l"}


@pytest.mark.parametrize("name", KEYMAPS)
def test_every_key_of_the_command_table_is_bound_and_no_multiplexers_key_is(name: str) -> None:
    keymap = Keymap(name)
    bound = {key for entry in keymap.entries for key in entry.keys}
    if name == "default":
        for command in COMMANDS:
            assert command.key is None or command.key in bound, command.word
    assert not bound & MULTIPLEXERS
    assert not {key for key, _ in app_on(busy_machine()).command_line._bindings} & MULTIPLEXERS


@pytest.mark.parametrize("name", KEYMAPS)
def test_no_two_entries_of_one_place_share_a_key_under_any_keymap(name: str) -> None:
    seen: set[tuple[str, str]] = set()
    for entry in Keymap(name).entries:
        for key in entry.keys:
            assert (entry.where, key) not in seen, (entry.where, key)
            seen.add((entry.where, key))


@pytest.mark.parametrize("name", KEYMAPS)
def test_every_action_that_a_keymap_names_exists_and_its_keys_win(name: str) -> None:
    keymap = Keymap(name)
    for action, keys in KEYMAPS[name].items():
        entry = next(entry for entry in keymap.entries if entry.name == action)
        assert entry.keys == keys
        for key in keys:
            assert keymap.find(key, None, entry.where) == entry
    assert keymap.problems == []


def test_a_users_keys_win_and_what_is_wrong_is_told() -> None:
    keymap = Keymap(
        "vim",
        [
            ("follow", ("Ctrl+G", "F5")),
            ("finish", ("o",)),
            ("watch", ()),
            ("stepi", ("f",)),
            ("flolow", ("x",)),
            ("undo", ("o",)),
        ],
    )
    assert keymap.problems == [
        "keys: there is no action 'flolow': did you mean 'follow'?",
        "keys: o is given to finish and to undo",
    ]
    names = {
        key: entry.name for key in ("ctrl+g", "f5", "o", "f") if (entry := keymap.find(key, None, "app"))
    }
    assert names == {"ctrl+g": "follow", "f5": "follow", "o": "undo", "f": "stepi"}
    assert keymap.find("w", None, "app") is None
    assert keymap.find("ctrl+d", None, "app") is not None, "the keymap below still holds"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (":", "colon"),
        ("?", "question_mark"),
        ("+", "plus"),
        ("G", "G"),
        ("Ctrl+X", "ctrl+x"),
        ("^x", "ctrl+x"),
        ("ctrl++", "ctrl+plus"),
        ("F5", "f5"),
        ("Space", "space"),
        ("Alt+w", "alt+w"),
        ("PgUp", "pageup"),
        ("Esc", "escape"),
    ],
)
def test_keys_are_written_as_people_write_them(text: str, key: str) -> None:
    assert key_of(text) == key


async def test_the_gdb_keymap_runs_what_its_letters_mean_in_gdb() -> None:
    machine = busy_machine()
    app = app_on(machine, settings=Settings(keymap="gdb"))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for key in ("i", "o", "c", "c"):
            await pilot.press(key)
            await settle(pilot)
        assert machine.calls == ["step(1, False)", "step(1, True)", "resume()", "stop()"]
        await pilot.press("u")
        await settle(pilot)
        assert not app.hits.following, "u goes up"
        assert "F follow" in screen_text(app).split("\n")[-1], "the footer knows the keys that hold"


async def test_hints_name_the_keys_of_the_keymap() -> None:
    for name, said in (
        ("default", "Space lets the program run, s runs"),
        ("gdb", "Space lets the program run, i runs"),
    ):
        app = app_on(busy_machine(), settings=Settings(keymap=name))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert f"{said} one instruction" in screen_text(app)


async def test_the_key_that_closes_closes_the_command_line_and_no_more() -> None:
    app = app_on(busy_machine(), settings=Settings(keymap="emacs"))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("2", "alt+x", "i", "ctrl+g")
        await settle(pilot)
        assert (app.where, app.open_view.name) == ("history", "hits")
        await pilot.press("less_than_sign")
        await settle(pilot)
        selected = app.selected_hit()
        assert selected is not None
        assert selected.seq == 0
        await pilot.press("greater_than_sign", "ctrl+g")
        await settle(pilot)
        assert app.open_view.name == "machine"


async def test_a_key_that_was_taken_away_does_nothing_anywhere() -> None:
    machine = busy_machine()
    app = app_on(machine, settings=Settings(keys=(("toggle-bit", ("x",)), ("run-or-stop", ()))))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.dr7.focus()
        await pilot.press("space")
        await settle(pilot)
        assert machine.calls == []
        await pilot.press("x")
        await settle(pilot)
        assert [call.partition("(")[0] for call in machine.calls] == ["write_dr"]


async def test_what_is_wrong_in_the_settings_is_told_on_the_first_screen() -> None:
    app = app_on(
        busy_machine(), settings=Settings(keys=(("nonsense", ("x",)),)), problems=("config.toml: no",)
    )
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert "config.toml: no" in text
        assert "there is no action 'nonsense'" in text


@pytest.mark.parametrize(
    ("keys", "calls"),
    [
        (("space",), ["resume()"]),
        (("space", "space"), ["resume()", "stop()"]),
        (("space", "ctrl+c"), ["resume()", "stop()"]),
        (("s",), ["step(1, False)"]),
        (("n",), ["step(1, True)"]),
        (("shift+tab", "shift+tab", "shift+tab", "d"), ["disarm(1)"]),
        (("shift+tab", "shift+tab", "shift+tab", "e"), ["enable(1, False)"]),
        (("shift+tab", "shift+tab", "right", "space"), ["write_dr(0, 7, 0xf9062b)"]),
        (("shift+tab", "shift+tab", "left", "space"), ["write_dr(0, 7, 0xf9062e)"]),
        (("shift+tab", "space"), ["write_dr(0, 6, 0xffff0ff0)"]),
    ],
)
async def test_a_key_runs_its_command(keys: tuple[str, ...], calls: list[str]) -> None:
    machine = busy_machine()
    machine.write_dr(0, 7, machine.state.cpus[0].dr7)
    machine.calls.clear()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
    assert machine.calls == calls


async def test_toggling_a_two_bit_field_names_the_bit_by_its_number() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.dr7.focus()
        app.dr7.bit = 18
        before = machine.state.cpus[0].dr7
        await pilot.press("space")
        await settle(pilot)
        assert machine.state.cpus[0].dr7 == before ^ 1 << 18
        assert "DR7" in screen_text(app)


async def test_a_command_is_typed_completed_previewed_and_run() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        await pilot.press("colon", *"wat", "tab")
        await settle(pilot)
        assert app.command_line.value == "watch "
        await pilot.press(*"lock:rw")
        await settle(pilot)
        assert "rw 4 bytes at 0x404100" in screen_text(app)
        await pilot.press("enter")
        await settle(pilot)
        assert machine.calls == ["arm(lock:rw)"]
        assert "perf fd 4, 1 slot" in screen_text(app)
        assert app.focused is app.hits
        await pilot.press("colon", "up")
        assert app.command_line.value == "watch lock:rw"
        await pilot.press("down")
        assert app.command_line.value == ""


async def test_letters_are_letters_inside_the_command_line() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("w", *"qsfT?", "space")
        assert app.where == "command"
        assert app.command_line.value == "watch qsfT? "
        await pilot.press("escape")
        await settle(pilot)
        assert app.focused is app.hits
    assert machine.calls == []


async def test_a_refused_command_shows_the_errno_and_who_holds_the_slots() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for line in ("watch panic_timeout", "watch cfg"):
            app.run_line(line)
            await settle(pilot)
        text = screen_text(app)
        assert "ENOSPC" in text
        assert "held by" in text
        for holder in ("lock", "panic_timeout"):
            assert holder in text
        assert "! refused 1" in text
        await pilot.press("escape")
        await settle(pilot)
        assert "held by" not in screen_text(app)


async def test_a_long_answer_opens_as_a_page_and_escape_closes_it() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.run_line("help")
        await settle(pilot)
        assert "watch EXPR[/LEN][:w|rw|x]" in screen_text(app)
        await pilot.press("s", "escape")
        await settle(pilot)
        assert "SLOTS" in screen_text(app)
    assert not app._exception


@pytest.mark.parametrize("name", ["hits", "slots", "dr7", "dr6"])
async def test_help_is_about_what_has_the_focus(name: str) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 60)) as pilot:
        await settle(pilot)
        panel = getattr(app, name)
        panel.focus()
        await pilot.press("f1")
        await settle(pilot)
        text = screen_text(app)
        first = panel.help.split("\n")[0]
        assert first in text
        assert f"{panel.title}: help" in text
        assert "continue" not in app.machine.scene.problem
        await pilot.press("q")
        await settle(pilot)
        assert app.is_running
        assert app.focused is panel


async def test_enter_shows_the_whole_hit() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(100, 40)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        text = screen_text(app)
        for what in ("written: cfg.limits[3], 8 bytes", "old 59", "new 60", "# ", "ip           401211"):
            if what != "# ":
                assert what in text, what


async def test_enter_on_a_slot_goes_to_its_newest_hit() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.sample()
        app.slots.focus()
        await pilot.press("down", "enter")
        await settle(pilot)
        record = app.hits.selected_hit()
        assert record is not None
        assert record.breakpoint == 2
        assert not app.hits.following


async def test_the_palette_lists_every_command() -> None:
    from tui.app.palette import TableCommands

    app = app_on(busy_machine())
    async with app.run_test(size=(100, 40)) as pilot:
        await settle(pilot)
        provider = TableCommands(app.screen)
        names = [hit.text async for hit in provider.discover()]
        for command in COMMANDS:
            assert any(name and name.startswith(f"{command.word}: ") for name in names), command.word
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"stepi")
        await settle(pilot)
        assert "stepi" in screen_text(app)


def test_what_needs_an_argument_is_read_off_the_grammar() -> None:
    needing = {command.word for command in COMMANDS if needs_argument(command)}
    assert {"watch", "delete", "x", "ptrace poke", "dr7 toggle"} <= needing
    assert not {"continue", "stop", "stepi", "finish", "help", "quit", "ptrace clear"} & needing


@pytest.mark.parametrize(("key", "name"), [("space", "Space"), ("ctrl+p", "^p"), ("colon", ":"), ("g", "g")])
def test_keys_are_written_for_people(key: str, name: str) -> None:
    assert key_name(key) == name


@pytest.mark.parametrize("keys", [("q",), ("ctrl+q",), ("colon", "q", "u", "i", "t", "enter")])
async def test_the_app_can_be_left(keys: tuple[str, ...]) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(*keys)
        for _ in range(100):
            if not app.is_running:
                break
            await pilot.pause(0.005)
        assert not app.is_running or app._exit


async def test_the_mouse_selects_hits_and_slots() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.click("#hits", offset=(20, 3))
        await settle(pilot)
        assert app.hits.cursor == app.hits._first_row + 1
        assert not app.hits.following
        await pilot.click("#slots", offset=(20, 4))
        await settle(pilot)
        assert app.slots.selected == 2
        assert app.focused is app.slots
