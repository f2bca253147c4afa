"""Both clients against a running server: reading, changes, rejections, tokens, the file on disk."""

from __future__ import annotations

import json
import logging
import stat
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from config_client import BindingError, Change, ConfigRefused, ConfigRejected, ConfigUnavailable
from devstack.processes import free_port
from tests.client.conftest import NewClient
from tests.client.support import FAST, Shop, await_transport, await_value
from tests.fault_proxy import FaultProxy
from tests.support import eventually


@dataclass
class DbSettings:
    pool: int
    host: str = "localhost"


@pytest.mark.slow
def test_a_change_arrives_over_each_transport(shop: Shop, new_client: NewClient) -> None:
    service = shop.new_service("n: 1\n")
    clients = {}
    for transport in ("websocket", "sse", "long-poll", "poll"):
        clients[transport] = new_client(**shop.arguments(service, transports=[transport]))
        clients[transport].fetch()
        clients[transport].listen()
    for transport, client in clients.items():
        await_transport(client, transport)
    version = shop.change(service, "n: 2\n")
    for client in clients.values():
        await_value(client, "n", 2)
        assert client.reading.version == version
        assert not client.reading.stale


def test_values_are_read_by_key_by_type_and_bound(shop: Shop, new_client: NewClient) -> None:
    service = shop.new_service("db: {pool: '20', host: db.internal}\nhosts: [a, b]\nnothing: null\n")
    client = new_client(**shop.arguments(service))
    with pytest.raises(ConfigUnavailable, match="no configuration yet"):
        client.reading.config  # noqa: B018 - it raises
    client.fetch()
    reading = client.reading
    assert reading["hosts[1]"] == "b"
    assert reading.get("db.pool", 5, type=int) == 20
    assert reading.get("db.nope", 5, type=int) == 5
    assert reading.get("nothing", "x") is None
    assert "db.pool" in reading
    assert "db.nope" not in reading
    assert reading.bind("db", DbSettings, live=False) == DbSettings(20, "db.internal")
    with pytest.raises(BindingError, match=r"db\.host: is no int"):
        reading.get("db.host", type=int)
    with pytest.raises(KeyError):
        reading["db.nope"]


def test_a_live_binding_follows_and_a_snapshot_stays(shop: Shop, new_client: NewClient) -> None:
    class Db(BaseModel):
        pool: int

    service = shop.new_service("db: {pool: 5}\n")
    client = new_client(**shop.arguments(service))
    client.fetch()
    client.listen()
    live, model, snapshot = (
        client.reading.bind("db", DbSettings),
        client.reading.bind("db", Db),
        client.reading.snapshot,
    )
    shop.change(service, "db: {pool: 9}\n")
    eventually(lambda: live.pool == 9)
    assert model.value == Db(pool=9)
    assert (snapshot["db.pool"], snapshot.bind("db", DbSettings).pool) == (5, 5)


def test_a_configuration_that_does_not_fit_what_is_bound_is_rejected_and_told_to_the_server(
    shop: Shop, new_client: NewClient
) -> None:
    service = shop.new_service("db: {pool: 5}\n")
    client = new_client(**shop.arguments(service, instance="rejecting-1"))
    client.fetch()
    live = client.reading.bind("db", DbSettings)
    client.listen()
    eventually(lambda: client.reading.transport)
    shop.change(service, "db: {pool: many}\n")
    assert eventually(lambda: _reason(shop, service)) == "db.pool: is no int"
    assert live.value == DbSettings(5)
    shop.change(service, "db: {pool: 7}\n")
    eventually(lambda: live.pool == 7)
    eventually(lambda: _instance(shop, service).get("behind") is False)


def test_a_first_configuration_that_does_not_fit_is_told_to_the_program(shop: Shop, new_client: NewClient) -> None:
    service = shop.new_service("db: {pool: many}\n")
    client = new_client(**shop.arguments(service))
    client.reading.bind("db", DbSettings)
    with pytest.raises(ConfigRejected, match=r"db\.pool: is no int"):
        client.fetch()


def test_a_type_that_raises_of_itself_rejects_and_the_next_configuration_is_taken(
    shop: Shop, new_client: NewClient
) -> None:
    @dataclass
    class Picky:
        n: int

        def __post_init__(self) -> None:
            if self.n > 5:
                raise RuntimeError("too many")

    service = shop.new_service("n: 1\n")
    client = new_client(**shop.arguments(service))
    client.fetch()
    live = client.reading.bind("", Picky)
    client.listen()
    eventually(lambda: client.reading.transport)
    shop.change(service, "n: 9\n")
    assert eventually(lambda: _reason(shop, service)) == "RuntimeError: too many"
    shop.change(service, "n: 2\n")
    eventually(lambda: live.n == 2)


