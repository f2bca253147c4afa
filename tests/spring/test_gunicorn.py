"""The same behind gunicorn, whose workers read paths in their own way and agree through Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from tests.cluster.clients import ask
from tests.cluster.stack import Stack, running
from tests.spring.conftest import FILES, KEY
from tests.spring.hostile import HOSTILE, assert_leads_nowhere
from tests.support import eventually


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bao: Bao, issuer: LocalIssuer) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("spring"), bao, issuer)
    made.origin.write(FILES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Server]:
    key = stack.directory / "encrypt-key"
    key.write_text(KEY)
    settings = {"SECRET_SOURCES": "kv/services/{service},{env} files", "ENCRYPT_KEY_FILE": str(key)}
    with running(stack.server(**settings)) as started:
        yield started


@pytest.mark.slow
def test_hostile_paths_lead_nowhere_behind_gunicorn(stack: Stack, server: Server) -> None:
    token = stack.issuer.token(scope="config:view config:read:*/*")
    for path in HOSTILE:
        assert_leads_nowhere(server.url, path, token, str(stack.directory))


@pytest.mark.slow
def test_workers_agree_on_tags_and_on_documents_that_come(stack: Stack, server: Server) -> None:
    token = stack.token("foo")

    def told() -> set[tuple[str, str]]:
        answers = [ask(server, "/spring/foo/dev", token) for _ in range(20)]
        return {(each.headers["ETag"], each.json()["propertySources"][0]["name"]) for each in answers}

    assert [name for _, name in told()] == [f"{stack.origin.bare.name}/foo-dev.yml"]
    stack.bao.put("services/foo,dev", {"late": "s3cret"})
    eventually(lambda: [name for _, name in told()] == ["vault:foo,dev"], timeout=60)
    sources = ask(server, "/spring/foo/dev", token).json()["propertySources"]
    assert sources[0]["source"] == {"late": "s3cret"}
    encrypted = ask(server, "/spring/encrypted/dev", stack.token("encrypted")).json()["propertySources"]
    assert "mysecret" in str(encrypted)
