"""Logging in to OpenBao by a signed token: its `jwt` method with a real issuer's keys, and its `kubernetes` method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from app.errors import SecretsUnavailable
from app.model import SecretPath
from app.secrets import JwtRole
from devstack.bao import Bao
from devstack.issuer import LocalIssuer, new_key
from tests.secrets.cluster_front import running_cluster
from tests.secrets.conftest import MakeBackend
from tests.secrets.fakes import Clock
from tests.serving import serving
from tests.support import eventually

DB = SecretPath("kv", "services/pay/prod/jwt")
POD = {"namespace": "ops", "serviceaccount": {"name": "config-server", "uid": "0b1c"}}
NewToken = Callable[..., str]


@pytest.fixture(scope="module")
def methods(bao: Bao, issuer: LocalIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """Both methods, each with a role `config-server`."""
    root = bao.root
    bao.put(DB.path, {"password": "x"})
    role = {"token_policies": ["config-server"], "token_ttl": "1h"}
    with running_cluster(issuer, tmp_path_factory.mktemp("cluster")) as (cluster, certificate):
        root.sys.enable_auth_method("jwt")
        root.adapter.post("/v1/auth/jwt/config", json={"jwks_url": issuer.jwks_url, "bound_issuer": issuer.url})
        bound = {"bound_audiences": [issuer.audience], "bound_subject": "the-server"}
        root.adapter.post(
            "/v1/auth/jwt/role/config-server", json={**role, **bound, "role_type": "jwt", "user_claim": "sub"}
        )
        root.sys.enable_auth_method("kubernetes", path="cluster")
        config = {"kubernetes_host": cluster, "kubernetes_ca_cert": certificate, "disable_local_ca_jwt": True}
        root.adapter.post("/v1/auth/cluster/config", json=config)
        pod = {"bound_service_account_names": ["config-server"], "bound_service_account_namespaces": ["ops"]}
        root.adapter.post("/v1/auth/cluster/role/config-server", json={**role, **pod})
        yield bao
        root.sys.disable_auth_method("jwt")
        root.sys.disable_auth_method("cluster")


@pytest.fixture(params=["jwt", "cluster"])
def mount(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_token(issuer: LocalIssuer, mount: str) -> NewToken:
    """A token that the method at `mount` takes, with changes."""

    def made(**changes: Any) -> str:
        pod = {"kubernetes.io": POD, "aud": [issuer.audience]} if mount == "cluster" else {}
        return issuer.token(**{"sub": "the-server", **pod, **changes})

    return made


def tokens_of(bao: Bao, mount: str) -> list[str]:
    """The accessors of the living tokens that logged in there."""
    accessors = []
    for accessor in bao.root.list("auth/token/accessors")["data"]["keys"]:
        try:
            about = bao.root.auth.token.lookup_accessor(accessor)["data"]
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            continue  # another test's short-lived token, gone between the list and this look
        if about["path"] == f"auth/{mount}/login":
            accessors.append(accessor)
    return accessors


def test_a_signed_token_logs_in_and_the_login_is_kept_alive(
    methods: Bao, make_backend: MakeBackend, mount: str, new_token: NewToken, tmp_path: Path
) -> None:
    clock, file = Clock(), tmp_path / "token"
    file.write_text(new_token() + "\n")
    before = len(tokens_of(methods, mount))
    vault = make_backend(methods.address, JwtRole("config-server", str(file), mount), clock=clock)
    assert vault.read(DB, None)[0] == {"password": "x"}
    clock.advance(2400)
    vault.keep_alive()
    assert len(tokens_of(methods, mount)) == before + 1, "renewed, and not logged in anew"


def test_the_file_is_read_again_at_each_login(
    methods: Bao, make_backend: MakeBackend, mount: str, new_token: NewToken, tmp_path: Path
) -> None:
    file, events = tmp_path / "token", list[tuple[str, str]]()
    vault = make_backend(
        methods.address,
        JwtRole("config-server", str(file), mount),
        on_event=lambda kind, detail: events.append((kind, detail)),
    )
    for content in (None, "not.a.token", new_token(lifetime=-3600, nbf=1, iat=1)):
        if content is not None:
            file.write_text(content)
        with pytest.raises(SecretsUnavailable):
            vault.read(DB, None)
    file.write_text(new_token())
    assert vault.read(DB, None)[1]
    assert [kind for kind, _ in events] == ["login_failed"] * 3 + ["login"]
    assert str(tmp_path) not in str(events)
    for accessor in tokens_of(methods, mount):
        methods.root.auth.token.revoke_accessor(accessor)
    file.write_text(new_token())
    assert vault.read(DB, None)[1]


def test_a_token_that_is_not_this_servers_opens_nothing(
    methods: Bao, make_backend: MakeBackend, mount: str, new_token: NewToken, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    other: dict[str, Any] = {"sub": "somebody"}
    if mount == "cluster":
        other = {"kubernetes.io": {**POD, "namespace": "elsewhere"}}
    for forged in (new_token(key=new_key()), new_token(**other), new_token(aud=["another"])):
        file.write_text(forged)
        with pytest.raises(SecretsUnavailable):
            make_backend(methods.address, JwtRole("config-server", str(file), mount)).read(DB, None)


@pytest.mark.parametrize("name", ["../sys", "", "a//b"])
def test_a_mount_that_is_none_is_refused_at_construction(name: str) -> None:
    with pytest.raises(ValueError, match="auth mount"):
        JwtRole("config-server", "/run/token", name)


def test_a_server_with_such_a_login_serves_secrets(
    methods: Bao, issuer: LocalIssuer, tmp_path: Path, mount: str, new_token: NewToken
) -> None:
    file = tmp_path / "token"
    file.write_text(new_token())
    settings: dict[str, Any] = {
        "vault_addr": methods.address,
        "vault_auth_method": {"cluster": "kubernetes"}.get(mount, mount),
        "vault_auth_mount": mount,
        "vault_role": "config-server",
        "vault_jwt_file": file,
    }
    files = {"pay.yml": "a: ${vault:kv/services/pay/prod/jwt#password}\n"}
    with serving(tmp_path, issuer, files, **settings) as running:
        assert running.config("pay/prod") == {"a": "x"}
        methods.put(DB.path, {"password": "y"})
        assert running.server.services.secret_watch.tick() == 1
        eventually(lambda: running.config("pay/prod") == {"a": "y"})
        methods.put(DB.path, {"password": "x"})