def test_handlers_hear_of_what_they_named_and_one_that_raises_keeps_the_former_configuration(
    shop: Shop, new_client: NewClient
) -> None:
    service = shop.new_service("db: {pool: 5}\nlog: info\n")
    client = new_client(**shop.arguments(service))
    client.fetch()
    heard: list[tuple[str, Any, bool]] = []

    @client.reading.on_change("db.*")
    def resize(change: Change) -> None:
        heard.append(("db", change.new["db.pool"], change.reverted))

    @client.reading.on_change("log")
    def log(change: Change) -> None:
        heard.append(("log", change.new["log"], change.reverted))

    @client.reading.on_change("db.pool")
    def refuse(change: Change) -> None:
        assert client.reading["db.pool"] == change.old["db.pool"], "it is asked before the change is there"
        if change.new["db.pool"] > 10:
            raise ValueError("too many")

    client.listen()
    eventually(lambda: client.reading.transport)
    shop.change(service, "db: {pool: 99}\nlog: info\n")
    assert eventually(lambda: _reason(shop, service)) == "ValueError: too many"
    assert heard == [("db", 99, False), ("db", 5, True)]
    assert client.reading["db.pool"] == 5
    shop.change(service, "db: {pool: 6}\nlog: warn\n")
    eventually(lambda: client.reading["db.pool"] == 6)
    assert heard[2:] == [("db", 6, False), ("log", "warn", False)]


def test_changes_can_be_iterated_and_end_with_the_client(shop: Shop, new_client: NewClient) -> None:
    service = shop.new_service("n: 1\n")
    client = new_client(**shop.arguments(service))
    client.fetch()
    client.listen()
    changes = client.changes()
    shop.change(service, "n: 2\n")
    assert next(changes).new["n"] == 2
    shop.change(service, "n: 3\n")
    assert next(changes).new["n"] == 3
    closing = threading.Thread(target=client.close)
    closing.start()
    assert list(changes) == []
    closing.join()


def test_a_slow_reader_of_changes_gets_them_as_one(shop: Shop, new_client: NewClient) -> None:
    service = shop.new_service("n: 1\n")
    client = new_client(**shop.arguments(service))
    client.fetch()
    client.listen()
    changes = client.changes()
    shop.change(service, "n: 2\n")
    first = next(changes)
    for text in ("n: 3\nm: 1\n", "n: 4\nm: 1\n"):
        shop.change(service, text)
        await_value(client, "n", int(text[3]))
    second = next(changes)
    assert (first.old["n"], first.new["n"], second.old["n"], second.new["n"]) == (1, 2, 2, 4)
    assert second.keys == ("n", "m")


def test_who_goes_on_without_a_first_configuration_gets_it_when_the_server_is_there(
    shop: Shop, new_client: NewClient
) -> None:
    service = shop.new_service("n: 1\n")
    with FaultProxy(shop.port) as proxy:
        proxy.refusing = True
        client = new_client(**shop.arguments(service, config_server_url=proxy.url, timings=replace(FAST, initial=0.3)))
        with pytest.raises(ConfigUnavailable, match=r"within 0\.3 s"):
            client.fetch()
        client.listen()
        proxy.refusing = False
        eventually(lambda: has_one(client))


def has_one(client: Any) -> bool:
    try:
        return bool(client.reading["n"] == 1)
    except ConfigUnavailable:
        return False


def test_a_service_without_a_grant_is_told_so_at_once(shop: Shop, new_client: NewClient) -> None:
    service = shop.new_service()
    client = new_client(**shop.arguments(service, auth_token=shop.token("another")))
    with pytest.raises(ConfigRefused) as refusal:
        client.fetch()
    assert (refusal.value.status, refusal.value.type) == (403, "forbidden")


def test_a_token_comes_from_a_file_that_is_read_again(shop: Shop, new_client: NewClient, tmp_path: Path) -> None:
    service = shop.new_service("n: 1\n")
    file = tmp_path / "token"
    file.write_text("not-a-token\n")
    client = new_client(**shop.arguments(service, auth_token=file))
    file.write_text(shop.token(service) + "\n")
    assert client.fetch()["n"] == 1


def test_a_token_is_renewed_in_band_before_it_expires(shop: Shop, new_client: NewClient) -> None:
    """Sixty seconds before its end the server says so; this one ends in fifty."""
    service = shop.new_service("n: 1\n")
    given: list[str] = []
    seen: list[str] = []

    def source() -> str:
        given.append(shop.token(service, lifetime=50 if len(given) < 2 else 3600))
        return given[-1]

    arguments = shop.arguments(service, auth_token=source, on_event=lambda name, _fields: seen.append(name))
    client = new_client(**arguments)
    client.fetch()
    client.listen()
    eventually(lambda: "token_renewed" in seen)
    assert len(given) == 3
    shop.change(service, "n: 2\n")
    eventually(lambda: client.reading["n"] == 2)
    assert seen.count("connected") == 1


