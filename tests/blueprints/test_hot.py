"""What is answered without Flask is what Flask would have answered, for every request that can be thought of."""

from __future__ import annotations

import io
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from devstack.bao import Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.blueprints.hot_server import Seen, TwoWays, counting_requests, environ_of
from tests.observability.logged import lines, out
from tests.serving import READ_ALL, VIEW_ALL, serving
from tests.support import eventually

__all__ = ["out"]

SECRET = "hunter2-of-the-shop"
FILES = {
    "application.yml": "log: info\n",
    "shop.yml": "db:\n  pool: 5\n  password: ${vault:kv/services/shop/prod/hot#password}\nname: hällo\n",
    "shop-prod.properties": "db.pool=9\n",
    "other.yml": "own: 1\n",
    "logback.xml": "<level>${log}</level>\n",
}
METRICS_PORT = "9876"
SHOP = "/v1/config/shop/prod"
#: As others hold it, with and without what is in it.
TAG = "TAG"


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, bao: Bao) -> Iterator[TwoWays]:
    bao.put("services/shop/prod/hot", {"password": SECRET})
    settings: dict[str, Any] = {
        "secret_ttl_seconds": 3600.0,  # so that none must be read again in the middle of a test
        "allowed_origins": ("https://ok.example",),
        "metrics": METRICS_PORT,
        "auth_failures_per_minute": 0,
    }
    with serving(tmp_path_factory.mktemp("hot"), issuer, FILES, vault=bao, **settings) as running:
        running.origin.tag("v1")
        running.push({"shop.yml": FILES["shop.yml"] + "more: true\n"})
        yield TwoWays(running)


@pytest.fixture
def tokens(ways: TwoWays) -> dict[str, str | None]:
    """By what they are, as the header Authorization. New ones for each test: one that was verified is remembered for a
    minute, which must not end in the middle of it."""
    gone = uuid4().hex
    good = ways.serving.token(READ_ALL, sub="reader")
    others = {
        "viewer": ways.serving.token(VIEW_ALL, sub="viewer"),
        "its service": ways.serving.token("config:read", sub="shop", service="shop"),
        "another service": ways.serving.token("config:read", sub="other", service="other"),
        "no grant": ways.serving.token("openid", sub="nobody"),
        "expired": ways.serving.token(READ_ALL, sub="late", lifetime=-100),
        "forged": good[:-8] + "AAAAAAAA",
        "revoked": ways.serving.token(READ_ALL, sub="revoked", jti=gone),
    }
    ways.by_flask(environ_of(SHOP, Authorization=f"Bearer {others['revoked']}"))  # remembered, then revoked
    ways.serving.server.services.revoke("jti", ways.serving.issuer.url, gone)
    headers: dict[str, str | None] = {name: f"Bearer {token}" for name, token in others.items()}
    odd = {
        "none": None,
        "small letters": f"bearer {good}",
        "two blanks": f"Bearer  {good}",
        "two of them": f"Bearer {good},Bearer {good}",
        "basic": "Basic dXNlcjpwYXNz",
        "no ascii": f"Bearer {good[:-1]}\xe9",
    }
    return {"reader": f"Bearer {good}", **headers, **odd}


def tag_of(ways: TwoWays, authorization: str | None, path: str, query: str, accept: str | None) -> str:
    """That of what this request gets, whole; else one that nobody has."""
    seen = ways.by_flask(environ_of(path, query, Authorization=authorization, Accept=accept))
    return seen.header("ETag") or '"none"'


