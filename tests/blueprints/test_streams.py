"""How a stream is opened and kept: by token or ticket, from which page, how many of them, and what it resumes from."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from devstack.issuer import LocalIssuer
from tests.notify.sse import Event, events
from tests.protocol import validated
from tests.serving import EVERYTHING, READ_ALL, Serving, serving
from tests.support import eventually

UI, ELSEWHERE = "https://ui.example", "https://elsewhere.example"
PAY = "pay/prod/main"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    files = {"pay.yml": "pool: 5\n" + "".join(f"key{n}: some value\n" for n in range(30)), "shop.yml": "colour: red\n"}
    directory = tmp_path_factory.mktemp("streams")
    with serving(directory, issuer, files, allowed_origins=(UI,), streams_per_subject=0) as running:
        yield running


@contextlib.contextmanager
def following(site: Serving, query: str, *, token: str | None = None, **headers: str) -> Iterator[EventReader]:
    """An open event stream; `token` "" sends none."""
    token = site.token() if token is None else token
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given |= {"Authorization": f"Bearer {token}"} if token else {}
    with (
        httpx.Client(base_url=site.server.url, trust_env=False, timeout=60) as client,
        client.stream("GET", f"/v1/events?{query}", headers=given) as answer,
    ):
        yield EventReader(answer)


class EventReader:
    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._bytes = answer.iter_raw() if answer.status_code == 200 else iter(())
        self._seen = b""
        self._taken = 0

    def until(self, kind: str) -> list[Event]:
        """The next events, up to one of this kind."""
        while True:
            found = events(self._seen)[self._taken :]
            for number, event in enumerate(found, 1):
                validated(event.data)
                if event.type == kind:
                    self._taken += number
                    return found[:number]
            self._seen += next(self._bytes)

    def problem(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.answer.read())
        return body


@contextlib.contextmanager
def speaking(site: Serving, *protocols: str, token: str | None = None, **headers: str) -> Iterator[ClientConnection]:
    token = site.token() if token is None else token
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given |= {"Authorization": f"Bearer {token}"} if token else {}
    url = site.server.url.replace("http", "ws") + "/v1/stream"
    offered: Any = ["cfg.v1", *protocols]
    with connect(
        url, subprotocols=offered, additional_headers=given, proxy=None, compression=None, close_timeout=1
    ) as connection:
        yield connection


def frames(connection: ClientConnection, until: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    while not told or told[-1]["type"] != until:
        told.append(validated(connection.recv(timeout=60)))
    return told


def close_of(connection: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """What is told from now on, and the close code."""
    told: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            told.append(validated(connection.recv(timeout=60)))
    return told, connection.close_code or 0


def say(connection: ClientConnection, **command: Any) -> None:
    text = json.dumps(command)
    validated(text)
    connection.send(text)


def subscribe(connection: ClientConnection, *names: str, **more: Any) -> list[dict[str, Any]]:
    say(connection, type="subscribe", topics=[{"name": name} for name in names], **more)
    return frames(connection, "sync")


def ticket(site: Serving, origin: str | None = UI, **claims: Any) -> str:
    headers = {"Origin": origin} if origin else {}
    answer = site.ask("/v1/tickets", method="POST", token=site.token(**claims), headers=headers)
    assert (answer.status_code, answer.json()["expires_in"]) == (201, 30)
    assert answer.headers["Cache-Control"].startswith("no-store")
    value: str = answer.json()["ticket"]
    return value


# Tickets


def test_a_browser_asks_for_a_ticket_across_origins(site: Serving) -> None:
    asked = {"Origin": UI, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = site.ask("/v1/tickets", method="OPTIONS", token="", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == UI
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    answer = site.ask("/v1/tickets", method="POST", headers={"Origin": UI})
    assert answer.headers["Access-Control-Allow-Origin"] == UI
    assert (
        "Access-Control-Allow-Origin"
        not in site.ask("/v1/tickets", method="POST", headers={"Origin": ELSEWHERE}).headers
    )


def test_a_ticket_opens_a_websocket_that_is_answered_by_the_protocol_alone(site: Serving) -> None:
    with speaking(site, f"ticket.{ticket(site)}", token="", Origin=UI) as connection:
        assert connection.subprotocol == "cfg.v1"
        response = connection.response
        assert response is not None
        assert response.headers.get_all("Sec-WebSocket-Protocol") == ["cfg.v1"]
        assert subscribe(connection, PAY)[-1]["type"] == "sync"


@pytest.mark.parametrize("by", ["header", "query"])
def test_a_ticket_opens_an_event_stream(site: Serving, by: str) -> None:
    value = ticket(site)
    query, headers = (f"&ticket={value}", {}) if by == "query" else ("", {"Authorization": f"Ticket {value}"})
    with following(site, f"topic={PAY}{query}", token="", Origin=UI, **headers) as stream:
        assert stream.answer.status_code == 200
        assert stream.until("sync")[-1].last_id
    with following(site, f"topic={PAY}{query}", token="", Origin=UI, **headers) as stream:
        assert stream.answer.status_code == 401, "once"


@pytest.mark.parametrize("origin", [None, ELSEWHERE, "null"])
def test_a_ticket_is_for_the_page_that_asked(site: Serving, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}
    with following(site, f"topic={PAY}", token="", Authorization=f"Ticket {ticket(site)}", **headers) as stream:
        assert stream.answer.status_code in {401, 403}
    with pytest.raises(InvalidStatus) as refused, speaking(site, f"ticket.{ticket(site)}", token="", **headers):
        pass
    assert refused.value.response.status_code in {401, 403}


def test_a_ticket_grants_what_its_token_did(site: Serving) -> None:
    value = ticket(site, scope="config:read:pay")
    with following(site, "topic=shop/prod", token="", Origin=UI, Authorization=f"Ticket {value}") as stream:
        assert stream.answer.status_code == 403


@pytest.mark.parametrize("path", ["/v1/config/pay/prod", "/v1/tickets", "/v1/admin/refresh"])
def test_a_ticket_opens_nothing_but_streams(site: Serving, path: str) -> None:
    method = "GET" if "config" in path else "POST"
    value = ticket(site, scope=EVERYTHING)
    for query, headers in (("", {"Authorization": f"Ticket {value}"}), (f"?ticket={value}", {})):
        answer = site.ask(path + query, method=method, token="", headers={"Origin": UI, **headers})
        assert answer.status_code in {400, 401}


@pytest.mark.parametrize("origin", [ELSEWHERE, "null", UI + ".evil.example"])
def test_a_foreign_page_opens_no_stream_even_with_a_good_token(site: Serving, origin: str) -> None:
    with following(site, f"topic={PAY}", Origin=origin) as stream:
        assert stream.answer.status_code == 403
    with pytest.raises(InvalidStatus) as refused, speaking(site, Origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_neither_ticket_nor_token_is_in_any_line_of_the_log(
    site: Serving, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    token, values = site.token(), [ticket(site) for _ in range(3)]
    with following(site, f"topic={PAY}&ticket={values[0]}", token="", Origin=UI) as stream:
        stream.until("sync")
    with following(site, f"topic={PAY}&ticket={values[0]}", token="", Origin=UI) as stream:
        assert values[0] not in json.dumps(stream.problem())
    with following(site, f"topic={PAY}", token="", Origin=UI, Authorization=f"Ticket {values[1]}") as stream:
        stream.until("sync")
    with speaking(site, f"ticket.{values[2]}", token="", Origin=UI) as connection:
        frames(connection, "hello")
        say(connection, type="auth", token=token)
        subscribe(connection, PAY)
    eventually(lambda: len(site.server.services.notifier) == 0)
    out = capfd.readouterr()
    trail = "".join(path.read_text() for path in site.server.services.settings.audit_path.glob("*.jsonl"))
    ours = [
        each.getMessage()
        for each in caplog.records
        if each.name.split(".")[0] not in {"httpx", "httpcore", "websockets"}
    ]
    said = "\n".join([*ours, out.out, out.err, trail])
    assert "stream" in said
    assert [value for value in (*values, token) if value in said] == []


def test_a_revoked_token_gives_no_ticket_and_its_ticket_opens_nothing(site: Serving) -> None:
    value = ticket(site, sub="leaver")
    revoke(site, kind="sub", value="leaver")
    assert site.ask("/v1/tickets", method="POST", token=site.token(sub="leaver")).status_code == 401
    with following(site, f"topic={PAY}", token="", Origin=UI, Authorization=f"Ticket {value}") as stream:
        assert stream.answer.status_code == 401


# Tokens in band


def revoke(site: Serving, **body: Any) -> None:
    answer = site.ask("/v1/admin/revocations", method="POST", token=site.token(EVERYTHING, sub="admin"), json=body)
    assert answer.status_code == 204, answer.text


def test_a_new_token_narrows_at_once_and_another_subject_ends_the_stream(site: Serving) -> None:
    with speaking(site) as connection:
        subscribe(connection, PAY, "shop/prod")
        say(connection, type="auth", token=site.token("config:read:pay"))
        assert frames(connection, "error")[-1] == {
            "type": "error",
            "code": "forbidden",
            "topic": "shop/prod/main",
            "retry": False,
        }
        say(connection, type="auth", token=site.token(sub="somebody else"))
        told, code = close_of(connection)
        assert (told[-1]["type"], told[-1]["code"], code) == ("goodbye", 4403, 4403)


@pytest.mark.parametrize("kind", ["sub", "jti"])
def test_revocation_ends_open_streams_of_both_kinds_within_five_seconds(site: Serving, kind: str) -> None:
    token = site.token(sub=f"leaver-{kind}", jti=f"token-of-{kind}")
    with speaking(site, token=token) as connection, following(site, f"topic={PAY}", token=token) as stream:
        subscribe(connection, PAY)
        stream.until("sync")
        revoke(site, kind=kind, value=f"leaver-{kind}" if kind == "sub" else f"token-of-{kind}")
        told, code = close_of(connection)
        assert (told[-1]["type"], told[-1]["code"], code) == ("goodbye", 4401, 4401)
        assert json.loads(stream.until("goodbye")[-1].data)["code"] == 4401
    assert site.ask("/v1/config/pay/prod", token=token).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "sub"},
        {"kind": "iss", "value": "x"},
        {"kind": "sub", "value": ""},
        {"kind": "sub", "value": "x", "until": 1},
    ],
    ids=str,
)
def test_a_revocation_that_names_nothing_is_refused(site: Serving, body: dict[str, Any]) -> None:
    answer = site.ask("/v1/admin/revocations", method="POST", token=site.token(EVERYTHING), json=body)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:config-server:bad-input")
    assert site.ask("/v1/admin/revocations", method="POST", json={"kind": "sub", "value": "x"}).status_code == 403


# Limits


def test_the_fifth_stream_of_an_instance_is_429_by_its_header(site: Serving) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(speaking(site, X_Config_Instance="pay-1"))
            stream = held.enter_context(following(site, f"topic={PAY}", X_Config_Instance="pay-1"))
            assert stream.answer.status_code == 200
        with following(site, f"topic={PAY}", X_Config_Instance="pay-1") as fifth:
            assert fifth.answer.status_code == 429
            assert int(fifth.answer.headers["Retry-After"]) > 0
            assert fifth.problem()["type"] == "urn:config-server:too-many-streams"
        with pytest.raises(InvalidStatus) as refused, speaking(site, X_Config_Instance="pay-1"):
            pass
        assert refused.value.response.status_code == 429
        with following(site, f"topic={PAY}", X_Config_Instance="pay-2") as other:
            assert other.answer.status_code == 200
        with speaking(site) as connection:
            frames(connection, "hello")
            say(connection, type="subscribe", topics=[{"name": PAY}], client={"instance": "pay-1"})
            told, code = close_of(connection)
            assert (told[-1]["code"], code) == (4502, 4502)
        assert site.ask("/health/live", token="").status_code == 200
    eventually(lambda: len(site.server.services.notifier) == 0)
    with following(site, f"topic={PAY}", X_Config_Instance="pay-1") as again:
        assert again.answer.status_code == 200


def test_too_many_messages_end_a_websocket(site: Serving) -> None:
    with speaking(site) as connection:
        subscribe(connection, PAY)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(25):
                say(connection, type="unsubscribe", topics=["never/followed"])
        told, code = close_of(connection)
        assert (told[-1]["code"], code) == (4502, 4502)


def test_a_handshake_that_fails_gives_its_place_back(site: Serving) -> None:
    """More often than an instance may have streams; and a page of another origin takes none."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "12",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "cfg.v1",
        "X-Config-Instance": "pay-9",
    }
    for _ in range(6):
        assert site.ask("/v1/stream", headers=upgrade).status_code == 400
    eventually(lambda: len(site.server.services.notifier) == 0)


