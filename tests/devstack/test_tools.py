"""The small programs that the demo's commands call."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.processes import free_port
from devstack.server import ROOT
from devstack.sign import signature
from devstack.watch import told


class Echo(http.server.BaseHTTPRequestHandler):
    """Says what it was sent, one part per line; 304 for the entity tag that it gives."""

    def do_GET(self) -> None:
        unchanged = self.headers.get("If-None-Match") == '"one"'
        size = int(self.headers.get("Content-Length") or 0)
        parts = [self.command, self.path, self.headers.get("Authorization", "-"), self.rfile.read(size).decode()]
        self.send_response(304 if unchanged else 200)
        self.send_header("ETag", '"one"')
        self.end_headers()
        if not unchanged:
            self.wfile.write("\n".join(parts).encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devstack.curl", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_stand_in_for_curl_sends_what_curl_would(url: str) -> None:
    assert curl("-s", "-H", "Authorization: Bearer x:y", f"{url}/a?b=c").stdout == "GET\n/a?b=c\nBearer x:y\n"
    assert curl("-s", "-X", "POST", f"{url}/a").stdout == "POST\n/a\n-\n"
    assert curl("-sN", "-d", "body", f"{url}/a").stdout == "POST\n/a\n-\nbody"


def test_the_stand_in_for_curl_remembers_an_entity_tag(url: str, tmp_path: Path) -> None:
    etag, body = tmp_path / "etag", tmp_path / "body"
    first = curl("-s", "--etag-save", str(etag), "-o", str(body), f"{url}/a")
    assert (first.returncode, first.stdout) == (0, "")
    assert body.read_text().startswith("GET")
    assert curl("-s", "--etag-compare", str(etag), f"{url}/a").stdout == ""


def test_the_stand_in_for_curl_fails_where_nobody_listens() -> None:
    done = curl("-s", f"http://127.0.0.1:{free_port()}/")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_body_is_signed_as_github_signs_it() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    assert signature(b"It's a Secret to Everybody", b"Hello, World!") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


def test_a_watcher_tells_what_changed_and_not_what_it_was_given_at_first() -> None:
    frame = {
        "type": "change",
        "topic": "a/b/main",
        "op": "put",
        "version": "0" * 40,
        "keys": ["db.pool", "gone"],
        "doc": {"db": {"pool": 5}},
    }
    assert told(frame, first=True) == "change a/b/main put version 000000000000"
    assert told(frame, first=False).splitlines()[1:] == [
        "    db.pool = 5",
        "    gone = (removed, or see the document)",
    ]
    assert told({"type": "sync", "rev": "1-a.2"}, first=False) == 'sync {"rev": "1-a.2"}'
