"""etcd (Debian etcd-server), a store of keys that others watch, over its JSON gateway."""

from __future__ import annotations

import base64
import http.client
import json
import time
from pathlib import Path

from bench.program import Program
from bench.wire import Opening
from devstack.processes import free_port

KEY = "service-000/prod"
_START = 60.0


class Etcd(Program):
    """A started server of one member, with its data in `directory`. A context manager."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.port, peers = free_port(), free_port()
        url, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peers}"
        command = ["etcd", "--data-dir", str(directory / "data"), "--log-level", "error"]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"default={peer}"]
        super().__init__("etcd", command, directory, timeout=_START)

    def put(self, value: str) -> float:
        """Write the one key; when that was asked for (monotonic seconds)."""
        began = time.monotonic()
        self._call("/v3/kv/put", {"key": encoded(KEY), "value": encoded(value)})
        return began

    def request(self) -> str:
        """A read of the key, as bytes on the wire."""
        return _posted("/v3/kv/range", {"key": encoded(KEY)})

    def openings(self, count: int) -> list[Opening]:
        """Clients that watch the key."""
        request = _posted("/v3/watch", {"create_request": {"key": encoded(KEY)}}).encode()
        return [Opening("lines", request, ready=b'"created":true')] * count

    def answers(self) -> bool:
        try:
            self.put("ready")
        except OSError:
            return False
        return True

    def _call(self, path: str, body: object) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ConnectionError(f"etcd answered {path} with {answer.status}: {said!r}")


def encoded(text: str) -> str:
    """As the gateway wants keys and values."""
    return base64.b64encode(text.encode()).decode()


def _posted(path: str, body: object) -> str:
    text = json.dumps(body)
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(text)}\r\n\r\n{text}"
