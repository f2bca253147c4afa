"""A token for each service: what our own rules let through by mistake, Vault refuses. Set up by the demo's scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import hvac
import pytest

from app.model import SecretPath
from app.secrets import AppRole, SecretDenied, SecretStore, Transit, VaultSecretBackend
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import ROOT
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.secrets.conftest import MakeBackend
from tests.secrets.fakes import Clock
from tests.serving import Serving, serving
from tests.support import eventually

SCRIPTS = ROOT / "config" / "demo" / "vault"
ROLE = "config-server-service"
MINT = f"/auth/token/create/{ROLE}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """An OpenBao as the two scripts leave it, with a document for each of two services and a shared one."""
    folder = tmp_path_factory.mktemp("broker")
    with closing(Bao(folder)) as bao:
        bao.start()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(folder), "BAO_ADDR": bao.address, "BAO_TOKEN": str(bao.root.token)}
        for script in (["setup.sh", str(folder)], ["setup-service-tokens.sh"]):
            subprocess.run(["sh", str(SCRIPTS / script[0]), *script[1:]], env=env, check=True, capture_output=True)
        for service in ("pay", "order"):
            bao.put(f"services/{service}/prod/db", {"password": f"of {service}"})
        bao.put("shared/prod/queue", {"password": "of all"})
        yield bao


@pytest.fixture
def proxy(broker: Bao) -> Iterator[VaultProxy]:
    with running_proxy(broker) as running:
        yield running


@pytest.fixture
def make(proxy: VaultProxy, make_backend: MakeBackend) -> Callable[..., VaultSecretBackend]:
    def made(**options: object) -> VaultSecretBackend:
        auth = AppRole(proxy.role_id, proxy.secret_id())
        return make_backend(proxy.address, auth, service_token_role=ROLE, **options)

    return made


def own(service: str) -> SecretPath:
    return SecretPath("kv", f"services/{service}/prod/db")


SHARED = SecretPath("kv", "shared/prod/queue")


def test_a_service_reads_its_own_and_the_shared_and_nothing_of_another(make: Callable[..., VaultSecretBackend]) -> None:
    vault = make()
    assert vault.read(own("pay"), None, "pay")[0] == {"password": "of pay"}
    assert vault.read(SHARED, None, "pay")[0] == {"password": "of all"}
    with pytest.raises(SecretDenied):
        vault.read(own("order"), None, "pay")
    for hostile in ("ord*", "+", "pay/../order", "{{identity.entity.id}}", "a b", ""):
        with pytest.raises(SecretDenied):
            vault.read(own("order"), None, hostile)
    assert vault.read(own("order"), None, "order")[0] == {"password": "of order"}


def test_the_servers_own_token_reads_no_secret_and_makes_no_stronger_token(broker: Bao) -> None:
    client = hvac.Client(broker.address, token="")
    client.token = client.auth.approle.login(broker.role_id, broker.secret_id())["auth"]["client_token"]
    assert client.secrets.kv.v2.read_secret_metadata(own("pay").path)["data"]["current_version"] == 1
    refusals = (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest)
    with pytest.raises(refusals):
        client.secrets.kv.v2.read_secret_version(own("pay").path, raise_on_deleted_version=True)
    for path, body in (
        ("auth/token/create", {}),
        (MINT.removeprefix("/"), {"policies": ["secret-writer"]}),
        ("sys/policies/acl/config-server-service", {"policy": 'path "*" { capabilities = ["read"] }'}),
        ("auth/token/roles/config-server-service", {"allowed_policies": ["secret-writer"]}),
    ):
        with pytest.raises(refusals):
            client.adapter.post(f"/v1/{path}", json=body)
    client.adapter.close()


def test_versions_are_watched_without_reading_data(make: Callable[..., VaultSecretBackend]) -> None:
    assert make().current_version(own("order")) == 1


def test_many_readers_of_a_service_share_one_token_until_two_thirds_of_its_life(
    make: Callable[..., VaultSecretBackend], proxy: VaultProxy
) -> None:
    clock = Clock()
    vault = make(clock=clock)
    together = threading.Barrier(12)

    def read() -> int:
        together.wait(60)
        return vault.read(own("pay"), None, "pay")[1]

    with ThreadPoolExecutor(12) as pool:
        assert all(one.result(60) for one in [pool.submit(read) for _ in range(12)])
    assert (proxy.asked_for(MINT), proxy.asked_for("/login")) == (1, 1)
    clock.advance(199)
    vault.read(own("pay"), None, "pay")
    assert proxy.asked_for(MINT) == 1
    clock.advance(1)
    vault.read(own("pay"), None, "pay")
    assert proxy.asked_for(MINT) == 2


def test_a_refusal_is_believed_and_asks_for_another_token_once_a_minute(
    make: Callable[..., VaultSecretBackend], proxy: VaultProxy
) -> None:
    clock = Clock()
    vault = make(clock=clock)
    for _ in range(4):
        with pytest.raises(SecretDenied):
            vault.read(own("order"), None, "pay")
    assert proxy.asked_for(MINT) == 1
    clock.advance(60)
    for _ in range(4):
        with pytest.raises(SecretDenied):
            vault.read(own("order"), None, "pay")
    assert proxy.asked_for(MINT) == 2


def test_a_login_that_was_revoked_is_made_anew_for_the_next_service(
    broker: Bao, make: Callable[..., VaultSecretBackend]
) -> None:
    vault = make()
    vault.read(own("pay"), None, "pay")
    for accessor in broker.root.list("auth/token/accessors")["data"]["keys"]:
        about = broker.root.auth.token.lookup_accessor(accessor)["data"]
        if (about["meta"] or {}).get("role_name") == "config-server":
            broker.root.auth.token.revoke_accessor(accessor)
    assert vault.read(own("order"), None, "order")[1] == 1


def test_a_service_that_the_role_does_not_name_is_refused_and_told_of(
    broker: Bao, make: Callable[..., VaultSecretBackend]
) -> None:
    events: list[tuple[str, str]] = []
    role = f"/v1/auth/token/roles/{ROLE}"
    broker.root.adapter.post(role, json={"allowed_entity_aliases": ["order"]})
    try:
        with pytest.raises(SecretDenied):
            make(on_event=lambda kind, detail: events.append((kind, detail))).read(own("pay"), None, "pay")
    finally:
        broker.root.adapter.post(role, json={"allowed_entity_aliases": ["*"]})
    assert events[-1] == ("service_token_refused", "Vault refuses us the token of a service")


def test_a_name_with_capitals_gets_no_token_and_takes_none_from_the_other(
    broker: Bao, make: Callable[..., VaultSecretBackend], proxy: VaultProxy
) -> None:
    """Vault's names know no case: the first to come would be the name of both."""
    broker.put("services/bill/prod/db", {"password": "of bill"})
    vault = make()
    with pytest.raises(SecretDenied):
        vault.read(own("bill"), None, "BILL")
    assert proxy.asked_for(MINT) == 0
    assert vault.read(own("bill"), None, "bill")[1]


