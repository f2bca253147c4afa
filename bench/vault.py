"""How often Vault is asked: 100 targets with 10 secrets each, read cold, warm, and after a rotation."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import hvac

from bench.imported import Imported
from bench.measure import Row, save
from bench.stage import Served
from devstack.bao import ROLE, Bao, running_bao

TARGETS, SECRETS = 100, 10
#: How often the server looks for rotated secrets here, in seconds.
WATCH = 2.0
_PATIENCE = 60.0
_SHARED = "shared/prod/common"


@dataclass(frozen=True, slots=True)
class Reads:
    """Seconds, and what Vault's own audit log says meanwhile of the server's requests."""

    seconds: float
    documents: int
    versions: int


@dataclass(frozen=True, slots=True)
class Found:
    """`cold`, `warm`: all targets once. `rotated`: from the writing of `changed` secrets until a target shows them all,
    and all targets once more. `bare`: seconds in which a plain client reads the `distinct` secrets one by one.
    """

    distinct: int
    changed: int
    bare: float
    cold: Reads
    warm: Reads
    rotated: Reads


def rows(targets: int = TARGETS, secrets: int = SECRETS, *, keep: bool = True) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), targets, secrets)
    name, distinct, changed = f"vault, {targets} targets x {secrets} secrets", "distinct secrets", "secrets changed"
    cold, warm, rotated = found.cold, found.warm, found.rotated

    def reads(what: str, value: int, floor: int, beside: str, bound: float = 1.0) -> Row:
        return Row(f"{name}: reads {what}", value, "", bound, floor, of_ratio=True, beside=beside)

    table = [
        reads("cold", cold.documents, found.distinct, distinct),
        reads("warm", warm.documents, found.distinct, distinct, 0.0),
        reads("after a rotation", rotated.documents, found.changed, changed),
        Row(f"{name}: cold", cold.seconds, "s", None, found.bare, beside="a plain client reading the secrets"),
        Row(f"{name}: warm", warm.seconds, "s", None, cold.seconds, beside="cold"),
        Row(
            f"{name}: rotated and read",
            rotated.seconds,
            "s",
            None,
            WATCH,
            f"{rotated.versions} looks at versions",
            beside="the pause between two looks",
        ),
    ]
    if keep:
        save("vault", table, found=asdict(found))
    return table


def measure(directory: Path, targets: int, secrets: int) -> Found:
    """A server of one worker, and an OpenBao that writes down whatever is asked of it."""
    log = directory / "audit.log"
    services = [f"service-{number:03}" for number in range(targets)]
    with running_bao(audit_log=log) as bao:
        paths = [_SHARED, *(path for service in services for path in _own(service, secrets))]
        for path in paths:
            bao.put(path, {"value": "first"})
        origin = Imported(directory / "origin.git")
        origin.commit({f"{service}.yml": _document(service, secrets) for service in services})
        settings = {
            "ENVS": "prod",
            "VAULT_ADDR": bao.address,
            "VAULT_ROLE_ID": bao.role_id,
            "VAULT_SECRET_ID": bao.secret_id(),
            "SECRET_WATCH_SECONDS": str(WATCH),
        }
        bare = _bare(bao, paths)
        with Served(directory, origin.url, settings, streams=100) as served:
            headers = {"Authorization": f"Bearer {served.issuer.token(scope='config:read:*/*')}"}
            with httpx.Client(base_url=served.server.url, headers=headers, trust_env=False, timeout=30) as client:
                cold = _watched(log, lambda: _read_all(client, services, "first"))
                warm = _watched(log, lambda: _read_all(client, services, "first"))
                turned = [_SHARED, *_own(services[-1], secrets)]
                rotated = _watched(log, lambda: _rotate(bao, turned, client, services))
        return Found(len(paths), len(turned), bare, cold, warm, rotated)


def _own(service: str, secrets: int) -> list[str]:
    return [f"services/{service}/prod/secret-{number}" for number in range(secrets - 1)]


def _document(service: str, secrets: int) -> str:
    lines = [f"own-{number}: ${{vault:kv/{path}#value}}" for number, path in enumerate(_own(service, secrets))]
    return "\n".join([f"common: ${{vault:kv/{_SHARED}#value}}", *lines, ""])


def _bare(bao: Bao, paths: Sequence[str]) -> float:
    client = hvac.Client(bao.address, token="")
    client.auth.approle.login(bao.role_id_of(ROLE), bao.secret_id())
    began = time.perf_counter()
    for path in paths:
        client.secrets.kv.v2.read_secret_version(path, mount_point="secret", raise_on_deleted_version=True)
    seconds = time.perf_counter() - began
    client.adapter.close()
    return round(seconds, 4)


def _read_all(client: httpx.Client, services: Sequence[str], value: str) -> None:
    for service in services:
        found = _config(client, service)
        if found["common"] != value:
            raise RuntimeError(f"{service} shows {found}")


def _config(client: httpx.Client, service: str) -> dict[str, str]:
    answer = client.get(f"/v1/config/{service}/prod")
    answer.raise_for_status()
    config: dict[str, str] = answer.json()["config"]
    return config


def _rotate(bao: Bao, paths: Sequence[str], client: httpx.Client, services: Sequence[str]) -> None:
    """The secret that all share, and all of one target."""
    for path in paths:
        bao.put(path, {"value": "second"})
    deadline = time.monotonic() + _PATIENCE
    while set(_config(client, services[-1]).values()) != {"second"}:
        if time.monotonic() > deadline:
            raise RuntimeError("the rotation is not seen")
        time.sleep(0.05)
    _read_all(client, services, "second")


def _watched(log: Path, work: Callable[[], None]) -> Reads:
    start = log.stat().st_size
    began = time.perf_counter()
    work()
    seconds = round(time.perf_counter() - began, 4)
    counts = asked(log.read_bytes()[start:].decode().splitlines())
    return Reads(seconds, counts["data"], counts["metadata"])


def asked(lines: Sequence[str]) -> Counter[str]:
    """Of the lines of an audit log: requests by AppRole for `data` (documents) and `metadata` of the KV v2 mount."""
    entries = [json.loads(line) for line in lines]
    return Counter(
        entry["request"]["path"].split("/")[1]
        for entry in entries
        if entry["type"] == "request"
        and entry.get("auth", {}).get("display_name") == "approle"
        and entry["request"]["path"].startswith("secret/")
    )
