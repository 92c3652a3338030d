"""The app's entry. The machine is opened by a thread that starts before Textual is even imported."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.session.demos import Demo
    from tui.session.session import Session
    from tui.session.settings import Settings

__all__ = ["run_app"]


def run_app(
    open_session: Callable[[], Session],
    *,
    startup: tuple[str, ...] = (),
    demo: Demo | None = None,
    tour: bool | None = None,
    settings: Settings | None = None,
    problems: Sequence[str] = (),
) -> int:
    """Run the app until it is left; returns the exit code.

    `startup` are command lines that are executed once the machine is open; with `demo` the scene is played on it. `tour`: begin
    the guided tour; None offers it to somebody who is here for the first time.
    `problems` are what is wrong in the file of the settings.
    """

    def start() -> Future[Session]:
        opening: Future[Session] = Future()

        def work() -> None:
            try:
                session = open_session()
            except BaseException as error:
                opening.set_exception(error)
            else:
                opening.set_result(session)

        threading.Thread(target=work, name="hwbp-open", daemon=True).start()
        return opening

    gc.disable()  # nothing that is made on the way to the first picture is garbage; `HwbpApp` turns it on again
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's import starts threads that nobody here uses
    opening = start()
    from tui.app.app import HwbpApp
    from tui.app.command_history import CommandHistory
    from tui.session.settings import Settings, history_file

    settings = settings or Settings()
    app = HwbpApp(
        opening,
        reopen=start,
        startup=startup,
        demo=demo,
        tour="begin" if tour else "offer" if tour is None and _is_new_here() else "",
        settings=settings,
        problems=problems,
        history=CommandHistory(history_file(), settings.history),
    )
    code = app.run(mouse=settings.mouse)
    _close(app.scene.session, opening)
    if app.failure is not None:
        return _tell(app.failure)
    return app.return_code or code or 0


def _is_new_here() -> bool:
    from tui.app.first_start import is_first_start, remember_offer
    from tui.session.settings import config_file, offered_file

    return is_first_start(config_file(), offered_file()) and remember_offer(offered_file())


def _close(session: Session | None, opening: Future[Session]) -> None:
    """End the machine; one that does not answer ends with this process."""
    if session is None and opening.done() and opening.exception() is None:
        session = opening.result()
    if session is not None:
        closing = threading.Thread(target=session.close, name="hwbp-close", daemon=True)
        closing.start()
        closing.join(2.0)


def _tell(error: BaseException) -> int:
    """One line on standard error, as every front end does."""
    from backends.base import HwbpError
    from tui.session.escape import one_line

    text = error.message if isinstance(error, HwbpError) else f"{type(error).__name__}: {error}"
    if isinstance(error, HwbpError) and error.remedy:
        text = f"{text} ({error.remedy})"
    print(f"hwbp-tui: error: {one_line(text)}", file=sys.stderr)
    return 1
