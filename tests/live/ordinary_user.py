"""An ordinary user who may use sudo, for a test that runs as root: user nobody, in a mount namespace of its own.

There /etc/sudoers is ours, and what that user must read is made reachable. Nothing of the machine is changed.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["USER", "needs_sudo", "ordinary"]

USER = 65534
ROOT = Path(__file__).parents[2]
_SUDOERS = "root ALL=(ALL:ALL) ALL\nnobody ALL=(root) NOPASSWD: ALL\n"


def _closed(path: Path) -> Path | None:
    """The first directory on the way to a path that others may not enter."""
    for each in reversed((path, *path.parents)):
        if not each.stat().st_mode & 0o001:
            return each
    return None


def _script() -> str:
    needed = [Path(sys.base_prefix), ROOT]
    closed = {path: folder for path in needed if (folder := _closed(path)) is not None}
    lines = [
        "set -e",
        "mount --make-rprivate /",
        "mount -t tmpfs -o mode=755 tmpfs /mnt",
        "d=/mnt",
        f"printf %s {shlex.quote(_SUDOERS)} > $d/sudoers",
        "chmod 440 $d/sudoers",
        "mount --bind $d/sudoers /etc/sudoers",
    ]
    for number, path in enumerate(closed):
        lines += [f"mkdir $d/{number}", f"mount --bind {shlex.quote(str(path))} $d/{number}"]
    for folder in dict.fromkeys(closed.values()):
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(folder))}")
    for number, path in enumerate(closed):
        where = shlex.quote(str(path))
        lines += [f"mkdir -p {where}", f"mount --bind $d/{number} {where}"]
    lines += [f"exec setpriv --reuid={USER} --regid={USER} --clear-groups --inh-caps=-all " + '"$@"']
    return "\n".join(lines)


def ordinary(*command: str) -> list[str]:
    """The command line that runs a command as that user, who has no capabilities and may have all by sudo."""
    home = "/tmp"
    environment = ["env", "-u", "XDG_RUNTIME_DIR", f"HOME={home}"]
    return ["unshare", "--mount", "bash", "-c", _script(), "ordinary", *environment, *command]


@functools.cache
def _reason() -> str:
    if os.getuid():
        return "needs root, to become a user who is not"
    for program in ("sudo", "setpriv", "unshare"):
        if shutil.which(program) is None:
            return f"no {program}: apt-get install sudo util-linux"
    done = subprocess.run(
        ordinary("sudo", "-n", "--", sys.executable, "-c", ""), capture_output=True, text=True, check=False
    )
    return (
        f"no user who may use sudo can be made here: {done.stderr.strip()[:200]}" if done.returncode else ""
    )


needs_sudo = pytest.mark.skipif(bool(_reason()), reason=_reason() or "sudo works here")
