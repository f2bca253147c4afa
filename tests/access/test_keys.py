"""Keys that are kept fresh while their provider comes and goes."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.access import FileKeys, JwksKeys
from devstack.issuer import DISCOVERY_PATH, LocalIssuer, Mode, new_key
from tests.access.support import ALGORITHMS, Clock, patient
from tests.support import eventually


def keys_of(issuer: LocalIssuer, clock: Clock) -> JwksKeys:
    return JwksKeys(issuer.jwks_url, algorithms=ALGORITHMS, clock=clock, jitter=lambda: 0.5)


def knows(keys: JwksKeys | FileKeys, kid: str | None, algorithm: str = "RS256") -> bool:
    try:
        return keys.key(kid, algorithm).algorithm_name == algorithm
    except KeyError:
        return False


def test_keys_are_fetched_at_the_start_and_asked_from_memory(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS)
    keys.start()

    for _ in range(100):
        assert knows(keys, own_issuer.key("RS256").kid, "RS256")
        assert knows(keys, own_issuer.key("ES256").kid, "ES256")

    keys.close()
    assert own_issuer.jwks_fetches == 1
    assert keys.status().keys == 2
    assert keys.status().problem is None


def test_an_unknown_key_id_is_unknown_now_and_found_a_moment_later(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, min_interval=0)
    keys.start()
    former = own_issuer.key().kid
    own_issuer.rotate()

    assert not knows(keys, own_issuer.key().kid)
    eventually(lambda: knows(keys, own_issuer.key().kid))

    assert not knows(keys, former)
    keys.close()


@pytest.mark.parametrize("mode", [Mode.SERVE, Mode.FAIL, Mode.REDIRECT])
def test_a_hundred_unknown_key_ids_fetch_at_most_once_in_ten_seconds(own_issuer: LocalIssuer, mode: Mode) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.tick()
    own_issuer.mode = mode

    for second in range(1, 61):
        clock.now = second
        for number in range(100):
            assert not knows(keys, f"unknown-{second}-{number}")
            keys.tick()

    assert own_issuer.jwks_fetches == 1 + 6
    assert knows(keys, own_issuer.key().kid)


def test_a_stampede_on_the_running_thread_fetches_once(own_issuer: LocalIssuer) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.start()
    clock.now = 10

    for number in range(100):
        assert not knows(keys, f"unknown-{number}")
    eventually(lambda: own_issuer.jwks_fetches == 2)
    for number in range(100):
        assert not knows(keys, f"unknown-{number}")

    keys.close()
    assert own_issuer.jwks_fetches == 2


@pytest.mark.parametrize(("kid", "algorithm"), [(None, "RS256"), ("known", "ES256")])
def test_a_token_without_a_key_id_or_of_another_algorithm_asks_for_no_fetch(
    own_issuer: LocalIssuer, kid: str | None, algorithm: str
) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.tick()
    clock.now = 60

    assert not knows(keys, kid and own_issuer.key("RS256").kid, algorithm)

    assert keys.tick() is False


def test_keys_are_refreshed_by_and_by_and_a_withdrawn_key_goes(own_issuer: LocalIssuer) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.tick()
    former = own_issuer.key().kid
    own_issuer.rotate(keep_old=True)

    clock.now = 299
    assert keys.tick() is False
    clock.now = 300
    assert keys.tick() is True
    assert knows(keys, former)
    assert knows(keys, own_issuer.key().kid)

    own_issuer.rotate()
    clock.now = 600
    keys.tick()
    assert not knows(keys, former)


def test_a_provider_that_withdraws_all_keys_is_believed(own_issuer: LocalIssuer) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.tick()
    own_issuer.publish([])

    clock.now = 300
    keys.tick()

    assert not knows(keys, own_issuer.key().kid)
    assert keys.status().problem == "the provider publishes no usable key"


@pytest.mark.parametrize("mode", [Mode.FAIL, Mode.REDIRECT])
def test_known_keys_verify_for_a_day_without_their_provider_and_no_longer(own_issuer: LocalIssuer, mode: Mode) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.tick()
    own_issuer.mode = mode

    clock.now = 86_400
    keys.tick()
    assert knows(keys, own_issuer.key().kid)
    status = keys.status()
    assert (status.keys, status.age_seconds) == (2, 86_400)
    assert status.problem is not None

    clock.now = 86_401
    assert not knows(keys, own_issuer.key().kid)
    assert keys.status().keys == 0

    own_issuer.mode = Mode.SERVE
    clock.now += 300
    keys.tick()
    assert knows(keys, own_issuer.key().kid)
    assert keys.status().problem is None


def test_failures_are_retried_ever_more_slowly(own_issuer: LocalIssuer) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    keys.tick()
    own_issuer.mode = Mode.FAIL
    attempts = []

    for second in range(1, 2000):
        clock.now = second
        if keys.tick():
            attempts.append(second)

    pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert attempts[0] == 300
    assert pauses == sorted(pauses)
    assert pauses[0] >= 10
    assert pauses[-1] == 225  # 300 s less half of the half that is random


def test_before_the_first_keys_it_tries_more_often(own_issuer: LocalIssuer) -> None:
    clock = Clock()
    keys = keys_of(own_issuer, clock)
    own_issuer.mode = Mode.FAIL
    for second in range(10):
        clock.now = second
        keys.tick()

    assert 3 <= own_issuer.jwks_fetches <= 10
    assert keys.status().age_seconds is None


def test_a_start_without_the_provider_does_not_wait_for_it_and_catches_up(own_issuer: LocalIssuer) -> None:
    own_issuer.mode = Mode.HANG
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, fetch=patient)
    begun = time.monotonic()
    keys.start(wait_seconds=0.1)

    assert time.monotonic() - begun < 10
    assert not knows(keys, own_issuer.key().kid)
    eventually(lambda: own_issuer.jwks_fetches == 1)
    own_issuer.mode = Mode.SERVE
    eventually(lambda: knows(keys, own_issuer.key().kid))
    keys.close()


def test_a_hanging_provider_holds_nobody_who_asks_for_a_known_key(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, min_interval=0, fetch=patient)
    keys.start()
    own_issuer.mode = Mode.HANG
    assert not knows(keys, "unknown")
    eventually(lambda: own_issuer.jwks_fetches == 2)

    begun = time.monotonic()
    for number in range(1000):
        assert knows(keys, own_issuer.key().kid)
        assert not knows(keys, f"unknown-{number}")

    assert time.monotonic() - begun < 10
    own_issuer.mode = Mode.SERVE
    keys.close()


def test_a_fault_nobody_foresaw_does_not_end_the_thread(own_issuer: LocalIssuer) -> None:
    faults = iter([RuntimeError("a fault of ours")])

    def fetch(url: str) -> bytes:
        for fault in faults:
            raise fault
        return json.dumps(own_issuer.jwks).encode()

    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, fetch=fetch)
    keys.start()

    eventually(lambda: knows(keys, own_issuer.key().kid))
    keys.close()


def test_each_refresh_is_told(own_issuer: LocalIssuer) -> None:
    told: list[bool] = []
    clock = Clock()
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, clock=clock, on_fetch=told.append)
    keys.tick()
    own_issuer.mode = Mode.FAIL
    clock.now = 1000
    keys.tick()

    assert told == [True, False]


def test_discovery_finds_the_key_set_of_the_issuer(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(issuer=own_issuer.url, algorithms=ALGORITHMS)
    keys.start()

    assert knows(keys, own_issuer.key().kid)
    assert own_issuer.fetches == {DISCOVERY_PATH: 1, "/jwks.json": 1}
    keys.close()


def test_discovery_of_another_name_gives_no_keys(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(issuer=own_issuer.url + "/", algorithms=ALGORITHMS)
    keys.start()

    assert not knows(keys, own_issuer.key().kid)
    assert keys.status().problem == "the discovery document is of another issuer"
    assert own_issuer.jwks_fetches == 0
    keys.close()


def test_a_problem_holds_no_address(own_issuer: LocalIssuer) -> None:
    with LocalIssuer() as gone:
        keys = JwksKeys(gone.jwks_url, algorithms=ALGORITHMS)
    keys.tick()

    problem = keys.status().problem
    assert problem is not None
    assert "127.0.0.1" not in problem


@pytest.mark.parametrize("options", [{}, {"url": "https://a/keys", "issuer": "https://a"}, {"url": "file:///keys"}])
def test_keys_come_from_one_url(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        JwksKeys(**options, algorithms=ALGORITHMS)


def test_closing_ends_the_one_thread_that_starting_began(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS)
    others = set(threading.enumerate())
    keys.start()
    keys.start()
    begun = [thread for thread in set(threading.enumerate()) - others if thread.name == "jwks-refresher"]

    keys.close()

    assert len(begun) == 1
    assert not begun[0].is_alive()
    keys.close()


# --- a file -----------------------------------------------------------------------------------------------------------


def test_a_replaced_key_file_is_read_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first, second = new_key("ES256"), new_key("ES256")
    path.write_text(first.pem)
    clock = Clock()
    keys = FileKeys(path, algorithms=ALGORITHMS, clock=clock)
    before = keys.key("whatever", "ES256").key

    path.write_text(second.pem + "\n")
    assert keys.key(None, "ES256").key == before
    clock.now = 1
    assert keys.key(None, "ES256").key == second.private.public_key()


def test_a_file_may_hold_a_key_set(tmp_path: Path, issuer: LocalIssuer) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(issuer.jwks))
    keys = FileKeys(path, algorithms=ALGORITHMS)

    assert knows(keys, issuer.key("RS256").kid, "RS256")
    assert knows(keys, issuer.key("ES256").kid, "ES256")
    assert not knows(keys, None)
    assert not knows(keys, "unknown")
    assert keys.status().keys == 2


def test_a_damaged_or_missing_key_file_leaves_the_former_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = new_key("ES256")
    path.write_text(key.pem)
    clock = Clock()
    keys = FileKeys(path, algorithms=ALGORITHMS, clock=clock)

    path.write_text(key.pem[:40])
    clock.now = 2
    assert knows(keys, None, "ES256")
    assert keys.status().problem == "the key file: not a public key in PEM form"
    assert keys.status().age_seconds == 2

    path.unlink()
    clock.now = 4
    assert knows(keys, None, "ES256")
    assert keys.status().problem == "the key file cannot be read (FileNotFoundError)"

    path.write_text(key.pem)
    clock.now = 6
    assert keys.status().problem is None
    assert keys.status().age_seconds == 0


@pytest.mark.parametrize("content", [None, "", "not a key", '{"keys": []}', "{"])
def test_a_file_without_a_key_is_told_at_once(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ValueError, match=r".") as wrong:
        FileKeys(path, algorithms=ALGORITHMS)
    assert str(path) not in str(wrong.value)
