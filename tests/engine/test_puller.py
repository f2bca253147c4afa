"""What a host's puller writes down while Redis is away, or was, and a forced push is not certain yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.engine import EveryHead, FurtherPuller
from app.engine.puller import LAG_SECONDS, TIDY_SECONDS, Puller, Telling
from app.notify import Cursor, HeadsFile, Hints, HostState, RedisCursorStore
from app.repository import FurtherRepository, GitConfigBackend, GitCredentials
from app.scheduler import Outcome
from devstack.origin import OriginRepo
from devstack.valkey import Valkey
from tests.valkeys import MakeLink, make_link

__all__ = ["make_link"]

CONFIRM = 10.0


@dataclass
class Host:
    """A puller with its own mirror, whose clock stands still until it is moved."""

    directory: Path
    backend: GitConfigBackend
    store: RedisCursorStore
    now: float = 1000.0
    puller: Puller = field(init=False)
    telling: Telling = field(init=False)

    def __post_init__(self) -> None:
        self.take_over()

    def take_over(self) -> None:
        """Another worker of this host becomes its puller: what it knows is what the host's files say."""
        self.telling = Telling(self.store, self._heads, Hints(self.directory / "hint"), lambda: None, ["pay"])
        self.puller = Puller(
            self.backend,
            self.telling,
            default_label=None,
            confirm_after=CONFIRM,
            pin_days=1,
            on_history=lambda *_: None,
            on_fetched=lambda *_: None,
            clock=lambda: self.now,
        )

    @property
    def _heads(self) -> HeadsFile:
        return HeadsFile(self.directory / "heads.json")

    @property
    def state(self) -> HostState:
        state = self._heads.read()
        assert state is not None
        return state

    @property
    def head(self) -> tuple[bool, str | None]:
        """What its workers follow: whether it is numbered by this host alone, and where `main` stands."""
        cursor: Cursor = self.state.cursor
        return cursor.rev.is_host_local, cursor.labels["main"].commit

    def confirmed(self) -> Outcome:
        self.now += CONFIRM
        return self.puller.tick()


@pytest.fixture
def origin(tmp_path: Path) -> OriginRepo:
    return OriginRepo(tmp_path / "origin")


@pytest.fixture
def date() -> list[float]:
    """Of the mirrors' clock, in Unix seconds."""
    return [1_700_000_000.0]


@pytest.fixture
def hosts(
    tmp_path: Path, origin: OriginRepo, own_valkey: Valkey, make_link: MakeLink, date: list[float]
) -> Iterator[list[Host]]:
    made = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        backend = GitConfigBackend(
            origin.url,
            directory / "mirror",
            credentials=GitCredentials(),
            timeout=60,
            clone_timeout=60,
            clock=lambda: date[0],
        )
        store = RedisCursorStore(make_link(own_valkey, timeout=15.0, pause=0.0), "default")
        made.append(Host(directory, backend, store))
    yield made
    for host in made:
        host.backend.close()


def test_redis_goes_away_before_a_forced_push_is_certain(
    hosts: list[Host], origin: OriginRepo, own_valkey: Valkey
) -> None:
    """The other worker of host one has heard of `second`, its puller has not: nothing older may be said as new."""
    one, two = hosts
    first = origin.write({"a.yml": "a: 1\n"})
    middle = origin.write({"a.yml": "a: 2\n"})
    assert one.puller.tick() is Outcome.MOVED
    origin.write({"a.yml": "a: 3\n"})
    assert two.puller.tick() is Outcome.MOVED
    origin.force(first)
    own_valkey.stop()

    assert one.puller.tick() is Outcome.SUSPECT
    assert one.head == (False, middle)  # numbered for all still, so who knows more sees that it is less
    assert one.confirmed() is Outcome.MOVED
    assert one.head == (True, first)


@pytest.mark.parametrize("taken_over", [False, True])
def test_redis_comes_back_with_what_a_forced_push_took_away(
    hosts: list[Host], origin: OriginRepo, own_valkey: Valkey, *, taken_over: bool
) -> None:
    host = hosts[0]
    first = origin.write({"a.yml": "a: 1\n"})
    origin.write({"a.yml": "a: 2\n"})
    host.puller.tick()
    own_valkey.save()
    own_valkey.stop()
    origin.force(first)
    host.puller.tick()
    host.confirmed()
    assert host.head == (True, first)

    own_valkey.start()
    if taken_over:
        host.take_over()
    assert host.puller.tick() is Outcome.SUSPECT
    assert host.head == (True, first)  # and not for a moment the former head, which Redis still holds
    assert host.confirmed() is Outcome.MOVED
    assert host.head == (False, first)