@pytest.mark.parametrize("instance", ["", "x" * 129, "gr\u00fc\u00dfe"])
def test_an_instance_without_a_proper_name_is_refused(site: Serving, instance: str) -> None:
    answer = site.ask(f"/v1/events?topic={PAY}", headers={"X-Config-Instance": instance.encode("latin-1")})
    assert (answer.status_code, answer.json()["field"]) == (400, "X-Config-Instance")
    eventually(lambda: len(site.server.services.notifier) == 0)


# Resuming, patches, acks


def test_who_comes_back_with_the_last_event_id_is_told_nothing(site: Serving) -> None:
    with following(site, f"topic={PAY}&topic=shop/prod") as stream:
        last_id = stream.until("sync")[-1].last_id
    with following(site, f"topic=shop/prod&topic={PAY}", Last_Event_ID=last_id) as stream:
        assert [event.type for event in stream.until("sync")] == ["hello", "subscribed", "sync"]
    with following(site, f"topic={PAY}", Last_Event_ID=last_id) as stream:
        assert [event.type for event in stream.until("sync")] == ["hello", "subscribed", "change", "sync"]


def test_an_event_stream_may_ask_for_patches(site: Serving) -> None:
    with following(site, f"topic={PAY}&accept=patch") as takes, following(site, f"topic={PAY}") as not_:
        for stream in (takes, not_):
            stream.until("sync")
        site.push({"pay.yml": "pool: 6\n" + "".join(f"key{n}: some value\n" for n in range(30))})
        patch, put = (json.loads(stream.until("change")[-1].data) for stream in (takes, not_))
    assert patch["patch"] == [{"op": "replace", "path": "/pool", "value": 6}]
    assert (patch["sum"], patch["etag"]) == (put["sum"], put["etag"])