TAGS = [None, TAG, f"W/{TAG}", f'"0000", {TAG}', '"0000"', "*", "nonsense", ""]
QUERIES = [
    "",
    "label=main",
    "label=v1",
    "label=%6dain",
    "label=nope",
    "label=main&label=v1",
    "format=yaml",
    "format=env",
    "format=bogus",
    "key=db",
    "key=nope",
    "flat=true",
    "explain=true",
    "wait=0",
    "at=2020-01-01T00:00:00Z",
    "unknown=1",
    "x" * 1100,
]
ACCEPTS = [None, "application/json", "*/*", "application/yaml", "text/plain;q=0.1, application/x-yaml", "image/png"]
PATHS = [SHOP, "/v1/config/shop/eu,prod", "/v1/config/sh%6Fp/prod", "/v1/config/other/prod", "/v1/config/-/prod"]
MORE_PATHS = [
    f"{SHOP}/",
    f"{SHOP}/logback.xml",
    f"/{SHOP}",
    "/v1/config/shop",
    "/v1/config//prod",
    "/v1/config/sh%2Fop/prod",
    "/v1/config/sh%FFop/prod",
    "/spring/shop/prod",
    "/v1/history/shop/prod",
    "/health/live",
]
#: Headers beside those, and by what else a request differs.
ODDITIES: list[dict[str, Any]] = [
    {},
    {"X_Config_Rev": "REV"},
    {"X_Config_Rev": "1-00000000.1"},
    {"X_Config_Rev": "nonsense"},
    {"X_Config_Instance": "pay-1"},
    {"X_Config_Instance": "no\ttab"},
    {"X_Config_Instance": "x" * 200},
    {"X_Config_Instance": ""},
    {"Origin": "https://ok.example"},
    {"Origin": "https://evil.example"},
    {"Accept_Encoding": "gzip, br", "User_Agent": "curl/8", "Connection": "keep-alive", "Cache_Control": "no-cache"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
    {"Cookie": "a=b", "Range": "bytes=0-9"},
    {"X_HTTP_Method_Override": "DELETE"},
    {"X_Config_Token": "x", "X_Vault_Token": "y"},
    {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "https", "Traceparent": "00-" + "1" * 32 + "-01"},
    {"X_Request_ID": "not valid: \xe9"},
    {"Host": None},
    {"Host": "other.example:81"},
    {"Host": "no/host"},
    {"port": METRICS_PORT},
    {"method": "HEAD"},
    {"method": "POST"},
    {"method": "OPTIONS"},
    {"method": "BREW"},
]


#: Who, path, query, Accept, and what else.
_Ask: TypeAlias = tuple[str, str, str, str | None, dict[str, Any]]


def requests_of_all_kinds(ways: TwoWays, tokens: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    """Who x which copy x how it is asked for; what x who x which copy; whatever else x who x which copy."""
    rev = str(ways.serving.server.services.engine.world.rev)
    everybody: list[_Ask] = [(token, path, "", None, {}) for token in tokens for path in PATHS[:2] + PATHS[-2:]]
    shapes: list[_Ask] = [
        (token, SHOP, query, accept, {}) for token in ("reader", "viewer") for query in QUERIES for accept in ACCEPTS
    ]
    paths = PATHS + MORE_PATHS
    elsewhere: list[_Ask] = [(token, path, "", None, {}) for token in ("reader", "another service") for path in paths]
    odd: list[_Ask] = [(token, SHOP, "", None, more) for token in ("reader", "viewer", "none") for more in ODDITIES]
    for token, path, query, accept, more in (*everybody, *shapes, *elsewhere, *odd):
        tag = tag_of(ways, tokens[token], path, query, accept)
        more = {name: rev if value == "REV" else value for name, value in more.items()}
        for held in TAGS if accept is None else TAGS[:3]:
            copy = held if held is None else held.replace(TAG, tag)
            named = {"Authorization": tokens[token], "Accept": accept, "If_None_Match": copy, **more}
            yield environ_of(path, query, **named)


def told(seen: Seen) -> tuple[Any, ...]:
    """All of an answer but what no two have in common."""
    own = re.compile(r"[0-9a-f]{16}")
    headers = [
        (name, "new" if name == "X-Request-ID" and own.fullmatch(value) else value) for name, value in seen.headers
    ]
    return seen.status, headers, re.sub(rb'"(request_id|timestamp)": "[^"]*"', b"", seen.body)


def lines_of(text: io.StringIO) -> list[dict[str, Any]]:
    """The lines so far but for time and id; and forget them."""
    found = [
        {name: value for name, value in line.items() if name not in {"@timestamp", "event.duration_ms"}}
        for line in lines(text)
        if line.get("log.logger") == "access"
    ]
    text.seek(0)
    text.truncate()
    for line in found:
        if re.fullmatch(r"[0-9a-f]{16}", line["http.request.id"]):
            line["http.request.id"] = "new"
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)  # some ten thousand requests
def test_every_request_is_answered_counted_and_logged_as_by_flask(
    ways: TwoWays, tokens: dict[str, str | None], out: io.StringIO
) -> None:
    asked = list(requests_of_all_kinds(ways, tokens))
    for environ in asked:
        ways.by_hot(environ)  # what can be remembered is
    lines_of(out)

    with counting_requests(ways.serving) as by_flask:
        wanted = [told(ways.by_flask(environ)) for environ in asked]
    lines_by_flask = lines_of(out)
    with counting_requests(ways.serving) as by_hot:
        given = [ways.by_hot(environ) for environ in asked]
    lines_by_hot = lines_of(out)

    for environ, want, (seen, _) in zip(asked, wanted, given, strict=True):
        assert told(seen) == want, environ
    assert {name: value for name, value in by_hot.items() if value} == {k: v for k, v in by_flask.items() if v}
    for mine, flasks in itertools.zip_longest(lines_by_hot, lines_by_flask):
        assert mine == flasks
    assert {seen.status for seen, itself in given if itself} == {"200 OK", "304 NOT MODIFIED"}
    assert sum(itself for _, itself in given) > 100


@pytest.mark.parametrize("accept", ["application/json", None])
@pytest.mark.parametrize("who", ["reader", "viewer", "its service"])
@pytest.mark.parametrize("query", ["", "label=main", "format=yaml", "flat=true"])
def test_what_is_asked_for_all_day_is_answered_without_flask(
    ways: TwoWays, tokens: dict[str, str | None], who: str, query: str, accept: str | None
) -> None:
    tag = tag_of(ways, tokens[who], SHOP, query, accept)
    for held, status in ((None, "200 OK"), (tag, "304 NOT MODIFIED")):
        ask = environ_of(SHOP, query, Authorization=tokens[who], Accept=accept, If_None_Match=held)
        ways.by_hot(ask)
        seen, itself = ways.by_hot(ask)
        assert (seen.status, itself) == (status, True)
        assert (SECRET.encode() in seen.body) == (held is None and who != "viewer")


@pytest.mark.parametrize("who", ["another service", "no grant", "expired", "forged", "revoked", "none", "two of them"])
def test_nobody_is_given_what_another_was_given(ways: TwoWays, tokens: dict[str, str | None], who: str) -> None:
    for _ in range(2):
        ways.by_hot(environ_of(SHOP, Authorization=tokens["reader"]))
    ways.by_hot(environ_of("/v1/config/other/prod", Authorization=tokens[who]))  # a good token is remembered by now
    seen, itself = ways.by_hot(environ_of(SHOP, Authorization=tokens[who]))
    assert (seen.status[:3] in {"401", "403"}, itself) == (True, False)
    assert SECRET.encode() not in seen.body


def test_a_token_that_is_revoked_gets_nothing_from_that_moment_on(ways: TwoWays) -> None:
    ask = environ_of(SHOP, Authorization=f"Bearer {ways.serving.token(sub='leaver', jti='leaving')}")
    ways.by_hot(ask)
    assert ways.by_hot(ask)[1]

    ways.serving.server.services.revoke("jti", ways.serving.issuer.url, "leaving")

    assert ways.by_hot(ask)[0].status == "401 UNAUTHORIZED"


def test_a_new_commit_is_answered_at_once_and_nothing_of_the_old_is_kept(
    ways: TwoWays, tokens: dict[str, str | None]
) -> None:
    ask = environ_of("/v1/config/other/prod", Authorization=tokens["reader"])
    for number in range(3):
        commit = ways.serving.push({"other.yml": f"own: {number + 10}\n"})
        first, itself = ways.by_hot(ask)
        again, after = ways.by_hot(ask)
        assert (itself, after) == (False, True)
        assert first == again
        assert first.header("X-Config-Version") == commit
        assert f'"own":{number + 10}'.encode() in first.body.replace(b" ", b"")


def test_a_secret_that_must_be_read_again_is_asked_for_by_the_route(
    ways: TwoWays, tokens: dict[str, str | None], bao: Bao
) -> None:
    store = ways.serving.server.services.secrets
    ask = environ_of(SHOP, Authorization=tokens["reader"])
    ways.by_hot(ask)
    assert ways.by_hot(ask)[1]

    store.forget_all()

    seen, itself = ways.by_hot(ask)
    assert (seen.status, itself) == ("200 OK", False)
    assert ways.by_hot(ask)[1]


def test_reads_of_secrets_are_on_record_whichever_way_they_go(ways: TwoWays) -> None:
    services = ways.serving.server.services
    hot, flask = (environ_of(SHOP, Authorization=f"Bearer {ways.serving.token(sub=sub)}") for sub in ("hot", "flask"))
    for _ in range(7):
        seen, _ = ways.by_hot(hot)
        ways.by_flask(flask)
    for _ in range(3):
        ways.by_hot({**hot, "HTTP_IF_NONE_MATCH": seen.header("ETag")})  # gives no secret

    services.audit.flush_due(time.time() + 120)

    def on_record(subject: str) -> dict[str, Any]:
        """All seven; they are two records if a minute ended meanwhile."""
        return eventually(lambda: found if (found := reads_on_record(ways, subject)).get("count") == 7 else {})

    assert on_record("hot") == on_record("flask")


def reads_on_record(ways: TwoWays, subject: str) -> dict[str, Any]:
    """The records of a subject as one, but for what no two records have in common."""
    query = {"subject": subject, "action": "secrets.read"}
    answer = ways.serving.ask("/v1/admin/audit", token=ways.serving.token("config:audit"), params=query)
    records: list[dict[str, Any]] = answer.json()["records"]
    if not records:
        return {}
    own = {"seq", "time", "hash", "previous", "subject", "count"}
    return {
        **{key: value for key, value in records[0].items() if key not in own},
        "count": sum(each["count"] for each in records),
    }


@pytest.mark.slow
def test_a_secret_is_given_no_longer_than_by_flask_when_vault_falls_silent(tmp_path: Path, issuer: LocalIssuer) -> None:
    with running_bao() as bao:
        bao.put("services/shop/prod/hot", {"password": SECRET})
        with ExitStack() as stack:

            def ways_of(name: str, grace: float) -> TwoWays:
                lives: dict[str, Any] = {"secret_ttl_seconds": 1.0, "secret_grace_seconds": grace}
                return TwoWays(stack.enter_context(serving(tmp_path / name, issuer, FILES, vault=bao, **lives)))

            long, short = ways_of("long", 3600.0), ways_of("short", 0.5)
            ask = environ_of(SHOP, Authorization=f"Bearer {long.serving.token()}")
            for ways in (long, short):
                eventually(lambda ways=ways: ways.by_hot(ask)[1])  # type: ignore[misc]  # bound now
            bao.stop()
            stale = eventually(lambda: stale_of(long, ask))
            assert stale is not None
            assert stale.startswith("vault;")
            assert not long.by_hot(ask)[1], "an answer from the grace period is no lasting one"
            eventually(lambda: short.by_hot(ask)[0].status == "503 SERVICE UNAVAILABLE")


def stale_of(ways: TwoWays, ask: dict[str, Any]) -> str | None:
    """What the short way says of staleness, which is what Flask says."""
    seen, _ = ways.by_hot(ask)
    assert seen.status == "200 OK"
    return seen.header("X-Config-Stale")


def test_a_bad_commit_and_draining_change_nothing_of_what_both_ways_answer(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"shop.yml": "a: 1\n"}) as running:
        ways = TwoWays(running)
        ask = environ_of(SHOP, Authorization=f"Bearer {running.token()}")
        ways.by_hot(ask)
        assert ways.by_hot(ask)[1]
        running.push({"shop.yml": "a: [\n"})
        for _ in range(2):
            seen, itself = ways.by_hot(ask)
            assert (seen, itself) == (ways.by_flask(ask), False)
            assert (seen.header("X-Config-Stale") or "").startswith("invalid;")
        running.push({"shop.yml": "a: 2\n"})
        ways.by_hot(ask)
        running.server.services.drain(at_once=True)
        assert ways.by_hot(ask) == (ways.by_flask(ask), True)


