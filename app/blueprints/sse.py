"""An event stream written straight to the socket: each write is timed, and the same bytes serve every subscriber.

gunicorn's own writer would wait for a client that never reads until TCP gives up, with the stream's place held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Response
from werkzeug.http import http_date

from app.blueprints.websocket import SlowReader, stream_socket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class EventStream(Response):
    """A response of type text/event-stream. `write_timeout` in seconds; `on_slow`: the client read nothing so long."""

    default_mimetype = "text/event-stream"

    def __init__(self, events: Iterable[bytes], write_timeout: float, *, on_slow: Callable[[], None]) -> None:
        super().__init__(events)
        self._write_timeout = write_timeout
        self._on_slow = on_slow
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold the events back
        self.headers["Cache-Control"] = "no-store, private, no-transform"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sock = stream_socket(environ, self._write_timeout)
        if sock is None or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        self.headers["Connection"] = "close"
        self.headers["Date"] = http_date()
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]
        try:
            sock.send("\r\n".join(lines).encode("latin-1"))
            for event in self.iter_encoded():
                sock.send(event)
        except SlowReader:
            self._on_slow()
        except OSError:
            pass  # the client is gone
        finally:
            self.close()
        raise StopIteration  # tells gunicorn that the connection has been seen to
