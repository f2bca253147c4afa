"""devstack/valkey.py: the ways in which Redis can go away are the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from devstack.processes import NotReady
from devstack.valkey import Valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with closing(Valkey(tmp_path / "valkey")) as server:
        yield server.start()


def stored(valkey: Valkey) -> object:
    with valkey.client as client:
        return client.get("name")


def store(valkey: Valkey, value: str) -> None:
    with valkey.client as client:
        client.set("name", value)


def test_a_restart_keeps_address_and_data(valkey: Valkey) -> None:
    store(valkey, "one")
    url = valkey.url
    valkey.restart()
    assert (valkey.url, stored(valkey)) == (url, "one")


def test_an_empty_restart_and_a_crash_lose_everything(valkey: Valkey) -> None:
    store(valkey, "one")
    valkey.restart(empty=True)
    assert stored(valkey) is None
    store(valkey, "two")
    valkey.stop()
    valkey.start()
    assert stored(valkey) is None


def test_an_older_copy_can_be_restored(valkey: Valkey) -> None:
    store(valkey, "old")
    copy = valkey.save()
    store(valkey, "new")
    valkey.restore(copy)
    assert stored(valkey) == "old"


def test_paused_it_does_not_answer_and_resumed_it_does(valkey: Valkey) -> None:
    store(valkey, "one")
    valkey.pause()
    with redis.Redis.from_url(valkey.url, socket_timeout=0.1) as client, pytest.raises(redis.TimeoutError):
        client.ping()
    valkey.resume()
    assert stored(valkey) == "one"


def test_stopped_it_refuses_connections(valkey: Valkey) -> None:
    valkey.stop()
    with pytest.raises(redis.ConnectionError):
        stored(valkey)
    with pytest.raises(RuntimeError, match="not running"):
        valkey.pause()


def test_a_port_that_is_taken_is_told_with_what_the_server_said(valkey: Valkey, tmp_path: Path) -> None:
    port = int(valkey.url.rsplit(":", 1)[1].partition("/")[0])
    with closing(Valkey(tmp_path / "second", port=port)) as second, pytest.raises(NotReady, match="in use"):
        second.start()
