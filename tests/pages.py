"""What every page of HTML must be, and a browser that drives one."""

from __future__ import annotations

import html.parser
import http.server
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

CATCH = """
<head><script>
const seen = [];
addEventListener("error", each => seen.push(each.message));
addEventListener("unhandledrejection", each => seen.push(String(each.reason)));
console.error = console.warn = (...words) => seen.push(words.join(" "));
</script>
"""

TELL = """
<script>
(async () => { %s })().catch(error => ({failed: String(error)})).then(
  found => fetch("/found", {method: "POST", body: JSON.stringify({...found, errors: seen})}));
</script>
</body>
"""


class Tags(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects what they load.

    Attributes
    ----------
    open : list of str
        Elements that are not closed.
    sources : list of str
        Addresses that elements load or lead to.
    """

    VOID = ("meta", "link", "img", "input", "line", "circle", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attributes if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


class Driven(http.server.BaseHTTPRequestHandler):
    """Serves one page and takes what its script has found."""

    text: ClassVar[bytes]
    asked: ClassVar[list[str]]
    found: ClassVar[queue.Queue[dict[str, Any]]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.text)

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def drive(page: Path, folder: Path, width: int, script: str) -> dict[str, Any]:
    """Open a page in Chromium, run the body of a function in it, and return what that returns and ``errors``."""
    assert CHROMIUM is not None
    text = page.read_text(encoding="utf-8").replace("<head>", CATCH, 1).replace("</body>", TELL % script)
    handler = type("One", (Driven,), {"text": text.encode(), "asked": [], "found": queue.Queue()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        call = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
        browser = subprocess.Popen(
            [*call, f"http://127.0.0.1:{server.server_port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            found: dict[str, Any] = handler.found.get(timeout=300)
        finally:
            browser.terminate()
            browser.wait(timeout=30)
            server.shutdown()
    assert handler.asked == ["/"], "nothing but the page was asked for"
    assert "failed" not in found, found["failed"]
    return found
