"""The one page, its three files, and what a browser is told not to do with them.

The terminal in the page is xterm.js as Textual's makers pack it with textual-serve. Only its files are used: its server
starts the app through a shell, and its page loads a font from another host.
"""

from __future__ import annotations

import os
from html import escape
from importlib.util import find_spec
from typing import Final

__all__ = ["ASSETS", "CLOSED", "SCRIPT", "assets_folder", "headers", "page"]

ASSETS: Final = {
    "terminal.js": ("js/textual.js", "text/javascript"),
    "terminal.css": ("css/xterm.css", "text/css"),
    "mono.ttf": ("fonts/RobotoMono-VariableFont_wght.ttf", "font/ttf"),
}
"""Name in the address: file below textual-serve's `static`, and its type."""

CLOSED: Final = "The app has ended. Reload the page to start it again."

SCRIPT: Final = """addEventListener("load", () => {
  const focus = () => document.querySelector(".xterm-helper-textarea")?.focus();
  focus();
  addEventListener("focus", focus);
});
"""
"""Keys go to the terminal without a click first."""

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{base}terminal.css">
<style>
@font-face {{ font-family: "Roboto Mono"; src: url("{base}mono.ttf"); font-weight: 100 700; }}
html, body {{ margin: 0; height: 100%; overflow: hidden; background: #0e1116; color: #d8dee9; }}
body {{ font-family: "Roboto Mono", monospace; font-size: 15px; }}
#terminal {{ position: absolute; inset: 0; }}
#opening, #closed {{ position: absolute; z-index: 9; left: 0; right: 0; bottom: 0; padding: 6px 12px; background: #0e1116; }}
#closed, body.-first-byte #opening, body.-closed #opening {{ display: none; }}
body.-closed #closed {{ display: block; }}
</style>
<script src="{base}terminal.js"></script>
<script src="{base}focus.js"></script>
</head>
<body>
<div id="terminal" class="textual-terminal" data-session-websocket-url="{socket}" data-font-size="15"></div>
<div id="opening">Starting <b>{title}</b> ...</div>
<div id="closed">{closed}</div>
<noscript>The terminal in this page is JavaScript; nothing is loaded from elsewhere.</noscript>
</body>
</html>
"""


def assets_folder() -> str | None:
    """textual-serve's `static`, None where it is not installed. It is not imported."""
    spec = find_spec("textual_serve")
    return os.path.join(os.path.dirname(spec.origin), "static") if spec and spec.origin else None


def page(title: str, host: str, token: str) -> str:
    """The page for a browser that asked `host` for it, with the token in its addresses."""
    base, socket = f"/{token}/", f"ws://{host}/{token}/terminal"
    return _PAGE.format(title=escape(title), base=escape(base), socket=escape(socket), closed=CLOSED)


def headers(host: str) -> dict[str, str]:
    """Nothing from another origin, in no frame, kept in no cache, and the address told to nobody.

    Styles may stand in the page: xterm.js writes those of its colours and sizes there.
    """
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src data:; "
        f"connect-src ws://{host}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
