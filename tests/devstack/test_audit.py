"""The audit of dependencies, against an index of our own: a hole is told, and so is what nobody could say."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from devstack.audit import main
from devstack.processes import free_port

ADVISORY = {"id": "PYSEC-1", "fixed_in": ["1.1"], "withdrawn": None}
WITHDRAWN = {"id": "PYSEC-2", "fixed_in": [], "withdrawn": "2026-01-01T00:00:00Z"}
#: Below the index's address, as PyPI's JSON API has it; `old` stands for a mirror that knows the newest release alone.
PAGES: dict[str, Any] = {
    "/good/1.0/json": {"info": {"version": "1.0"}, "vulnerabilities": [WITHDRAWN]},
    "/holed/1.0/json": {"info": {"version": "1.0"}, "vulnerabilities": [ADVISORY]},
    "/newest/2.0.post1/json": None,
    "/newest/json": {"info": {"version": "2.0.post1"}, "vulnerabilities": []},
    "/old/json": {"info": {"version": "2.0"}, "vulnerabilities": []},
    "/silent/1.0/json": {"info": {"version": "1.0"}},
}


class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def audit(directory: Path, pinned: str, index: str) -> Result:
    (directory / "requirements.lock").write_text(pinned)
    return CliRunner().invoke(main, [str(directory / "requirements.lock"), "--index", index])


def test_releases_without_a_hole_are_good_be_they_the_only_ones_that_the_index_tells_of(
    tmp_path: Path, index: str
) -> None:
    pinned = "good==1.0 \\\n    --hash=sha256:00\n    # via good\nnewest==2.0.post1 ; python_version < '3.12' \\\n"
    done = audit(tmp_path, pinned, index)
    assert (done.exit_code, done.output) == (0, "2 releases asked about: no known hole\n")


def test_a_hole_is_told_with_the_release_that_mends_it(tmp_path: Path, index: str) -> None:
    done = audit(tmp_path, "good==1.0\nholed==1.0\n", index)
    assert done.exit_code == 1
    assert "holed 1.0: PYSEC-1; mended in 1.1\n" in done.output
    assert "good" not in done.output


@pytest.mark.parametrize("pinned", ["old==1.0", "absent==1.0", "silent==1.0"])
def test_what_the_index_does_not_tell_of_is_no_good_news(tmp_path: Path, index: str, pinned: str) -> None:
    done = audit(tmp_path, f"good==1.0\n{pinned}\n", index)
    assert done.exit_code == 1
    assert f"{pinned.replace('==', ' ')}: could not be asked about" in done.output


def test_an_index_that_is_away_is_told_for_each(tmp_path: Path) -> None:
    done = audit(tmp_path, "good==1.0\nnewest==2.0\n", f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 1
    assert done.output.count("could not be asked about (ConnectError)") == 2


def test_a_file_that_pins_nothing_is_refused(tmp_path: Path, index: str) -> None:
    done = audit(tmp_path, "good>=1.0\n", index)
    assert (done.exit_code, "nothing is pinned" in done.output) == (1, True)
