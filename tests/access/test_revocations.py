"""A revocation holds until its time is over, whatever is lost: this process, this host's disk, or all of Redis."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.access import Revocations
from app.cache import RedisLink
from app.errors import Unavailable
from app.model import Principal
from devstack.valkey import Valkey
from tests.access.support import OffsetClock
from tests.support import eventually
from tests.valkeys import MakeLink, link, make_link, own_valkey, valkey

__all__ = ["link", "make_link", "own_valkey", "valkey"]

ISSUER = "https://issuer.example"
LONG = 3600.0

Host = Callable[..., Revocations]


def who(subject: str = "ada", token_id: str | None = "j1", issuer: str = ISSUER) -> Principal:
    return Principal(issuer, subject, (), time.time() + LONG, token_id)


def until(seconds: float = LONG) -> float:
    return time.time() + seconds


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A worker of the host of this name."""

    def made(name: str, link: RedisLink | None = None, clock: Callable[[], float] = time.time) -> Revocations:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        return Revocations(directory / "revocations.json", link, on_change=lambda: None, clock=clock)

    return made


@pytest.mark.parametrize(
    ("kind", "value", "principal", "refused"),
    [
        ("jti", "j1", who(), True),
        ("jti", "j1", who(subject="bob"), True),
        ("jti", "j1", who(token_id="j2"), False),
        ("jti", "j1", who(token_id=None), False),
        ("jti", "ada", who(), False),
        ("sub", "ada", who(), True),
        ("sub", "ada", who(token_id=None), True),
        ("sub", "j1", who(), False),
        ("sub", "ada", who(issuer="https://other.example"), False),
    ],
)
def test_what_was_named_is_refused_and_nothing_else(
    host: Host, kind: str, value: str, principal: Principal, refused: bool
) -> None:
    revocations = host("a")
    assert not revocations.is_revoked(principal)
    revocations.revoke(kind, ISSUER, value, until())
    assert revocations.is_revoked(principal) is refused


def test_names_that_run_together_are_two(host: Host) -> None:
    revocations = host("a")
    revocations.revoke("sub", "https://a", "b:c", until())
    assert not revocations.is_revoked(who("c", None, "https://a:b"))


def test_streams_are_woken_once_by_each_change(tmp_path: Path) -> None:
    woken: list[int] = []
    revocations = Revocations(tmp_path / "revocations.json", None, on_change=lambda: woken.append(1))
    revocations.revoke("sub", ISSUER, "ada", until(1000))
    revocations.sync()
    revocations.revoke("sub", ISSUER, "ada", until(500))
    assert len(woken) == 1


def test_it_outlives_a_restart(host: Host) -> None:
    host("a").revoke("jti", ISSUER, "j1", until())
    assert host("a").is_revoked(who())


def test_it_ends_when_no_token_can_be_alive_and_is_forgotten_everywhere(
    host: Host, link: RedisLink, tmp_path: Path
) -> None:
    clock = OffsetClock()
    revocations = host("a", link, clock)
    revocations.revoke("sub", ISSUER, "ada", until(100))
    clock.offset = 101
    assert not revocations.is_revoked(who())
    revocations.sync()
    revocations.sync()
    assert json.loads((tmp_path / "a" / "revocations.json").read_text())["entries"] == {}
    assert link.call(lambda client: client.hlen(link.key("revocations"))) == 0


def test_all_hosts_take_it_over(host: Host, link: RedisLink) -> None:
    one, two = host("a", link), host("b", link)
    one.revoke("sub", ISSUER, "ada", until())
    two.revoke("sub", ISSUER, "bob", until())
    one.sync()
    for revocations in (one, two):
        assert revocations.is_revoked(who("ada"))
        assert revocations.is_revoked(who("bob"))
    assert host("b").is_revoked(who("ada")), "and write it down"


def test_workers_of_a_host_keep_each_others_in_their_file(host: Host) -> None:
    one, two = host("a"), host("a")
    one.revoke("sub", ISSUER, "ada", until())
    two.revoke("sub", ISSUER, "bob", until())
    fresh = host("a")
    assert fresh.is_revoked(who("ada"))
    assert fresh.is_revoked(who("bob"))