def test_an_ack_beside_an_event_stream_is_noted_for_its_owner_alone(site: Serving) -> None:
    with following(site, f"topic={PAY}", token=site.token(sub="acker"), X_Config_Instance="pay-3") as stream:
        told = [json.loads(event.data) for event in stream.until("sync")]
        said = {
            "conn": told[0]["conn"],
            "rev": told[-1]["rev"],
            "topic": PAY,
            "etag": told[2]["etag"],
            "status": "applied",
        }

        def ack(subject: str = "acker", **more: Any) -> int:
            token = site.token(READ_ALL, sub=subject)
            return site.ask("/v1/acks", method="POST", token=token, json={**said, **more}).status_code

        assert eventually(lambda: ack() == 204)
        (record,) = [each for each in site.server.services.presence.all() if each["id"] == said["conn"]]
        assert (record["instance"], record["acks"][PAY]["etag"]) == ("pay-3", said["etag"])
        assert ack("mallory") == 404
        assert ack(topic="shop/prod/main") == 404
        assert ack(conn="0" * 16) == 404
        assert ack(conn="../x") == 400
        assert ack(status="perhaps") == 400
    eventually(lambda: ack() == 404)


def test_a_drain_ends_every_stream_in_a_random_moment_and_refuses_new_ones(
    tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer
) -> None:
    with (
        serving(tmp_path_factory.mktemp("drain"), issuer, {"pay.yml": "a: 1\n"}) as site,
        contextlib.ExitStack() as held,
    ):
        connections = [held.enter_context(speaking(site)) for _ in range(4)]
        for connection in connections:
            subscribe(connection, PAY)
        ends: list[int] = []
        threads = [threading.Thread(target=lambda c=each: ends.append(close_of(c)[1])) for each in connections]
        for thread in threads:
            thread.start()
        site.server.services.drain()
        assert site.ask(f"/v1/events?topic={PAY}").status_code == 503
        assert site.ask("/health/ready", token="").status_code == 503
        assert site.get("pay/prod").status_code == 200
        for thread in threads:
            thread.join(60)
        assert ends == [1012] * 4