def test_what_was_read_for_one_service_is_not_served_to_another(
    make: Callable[..., VaultSecretBackend], proxy: VaultProxy
) -> None:
    store = SecretStore(make(), ttl=60, grace=900, digest_key=b"k", per_service=True)
    assert store.get(own("order"), None, "order").data == {"password": "of order"}
    with pytest.raises(SecretDenied):
        store.get(own("order"), 1, "pay")
    for _ in range(3):
        store.get(own("order"), 1, "order")  # the refusal took nothing from who may have it
    assert proxy.asked_for("/data/services/order") == 2


@pytest.mark.parametrize("role", [ROLE, None])
def test_with_our_own_policy_out_of_order_vault_still_refuses_another_services_secret(
    role: str | None, broker: Bao, bao: Bao, issuer: LocalIssuer, tmp_path: Path
) -> None:
    vault = broker if role else bao
    if role is None:
        bao.put("services/order/prod/db", {"password": "of order"})
    files = {f"{name}.yml": "a: ${vault:kv/services/order/prod/db#password}\n" for name in ("order", "pay")}
    options = {"secret_paths": ("**",), "vault_service_token_role": role}
    with serving(tmp_path, issuer, files, vault=vault, **options) as running:
        assert running.config("order/prod") == {"a": "of order"}
        answer = running.get("pay/prod")
        assert answer.status_code == (422 if role else 200), "without service tokens nothing else would have refused it"
        assert running.config("order/prod") == {"a": "of order"}


