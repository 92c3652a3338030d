"""Starting the root process, before the app takes the screen: sudo asks for its password in the terminal as it always does.

sudo is gone again once the process runs; what stays is a socket. It ends when that is closed, however this process ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.protocol import ProtocolError
from backends.root.asked import receive_answer

if TYPE_CHECKING:
    from backends.kernelview.books import Books

__all__ = ["RootProcess", "start_root"]

_PATIENCE: Final = 5.0
_AT_ONCE: Final = 0.5
_MAIN: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
_PROMPT: Final = "[sudo] password of %u for the root process of hwbp-tui: "


class RootProcess:
    """The front end's hold on it. `session` gives a backend's end of a connection."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def session(self) -> socket.socket:
        """A new connection: for one backend, or for a look at the books. Raises HwbpError (EPIPE) when it has ended."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise HwbpError("the root process has ended", errno="EPIPE") from error
        return ours

    def books(self) -> Books:
        """The kernel's own books now. Raises HwbpError where they are closed to root too."""
        from backends.root.opener import RootOpener

        opener = RootOpener(self.session())
        try:
            return opener.books()
        finally:
            opener.close()

    def close(self) -> None:
        """Let it end."""
        self._control.close()


def start_root(target: int | str, *, children: bool = False, kernel: bool = False) -> RootProcess:
    """Start it for one process, or for one that we launch ("launched"), or for the books alone ("none").

    Asks for sudo's password in the terminal where that is needed. Raises HwbpError: EPERM where sudo refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        place = _bind(listener)
        try:
            listener.listen(1)
            path = f"/proc/{os.getpid()}/fd/{place}"
            words = [path, str(target), *["children"] * children, *["kernel"] * kernel]
            _run([*_sudo(), sys.executable, "-I", "-B", _MAIN, *words])
            listener.settimeout(_AT_ONCE)  # it has called before sudo ended
            try:
                control, _where = listener.accept()
            except TimeoutError as error:
                raise HwbpError("the root process did not call back", errno="ETIMEDOUT") from error
        finally:
            os.close(place)
    try:
        _greet(control)
    except BaseException:
        control.close()
        raise
    return RootProcess(control)


def _bind(listener: socket.socket) -> int:
    """Give the socket a place in the user's runtime folder, and take that away again: a descriptor of it (O_PATH) is all
    that root needs to call, and nothing is left behind when this process is killed while sudo asks."""
    folder = tempfile.mkdtemp(prefix="hwbp-tui-", dir=_runtime_folder())
    try:
        path = os.path.join(folder, "root")
        listener.bind(path)
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sudo() -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise HwbpError(
            "--sudo needs sudo, and there is none",
            errno="ENOENT",
            remedy="install it, or run hwbp-tui as root",
        )
    return ["sudo", "-p", _PROMPT, "--"]


def _run(command: list[str]) -> None:
    """Standard output is not sudo's to write on: hits may go there."""
    environment = dict(os.environ)
    if os.geteuid() == 0:  # who is root already stays the user that it is
        environment.update(SUDO_UID=str(os.getuid()), SUDO_GID=str(os.getgid()))
    try:
        status = subprocess.run(command, stdout=2, env=environment, check=False).returncode
    except OSError as error:
        raise HwbpError(f"the root process cannot be started: {error.strerror}", errno="EPERM") from error
    except KeyboardInterrupt:
        raise HwbpError("no password was given", errno="EPERM") from None
    if status:
        raise HwbpError(
            f"sudo did not start the root process (status {status})",
            errno="EPERM",
            remedy="without --sudo your own programs can be watched all the same",
        )


def _runtime_folder() -> str | None:
    """The user's own, where there is one; else the directory for temporary files."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        state = os.stat(folder)
    except OSError:
        return None
    private = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
    return folder if private else None


def _greet(control: socket.socket) -> None:
    control.settimeout(_PATIENCE)
    credentials = control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if struct.unpack("3i", credentials)[1] != 0:
        raise HwbpError("somebody who is not root answered in the root process's place", errno="EPERM")
    try:
        got = receive_answer(control)
    except (OSError, ProtocolError):
        got = None
    if got is None:
        raise HwbpError("the root process ended at its start", errno="EPIPE")
    answer, fds = got
    for fd in fds:
        os.close(fd)
    if answer.failed:
        raise HwbpError(f"the root process could not give up its privileges: {answer.text}", errno="EPERM")
    control.settimeout(None)
