"""A secret goes to who may have it, and is found nowhere else: not in logs, trails, metrics, files or Valkey."""

from __future__ import annotations

import base64
import json
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pytest

from devstack.server import ROOT, Server
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
    """The ways in which it might be written: as it is, in JSON, in a URL or a form, in hexadecimal, and in Base64 and
    its form for URLs, at any of three alignments."""
    plain = secret.encode()
    ways = (base64.b64encode, base64.urlsafe_b64encode)
    encoded = {way(b"x" * shift + plain)[4:-4] for shift in range(3) for way in ways}
    urls = {quote(secret, safe="").encode(), quote(secret).encode(), quote_plus(secret).encode()}
    return {plain, plain.hex().encode(), json.dumps(secret)[1:-1].encode(), *urls, *encoded}


def files(server: Server) -> Iterator[tuple[str, bytes]]:
    yield "log", server.log.read_bytes()
    for path in data_of(server).rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


def written(stack: Stack, server: Server) -> Iterator[tuple[str, bytes]]:
    """Everything that the server has written anywhere: (where, what)."""
    yield from files(server)
    yield "metrics", ask(server, "/metrics").content
    yield "health", ask(server, "/health").content
    with stack.valkey.client as client:
        for key in client.scan_iter("*"):
            yield f"key {key}", str(key).encode()
        valkey = Path(str(client.config_get("dir")["dir"]))
    stack.valkey.save()
    for path in valkey.rglob("*"):
        if path.is_file():
            yield f"Valkey's {path.name}", path.read_bytes()


@contextmanager
def core_files_allowed() -> Iterator[None]:
    """For what is started meanwhile, as a shell or a container may allow them."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] != 0
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def crash(server: Server) -> None:
    """End a worker by a signal that dumps core where that is allowed."""
    worker = server.workers[0]
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits
    psutil.Process(worker).send_signal(signal.SIGABRT)
    eventually(lambda: worker not in server.workers)


@pytest.mark.slow
def test_a_secret_is_written_nowhere(new_stack: NewStack) -> None:
    stack = new_stack(valkey=None)  # of its own, so that what it writes is of this test
    with stack.valkey.client as client:
        client.config_set("appendonly", "yes")
    stack.bao.put("services/pay/prod/db", {"password": FIRST})
    stack.origin.write({"pay.yml": CONFIGURATION, "logback.xml": "<p>${password}</p>", "other.yml": CONFIGURATION})
    token = stack.token("pay")
    with core_files_allowed():
        server = stack.server(LOG_LEVEL="debug").start()
    told: list[tuple[str, bytes]] = []
    with everywhere(server, token, "pay/prod") as clients:
        for form in ("json", "yaml", "properties", "toml"):
            assert "sings" in ask(server, f"/v1/config/pay/prod?format={form}", token).text
        for query in ("?explain=true", "?flat=true", "?key=password", "?key=nothing"):
            ask(server, f"/v1/config/pay/prod{query}", token)
        ask(server, "/v1/config/pay/prod/logback.xml", token)
        assert FIRST not in ask(server, "/v1/config/pay/prod", stack.admin).text
        refused = ask(server, "/v1/config/other/prod", stack.token("other"))
        assert refused.status_code == 422
        told.append(("the refusal", refused.content))
        stack.bao.put("services/pay/prod/db", {"password": SECOND})
        eventually(lambda: all(held.doc["password"] == SECOND for client in clients for held in client.held().values()))
        stack.origin.write({"pay.yml": CONFIGURATION + "broken: [\n"})
        stack.refresh(server)
        assert ask(server, "/v1/config/pay/prod", token).json()["stale"][0]["reason"] == "invalid"
    stack.bao.put("services/pay/prod/db", {"password": {"not": SECOND}})  # a map in a text cannot be served
    eventually(lambda: ask(server, "/v1/config/pay/prod", token).status_code == 422)
    told.append(("the map", ask(server, "/v1/config/pay/prod", token).content))
    pages = ("/v1/admin/problems", "/v1/admin/status", "/v1/history/pay/prod", "/v1/admin/instances")
    told += [(path, ask(server, path, stack.admin).content) for path in pages]
    before = list(written(stack, server))
    crash(server)
    assert server.stop() == 0
    assert [path.name for path in ROOT.iterdir() if path.name.startswith("core")] == []
    everything = [*told, *before, *files(server)]
    found = {
        (where, form)
        for where, content in everything
        for secret in (FIRST, SECOND)
        for form in forms(secret)
        if form in content
    }
    assert found == set()
    names = {where for where, content in everything if b"pay/prod/main" in content}
    assert "log" in names  # so what is written was looked at
    assert any(where.endswith(".jsonl") for where in names)
    assert {name for name in ("dump.rdb", ".incr.aof") if any(where.endswith(name) for where, _ in everything)} == {
        "dump.rdb",
        ".incr.aof",
    }