@pytest.mark.parametrize("alias", ["kv", "old"])
def test_a_rotation_is_seen_and_served_by_a_server_that_reads_nothing_itself(
    broker: Bao, issuer: LocalIssuer, tmp_path: Path, alias: str
) -> None:
    kv = {"kv": broker.root.secrets.kv.v2, "old": broker.root.secrets.kv.v1}[alias]
    mounts = {"kv": ("secret", 2), "old": ("legacy", 1)}
    path = f"services/rota-{alias}/prod/db"

    def put(password: str) -> None:
        kv.create_or_update_secret(path, {"password": password}, mount_point=mounts[alias][0])

    put("one")
    files = {
        f"rota-{alias}.yml": f"a: ${{vault:{alias}/{path}#password}}\nb: ${{vault:kv/shared/prod/queue#password}}\n"
    }
    options = {"vault_service_token_role": ROLE, "secret_watch_seconds": 0.1, "vault_mounts": mounts}
    with serving(tmp_path, issuer, files, vault=broker, **options) as running:
        assert running.config(f"rota-{alias}/prod") == {"a": "one", "b": "of all"}
        put("two")
        eventually(lambda: running.config(f"rota-{alias}/prod")["a"] == "two")
        if alias == "kv":
            broker.delete(path)
        else:
            kv.delete_secret(path, mount_point="legacy")
        eventually(lambda: running.get(f"rota-{alias}/prod").status_code == 422)


def test_a_hundred_targets_of_one_service_share_one_token_and_one_read(
    broker: Bao, issuer: LocalIssuer, tmp_path: Path
) -> None:
    with running_proxy(broker) as proxy:
        files = {"pay.yml": "a: ${vault:kv/shared/prod/queue#password}\n"}
        options: dict[str, Any] = {"vault_service_token_role": ROLE, "secret_paths": ("shared/**",)}
        options["secret_ttl_seconds"] = 3600.0  # far longer than a hundred reads take
        with serving(tmp_path, issuer, files, vault=proxy, **options) as running:
            _read_a_hundred(running)
        assert (proxy.asked_for(MINT), proxy.asked_for("/data/shared")) == (1, 1)


def _read_a_hundred(running: Serving) -> None:
    for number in range(100):
        assert running.config(f"pay/env{number}") == {"a": "of all"}


def test_a_service_decrypts_with_its_own_key_and_the_shared_one_and_the_login_only_encrypts(
    broker: Bao, make: Callable[..., VaultSecretBackend]
) -> None:
    root = broker.root
    root.sys.enable_secrets_engine("transit")
    accessor = root.sys.list_auth_methods()["data"]["token/"]["accessor"]
    for name in ("transit-service", "transit-encrypt"):
        policy = (SCRIPTS / f"{name}.hcl").read_text().replace("TOKEN_ACCESSOR", accessor)
        root.sys.create_or_update_policy(name, policy)
    role = f"/v1/auth/token/roles/{ROLE}"
    root.adapter.post(role, json={"allowed_policies": [ROLE, "transit-service"], "allowed_entity_aliases": ["*"]})
    policies = ["config-server-broker", "transit-encrypt"]
    root.auth.approle.create_or_update_approle("config-server", token_policies=policies)
    vault = make()
    store = SecretStore(vault, ttl=60, grace=900, digest_key=b"k", per_service=True)
    transit = Transit(store, vault.holder, "transit")
    for key in ("pay", "order", "shared"):
        root.secrets.transit.create_key(key)
        sealed = transit.encrypt(key, f"of {key}")
        found = {who: bool(transit.decrypted(key, [sealed], who)) for who in ("pay", "order", None)}
        assert found == {"pay": key in ("pay", "shared"), "order": key in ("order", "shared"), None: False}
