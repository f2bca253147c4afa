"""The policies of config/demo/vault are the least: what they are for works, and everything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from devstack.bao import Bao
from devstack.server import ROOT

POLICIES = ROOT / "config" / "demo" / "vault"
SECRET = "services/least/prod/db"
REFUSED = hvac.exceptions.Forbidden
As = Callable[[str], hvac.Client]


@pytest.fixture
def as_(bao: Bao) -> Iterator[As]:
    """A client with a token that has one of the policies, and nothing else."""
    bao.put(SECRET, {"password": "x"})
    clients = []

    def made(policy: str) -> hvac.Client:
        bao.root.sys.create_or_update_policy(f"least-{policy}", (POLICIES / f"{policy}.hcl").read_text())
        auth = bao.root.auth.token.create(policies=[f"least-{policy}"], no_default_policy=True, ttl="5m")["auth"]
        clients.append(hvac.Client(bao.address, token=auth["client_token"]))
        return clients[-1]

    yield made
    for client in clients:
        client.adapter.close()


def test_the_servers_policy_reads_and_keeps_its_token_alive(as_: As) -> None:
    server = as_("config-server")
    kv = server.secrets.kv.v2
    assert kv.read_secret_version(SECRET, raise_on_deleted_version=True)["data"]["data"] == {"password": "x"}
    assert kv.read_secret_metadata(SECRET)["data"]["current_version"]
    server.auth.token.renew_self()
    server.auth.token.lookup_self()
    server.auth.token.revoke_self()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("list", "secret/metadata/services", None),
        ("get", "secret/data/other/db", None),
        ("get", "secret/config", None),
        ("post", f"secret/data/{SECRET}", {"data": {"password": "mine"}}),
        ("delete", f"secret/data/{SECRET}", None),
        ("post", f"secret/destroy/{SECRET}", {"versions": [1]}),
        ("delete", f"secret/metadata/{SECRET}", None),
        ("post", "auth/token/create", {"policies": ["least-config-server"]}),
        ("post", "auth/approle/role/config-server/secret-id", {}),
        ("post", "auth/approle/role/config-server", {"token_policies": ["root"]}),
        ("get", "auth/approle/role/config-server/role-id", None),
        ("post", "sys/policies/acl/least-config-server", {"policy": 'path "*" { capabilities = ["sudo"] }'}),
        ("get", "sys/mounts", None),
        ("post", "sys/seal", {}),
    ],
)
@pytest.mark.parametrize("policy", ["config-server", "config-server-broker"])
def test_the_servers_token_is_refused_all_else(
    as_: As, policy: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    call = getattr(as_(policy).adapter, method)
    with pytest.raises(REFUSED):
        call(f"/v1/{path}", **({} if body is None else {"json": body}))


def test_who_writes_secrets_touches_neither_policies_nor_roles(as_: As) -> None:
    writer = as_("secret-writer")
    writer.secrets.kv.v2.create_or_update_secret(SECRET, {"password": "y"})
    for path, body in (
        ("sys/policies/acl/least-secret-writer", {"policy": ""}),
        ("auth/approle/role/config-server", {"token_policies": ["root"]}),
        ("secret/data/other/db", {"data": {}}),
    ):
        with pytest.raises(REFUSED):
            writer.adapter.post(f"/v1/{path}", json=body)


def test_every_policy_has_its_line_in_the_documentation() -> None:
    page = (Path(ROOT) / "docs" / "vault.md").read_text()
    assert all(f"`{file.name}`" in page for file in POLICIES.glob("*.hcl"))
