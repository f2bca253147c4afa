"""Every way in which Vault fails, under a running server: whole documents or none, and readiness stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from devstack.bao import POLICY, Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.serving import VAULT_HANGS, Serving, serving
from tests.support import eventually

HTML = (200, {"Content-Type": "text/html"}, b"<html>Please sign in</html>")
INGRESS = (404, {"Content-Type": "text/html"}, b"<html>default backend</html>")
REDIRECT = (307, {"Location": "http://127.0.0.1:9/v1/secret/data/elsewhere"}, b"")
QUOTA = "/v1/sys/quotas/rate-limit/outage"


@dataclass
class Scene:
    """A server whose OpenBao, behind a proxy, nobody else uses."""

    running: Serving
    bao: Bao
    proxy: VaultProxy

    def new_services(self, count: int) -> list[str]:
        """Services with a secret of their own and one that all share. The first has been read, the others not."""
        services = [self.running.new_service() for _ in range(count)]
        for service in services:
            self.bao.put(f"services/{service}/prod/db", {"password": f"of {service}"})
        reference = "${{vault:kv/services/{0}/prod/db#password}}"
        text = "password: " + reference + "\nplain: text\nboth: ${{vault:kv/shared/prod/queue#password}}\n"
        self.running.push({f"{service}.yml": text.format(service) for service in services})
        # Vault may still be left alone after the outage before.
        eventually(lambda: self.running.get(f"{services[0]}/prod").status_code == 200)
        return services


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Scene]:
    settings: dict[str, Any] = {"secret_ttl_seconds": 0.1, "secret_watch_seconds": 0.2, "timings": VAULT_HANGS}
    with running_bao() as bao, running_proxy(bao) as proxy:
        bao.put("shared/prod/queue", {"password": "of all"})
        directory = tmp_path_factory.mktemp("outages")
        with serving(directory, issuer, {"application.yml": "n: 1\n"}, vault=proxy, **settings) as running:
            yield Scene(running, bao, proxy)


def _answering(scene: Scene, reply: tuple[int, dict[str, str], bytes] | None) -> None:
    scene.proxy.instead = reply


def _limited(scene: Scene, limited: bool) -> None:
    if limited:  # OpenBao's own: one request an hour
        scene.bao.root.adapter.post(QUOTA, json={"rate": 1, "interval": "1h", "path": "secret"})
    else:
        scene.bao.root.adapter.delete(QUOTA)


#: name -> (begin, end)
WAYS: dict[str, tuple[Callable[[Scene], object], Callable[[Scene], object]]] = {
    "sealed": (lambda scene: scene.bao.root.sys.seal(), lambda scene: scene.bao.unseal()),
    "cut off": (lambda scene: scene.proxy.away.set(), lambda scene: scene.proxy.away.clear()),
    "hanging": (lambda scene: scene.bao.pause(), lambda scene: scene.bao.resume()),
    "rate limited": (lambda scene: _limited(scene, True), lambda scene: _limited(scene, False)),
    "redirecting": (lambda scene: _answering(scene, REDIRECT), lambda scene: _answering(scene, None)),
    "answering HTML": (lambda scene: _answering(scene, HTML), lambda scene: _answering(scene, None)),
    "an ingress that knows no way": (lambda scene: _answering(scene, INGRESS), lambda scene: _answering(scene, None)),
}


@contextmanager
def outage(scene: Scene, way: str) -> Iterator[None]:
    begin, end = WAYS[way]
    begin(scene)
    try:
        yield
    finally:
        end(scene)


@contextmanager
def readiness(scene: Scene) -> Iterator[set[int]]:
    """What /health/ready says, asked all the time."""
    told: set[int] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            told.add(scene.running.ask("/health/ready").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield told
    finally:
        stop.set()
        asking.join()


def _stale(scene: Scene, service: str) -> bool:
    """Whether the answer says that Vault is away; it is whole either way."""
    answer = scene.running.get(f"{service}/prod")
    assert answer.status_code == 200, answer.text
    expected = {"n": 1, "password": f"of {service}", "plain": "text", "both": "of all"}
    assert answer.json()["config"] == expected
    header: str = answer.headers.get("X-Config-Stale", "").partition(";")[0]
    assert header == "".join(each["reason"] for each in answer.json().get("stale", ()))
    return header == "vault"


def _refused_whole(scene: Scene, service: str) -> None:
    answer = scene.running.get(f"{service}/prod")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:secrets-unavailable"), answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert not any(word in answer.text for word in ("text", "of all", "of service", "services/"))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_known_secrets_are_served_as_stale_cold_ones_not_at_all_and_readiness_stands_still(
    scene: Scene, way: str
) -> None:
    warm, cold = scene.new_services(2)  # of the cold one half is at hand: the secret that they share
    etag = scene.running.get(f"{warm}/prod").headers["ETag"]
    with readiness(scene) as told, outage(scene, way):
        eventually(lambda: _stale(scene, warm))
        assert scene.running.get(f"{warm}/prod").headers["ETag"] == etag
        for _ in range(3):
            _refused_whole(scene, cold)
        assert scene.running.config("nobody/prod") == {"n": 1}, "who needs no secret does not notice"
        assert scene.running.ask("/health").json()["parts"]["vault"]["status"] == "degraded"
    eventually(lambda: not _stale(scene, warm))
    eventually(lambda: scene.running.get(f"{cold}/prod").status_code == 200)
    eventually(lambda: not _stale(scene, cold))
    assert told == {200}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusal", "way"), [("deleted", "cut off"), ("forbidden", "sealed"), ("destroyed", "hanging")]
)
def test_a_secret_that_vault_has_refused_is_not_served_from_memory_in_the_outage_that_follows(
    scene: Scene, way: str, refusal: str
) -> None:
    (service,) = scene.new_services(1)
    eventually(lambda: not _stale(scene, service))
    path = f"services/{service}/prod/db"
    if refusal == "deleted":
        scene.bao.delete(path)
    elif refusal == "destroyed":
        scene.bao.destroy(path, 1)
    else:
        rules = "".join(f'path "secret/{kind}/{path}" {{ capabilities = ["deny"] }}\n' for kind in ("data", "metadata"))
        scene.bao.root.sys.create_or_update_policy("config-server", POLICY + rules)
    eventually(lambda: scene.running.get(f"{service}/prod").status_code == 422)
    with outage(scene, way):
        for _ in range(5):
            answer = scene.running.get(f"{service}/prod")
            assert answer.status_code in (422, 503), answer.text
            assert f"of {service}" not in answer.text
    scene.bao.root.sys.create_or_update_policy("config-server", POLICY)
