"""A move looks at the topics whose inputs it touches, and at no other; and wakes those that read otherwise now."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from app.engine import Current, Installer, Touched, World, looking
from app.errors import ConfigServerError
from app.model import Target
from app.notify import Subscriber
from devstack.bao import Bao
from tests.notify.stage import Stage

MANY = 2000
FEWER = 500
_secrets = itertools.count()


class Crowd:
    """One worker whose targets have a subscriber each. `looked_at` has every look of the installer, `woken` is who
    was marked since the last move, by service."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.stage = Stage(directory, **settings)

    def __enter__(self) -> Crowd:
        services = self.stage.__enter__().services
        self.services, self._look = services, looking(services.engine)
        self.looked_at: list[Target] = []
        self.subscribers: dict[str, Subscriber] = {}
        self.installer = Installer(
            services.engine,
            services.repository,
            services.trees,
            services.cursor,
            services.heads,
            touched=Touched(services.notifier, services.trees, self._looked),
            rollouts=services.rollouts.of,
            prepare=services.looks.prepare,
            on_behind=lambda _seen: None,
            on_installed=lambda *_: None,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.stage.__exit__(None, None, None)

    def subscribe(self, services: Iterable[str], label: str = "main") -> None:
        for service in services:
            subscriber = self.subscribers[service] = Subscriber(threading.Event())
            assert self.services.notifier.join(subscriber)
            target = Target(service, ("prod",), label)
            self.services.notifier.subscribe(subscriber, target, self.services.engine.inputs(target))
        self.look()

    def look(self) -> None:
        """As streams do when they have subscribed, or were woken."""
        for target in self.services.notifier.targets():
            self._look(self.services.engine.world, target)

    def push(self, files: Mapping[str, str | None]) -> None:
        self.stage.origin.write(dict(files))
        self.services.puller.tick()
        self.follow()

    def follow(self) -> None:
        """Let the worker install what is announced; what was seen before it is forgotten."""
        self.looked_at.clear()
        self.woken  # noqa: B018 - takes the marks
        self.installer.follow()

    @property
    def woken(self) -> set[str]:
        return {service for service, subscriber in self.subscribers.items() if subscriber.take()}

    def _looked(self, world: World, target: Target) -> Current | ConfigServerError:
        self.looked_at.append(target)
        return self._look(world, target)


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    with Crowd(tmp_path) as made:
        made.subscribe(["pay", "shop", "bare"])
        yield made


def services_of(targets: Iterable[Target]) -> set[str]:
    return {target.service for target in targets}


@pytest.mark.slow
def test_of_two_thousand_topics_a_commit_looks_at_those_that_it_touches(tmp_path: Path) -> None:
    with Crowd(tmp_path) as crowd:
        crowd.subscribe(["pay", "shop", *(f"service{number}" for number in range(MANY))])
        crowd.push({"pay.yml": "n: 2\n", "README.md": "of no service\n"})
        assert crowd.looked_at == [Target("pay", ("prod",), "main")] * 2  # as it was, and as it is
        assert crowd.woken == {"pay"}
        crowd.push({"service7-prod.toml": "n = 1\n", "shop.yml": "colour: blue\n"})
        assert services_of(crowd.looked_at) == crowd.woken == {"service7", "shop"}
        assert len(crowd.looked_at) == 4


@pytest.mark.parametrize(
    "files",
    [
        {"pay.yml": "# a comment\ndb:\n  pool: 5\n"},
        {"application.yml": "shared: 1\n\n# the other way round\nlog: info\n"},
        {"application.yml": None, "application.toml": 'log = "info"\nshared = 1\n'},
        {"pay.yml": "db.pool: 5\n"},
    ],
    ids=["a comment", "keys in another order", "the same in another format", "the same key written flat"],
)
def test_what_reads_the_same_afterwards_wakes_nobody(crowd: Crowd, files: dict[str, str | None]) -> None:
    crowd.push(files)
    assert crowd.looked_at
    assert crowd.woken == set()


def test_a_shared_key_wakes_those_who_do_not_override_it(crowd: Crowd) -> None:
    crowd.push({"pay-prod.properties": "db.url=x\nlog=debug\n"})
    crowd.push({"application.yml": "log: trace\nshared: 1\n"})
    assert services_of(crowd.looked_at) == {"pay", "shop", "bare"}
    assert crowd.woken == {"shop", "bare"}


@pytest.mark.parametrize("path", ["bare.yml", "bare-prod.properties", "bare.json", "bare-prod.toml"])
def test_a_file_that_was_not_there_wakes_its_topic_when_it_comes_and_when_it_goes(crowd: Crowd, path: str) -> None:
    content = {"yml": "n: 1\n", "properties": "n=1\n", "json": '{"n": 1}', "toml": "n = 1\n"}
    crowd.push({path: content[path.partition(".")[2]]})
    assert services_of(crowd.looked_at) == crowd.woken == {"bare"}
    crowd.push({path: None})
    assert services_of(crowd.looked_at) == crowd.woken == {"bare"}


@pytest.mark.parametrize("path", ["bare-dev.yml", "barely.yml", "BARE.yml", "other/bare.yml", "bare.txt"])
def test_a_file_that_is_no_input_of_anybody_looks_at_nobody(crowd: Crowd, path: str) -> None:
    crowd.push({path: "n: 1\n"})
    assert crowd.looked_at == []
    assert crowd.woken == set()


def test_a_commit_on_another_label_looks_at_nobody_of_this_one(crowd: Crowd) -> None:
    crowd.stage.origin.branch("next")
    crowd.services.puller.tick()
    crowd.follow()
    crowd.subscribe(["other"], label="next")
    crowd.push({"pay.yml": "n: 2\n", "other.yml": "n: 2\n"})
    assert services_of(crowd.looked_at) == crowd.woken == {"other"}


def test_a_topic_that_was_new_while_a_move_was_installed_is_woken_by_it(crowd: Crowd) -> None:
    crowd.looked_at = Interrupted(lambda: crowd.subscribe(["late"]))
    crowd.push({"application.yml": "log: trace\n"})
    assert "late" in crowd.woken


class Interrupted(list[Target]):
    """Lets something happen at the first look."""

    def __init__(self, interruption: object) -> None:
        super().__init__()
        self._interruption = interruption

    def append(self, target: Target) -> None:
        if not self and callable(self._interruption):
            self._interruption()
        super().append(target)


# Secrets


@pytest.fixture
def vaulted(tmp_path: Path, bao: Bao) -> Iterator[Crowd]:
    """`pay` and `shop` use a secret each, whose first version is known to all."""
    for service in ("pay", "shop"):
        bao.put(f"services/{service}/prod/touched", {"password": "first"})
        bao.put(f"services/{service}/prod/other", {"password": "first"})
    vault = {"vault_addr": bao.address, "vault_role_id": bao.role_id, "vault_secret_id": bao.secret_id()}
    with Crowd(tmp_path, **vault) as made:
        made.push({"pay.yml": reference("pay"), "shop.yml": reference("shop")})
        made.subscribe(["pay", "shop"])
        rotate(made, bao, "pay/prod/touched")
        yield made


def reference(service: str, name: str = "touched") -> str:
    return f"password: ${{vault:kv/services/{service}/prod/{name}#password}}\n"


def rotate(crowd: Crowd, bao: Bao, path: str) -> None:
    bao.put(f"services/{path}", {"password": f"another {next(_secrets)}"})
    assert crowd.services.secret_watch.tick() == 1
    crowd.follow()


@pytest.mark.slow
def test_of_hundreds_of_topics_a_rotation_looks_at_those_that_use_the_secret(vaulted: Crowd, bao: Bao) -> None:
    vaulted.subscribe(f"service{number}" for number in range(FEWER))
    for service in ("pay", "shop", "pay"):
        rotate(vaulted, bao, f"{service}/prod/touched")
        assert vaulted.looked_at == [Target(service, ("prod",), "main")] * 2
        assert vaulted.woken == {service}


def test_a_topic_is_found_by_the_secrets_that_it_uses_now_and_not_by_those_of_before(vaulted: Crowd, bao: Bao) -> None:
    vaulted.push({"pay.yml": reference("pay", "other")})
    assert vaulted.woken == {"pay"}
    rotate(vaulted, bao, "shop/prod/touched")
    rotate(vaulted, bao, "pay/prod/touched")
    assert (vaulted.looked_at, vaulted.woken) == ([], set())
    rotate(vaulted, bao, "pay/prod/other")
    assert services_of(vaulted.looked_at) == vaulted.woken == {"pay"}


def test_a_topic_that_waits_for_a_secret_is_looked_at_by_each_rotation(vaulted: Crowd, bao: Bao) -> None:
    """It may turn to another commit, with other secrets, without a word."""
    vaulted.push(
        {"pay.yml": f"{reference('pay')}new: ${{vault:kv/services/pay/prod/missing{next(_secrets)}#password}}\n"}
    )
    rotate(vaulted, bao, "shop/prod/touched")
    assert services_of(vaulted.looked_at) == {"pay", "shop"}
    assert vaulted.woken == {"shop"}


def test_after_a_move_that_is_for_all_a_topic_is_found_by_what_its_next_look_finds(vaulted: Crowd, bao: Bao) -> None:
    """Git went away and came back with another commit: nobody was looked at one by one."""
    away = vaulted.stage.origin.bare.rename(vaulted.stage.origin.bare.with_name("away.git"))
    vaulted.services.puller.tick()
    vaulted.follow()
    assert vaulted.woken == {"pay", "shop"}
    away.rename(vaulted.stage.origin.bare)
    vaulted.push({"pay.yml": reference("pay", "other")})
    assert (vaulted.looked_at, vaulted.woken) == ([], {"pay", "shop"})
    vaulted.look()
    rotate(vaulted, bao, "pay/prod/other")
    rotate(vaulted, bao, "pay/prod/other")
    assert services_of(vaulted.looked_at) == vaulted.woken == {"pay"}
    rotate(vaulted, bao, "pay/prod/touched")
    assert (vaulted.looked_at, vaulted.woken) == ([], set())
