"""Separate debug files: found by build id and by .gnu_debuglink, as gdb finds them (gdb manual, "Separate Debug Files")."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zlib

from symbols.elf import NAMED, ElfError, ElfImage

__all__ = ["alternate_file", "debug_file"]

FOLDERS = ("/usr/lib/debug",)
CHECKED_BYTES = 1 << 30
FETCH_SECONDS = 60
_BUILD_ID = re.compile(r"[0-9a-f]{6,128}")


def debug_file(image: ElfImage, folders: tuple[str, ...] = FOLDERS) -> ElfImage | None:
    """The file that holds the debug information of an image that has none itself; None where there is none.

    A file found by build id must carry that build id, one found by name the checksum that the link tells.
    DEBUGINFOD_URLS in the environment lets `debuginfod-find`, where it is installed, fetch it.
    """
    build_id = image.build_id
    if build_id is not None and _BUILD_ID.fullmatch(build_id):
        for folder in folders:
            path = f"{folder}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
            if (found := _open(path)) is not None and found.build_id == build_id:
                return found
    if image.debug_link is not None:
        name, checksum = image.debug_link
        beside = os.path.dirname(os.path.realpath(image.path))
        for path in (
            f"{beside}/{name}",
            f"{beside}/.debug/{name}",
            *(f"{f}{beside}/{name}" for f in folders),
        ):
            found = None if os.path.realpath(path) == os.path.realpath(image.path) else _open(path)
            if found is not None and _is(found, build_id, checksum):
                return found
    return _fetched(build_id)


def alternate_file(image: ElfImage, folders: tuple[str, ...] = FOLDERS) -> ElfImage | None:
    """The file of shared entries that dwz made for several debug files."""
    if image.alternate_link is None:
        return None
    path, build_id = image.alternate_link
    tries = [os.path.join(os.path.dirname(os.path.realpath(image.path)), path)]
    if _BUILD_ID.fullmatch(build_id):
        tries += [f"{folder}/.build-id/{build_id[:2]}/{build_id[2:]}.debug" for folder in folders]
    for path in tries:
        if (found := _open(path)) is not None and found.build_id == build_id:
            return found
    return None


def _open(path: str) -> ElfImage | None:
    try:
        return ElfImage.open(path, NAMED, loadable=False)
    except ElfError:
        return None


def _is(found: ElfImage, build_id: str | None, checksum: int) -> bool:
    if build_id is not None and found.build_id is not None:
        return found.build_id == build_id
    if found.size > CHECKED_BYTES:
        return False
    crc = at = 0
    while data := found.read_at(at, 1 << 20):
        crc = zlib.crc32(data, crc)
        at += len(data)
    return crc == checksum


def _fetched(build_id: str | None) -> ElfImage | None:
    program = shutil.which("debuginfod-find") if os.environ.get("DEBUGINFOD_URLS") else None
    if program is None or build_id is None or not _BUILD_ID.fullmatch(build_id):
        return None
    try:
        done = subprocess.run(
            [program, "debuginfo", build_id],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    path = done.stdout.strip()
    found = _open(path) if done.returncode == 0 and path.startswith("/") else None
    return found if found is not None and found.build_id == build_id else None
