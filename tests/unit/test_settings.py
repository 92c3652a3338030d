"""The settings file: documented defaults, and mistakes that cost nothing but themselves."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import HwbpError
from tui.app.command_history import CommandHistory
from tui.session.settings import (
    Settings,
    as_toml,
    config_file,
    history_file,
    load_settings,
    read_settings,
)


def test_every_setting_is_written_with_its_sentence_and_its_default_and_read_back() -> None:
    lines = as_toml()
    for field in dataclasses.fields(Settings):
        if field.name == "keys":
            continue
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{field.name} = "))
        assert lines[at - 1].startswith("# "), field.name
    assert read_settings("\n".join(lines).encode()) == (Settings(), ())


def test_what_was_chosen_is_written_and_read_back() -> None:
    chosen = Settings(
        theme="light",
        keymap="vim",
        fps=10,
        ascii=True,
        motion="reduced",
        mouse=False,
        history=0,
        copy_file='a "b"\\c.txt',
        keys=(("follow", ("F", "ctrl+f")), ("dr7 toggle", ())),
    )
    text = "\n".join(as_toml(chosen))
    settings, problems = read_settings(text.encode())
    assert problems == ()
    assert settings == dataclasses.replace(chosen, keys=(("follow", ("F", "ctrl+f")), ("dr7 toggle", ())))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = 'purple'", "theme: 'purple' is none of dark, light, high-contrast, ansi"),
        ("fps = 0", "fps: 0 is no number from 1 to 120"),
        ("fps = true", "fps: True is no number"),
        ("ascii = 1", "ascii: 1 is neither true nor false"),
        ("copy_file = ''", "copy_file: '' is no file name"),
        ("themes = 'dark'", "there is no setting 'themes': did you mean theme?"),
        ("zzz = 1", "there is no setting 'zzz'; there are theme, keymap"),
        ("keys = 3", "keys: a table is expected"),
        ("[keys]\nfollow = 3", "keys: follow: 3 is neither a key nor a list of keys"),
        ("theme = ", "not TOML:"),
        ("\\", "not TOML:"),
    ],
)
def test_a_mistake_is_told_and_the_default_holds(text: str, said: str) -> None:
    settings, problems = read_settings(f"{text}\n".encode())
    assert settings == Settings()
    assert len(problems) == 1
    assert said in problems[0]


def test_one_mistake_does_not_cost_the_other_settings() -> None:
    settings, problems = read_settings(b"theme = 'light'\nfps = 'many'\nmouse = false\n")
    assert (settings.theme, settings.fps, settings.mouse) == ("light", 15, False)
    assert len(problems) == 1


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_and_every_problem_is_one_safe_line(raw: bytes) -> None:
    _settings, problems = read_settings(raw)
    assert all(problem.isprintable() for problem in problems)


def test_a_file_that_is_not_there_is_an_error_only_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_settings() == (Settings(), ())
    with pytest.raises(HwbpError, match="no such file"):
        load_settings(str(tmp_path / "mine.toml"))
    (tmp_path / "hwbp-tui").mkdir()
    (tmp_path / "hwbp-tui" / "config.toml").write_text("theme = 'light'\nbad = 1\n")
    settings, problems = load_settings()
    assert settings.theme == "light"
    assert problems[0].startswith("config.toml: there is no setting 'bad'")


def test_the_places_are_those_of_the_xdg_base_directories() -> None:
    home = {"HOME": "/home/me"}
    assert config_file(home) == "/home/me/.config/hwbp-tui/config.toml"
    assert history_file(home) == "/home/me/.local/state/hwbp-tui/history"
    assert config_file(home | {"XDG_CONFIG_HOME": "/etc/x"}) == "/etc/x/hwbp-tui/config.toml"
    assert config_file(home | {"XDG_CONFIG_HOME": "relative"}) == "/home/me/.config/hwbp-tui/config.toml"


# Command lines of earlier runs


def test_lines_are_kept_between_runs_and_belong_to_their_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    first = CommandHistory(str(path), 10)
    for line in ("watch a", "watch a", "  info slots ", ""):
        first.add(line)
    assert CommandHistory(str(path), 10).lines == ["watch a", "info slots"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_runs_at_once_lose_no_line_of_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "history")
    one, two = CommandHistory(path, 10), CommandHistory(path, 10)
    one.add("a")
    two.add("b")
    one.add("c")
    assert sorted(CommandHistory(path, 10).lines) == ["a", "b", "c"]


def test_only_the_newest_are_kept_and_the_file_is_shortened(tmp_path: Path) -> None:
    path = tmp_path / "history"
    long = CommandHistory(str(path), 5)
    for number in range(30):
        long.add(f"x/{number}")
    assert long.lines == [f"x/{n}" for n in range(25, 30)]
    assert CommandHistory(str(path), 5).lines == [f"x/{n}" for n in range(25, 30)]
    assert path.read_text().count("\n") == 5
    assert os.listdir(tmp_path) == ["history"]


def test_a_history_that_cannot_be_written_or_holds_nonsense_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"good\n\x1b[31mevil\n\xff\xfe\n" + b"x" * 10_000 + b"\nalso good")
    history = CommandHistory(str(path), 10)
    assert [line for line in history.lines if line.isascii()] == ["good", "also good"]
    assert all(line.isprintable() for line in history.lines)
    history.add("a\nb")
    assert "a\nb" not in history.lines
    folder = CommandHistory(str(tmp_path), 10)
    folder.add("kept in memory")
    assert folder.lines == ["kept in memory"]


def test_a_limit_of_zero_keeps_nothing_on_disk(tmp_path: Path) -> None:
    history = CommandHistory(str(tmp_path / "history"), 0)
    history.add("watch a")
    assert history.lines == ["watch a"]
    assert not list(tmp_path.iterdir())


def test_the_document_has_every_setting_with_its_default_and_every_keymap_and_theme() -> None:
    from tui.session.settings import KEYMAPS, THEMES, _toml

    text = (Path(__file__).resolve().parents[2] / "docs/app.md").read_text()
    for field in dataclasses.fields(Settings):
        if field.name != "keys":
            assert f"| `{field.name}` | `{_toml(getattr(Settings(), field.name))}` |" in text
    for name in (*KEYMAPS, *THEMES):
        assert f"`{name}`" in text
