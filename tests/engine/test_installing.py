"""Which cursor a worker believes, what it says while its host's mirror is on its way, and whom it asks for help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.engine import Installer, Touched, World, looking
from app.errors import BusUnavailable
from app.notify import Rev
from app.services import Services
from app.settings import Settings, Timings
from devstack.origin import OriginRepo
from devstack.valkey import Valkey
from tests.support import eventually


class Host:
    """A worker and its host's puller, moved by hand; `asked` is how often the worker asked for a fetch."""

    def __init__(self, directory: Path, origin: OriginRepo, valkey: Valkey, clock: Callable[[], float]) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "key").write_text("k" * 40)
        self._settings = Settings(
            repo_url=origin.url,
            jwt_issuer="https://issuer.example",
            jwt_audience=("config-server",),
            jwt_jwks_url="https://issuer.example/jwks.json",
            data_dir=directory / "data",
            redis_url=valkey.url,
            key_file=directory / "key",
            timings=Timings(redis=15.0, redis_pause=0.05, head_check=60.0, confirm_rewrite=0.2),
        )
        self.asked = 0
        self.services = services = Services(self._settings)
        self.installer = Installer(
            services.engine,
            services.repository,
            services.trees,
            services.cursor,
            services.heads,
            touched=Touched(services.notifier, services.trees, looking(services.engine)),
            rollouts=services.rollouts.of,
            prepare=services.looks.prepare,
            on_behind=self._asked,
            on_installed=lambda *_: None,
            clock=clock,
        )

    def pull(self) -> None:
        self.services.puller.tick()

    def follow(self) -> World:
        """Look once; what is installed then."""
        self.installer.follow()
        return self.services.engine.world

    def reaches_redis(self) -> bool:
        try:
            return self.services.cursor.read() is not None
        except BusUnavailable:
            return False

    def close(self) -> None:
        self.services.repository.close()
        self.services.metrics.close()
        if self.services.link is not None:
            self.services.link.close()

    def _asked(self, seen: Rev | None) -> None:
        self.asked += 1
        self.services.hints.give(seen)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def origin(tmp_path: Path) -> OriginRepo:
    made = OriginRepo(tmp_path / "origin")
    made.write({"pay.yml": "n: 0\n"})
    return made


@pytest.fixture
def hosts(tmp_path: Path, origin: OriginRepo, own_valkey: Valkey, clock: Clock) -> Iterator[tuple[Host, Host]]:
    """Two, both at the first commit."""
    with ExitStack() as closing:
        made = Host(tmp_path / "one", origin, own_valkey, clock), Host(tmp_path / "two", origin, own_valkey, clock)
        for host in made:
            closing.callback(host.close)
            host.pull()
            assert host.follow().rev.seq == 1
        yield made


def pulled(host: Host) -> World:
    host.pull()
    return host.follow()


def emptied(valkey: Valkey) -> None:
    with valkey.client as client:
        client.flushall()


def reasons(world: World) -> list[str]:
    return [stale.reason.value for stale in world.stale]


def test_a_commit_that_another_host_announced_is_asked_for_and_told_as_missing_only_when_it_does_not_come(
    hosts: tuple[Host, Host], origin: OriginRepo, clock: Clock
) -> None:
    one, two = hosts
    origin.write({"pay.yml": "n: 1\n"})
    one.pull()
    for clock.now in (0.0, 1.0, 1.9):
        assert (two.follow().rev.seq, reasons(two.follow()), two.asked) == (1, [], 1)
    clock.now = 2.0
    assert (two.follow().rev.seq, reasons(two.follow())) == (1, ["behind"])
    two.pull()
    assert (two.follow().rev.seq, reasons(two.follow())) == (2, [])
    origin.write({"pay.yml": "n: 2\n"})
    one.pull()
    assert reasons(two.follow()) == []
    assert two.asked == 2


def test_a_redis_that_was_emptied_is_told_what_is_known_without_waiting_for_the_next_poll(
    hosts: tuple[Host, Host], own_valkey: Valkey, clock: Clock
) -> None:
    emptied(own_valkey)
    for host in hosts:
        assert host.follow().rev.seq == 1
        assert host.asked == 1
    hosts[0].pull()
    assert [str(host.follow().rev).partition("-")[0] for host in hosts] == ["2", "2"]
    clock.now = 60.0
    assert [host.follow() and host.asked for host in hosts] == [1, 1]