def test_the_last_configuration_lies_on_disk_for_its_owner_alone_and_serves_without_a_server(
    shop: Shop, new_client: NewClient, tmp_path: Path
) -> None:
    service = shop.new_service("db: {pool: 5}\n")
    new_client(**shop.arguments(service, cache_dir=tmp_path / "cache")).fetch()
    (file,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    moved = {"config_server_url": f"http://127.0.0.1:{free_port()}", "cache_dir": tmp_path / "cache"}
    file.rename(file.with_name(_place(new_client(**shop.arguments(service, **moved)))))
    client = new_client(**shop.arguments(service, **moved))
    assert client.fetch()["db.pool"] == 5
    assert client.reading.stale_reasons == ("disk",)
    with pytest.raises(ConfigUnavailable):
        new_client(**shop.arguments(service, **moved, fail_fast=True)).fetch()


@pytest.mark.parametrize("damage", ["truncated", "edited", "empty", "writable by others"])
def test_a_damaged_file_is_told_and_does_no_harm(
    shop: Shop, new_client: NewClient, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = shop.new_service("db: {pool: 5}\n")
    new_client(**shop.arguments(service, cache_dir=tmp_path)).fetch()
    (file,) = tmp_path.iterdir()
    text = file.read_text()
    if damage == "writable by others":
        file.chmod(0o666)
    else:
        file.write_text({"truncated": text[:-20], "edited": text.replace('"pool":5', '"pool":6'), "empty": ""}[damage])
    with caplog.at_level(logging.WARNING, "config_client"):
        assert new_client(**shop.arguments(service, cache_dir=tmp_path)).fetch()["db.pool"] == 5
    assert "of no use" in caplog.text
    assert json.loads(file.read_text())["config"]["db"] == {"pool": 5}, "the next good one replaces it"


def test_an_encrypted_file_shows_nothing_and_opens_with_its_key_alone(
    shop: Shop, new_client: NewClient, tmp_path: Path
) -> None:
    service = shop.new_service("db: {password: s3cret-word}\n")
    key = b"k" * 32
    new_client(**shop.arguments(service, cache_dir=tmp_path, cache_key=key)).fetch()
    (file,) = tmp_path.iterdir()
    assert b"s3cret-word" not in file.read_bytes()
    assert _on_disk(new_client(**shop.arguments(service, cache_dir=tmp_path, cache_key=key))) is not None
    assert _on_disk(new_client(**shop.arguments(service, cache_dir=tmp_path, cache_key=b"x" * 32))) is None
    assert _on_disk(new_client(**shop.arguments(service, cache_dir=tmp_path))) is None


def test_secrets_can_be_left_out_of_the_file(shop: Shop, new_client: NewClient, tmp_path: Path) -> None:
    service = shop.new_service("db: {password: s3cret-word, pool: 5}\nkeys: [{secret: s3cret-two}]\n")
    left = ("*.password", "*.secret")
    new_client(**shop.arguments(service, cache_dir=tmp_path, cache_without=left)).fetch()
    (file,) = tmp_path.iterdir()
    assert "s3cret" not in file.read_text()
    document = _on_disk(new_client(**shop.arguments(service, cache_dir=tmp_path, cache_without=left)))
    assert document.config == {"log": "info", "db": {"pool": 5}, "keys": [{}]}
    client = new_client(**shop.arguments(service, cache_dir=tmp_path, cache_without=left))
    assert client.fetch()["db.password"] == "s3cret-word", "the server is asked for all of it"


def test_a_disk_that_refuses_does_not_stop_the_program(
    shop: Shop, new_client: NewClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    client = new_client(**shop.arguments(shop.new_service(), cache_dir=tmp_path / "file" / "below"))
    with caplog.at_level(logging.WARNING, "config_client"):
        assert client.fetch()["db.pool"] == 5
    assert "cannot be kept on disk" in caplog.text


def test_the_log_and_the_hook_tell_what_happens_and_no_value(
    shop: Shop, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    service = shop.new_service("db: {password: s3cret-word}\n")
    seen: list[str] = []

    def hook(name: str, _fields: Any) -> None:
        seen.append(name)
        raise RuntimeError("a hook's own trouble")

    arguments = shop.arguments(service, on_event=hook)
    client = new_client(**arguments)
    with caplog.at_level(logging.DEBUG):  # of everybody: httpx and websockets too
        client.fetch()
        client.listen()
        eventually(lambda: client.reading.transport)
        shop.change(service, "db: {password: another-word}\n")
        eventually(lambda: client.reading["db.password"] == "another-word")
        eventually(lambda: len(seen) >= 3)  # told once it can be read
    assert seen == ["applied", "connected", "applied"]
    assert "s3cret-word" not in caplog.text
    assert "another-word" not in caplog.text
    assert arguments["auth_token"] not in caplog.text


def _instance(shop: Shop, service: str) -> dict[str, Any]:
    answer = shop.serving.ask(f"/v1/admin/instances?service={service}").json()["instances"]
    return dict(answer[0]) if answer else {}


def _reason(shop: Shop, service: str) -> str:
    """Why its configuration was rejected; empty while it is not."""
    return str((_instance(shop, service).get("rejected") or {}).get("reason", ""))


def _place(client: Any) -> str:
    return str(client.reading._cache.path.name)


def _on_disk(client: Any) -> Any:
    return client.reading._cached()
