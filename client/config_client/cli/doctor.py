"""What may be wrong between a client and its server, looked at from the wire upwards."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from config_client.carriage import failures, headers, socket_options, socket_url, verification
from config_client.cli.api import Api, Refused, path_of
from config_client.cli.profiles import Profile

_SKEW = 30.0
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    ok: bool
    detail: str


def examine(profile: Profile, target: str | None) -> Iterator[Finding]:
    """One finding after another; ends early where what follows could not work."""
    server = profile.server
    proxies = [
        name for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy") if os.environ.get(name)
    ]
    yield Finding("proxies", True, f"{', '.join(proxies)} is in effect" if proxies else "none")
    if not proxies:
        reached = _look("connection", lambda: _connects(server))
        yield reached
        if not reached.ok:
            return
    answered = _look("health", lambda: _health(server))
    yield answered
    if not answered.ok:
        return
    yield _look("clock", lambda: _clock(server))
    try:
        token = profile.token()
    except (ValueError, OSError) as error:
        yield Finding("token", False, f"{profile.kind}: {error}")
        return
    yield _look("token", lambda: _token(token))
    api = Api(server, token)
    try:
        accepted = _look("accepted", lambda: _accepted(api))
        yield accepted
        if accepted.ok and target:
            yield _look("target", lambda: _target(api, target))
        if accepted.ok:
            yield _look("websocket", lambda: _websocket(server, token))
            yield _look("event stream", lambda: _events(server, token, target))
    finally:
        api.close()


def _look(name: str, probe: Callable[[], str]) -> Finding:
    """What a probe tells, or what it raises."""
    try:
        return Finding(name, True, probe())
    except Refused as refused:
        return Finding(name, False, str(refused))
    except failures() as error:
        return Finding(name, False, str(error) or type(error).__name__)


def _connects(server: str) -> str:
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname or "", port), timeout=_TIMEOUT) as connection:
        return f"{parts.hostname} is {connection.getpeername()[0]}:{port}"


def _health(server: str) -> str:
    answer = _plain(server, "/health")
    if answer.status_code != 200:
        raise ValueError(f"status {answer.status_code}: this may be no config server")
    body = answer.json()
    wrong = [
        f"{name}: {part.get('detail', part['status'])}"
        for name, part in body["parts"].items()
        if part["status"] != "ok"
    ]
    if not body["ready"]:
        raise ValueError("; ".join(["not ready", *wrong]))
    return "; ".join([body["status"], *wrong])


def _plain(server: str, path: str) -> Any:
    import httpx

    with httpx.Client(base_url=server, timeout=_TIMEOUT, verify=verification(server, None)) as client:
        return client.get(path)


def _clock(server: str) -> str:
    date = _plain(server, "/health/live").headers.get("date")
    if date is None:
        return "the server tells no time"
    skew = time.time() - parsedate_to_datetime(date).timestamp()
    if abs(skew) > _SKEW:
        raise ValueError(f"this machine's clock is {skew:+.0f} s off the server's: tokens may be refused")
    return f"{skew:+.0f} s off the server's"


def _token(token: str) -> str:
    """What it says of itself; it is the server that judges."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError) as error:
        raise ValueError("it is no JWT") from error
    left = claims.get("exp", 0) - time.time()
    if left <= 0:
        raise ValueError(f"it has expired {-left:.0f} s ago")
    shown = {name: claims[name] for name in ("iss", "aud", "sub", "service", "scope") if name in claims}
    return f"good for {left:.0f} s; {json.dumps(shown)}"


def _accepted(api: Api) -> str:
    return f"the server stands at rev {api.get('/v1/admin/status')['rev']}"


def _target(api: Api, target: str) -> str:
    body = api.config(target)
    stale = ", ".join(each["reason"] for each in body.get("stale", ()))
    return f"version {body['version'][:12]} of {body['label']}" + (f"; stale: {stale}" if stale else "")


def _websocket(server: str, token: str) -> str:
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    options = socket_options(server, None, {}, token)
    with connect(
        socket_url(server, "/v1/stream"), subprotocols=[Subprotocol("cfg.v1")], open_timeout=_TIMEOUT, **options
    ) as opened:
        hello = json.loads(opened.recv(timeout=_TIMEOUT))
        return f"{hello['type']}, a heartbeat every {hello['hb_ms'] / 1000:g} s"


def _events(server: str, token: str, target: str | None) -> str:
    import httpx

    if target is None:
        return "not tried: name a TARGET"
    path_of(target)
    with (
        httpx.Client(base_url=server, timeout=_TIMEOUT, verify=verification(server, None)) as client,
        client.stream("GET", "/v1/events", params={"topic": target}, headers=headers({}, token)) as answer,
    ):
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}")
        first = next(answer.iter_lines(), "")
        if first != "event: hello":
            raise ValueError(f"it began with {first[:40]!r}: something between holds the stream back or changes it")
        return "hello"