def test_a_redis_that_takes_no_writes_is_tried_again_less_and_less_often(
    hosts: tuple[Host, Host], own_valkey: Valkey, clock: Clock
) -> None:
    one, _ = hosts
    emptied(own_valkey)
    asked_at: list[float] = []
    for tenths in range(1000):
        clock.now, before = tenths / 10, one.asked
        one.follow()
        asked_at += [clock.now] * (one.asked - before)
    assert asked_at == [0, 1, 3, 7, 15, 31, 61, 91]
    one.pull()
    one.follow()
    emptied(own_valkey)
    clock.now += 31
    one.follow()
    clock.now += 1
    one.follow()
    assert one.asked == len(asked_at) + 2


def test_a_host_that_counted_alone_asks_to_count_with_the_others_again(
    hosts: tuple[Host, Host], origin: OriginRepo, own_valkey: Valkey
) -> None:
    one, two = hosts
    own_valkey.save()
    own_valkey.stop()
    origin.write({"pay.yml": "n: 1\n"})
    one.pull()
    assert one.follow().rev.is_host_local
    assert one.asked == 0
    own_valkey.start()
    for host in hosts:
        eventually(host.reaches_redis)
    assert one.follow().rev.is_host_local
    assert (one.asked, two.asked) == (1, 0)
    one.pull()
    two.pull()
    assert one.follow().rev == two.follow().rev
    assert one.follow().rev.seq == 2


def test_while_git_does_not_answer_nobody_is_asked(
    hosts: tuple[Host, Host], origin: OriginRepo, own_valkey: Valkey
) -> None:
    one, _ = hosts
    origin.bare.rename(origin.bare.with_name("away.git"))
    one.pull()
    emptied(own_valkey)
    assert reasons(one.follow()) == ["git"]
    assert one.asked == 0


def test_while_redis_is_away_it_is_looked_for_more_often_than_the_cursor_is_otherwise(
    hosts: tuple[Host, Host], origin: OriginRepo, own_valkey: Valkey
) -> None:
    """Without a word: these hosts have no bus."""
    one, two = hosts
    origin.branch("next")  # at a commit that both have, so that nobody need fetch
    two.pull()
    own_valkey.save()
    own_valkey.stop()
    follower = one.services.follower
    follower.start()
    try:
        assert "next" not in one.services.engine.world.heads
        own_valkey.start()
        eventually(lambda: "next" in one.services.engine.world.heads)
    finally:
        follower.close()


def test_nobody_goes_back_to_an_epoch_of_before_when_redis_is_put_back_or_goes_away(
    hosts: tuple[Host, Host], origin: OriginRepo, own_valkey: Valkey
) -> None:
    """The second host follows the first into a new epoch, and its own puller has not pulled since."""
    one, two = hosts
    copy = own_valkey.save()
    emptied(own_valkey)
    origin.branch("next")  # at a commit that both have, so that nobody need fetch
    one.pull()
    newer = two.follow().rev
    assert newer.epoch.startswith("2-")
    own_valkey.restore(copy)
    eventually(two.reaches_redis)
    assert (two.follow().rev, two.asked) == (newer, 1)
    own_valkey.stop()
    assert two.follow().rev == newer


def test_a_puller_that_came_later_begins_an_epoch_above_what_another_worker_has_seen(
    hosts: tuple[Host, Host], origin: OriginRepo, own_valkey: Valkey, tmp_path: Path, clock: Clock
) -> None:
    one, two = hosts
    copy = own_valkey.save()
    emptied(own_valkey)
    one.pull()
    newer = two.follow().rev
    own_valkey.restore(copy)
    eventually(two.reaches_redis)
    with closing(Host(tmp_path / "two", origin, own_valkey, clock)) as later:  # of the same host
        later.follow()
        later.pull()
        assert two.follow().rev == newer, "what it told is of an epoch that is over"
        later.pull()
        assert two.follow().rev.epoch.startswith("3-")


def test_a_host_that_counts_alone_goes_on_from_what_it_has_installed(
    hosts: tuple[Host, Host], origin: OriginRepo, own_valkey: Valkey
) -> None:
    """A forced push that another host has announced is no suspect any more."""
    one, two = hosts
    first = origin.head
    origin.write({"pay.yml": "n: 1\n"})
    for host in hosts:
        host.pull()
        host.follow()
    origin.force(first)
    origin.write({"pay.yml": "n: 2\n"})
    forced = origin.head
    one.pull()
    two.services.repository.fetch()
    eventually(lambda: pulled(one).heads["main"].commit == forced)
    assert two.follow().heads["main"].commit == forced
    own_valkey.stop()
    two.pull()
    world = two.follow()
    assert (world.rev.is_host_local, world.heads["main"].commit) == (True, forced)
