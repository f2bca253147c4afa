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

from devstack.bao import ROLE, Bao, running_bao
from devstack.server import ROOT, Server
from tests.cluster.clients import ask, everywhere, files_of
from tests.cluster.conftest import NewStack
from tests.cluster.stack import Stack
from tests.support import eventually

FIRST, SECOND = "canary/one+sings&loud=ly", "canary/two+sings&loud=ly"
#: What Vault's transit engine has encrypted, and what it encrypts and decrypts by our routes.
SEALED, POSTED = "canary/three+sings&loud=ly", "canary/four+sings&loud=ly"
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
    yield from files_of(server).items()


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


@pytest.fixture
def own_bao() -> Iterator[Bao]:
    """With a transit engine that the server's role may use."""
    with running_bao() as bao:
        bao.root.sys.enable_secrets_engine("transit")
        for key in ("pay", "shared"):
            bao.root.secrets.transit.create_key(key)
        bao.root.sys.create_or_update_policy("transit", (ROOT / "config/demo/vault/transit.hcl").read_text())
        bao.root.auth.approle.create_or_update_approle(ROLE, token_policies=["config-server", "transit"])
        yield bao


def sealed(bao: Bao, key: str, text: str) -> str:
    """As it stands in a file."""
    answer = bao.root.secrets.transit.encrypt_data(key, base64.b64encode(text.encode()).decode())
    return f"${{transit:{key}#{answer['data']['ciphertext']}}}"


def encrypted_and_decrypted(stack: Stack, server: Server) -> None:
    """By the routes, whose bodies hold the plaintext."""
    token = stack.issuer.token(sub="sealer", scope="config:encrypt config:decrypt")
    given = {"value": POSTED, "transit": "shared"}
    made = ask(server, "/v1/admin/encrypt", token, "POST", json=given).raise_for_status().json()
    assert ask(server, "/v1/admin/decrypt", token, "POST", json=made).json() == {"value": POSTED}
    for wrong in ({"value": f"{{cipher}}{POSTED}"}, {"value": [POSTED]}, {POSTED: POSTED}):
        assert ask(server, "/v1/admin/decrypt", token, "POST", json=wrong).status_code >= 400


@pytest.mark.slow
def test_a_secret_is_written_nowhere(new_stack: NewStack, own_bao: Bao) -> None:
    stack = new_stack(bao=own_bao, valkey=None)  # of its own, so that what it writes is of this test
    with stack.valkey.client as client:
        client.config_set("appendonly", "yes")
    stack.bao.put("services/pay/prod/db", {"password": FIRST})
    held = f"sealed: {sealed(own_bao, 'pay', SEALED)}\n"
    held += f"inline: 'u:{sealed(own_bao, 'shared', SEALED)}@db'\n"
    configuration = CONFIGURATION + held
    stack.origin.write(
        {
            "pay.yml": configuration,
            "logback.xml": "<p>${password}</p><s>${sealed}</s>",
            "other.yml": CONFIGURATION,
            "thief.yml": held,
        }
    )
    token = stack.token("pay")
    with core_files_allowed():
        server = stack.server(LOG_LEVEL="debug", DECRYPT_ENDPOINT="true").start()
    told: list[tuple[str, bytes]] = []
    with everywhere(server, token, "pay/prod") as clients:
        for form in ("json", "yaml", "properties", "toml"):
            text = ask(server, f"/v1/config/pay/prod?format={form}", token).text
            assert "one+sings" in text
            assert text.count("three+sings") == 2
        for query in ("?explain=true", "?flat=true", "?key=password", "?key=nothing"):
            ask(server, f"/v1/config/pay/prod{query}", token)
        assert "three+sings" in ask(server, "/v1/config/pay/prod/logback.xml", token).text
        assert "sings" not in ask(server, "/v1/config/pay/prod", stack.admin).text
        for service in ("other", "thief"):
            refused = ask(server, f"/v1/config/{service}/prod", stack.token(service))
            assert refused.status_code == 422
            told.append((f"the refusal of {service}", refused.content))
        encrypted_and_decrypted(stack, server)
        stack.bao.put("services/pay/prod/db", {"password": SECOND})
        eventually(lambda: all(held.doc["password"] == SECOND for client in clients for held in client.held().values()))
        stack.origin.write({"pay.yml": configuration + "broken: [\n"})
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
        for secret in (FIRST, SECOND, SEALED, POSTED)
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
