"""What the process holds, for how long, and what makes it let go."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import SecretsUnavailable
from app.model import Json, Secret, SecretPath
from app.secrets import Breaker, SecretDenied, SecretStore
from tests.secrets.fakes import Clock, MemoryBackend
from tests.support import eventually

DB = SecretPath("kv", "services/pay/prod/db")
API = SecretPath("kv", "services/pay/prod/api")
OLD = SecretPath("old", "services/pay/prod/legacy")
PLAINTEXT = "correct-horse-battery"


class Room:
    """A store on a fake backend and clock: TTL 60 s, grace 900 s, no jitter unless asked for."""

    def __init__(self, *, grace: float = 900, jitter: float = 0, capacity: int = 100, failures: int = 3) -> None:
        self.clock = Clock()
        self.backend = MemoryBackend()
        self.backend.put(DB, {"password": PLAINTEXT})
        self.store = SecretStore(
            self.backend,
            ttl=60,
            grace=grace,
            digest_key=b"k" * 32,
            jitter=jitter,
            clock=self.clock,
            wall=lambda: 1_700_000_000.0,
            breaker=Breaker(failures=failures, open_seconds=5, clock=self.clock),
            capacity=capacity,
        )


def test_document_is_read_once_within_its_ttl_and_again_after() -> None:
    room = Room()
    assert room.store.get(DB, None).data["password"] == PLAINTEXT
    room.clock.advance(59.9)
    room.store.get(DB, None)
    assert len(room.backend.reads) == 1
    room.clock.advance(0.1)
    room.store.get(DB, None)
    assert len(room.backend.reads) == 2


def test_jitter_spreads_the_second_read_and_never_lengthens_the_ttl() -> None:
    room = Room(jitter=0.5)
    paths = [SecretPath("kv", f"p{number}") for number in range(50)]
    for path in paths:
        room.backend.put(path, {"x": 1})
        room.store.get(path, None)
    room.clock.advance(45)
    before = len(room.backend.reads)
    for path in paths:
        room.store.get(path, None)
    assert 0 < len(room.backend.reads) - before < 50
    room.clock.advance(60)
    before = len(room.backend.reads)
    for path in paths:
        room.store.get(path, None)
    assert len(room.backend.reads) - before == 50


def test_reading_the_latest_answers_for_its_exact_version_too() -> None:
    room = Room()
    room.backend.put(DB, {"password": "second"})
    assert room.store.get(DB, None).version == 2
    assert room.store.get(DB, 2).data["password"] == "second"
    assert len(room.backend.reads) == 1
    assert room.store.get(DB, 1).data["password"] == PLAINTEXT
    assert room.backend.reads[1:] == [(DB, 1)]


def test_reading_an_old_version_says_nothing_about_the_latest() -> None:
    room = Room()
    room.backend.put(DB, {"password": "second"})
    room.store.get(DB, 1)
    assert room.store.get(DB, None).version == 2


def test_unversioned_document_carries_the_callers_number_and_a_digest() -> None:
    room = Room()
    room.backend.put(OLD, {"password": "one"})
    first = room.store.get(OLD, 1)
    room.backend.put(OLD, {"password": "two"})
    second = room.store.get(OLD, 2)
    assert (first.version, second.version, room.store.get(OLD, None).version) == (1, 2, 0)
    assert first.digest != second.digest == room.store.digest({"password": "two"})
    assert second.data["password"] == "two"


def test_digest_is_keyed_and_depends_on_content_alone() -> None:
    room = Room()
    other = SecretStore(room.backend, ttl=1, grace=0, digest_key=b"other")
    assert room.store.digest({"a": 1, "b": [True]}) == room.store.digest({"b": [True], "a": 1})
    assert room.store.digest({"a": 1}) != room.store.digest({"a": "1"})
    assert room.store.digest({"a": 1}) != other.digest({"a": 1})
    assert len(room.store.digest({})) == 32


def test_vault_away_within_grace_serves_the_copy_marked_stale_and_then_fails() -> None:
    room = Room(failures=100)
    assert not room.store.get(DB, None).stale
    room.backend.down = True
    room.clock.advance(60)
    kept = room.store.get(DB, None)
    assert kept.stale
    assert kept.data["password"] == PLAINTEXT
    room.clock.advance(899.9)
    assert room.store.get(DB, None).stale
    room.clock.advance(0.1)
    with pytest.raises(SecretsUnavailable):
        room.store.get(DB, None)
    room.backend.down = False
    assert not room.store.get(DB, None).stale


def test_no_grace_means_unavailable_at_once() -> None:
    room = Room(grace=0)
    room.store.get(DB, None)
    room.backend.down = True
    room.clock.advance(60)
    with pytest.raises(SecretsUnavailable):
        room.store.get(DB, None)


def test_cold_document_is_unavailable_while_vault_is_away() -> None:
    room = Room()
    room.backend.down = True
    with pytest.raises(SecretsUnavailable):
        room.store.get(DB, None)


def test_denial_drops_every_version_and_grace_does_not_bring_it_back() -> None:
    room = Room()
    room.store.get(DB, None)
    room.store.get(DB, 1)
    room.clock.advance(60)
    room.backend.forbidden.add(DB)
    with pytest.raises(SecretDenied):
        room.store.get(DB, None)
    assert room.store.status()["documents"] == 0
    room.backend.down = True
    for version in (None, 1):
        with pytest.raises(SecretsUnavailable):
            room.store.get(DB, version)


def test_missing_version_leaves_the_former_one_in_place() -> None:
    room = Room()
    room.store.get(DB, 1)
    with pytest.raises(SecretDenied):
        room.store.get(DB, 2)
    room.backend.down = True
    assert room.store.get(DB, 1).data["password"] == PLAINTEXT


def test_known_survives_a_denial_and_tells_keys_apart() -> None:
    room = Room()
    assert not room.store.known(DB, "password")
    room.store.get(DB, None)
    room.store.forget_all()
    assert room.store.known(DB, "password")
    assert not room.store.known(DB, "user")
    assert not room.store.known(API, "password")


def test_forgetting_makes_the_next_caller_ask_vault() -> None:
    room = Room()
    room.store.get(DB, None)
    room.store.forget(API)
    room.store.get(DB, None)
    assert len(room.backend.reads) == 1
    room.store.forget(DB)
    room.store.get(DB, None)
    room.store.forget_all()
    room.store.get(DB, None)
    assert len(room.backend.reads) == 3


def test_least_recently_used_document_goes_first_when_full() -> None:
    room = Room(capacity=3)
    paths = [SecretPath("old", f"p{number}") for number in range(4)]
    for path in paths:
        room.backend.put(path, {"x": 1})
    for path in (*paths[:3], paths[0], paths[3]):
        room.store.get(path, None)
    before = len(room.backend.reads)
    for path in (paths[0], paths[2], paths[3]):
        room.store.get(path, None)
    assert len(room.backend.reads) == before
    room.store.get(paths[1], None)
    assert len(room.backend.reads) == before + 1


def test_plaintext_nobody_asks_for_any_more_is_swept() -> None:
    room = Room()
    room.store.get(DB, None)
    room.clock.advance(60 + 899)
    assert room.store.sweep() == 0
    room.clock.advance(1)
    assert room.store.sweep() == 2
    room.store.get(DB, None)
    room.clock.advance(60 + 900)
    room.backend.put(OLD, {"x": 1})
    room.store.get(OLD, None)
    assert room.store.status()["documents"] == 1


def test_breaker_fails_fast_and_a_probe_brings_vault_back() -> None:
    room = Room()
    room.backend.down = True
    for _ in range(3):
        with pytest.raises(SecretsUnavailable):
            room.store.get(DB, None)
    room.clock.advance(2)
    with pytest.raises(SecretsUnavailable) as caught:
        room.store.get(DB, None)
    assert caught.value.retry_after == 3
    assert len(room.backend.reads) == 3
    room.backend.down = False
    room.clock.advance(3)
    assert room.store.get(DB, None).version == 1


def test_open_breaker_still_serves_within_grace() -> None:
    room = Room(failures=1)
    room.store.get(DB, None)
    room.clock.advance(60)
    room.backend.down = True
    for _ in range(5):
        assert room.store.get(DB, None).stale
    assert len(room.backend.reads) == 2


def test_denials_do_not_open_the_breaker() -> None:
    room = Room()
    for _ in range(10):
        with pytest.raises(SecretDenied):
            room.store.get(API, None)
    assert room.store.status()["breaker"] == "closed"


def test_killed_caller_does_not_jam_the_breaker() -> None:
    room = Room(failures=1)
    room.backend.down = True
    with pytest.raises(SecretsUnavailable):
        room.store.get(DB, None)
    room.clock.advance(5)

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        room.store.ask(killed)
    room.backend.down = False
    assert room.store.get(DB, None).version == 1


def test_status_tells_since_when_vault_is_silent() -> None:
    room = Room(failures=1)
    room.store.get(DB, None)
    healthy = {"state": "ok", "since": None, "breaker": "closed", "documents": 2}
    assert room.store.status() == healthy
    room.backend.down = True
    room.clock.advance(60)
    room.store.get(DB, None)
    expected = {"state": "degraded", "since": "2023-11-14T22:13:20Z", "breaker": "open", "documents": 2}
    assert room.store.status() == expected
    room.backend.down = False
    room.clock.advance(5)
    room.store.get(DB, None)
    assert room.store.status() == healthy


def in_parallel(room: Room, callers: int) -> list[Secret | Exception]:
    """The outcomes of `callers` threads that ask for the same document while the first read hangs."""
    room.backend.gate.clear()
    ready = threading.Barrier(callers + 1)

    def ask() -> Secret | Exception:
        ready.wait(60)
        try:
            return room.store.get(DB, None)
        except (SecretsUnavailable, SecretDenied) as error:
            return error

    with ThreadPoolExecutor(callers) as pool:
        asked = [pool.submit(ask) for _ in range(callers)]
        ready.wait(60)
        eventually(lambda: room.backend.reads)
        room.backend.gate.set()
        return [one.result(60) for one in asked]


def test_many_callers_of_one_document_cost_one_read() -> None:
    room = Room()
    answers = in_parallel(room, 20)
    assert all(isinstance(answer, Secret) for answer in answers)
    assert len(room.backend.reads) == 1


def test_failing_flight_fails_who_waits_and_not_who_comes_after() -> None:
    room = Room(failures=100)
    room.backend.down = True
    answers = in_parallel(room, 20)
    assert all(isinstance(answer, SecretsUnavailable) for answer in answers)
    assert len({id(answer) for answer in answers}) == 20
    room.backend.down = False
    assert room.store.get(DB, None).version == 1


def test_plaintext_shows_in_no_repr_and_no_text() -> None:
    room = Room()
    secret = room.store.get(DB, None)
    shown = [
        repr(secret),
        str(secret),
        f"{room.store!r}",
        str(room.store.status()),
        repr(room.store.known(DB, "password")),
    ]
    assert not [text for text in shown if PLAINTEXT in text]


def test_document_handed_out_cannot_be_changed() -> None:
    room = Room()
    data = room.store.get(DB, None).data
    with pytest.raises(TypeError):
        data["password"] = "x"  # type: ignore[index] # that it is impossible is the point


class Together:
    """Two documents that one question answers, as long as Vault is there."""

    def __init__(self, room: Room) -> None:
        self.paths = [SecretPath("{transit}", "k#1"), SecretPath("{transit}", "k#2")]
        self.refused: set[SecretPath] = set()
        self.asked = 0
        self.away = False
        self._store = room.store

    def get(self) -> dict[SecretPath, Secret]:
        return self._store.get_all(self.paths, None, self._question)

    def _question(self) -> dict[SecretPath, dict[str, Json]]:
        self.asked += 1
        if self.away:
            raise SecretsUnavailable("away")
        return {path: {"x": path.path} for path in self.paths if path not in self.refused}


def test_what_one_question_answers_is_asked_for_once_per_ttl_whatever_the_jitter() -> None:
    room = Room(jitter=0.5)
    together = Together(room)
    assert [secret.data["x"] for secret in together.get().values()] == ["k#1", "k#2"]
    together.get()
    assert together.asked == 1
    room.clock.advance(60)
    together.get()
    together.get()
    assert together.asked == 2


def test_what_one_question_answers_is_whole_in_an_outage_or_nothing() -> None:
    room = Room()
    together = Together(room)
    together.away = True
    with pytest.raises(SecretsUnavailable):
        together.get()
    together.away = False
    together.get()
    room.clock.advance(61)
    together.away = True
    assert [secret.stale for secret in together.get().values()] == [True, True]
    together.paths.append(SecretPath("{transit}", "k#3"))
    with pytest.raises(SecretsUnavailable):
        together.get()
    room.clock.advance(900)
    together.paths.pop()
    with pytest.raises(SecretsUnavailable):
        together.get()


def test_what_is_refused_among_others_is_dropped_at_once() -> None:
    room = Room()
    together = Together(room)
    together.get()
    room.clock.advance(61)
    first, second = together.paths
    together.refused = {first}
    assert together.get().keys() == {second}
    together.away = True
    with pytest.raises(SecretsUnavailable):
        together.get()
    assert room.store.known(first, "x")
