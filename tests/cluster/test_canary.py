"""A secret goes to who may have it, and is found nowhere else: not in logs, trails, metrics, files or Valkey."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from devstack.server import Server
from tests.cluster.clients import ask, data_of, everywhere
from tests.cluster.conftest import NewStack
from tests.cluster.stack import Stack
from tests.support import eventually

FIRST, SECOND = "canary/one+sings&loud=ly", "canary/two+sings&loud=ly"
#: A reference as a whole value, inside a text, in a list, and in a plain file.
CONFIGURATION = """
password: ${vault:kv/services/pay/prod/db#password}
url: "postgres://u:${vault:kv/services/pay/prod/db#password}@db/pay"
list: ["${vault:kv/services/pay/prod/db#password}"]
"""


def forms(secret: str) -> set[bytes]:
    """The ways in which it might be written: as it is, in JSON, in a URL, in Base64 at any of three alignments."""
    plain = secret.encode()
    encoded = {base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)}
    return {plain, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), *encoded}


def written(stack: Stack, server: Server) -> Iterator[tuple[str, bytes]]:
    """Everything that the server has written anywhere: (where, what)."""
    yield "log", server.log.read_bytes()
    for path in data_of(server).rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    yield "metrics", ask(server, "/metrics").content
    yield "health", ask(server, "/health").content
    with stack.valkey.client as client:
        for key in client.scan_iter("*"):
            yield f"key {key}", str(key).encode()
    yield "Valkey", stack.valkey.save()


@pytest.mark.slow
def test_a_secret_is_written_nowhere(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack(valkey=None)  # of its own, so that its dump is of this test
    stack.bao.put("services/pay/prod/db", {"password": FIRST})
    stack.origin.write({"pay.yml": CONFIGURATION, "logback.xml": "<p>${password}</p>", "other.yml": CONFIGURATION})
    token, server = stack.token("pay"), stack.server(LOG_LEVEL="debug").start()
    with everywhere(server, token, "pay/prod") as clients:
        for form in ("json", "yaml", "properties", "toml"):
            assert "sings" in ask(server, f"/v1/config/pay/prod?format={form}", token).text
        for query in ("?explain=true", "?flat=true", "?key=password", "?key=nothing"):
            ask(server, f"/v1/config/pay/prod{query}", token)
        ask(server, "/v1/config/pay/prod/logback.xml", token)
        assert FIRST not in ask(server, "/v1/config/pay/prod", stack.admin).text
        refused = ask(server, "/v1/config/other/prod", stack.token("other"))
        assert (refused.status_code, FIRST in refused.text) == (422, False)
        stack.bao.put("services/pay/prod/db", {"password": SECOND})
        eventually(lambda: all(held.doc["password"] == SECOND for client in clients for held in client.held().values()))
        stack.origin.write({"pay.yml": CONFIGURATION + "broken: [\n"})
        stack.refresh(server)
        assert ask(server, "/v1/config/pay/prod", token).json()["stale"][0]["reason"] == "invalid"
        stack.bao.put("services/pay/prod/db", {"password": {"not": SECOND}})  # a map in a text cannot be served
        eventually(lambda: ask(server, "/v1/config/pay/prod", token).status_code == 422)
        before = list(written(stack, server))
    for worker in server.workers[:1]:
        server.kill_worker(worker)
    assert server.stop() == 0
    found = {
        (where, form)
        for where, content in (*before, ("log at the end", server.log.read_bytes()))
        for secret in (FIRST, SECOND)
        for form in forms(secret)
        if form in content
    }
    assert found == set()
    for path in data_of(server).rglob("*.jsonl"):
        assert b"sings" not in path.read_bytes()
