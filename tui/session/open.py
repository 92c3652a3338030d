"""Opening a session: load the program into the backend's process, arm the watches.

Imports are late on purpose: the process is already starting, and imports what it needs while this one does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from backends.base import Attach, HwbpError, Launch
from tui.session.escape import escape

if TYPE_CHECKING:
    from backends.spawn import Spawned
    from tui.session.session import Session
    from tui.session.watch import Watch

__all__ = ["open_session"]


def open_session(
    spawned: Spawned,
    target: Launch | Attach,
    watches: tuple[Watch, ...] = (),
    *,
    patient: bool = False,
    fitting: bool = False,
) -> Session:
    """Load a program into a machine whose process has been started, or attach it to one, and arm watches: all or none, or
    with `fitting` those that fit, and the others wait for slots.

    Raises HwbpError; a machine that could not be opened is closed again. With `target.lossless` the ring waits for its reader.
    """
    from backends.client import connect

    client = connect(spawned)
    try:
        if isinstance(target, Launch) and os.path.isdir(target.program):
            raise HwbpError(f"{escape(target.program)}: is a directory, not a program", errno="EISDIR")
        from backends.ring_reader import RingReader
        from tui.session.session import Session

        if any(not watch.expr.startswith("0x") for watch in watches):
            import symbols.space  # noqa: F401 - while the machine's process is still starting

        ring = RingReader(client.ring_fd)
        if isinstance(target, Launch):
            client.launch(target)
        else:
            client.attach(target)
        if target.lossless:
            ring.set_flow(True)
        session = Session(client, ring, patient=patient)
        session.open_watches(watches, fitting)
    except BaseException:
        client.close()
        raise
    return session
