"""Serves the harness page and the built bundle on a free local port."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

WIDGETS = Path(__file__).resolve().parents[1]
STATIC = WIDGETS.parent / "resmon" / "static"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        clean = path.split("?", maxsplit=1)[0].lstrip("/")
        if clean.startswith("static/"):
            return str(STATIC / clean.removeprefix("static/"))
        return super().translate_path(path)

    def log_message(self, *args: object) -> None:
        """Say nothing: a request is no news."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of the harness page while the block runs."""
    if not (STATIC / "panel.js").is_file():
        raise SystemExit("resmon/static/panel.js is not built: run `npm ci && npm run build` in widgets/")
    handler = functools.partial(_Handler, directory=str(WIDGETS))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/harness/page.html"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
