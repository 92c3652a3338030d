"""`python -m tui` is `hwbp-tui`.

SIGINT is blocked before anything else is imported, and let through where `main` can answer it: an import that is
interrupted would end in a traceback.
"""

from __future__ import annotations

from _signal import SIG_BLOCK, SIGINT, pthread_sigmask  # type: ignore[import-not-found]  # `signal` imports much

pthread_sigmask(SIG_BLOCK, (SIGINT,))

import sys  # noqa: E402

from tui.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