def test_while_an_instance_may_get_another_branch_the_route_decides(tmp_path: Path, issuer: LocalIssuer) -> None:
    rollout = '[[rollout]]\nservice = "shop"\nenvs = ["prod"]\nbranch = "next"\ninstances = ["shop-7"]\n'
    files = {"shop.yml": "a: 1\n", "other.yml": "a: 1\n", ".config-server/rollouts.toml": rollout}
    with serving(tmp_path, issuer, files) as running:
        running.origin.branch("next")
        running.origin.write({"shop.yml": "a: 2\n"})
        running.origin.branch("main")
        running.refresh()
        ways = TwoWays(running)
        token = f"Bearer {running.token()}"
        for path, lasting in ((SHOP, False), ("/v1/config/other/prod", True)):
            for instance in ("shop-7", "shop-8", None):
                ask = environ_of(path, Authorization=token, X_Config_Instance=instance)
                ways.by_hot(ask)
                assert ways.by_hot(ask) == (ways.by_flask(ask), lasting)
        chosen = ways.by_hot(environ_of(SHOP, Authorization=token, X_Config_Instance="shop-7"))[0]
        assert b'"rollout"' in chosen.body


@pytest.mark.parametrize("limits", [{"most": 2}, {"most_bytes": 40}], ids=["keys", "bytes"])
def test_it_begins_anew_before_it_holds_too_much(
    ways: TwoWays, tokens: dict[str, str | None], limits: dict[str, int]
) -> None:
    small = TwoWays(ways.serving, limits=limits)
    queries = ("", "flat=true", "format=yaml")
    asked = [environ_of("/v1/config/other/prod", query, Authorization=tokens["reader"]) for query in queries]
    for ask in asked:
        small.by_hot(ask)
    assert small.by_hot(asked[-1])[1]
    assert not small.by_hot(asked[0])[1]


def test_an_answer_that_is_made_anew_takes_the_place_of_the_one_before(
    ways: TwoWays, tokens: dict[str, str | None]
) -> None:
    other, shop = (environ_of(path, Authorization=tokens["reader"]) for path in ("/v1/config/other/prod", SHOP))
    size = sum(len(ways.by_hot(ask)[0].body) for ask in (other, shop))
    small = TwoWays(ways.serving, limits={"most_bytes": size + 1})
    small.by_hot(other)
    for _ in range(5):
        small.by_hot(shop)
        ways.serving.server.services.secrets.forget_all()
    assert small.by_hot(other)[1], "there is room for both"
