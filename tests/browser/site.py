"""The web server of an application: it gives out one page, under two names that a browser takes for two origins."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).parent / "page"


class Site:
    """Serves a directory until closed."""

    def __init__(self, directory: Path = PAGE) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(directory)))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """The one that the server of the tests allows."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def foreign_origin(self) -> str:
        """The same machine and port, and to a browser a stranger."""
        return f"http://localhost:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests' output is for the tests."""
