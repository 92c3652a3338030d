"""Opening a session: start the backend's process, load the program, arm the watches.

Imports are late on purpose: the backend's process is started first, and imports what it needs while this one does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from backends.base import HwbpError, Launch
from tui.session.escape import escape

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.watch import Watch

__all__ = ["open_session"]


def open_session(
    launch: Launch, watches: tuple[Watch, ...] = (), *, backend: str = "emulated", patient: bool = False
) -> Session:
    """Start a machine, load a program into it and arm watches, all or none. Raises HwbpError.

    A machine that could not be opened is closed again. With `launch.lossless` the ring waits for its reader.
    """
    if os.path.isdir(launch.program):
        raise HwbpError(f"{escape(launch.program)}: is a directory, not a program", errno="EISDIR")
    from backends.client import start

    client = start(backend)
    try:
        from backends.ring_reader import RingReader
        from tui.session.session import Session

        if any(not watch.expr.startswith("0x") for watch in watches):
            import symbols.space  # noqa: F401 - while the machine's process is still starting

        ring = RingReader(client.ring_fd)
        client.launch(launch)
        if launch.lossless:
            ring.set_flow(True)
        session = Session(client, ring, patient=patient)
        session.open_watches(watches)
    except BaseException:
        client.close()
        raise
    return session
