"""Vault sealed, dead, silent, throttling, or not Vault at all: unavailable, soon, and the token goes nowhere else."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from app.errors import SecretsUnavailable
from app.model import SecretPath
from app.secrets import AppRole, SecretDenied, SecretStore, VaultSecretBackend
from devstack.bao import Bao, running_bao
from tests.secrets.conftest import MakeBackend
from tests.secrets.fakes import Clock
from tests.secrets.front import TOKEN, Front, Reply, json_reply, running_front

DB = SecretPath("kv", "services/pay/prod/db")
V2 = {"data": {"data": {"password": "x"}, "metadata": {"version": 3}}}


@pytest.fixture
def own_bao() -> Iterator[Bao]:
    with running_bao() as server:
        server.put(DB.path, {"password": "x"})
        yield server


@pytest.fixture
def front() -> Iterator[Front]:
    with running_front() as server:
        yield server


@pytest.fixture
def behind(front: Front, make_backend: MakeBackend) -> VaultSecretBackend:
    """A backend that takes `front` for Vault."""
    return make_backend(front.address, AppRole("role", "the-secret-id"))


def test_sealed_and_then_killed_vault_is_unavailable_and_the_copy_is_served(
    own_bao: Bao, make_backend: MakeBackend
) -> None:
    clock = Clock()
    vault = make_backend(own_bao.address, AppRole(own_bao.role_id, own_bao.secret_id()))
    store = SecretStore(vault, ttl=60, grace=900, digest_key=b"k", clock=clock)
    assert not store.get(DB, None).stale
    own_bao.root.sys.seal()
    with pytest.raises(SecretsUnavailable, match="sealed"):
        vault.read(DB, None)
    clock.advance(60)
    assert store.get(DB, None).stale
    own_bao.stop()
    with pytest.raises(SecretsUnavailable, match="cannot be reached"):
        vault.read(DB, None)
    with pytest.raises(SecretsUnavailable, match="cannot be reached"):
        vault.current_version(DB)
    assert store.get(DB, None).stale
    clock.advance(900)
    with pytest.raises(SecretsUnavailable):
        store.get(DB, None)


def test_vault_that_accepts_and_never_answers_costs_its_timeout(make_backend: MakeBackend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        vault = make_backend(address, AppRole("role", "id"), timeouts=(0.5, 0.5))
        started = time.monotonic()
        with pytest.raises(SecretsUnavailable, match="in time"):
            vault.read(DB, None)
        assert time.monotonic() - started < 8  # it would never answer


def test_answer_that_drips_is_cut_off(front: Front, make_backend: MakeBackend) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(1200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)  # the drip itself: a minute of it

    front.reply = drip
    vault = make_backend(front.address, AppRole("role", "id"), timeouts=(0.5, 0.5))
    started = time.monotonic()
    with pytest.raises(SecretsUnavailable):
        vault.read(DB, None)
    assert time.monotonic() - started < 10


def test_endless_answer_is_cut_off(front: Front, behind: VaultSecretBackend) -> None:
    pieces = itertools.count()

    def pour(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65536)
            next(pieces)

    front.reply = pour
    with pytest.raises(SecretsUnavailable):
        behind.read(DB, None)
    assert next(pieces) * 65536 < 32 << 20, "what the server takes, and what the kernel holds for it"


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"Content-Type": "text/html"}, b"<html>Please sign in</html>"),
        (200, {"Content-Type": "application/json"}, b"[]"),
        (200, {"Content-Type": "application/json"}, b"[" * 100_000),
        (200, {"Content-Type": "application/json"}, b'{"data": ' + b"9" * 5000 + b"}"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(V2).encode(), mtime=0)),
        (204, {}, b""),
        json_reply(200, {}),
        json_reply(200, {"data": []}),
        json_reply(200, {"data": {"data": {"x": 1}}}),
        json_reply(200, {"data": {"data": "x", "metadata": {"version": 1}}}),
        (401, {}, b"who are you"),
        (403, {}, b"<html>Forbidden by the ingress</html>"),
        (404, {"Content-Type": "text/plain"}, b"default backend - 404"),
        json_reply(403, {"message": "blocked by the gateway"}),
        json_reply(404, {"message": "no such route", "errors": "none"}),
        json_reply(400, {"errors": ["Upgrading from non-versioned to versioned data"]}),
        json_reply(429, {"errors": ["rate limited"]}),
        json_reply(500, {"errors": [1, {}]}),
        json_reply(500, []),
        json_reply(503, {"errors": ["Vault is sealed"]}),
        (502, {}, b""),
        (504, {}, b""),
        (599, {}, b""),
    ],
    ids=lambda reply: f"{reply[0]}-{reply[2][:20]!r}",
)
def test_answer_that_is_not_vaults_is_unavailable_and_never_a_denial(
    front: Front, behind: VaultSecretBackend, reply: Reply
) -> None:
    front.reply = reply
    with pytest.raises(SecretsUnavailable):
        behind.read(DB, None)
    with pytest.raises(SecretsUnavailable):
        behind.current_version(DB)


def test_another_version_than_the_one_asked_for_is_not_taken(front: Front, behind: VaultSecretBackend) -> None:
    front.reply = json_reply(200, V2)
    assert behind.read(DB, 3)[1] == 3
    with pytest.raises(SecretsUnavailable):
        behind.read(DB, 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_takes_neither_token_nor_secret_id_to_another_host(
    front: Front, behind: VaultSecretBackend, status: int
) -> None:
    with running_front() as other:
        other.reply = json_reply(200, V2)
        away = (status, {"Location": f"{other.address}/v1/secret/data/x"}, b"")
        front.login, login = away, front.login
        with pytest.raises(SecretsUnavailable):
            behind.read(DB, None)
        front.login, front.reply = login, away
        with pytest.raises(SecretsUnavailable):
            behind.read(DB, None)
        with pytest.raises(SecretsUnavailable):
            behind.current_version(DB)
        assert other.seen == []
    assert TOKEN in [token for _, _, token, _ in front.seen]


def test_token_of_the_environment_and_home_is_never_used(
    front: Front, behind: VaultSecretBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VAULT_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    front.reply = json_reply(200, V2)
    behind.read(DB, None)
    assert [token for _, _, token, _ in front.seen] == [None, TOKEN]


def test_login_answer_without_a_token_is_unavailable(front: Front, behind: VaultSecretBackend) -> None:
    for reply in (
        json_reply(200, {"auth": None}),
        json_reply(200, {"auth": {"client_token": "", "lease_duration": 1}}),
        json_reply(200, {"auth": {"client_token": "a\nb", "lease_duration": 1}}),
        (200, {}, b"<html>"),
        json_reply(403, {"errors": ["permission denied"]}),
    ):
        front.login = reply
        with pytest.raises(SecretsUnavailable):
            behind.read(DB, None)


def test_vaults_own_refusal_behind_a_proxy_is_still_a_denial(front: Front, behind: VaultSecretBackend) -> None:
    front.reply = json_reply(404, {"errors": []})
    with pytest.raises(SecretDenied):
        behind.read(DB, None)


def test_renewal_without_an_answer_keeps_the_token_and_says_so(front: Front, make_backend: MakeBackend) -> None:
    clock, events = Clock(), list[str]()
    vault = make_backend(
        front.address, AppRole("role", "id"), clock=clock, on_event=lambda kind, _: events.append(kind)
    )
    front.reply = json_reply(200, V2)
    vault.read(DB, None)
    front.reply = (502, {}, b"")
    clock.advance(2400)
    vault.keep_alive()
    assert events == ["login", "renewal_failed"]
    asked = len(front.seen)
    vault.keep_alive()
    assert len(front.seen) == asked
    front.reply = json_reply(200, V2)
    assert vault.read(DB, None)[1] == 3


def test_expired_token_and_silent_vault_do_not_make_keep_alive_raise(front: Front, make_backend: MakeBackend) -> None:
    clock = Clock()
    vault = make_backend(front.address, AppRole("role", "id"), clock=clock)
    front.reply = json_reply(200, V2)
    vault.read(DB, None)
    front.login = (502, {}, b"")
    clock.advance(3600)
    vault.keep_alive()
    with pytest.raises(SecretsUnavailable):
        vault.read(DB, None)


def test_tls_is_verified_against_the_given_authority_and_no_other(make_backend: MakeBackend) -> None:
    with running_bao(tls=True) as own:
        own.put(DB.path, {"password": "x"})
        auth = AppRole(own.role_id, own.secret_id())
        assert make_backend(own.address, auth, ca_file=own.ca_file).read(DB, None)[1] == 1
        with pytest.raises(SecretsUnavailable, match="TLS"):
            make_backend(own.address, auth).read(DB, None)