def test_the_later_end_counts_whoever_says_it(host: Host, link: RedisLink) -> None:
    clock = OffsetClock()
    one, two = host("a", link), host("b", link, clock)
    one.revoke("sub", ISSUER, "ada", until(1000))
    two.revoke("sub", ISSUER, "ada", until(10))
    clock.offset = 500
    assert two.is_revoked(who())


def test_an_emptied_redis_is_told_again(host: Host, own_valkey: Valkey, make_link: MakeLink) -> None:
    one = host("a", make_link(own_valkey))
    one.revoke("sub", ISSUER, "ada", until())
    own_valkey.restart(empty=True)
    eventually(lambda: told(one, host("b", make_link(own_valkey))))
    assert one.is_revoked(who())


def test_redis_rolled_back_to_an_old_copy_revives_nobody(host: Host, own_valkey: Valkey, make_link: MakeLink) -> None:
    one = host("a", make_link(own_valkey))
    one.revoke("sub", ISSUER, "old", until())
    copy = own_valkey.save()
    one.revoke("sub", ISSUER, "ada", until())
    own_valkey.restore(copy)
    eventually(lambda: told(one, host("b", make_link(own_valkey))))
    assert one.is_revoked(who())


def test_everything_restarted_at_once_revives_nobody(host: Host, own_valkey: Valkey, make_link: MakeLink) -> None:
    host("a", make_link(own_valkey)).revoke("sub", ISSUER, "ada", until())
    own_valkey.restart(empty=True)
    assert host("a", make_link(own_valkey)).is_revoked(who())


def test_while_redis_is_away_the_workers_of_a_host_tell_each_other(
    host: Host, own_valkey: Valkey, make_link: MakeLink
) -> None:
    one, two = host("a", make_link(own_valkey)), host("a", make_link(own_valkey))
    own_valkey.stop()
    one.revoke("sub", ISSUER, "ada", until())
    two.sync()
    assert two.is_revoked(who())


def test_what_one_worker_could_tell_the_disk_alone_is_seen_by_those_who_reach_redis(
    host: Host, own_valkey: Valkey, make_link: MakeLink
) -> None:
    one, two = host("a", make_link(own_valkey, pause=60)), host("a", make_link(own_valkey))
    own_valkey.stop()
    one.sync()  # from now on it leaves Redis alone for a while
    own_valkey.start()
    eventually(lambda: make_link(own_valkey).call(lambda client: client.ping()))
    one.revoke("sub", ISSUER, "ada", until())
    two.sync()
    assert two.is_revoked(who())


def test_on_a_full_disk_nothing_is_done_and_the_caller_is_told(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.access.full_disk", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == {
        "refused": "the revocation cannot be written down, so it is not done",
        "bob": False,
        "ada": True,
        "files": ["revocations.json", "revocations.lock"],
        "bob_after": True,
    }


def test_what_others_revoked_counts_also_where_it_cannot_be_written_down(
    host: Host, link: RedisLink, tmp_path: Path
) -> None:
    two = host("b", link)
    (tmp_path / "b").rename(tmp_path / "away")
    host("a", link).revoke("sub", ISSUER, "ada", until())
    two.sync()
    assert two.is_revoked(who())
    with pytest.raises(Unavailable):
        two.revoke("sub", ISSUER, "bob", until())
    (tmp_path / "away").rename(tmp_path / "b")
    two.sync()
    assert host("b").is_revoked(who()), "written down as soon as it can be"


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"v": 2, "entries": {}}', '{"v": 1}', '{"v": 1, "entries": 7}', "\0"]
)
def test_a_damaged_file_is_no_reason_not_to_start(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "revocations.json"
    path.write_text(damage)
    revocations = Revocations(path, None, on_change=lambda: None)
    assert not revocations.is_revoked(who())
    revocations.revoke("sub", ISSUER, "ada", until())
    assert revocations.is_revoked(who())


def test_a_bad_entry_in_redis_hides_no_other(host: Host, link: RedisLink) -> None:
    host("a", link).revoke("sub", ISSUER, "ada", until())
    link.call(lambda client: client.hset(link.key("revocations"), mapping={"nonsense": "soon", b"\xff": b"\xff"}))
    two = host("b", link)
    two.sync()
    assert two.is_revoked(who())


def told(one: Revocations, other: Revocations) -> bool:
    """Whether `other` knows of ada once both have looked at Redis."""
    one.sync()
    other.sync()
    return other.is_revoked(who())
