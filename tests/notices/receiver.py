"""A real HTTP server that takes notices, proves them as Standard Webhooks has it, and can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SECRET = "whsec_" + base64.b64encode(b"the receiver's own key, 32 bytes").decode()


@dataclass(frozen=True)
class Delivery:
    """One attempt: when it came (monotonic), the headers, the body as it was sent."""

    at: float
    headers: dict[str, str]
    body: bytes

    @property
    def notice(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def is_proven(self) -> bool:
        """Written from the specification, apart from the server's own code."""
        key = base64.b64decode(SECRET[6:])
        identity, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = hmac.new(key, f"{identity}.{timestamp}.".encode() + self.body, hashlib.sha256).digest()
        fresh = abs(time.time() - int(timestamp)) < 300
        return fresh and self.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"


class Receiver:
    """`answers` decides the status of the attempt of this number (from 0); a negative one hangs up without answer."""

    def __init__(self, answers: Callable[[int], int] = lambda _number: 204) -> None:
        self.deliveries: list[Delivery] = []
        self.answers = answers
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                number = len(receiver.deliveries)
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.deliveries.append(Delivery(time.monotonic(), headers, body))
                status = receiver.answers(number)
                if status < 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/notices"

    def of(self, kind: str) -> list[Delivery]:
        return [each for each in self.deliveries if each.notice["type"] == kind]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
