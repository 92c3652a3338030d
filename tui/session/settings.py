"""A user's settings: one TOML file, every setting with a default and a sentence about it.

A setting that is wrong keeps its default and becomes a problem that is told, one line each: nobody is locked out of a
debugger by a typing mistake. Options of the command line win over the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape

__all__ = [
    "KEYMAPS",
    "THEMES",
    "Settings",
    "as_toml",
    "config_file",
    "history_file",
    "load_settings",
    "offered_file",
    "read_settings",
]

THEMES: Final = ("dark", "light", "high-contrast", "ansi")
KEYMAPS: Final = ("default", "vim", "gdb", "emacs")
_MOTION: Final = ("full", "reduced")
_LARGEST: Final = 1 << 20
"""Bytes of a settings file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may choose. `keys` are (action, keys) over the keymap, in the file's order."""

    theme: str = "dark"
    keymap: str = "default"
    fps: int = 15
    ascii: bool = False
    motion: str = "full"
    mouse: bool = True
    history: int = 1000
    copy_file: str = "hwbp-tui-copy.txt"
    keys: tuple[tuple[str, tuple[str, ...]], ...] = ()


_ABOUT: Final = {
    "theme": "Colours: dark, light, high-contrast, or ansi (the terminal's own sixteen, on its own ground).\n"
    "T takes the next one for now. NO_COLOR in the environment wins over all of them.",
    "keymap": "Keys: default, vim, gdb (its SingleKey letters) or emacs. [keys] changes single ones.",
    "fps": "Pictures a second at most, 1 to 120. 10 suits a slow line.",
    "ascii": "Draw with ASCII only: for fonts and locales without box drawing.",
    "motion": "full, or reduced: no flash, two pictures a second, no animation.",
    "mouse": "Take the mouse. false leaves it to the terminal, for selecting text.",
    "history": "Command lines kept between runs, 0 to 100000. 0 keeps none on disk.",
    "copy_file": "Where a copy goes that is written to a file, relative to the current directory.",
}
_CHOICES: Final = {"theme": THEMES, "keymap": KEYMAPS, "motion": _MOTION}
_RANGES: Final = {"fps": (1, 120), "history": (0, 100_000)}
_KEYS_ABOUT: Final = (
    "Single keys over the keymap: an action (F1 names them beside their keys) and its key, or a list of keys.",
    '"none" takes its keys from an action. Keys are letters, or words like "ctrl+x", "f5", "space", "alt+w".',
)


def config_file(environ: Mapping[str, str] = os.environ) -> str:
    """`$XDG_CONFIG_HOME/hwbp-tui/config.toml`, by default below `~/.config`."""
    return os.path.join(_base(environ, "XDG_CONFIG_HOME", ".config"), "hwbp-tui", "config.toml")


def history_file(environ: Mapping[str, str] = os.environ) -> str:
    """`$XDG_STATE_HOME/hwbp-tui/history`, by default below `~/.local/state`."""
    return os.path.join(_base(environ, "XDG_STATE_HOME", ".local/state"), "hwbp-tui", "history")


def offered_file(environ: Mapping[str, str] = os.environ) -> str:
    """`$XDG_STATE_HOME/hwbp-tui/tour-offered`: it is there once the tour has been offered."""
    return os.path.join(_base(environ, "XDG_STATE_HOME", ".local/state"), "hwbp-tui", "tour-offered")


def _base(environ: Mapping[str, str], variable: str, default: str) -> str:
    chosen = environ.get(variable, "")
    if os.path.isabs(chosen):  # the specification says: a path that is relative is to be ignored
        return chosen
    return os.path.join(environ.get("HOME") or os.path.expanduser("~"), default)


def load_settings(path: str | None = None) -> tuple[Settings, tuple[str, ...]]:
    """The settings of a file, and what is wrong with it. `path` None: the user's own, which need not be there.

    Raises HwbpError where a file that was named cannot be read.
    """
    where = path or config_file()
    try:
        with open(where, "rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError:
        if path is None:
            return Settings(), ()
        raise HwbpError(f"{where}: there is no such file", errno="ENOENT") from None
    except OSError as error:
        said = f"{escape(where)}: cannot be read: {error.strerror}"
        if path is None:
            return Settings(), (said,)
        raise HwbpError(said) from error
    if len(raw) > _LARGEST:
        return Settings(), (f"{escape(where)}: larger than 1 MiB, and not read",)
    settings, problems = read_settings(raw)
    return settings, tuple(f"{escape(os.path.basename(where))}: {problem}" for problem in problems)


def read_settings(raw: bytes) -> tuple[Settings, tuple[str, ...]]:
    """Settings from a file's bytes, and one line for each thing that is wrong."""
    import tomllib

    try:
        table = tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        return Settings(), ("not UTF-8; the defaults hold",)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Settings(), (f"not TOML: {escape(str(error))}; the defaults hold",)
    problems: list[str] = []
    chosen: dict[str, Any] = {}
    for name, value in table.items():
        if name == "keys":
            chosen["keys"] = _keys(value, problems)
        elif name not in _ABOUT:
            problems.append(f"there is no setting '{escape(name)}'{_near(name)}")
        elif problem := _wrong(name, value):
            problems.append(f"{name}: {problem}")
        else:
            chosen[name] = value
    return Settings(**chosen), tuple(problems)


def _wrong(name: str, value: object) -> str:
    """What is wrong with a value, "" for nothing."""
    default = getattr(Settings(), name)
    if name in _CHOICES:
        words = _CHOICES[name]
        return "" if value in words else f"{_said(value)} is none of {', '.join(words)}"
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else f"{_said(value)} is neither true nor false"
    if isinstance(default, int):
        low, high = _RANGES[name]
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if fits else f"{_said(value)} is no number from {low} to {high}"
    return "" if isinstance(value, str) and value and "\0" not in value else f"{_said(value)} is no file name"


def _keys(value: object, problems: list[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict):
        problems.append('keys: a table is expected: [keys], then lines like  follow = "F"')
        return ()
    out = []
    for action, keys in value.items():
        listed = [keys] if isinstance(keys, str) else keys
        if not isinstance(listed, list) or not all(isinstance(key, str) and key for key in listed):
            problems.append(f"keys: {escape(action)}: {_said(keys)} is neither a key nor a list of keys")
            continue
        out.append((action, () if listed == ["none"] else tuple(listed)))
    return tuple(out)


def _said(value: object) -> str:
    text = repr(value)
    return escape(text if len(text) <= 40 else text[:40] + "...")


def _near(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [*_ABOUT, "keys"], 1)
    return f": did you mean {near[0]}?" if near else f"; there are {', '.join(_ABOUT)} and [keys]"


def as_toml(settings: Settings | None = None) -> tuple[str, ...]:
    """The settings as a file that can be edited, each under its sentence."""
    settings = settings or Settings()
    lines = [f"# hwbp-tui: {config_file()}", ""]
    for field in fields(Settings):
        if field.name == "keys":
            continue
        value = getattr(settings, field.name)
        lines += [f"# {line}" for line in _ABOUT[field.name].split("\n")]
        lines += [f"{field.name} = {_toml(value)}", ""]
    lines += [*(f"# {line}" for line in _KEYS_ABOUT), "[keys]"]
    if settings.keys:
        lines += [f"{_toml_key(name)} = [{', '.join(map(_toml, keys))}]" for name, keys in settings.keys]
    else:
        lines.append('# follow = "F"')
    return tuple(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    import json

    return json.dumps(str(value))  # a basic string of TOML has JSON's escapes


def _toml_key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else _toml(name)