def test_a_replica_that_lags_moves_nobody_but_a_head_that_is_gone_for_good_is_given_up(
    hosts: list[Host], origin: OriginRepo
) -> None:
    """The host that announced it has died, and no other has ever fetched it."""
    one, two = hosts
    first = origin.write({"a.yml": "a: 1\n"})
    one.puller.tick()
    lost = origin.write({"a.yml": "a: 2\n"})
    two.puller.tick()
    origin.force(first)

    assert [one.confirmed(), one.confirmed()] == [Outcome.UNCHANGED] * 2
    assert one.head == (False, lost)
    one.now += LAG_SECONDS
    assert one.puller.tick() is Outcome.MOVED
    assert one.head == (False, first)


def test_what_a_forced_push_took_away_is_readable_for_its_days_and_then_removed(
    hosts: list[Host], origin: OriginRepo, date: list[float]
) -> None:
    host = hosts[0]
    first = origin.write({"a.yml": "a: 1\n"})
    gone = origin.write({"a.yml": "a: 2\n"})
    host.puller.tick()
    origin.force(first)
    host.puller.tick()
    host.confirmed()
    kept = []
    for days in (0.9, 2.1):
        date[0] += days * 86_400
        host.now += TIDY_SECONDS
        assert host.puller.tick() is Outcome.UNCHANGED
        host.backend.close()  # its reader may know it still
        kept.append(host.backend.has(gone))
    assert kept == [True, False]
    assert host.backend.has(first)


def further_of(host: Host, origin: OriginRepo, backend: GitConfigBackend) -> FurtherPuller:
    return FurtherPuller(
        FurtherRepository(name="pay", url=origin.url, patterns=("pay",)),
        backend,
        host.telling,
        confirm_after=CONFIRM,
        pin_days=1,
        on_history=lambda *_: None,
        on_fetched=lambda *_: None,
        vouching=EveryHead(),
        wake=lambda: None,
    )


@pytest.mark.parametrize("taken_over", [False, True])
def test_what_moved_in_a_further_repository_without_redis_is_told_with_the_first_that_is_told_again(
    hosts: list[Host], origin: OriginRepo, own_valkey: Valkey, tmp_path: Path, *, taken_over: bool
) -> None:
    """Else its head would go back for a moment: the configuration repository's puller is the first to find Redis."""
    host, pay = hosts[0], OriginRepo(tmp_path / "pay")
    origin.write({"a.yml": "a: 1\n"})
    pay.write({"pay.yml": "a: 1\n"})
    mirror = host.directory / "further"
    with closing(
        GitConfigBackend(pay.url, mirror, credentials=GitCredentials(), timeout=60, clone_timeout=60)
    ) as backend:
        further = further_of(host, pay, backend)
        assert further.tick() is Outcome.FAILED  # nothing is numbered yet, and that is not for this one to begin
        host.puller.tick()
        assert further.tick() is Outcome.MOVED
        own_valkey.save()
        own_valkey.stop()
        host.puller.tick()
        moved = pay.write({"pay.yml": "a: 2\n"})
        assert further.tick() is Outcome.MOVED
        assert (host.head[0], host.state.cursor.labels["pay:main"].commit) == (True, moved)

        own_valkey.start()
        if taken_over:
            host.take_over()
        host.puller.tick()
        assert (host.head[0], host.state.cursor.labels["pay:main"].commit) == (False, moved)
        assert host.state.further["pay"].failing_since is None


def test_who_takes_over_knows_what_the_one_before_has_written_down(hosts: list[Host], origin: OriginRepo) -> None:
    host = hosts[0]
    waiting = Telling(
        host.store, HeadsFile(host.directory / "heads.json"), Hints(host.directory / "hint"), lambda: None
    )
    assert waiting.state is None
    origin.write({"a.yml": "a: 1\n"})
    host.puller.tick()
    waiting.begin()
    assert waiting.state == host.state
