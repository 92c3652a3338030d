"""A headless Chromium, driven by its own protocol: real keys and clicks into a page, and what the page was told."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

__all__ = ["CHROMIUM", "Browser"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Keeps what the terminal in the page is sent: xterm.js paints on a canvas, which has no text.
_LISTEN = """
window.sent = "";
window.gone = 0;
const decoder = new TextDecoder();
window.WebSocket = class extends WebSocket {
  constructor(...words) {
    super(...words);
    this.addEventListener("message", e => {
      if (typeof e.data === "string") return;
      window.sent += decoder.decode(new Uint8Array(e.data), {stream: true});
      if (window.sent.length > 300000) {
        window.gone += window.sent.length - 100000;
        window.sent = window.sent.slice(-100000);
      }
    });
  }
};
"""
_ESCAPES = re.compile(r"\x1b(\[[0-9;?<>=$ ]*[A-Za-z~]|[\]P][^\x07\x1b]*(\x07|\x1b\\)|[=>]|\([A-Z])")
_CODES = {"ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Escape": 27, "F1": 112}


class Browser:
    """One page. `async with Browser(folder) as browser`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = 0
        self.asked: list[str] = []
        """Addresses that the page has asked for."""
        self.complaints: list[str] = []
        """Errors of the page and of its security policy."""

    async def __aenter__(self) -> Browser:
        assert CHROMIUM is not None
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        options += ["--remote-debugging-port=0", "--window-size=1200,760", f"--user-data-dir={self._folder}"]
        self._process = subprocess.Popen(
            [CHROMIUM, *options, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._http = ClientSession()
        told = self._folder / "DevToolsActivePort"
        for _ in range(600):
            if told.exists() and len(told.read_text().split()) > 1:
                break
            await asyncio.sleep(0.05)
        port = told.read_text().split()[0]
        pages = await (await self._http.get(f"http://127.0.0.1:{port}/json")).json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self._socket: ClientWebSocketResponse = await self._http.ws_connect(address, max_msg_size=0)
        for method in ("Page.enable", "Log.enable", "Runtime.enable"):
            await self.call(method)
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=_LISTEN)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    async def call(self, method: str, **words: Any) -> Any:
        """Ask the browser; what it tells meanwhile is kept."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": words})
        while True:
            message = await asyncio.wait_for(self._socket.receive(), 30)
            assert message.type is WSMsgType.TEXT, message
            answer = message.json()
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer["method"], answer["params"])

    def _note(self, method: str, told: Any) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.asked.append(told["url"])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))

    async def open(self, address: str) -> None:
        """Go there, and note what is asked for until it is there; later each frame of the terminal would be told too."""
        await self.call("Network.enable")
        await self.call("Page.navigate", url=address)
        for _ in range(300):
            if await self.evaluate("!!window.sent"):
                break
            await asyncio.sleep(0.1)
        await self.call("Network.disable")

    async def evaluate(self, expression: str) -> Any:
        return (await self.call("Runtime.evaluate", expression=expression))["result"].get("value")

    async def sent(self, since: int = 0) -> str:
        """What the terminal was sent from character `since` on, without escape sequences."""
        text: str = await self.evaluate(f"window.sent.slice(Math.max(0, {since} - window.gone))")
        return _ESCAPES.sub("", text)

    async def mark(self) -> int:
        """How much it was sent until now."""
        return int(await self.evaluate("window.gone + window.sent.length"))

    async def until(self, text: str, since: int = 0) -> None:
        for _ in range(150):
            if text in await self.sent(since):
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"the page was never sent {text!r}: {(await self.sent(since))[-3000:]!r}")

    async def key(self, key: str) -> None:
        """One key, by its name in the browser or by its character."""
        code = _CODES.get(key) or ord(key.upper())
        text = key if len(key) == 1 else "\r" if key == "Enter" else ""
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        await self.call("Input.dispatchKeyEvent", key=key, code=key, windowsVirtualKeyCode=code, **down)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    async def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def picture(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])
