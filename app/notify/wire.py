"""The stream protocol `cfg.v1`, pure: envelopes to bytes, bytes to commands (docs/protocol/cfg.v1.schema.json)."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NewType, TypeAlias

from app.errors import ConfigServerError
from app.model import Stale

#: JSON that is written already.
Text = NewType("Text", str)

SUBPROTOCOL = "cfg.v1"
MAX_TOPICS = 200
MAX_TEXT = 600
_SURROGATE = re.compile("[\ud800-\udfff]")

CLOSE_RESTART, CLOSE_BAD_FRAME, CLOSE_TOKEN, CLOSE_FORBIDDEN, CLOSE_SLOW, CLOSE_LIMIT = (
    1012,
    4400,
    4401,
    4403,
    4500,
    4502,
)
CLOSE_INTERNAL = 1011


class BadFrame(ConfigServerError):
    """A client's frame is no command of this protocol; the connection is closed with 4400."""


@dataclass(frozen=True)
class Frame:
    """One envelope, serialised once; the same bytes go to every subscriber. `id` is SSE's event id (sync only), `op` a
    change's operation."""

    type: str
    text: str
    id: str | None = None
    op: str | None = None

    @cached_property
    def websocket(self) -> bytes:
        """A final, unmasked text frame (RFC 6455, section 5.2)."""
        payload = self.text.encode()
        size = len(payload)
        if size < 126:
            return struct.pack("!BB", 0x81, size) + payload
        if size < 65536:
            return struct.pack("!BBH", 0x81, 126, size) + payload
        return struct.pack("!BBQ", 0x81, 127, size) + payload

    @cached_property
    def sse(self) -> bytes:
        """An event of text/event-stream (WHATWG HTML, section 9.2); JSON text holds no line break."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.type}\ndata: {self.text}\n\n".encode()


def text_of(value: object) -> Text:
    return Text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _frame(kind: str, *, written: Mapping[str, Text | None] | None = None, **members: Any) -> Frame:
    """`written` members are JSON already; those that are None are left out, as are others."""
    present = {name: value for name, value in members.items() if value is not None}
    rest = "".join(f',"{name}":{text}' for name, text in (written or {}).items() if text is not None)
    return Frame(kind, f"{text_of({'type': kind, **present})[:-1]}{rest}}}", op=present.get("op"))


def hello(conn: str, rev: str, heartbeat_seconds: float) -> Frame:
    return _frame("hello", conn=conn, rev=rev, hb_ms=round(heartbeat_seconds * 1000))


def subscribed(topics: Sequence[str], mode: str) -> Frame:
    """`mode`: changes (those that differ follow), full (everything follows) or none (the client has it all)."""
    return _frame("subscribed", topics=list(topics), mode=mode)


@dataclass(frozen=True, slots=True)
class Change:
    """What a subscriber is told of one topic.

    `op`: put (with `doc` and `sum`), patch (`base`, `patch`, `sum`), del, or state (staleness only). `doc` and `patch`
    are JSON, written. `rewritten`: the label was moved by a forced push.
    """

    topic: str
    op: str
    etag: str
    version: str
    head: str
    keys: tuple[str, ...] = ()
    stale: tuple[Stale, ...] = ()
    doc: Text | None = None
    sum: str | None = None
    base: str | None = None
    patch: Text | None = None
    rewritten: bool = False


def change(told: Change) -> Frame:
    members: dict[str, Any] = {
        "topic": told.topic,
        "op": told.op,
        "etag": told.etag,
        "version": told.version,
        "head": told.head,
        "keys": list(told.keys),
    }
    if told.stale:
        members["stale"] = [stale.as_json() for stale in told.stale]
    if told.rewritten:
        members["rewritten"] = True
    return _frame("change", written={"doc": told.doc, "patch": told.patch}, base=told.base, sum=told.sum, **members)


def sync(rev: str, ts: str) -> Frame:
    """All of `rev` is delivered."""
    return _frame("sync", rev=rev, ts=ts)


def with_digest(synced: Frame, rev: str, digest: str) -> Frame:
    """`synced` with SSE's event id: the revision, and a digest of what the client now holds."""
    return Frame(synced.type, synced.text, f"{rev};{digest}")


def error(code: str, topic: str | None, retry: bool) -> Frame:
    return _frame("error", code=code, topic=topic, retry=retry)


def auth_expiring(in_seconds: float) -> Frame:
    return _frame("auth_expiring", in_ms=round(in_seconds * 1000))


def goodbye(code: int, retry_seconds: float) -> Frame:
    return _frame("goodbye", code=code, retry_ms=round(retry_seconds * 1000))


@dataclass(frozen=True, slots=True)
class Subscribe:
    """topic -> the etag that the client holds, or None. `digest` is of what it held, from SSE's last event id."""

    topics: Mapping[str, str | None]
    since: str | None = None
    client: Mapping[str, str] = field(default_factory=dict)
    accepts_patches: bool = False
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Auth:
    """A new token for the same client."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """What the client did with what it was sent: `status` is applied or rejected, with a `reason`."""

    rev: str
    topic: str
    etag: str
    status: str
    reason: str | None = None


Command: TypeAlias = Subscribe | Unsubscribe | Auth | Ack


def parse(text: str | bytes) -> Command:
    """Read a client's frame. Raises BadFrame, whose text names the member at fault and quotes nothing."""
    if isinstance(text, bytes):
        raise BadFrame("frames are text")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise BadFrame("not JSON") from exc
    if not isinstance(data, dict):
        raise BadFrame("not a JSON object")
    read = COMMANDS.get(str(data.get("type")))
    if read is None:
        raise BadFrame("type: not a command of cfg.v1")
    return read(data)


def _subscribe(data: dict[str, Any]) -> Subscribe:
    topics = data.get("topics")
    if not isinstance(topics, list) or not 0 < len(topics) <= MAX_TOPICS:
        raise BadFrame(f"topics: 1 to {MAX_TOPICS} objects with name and etag")
    wanted: dict[str, str | None] = {}
    for topic in topics:
        if not isinstance(topic, dict):
            raise BadFrame("topics: each is an object with name and etag")
        wanted[_checked(topic.get("name"), "name")] = _text(topic, "etag")
    client = data.get("client", {})
    if not isinstance(client, dict):
        raise BadFrame("client: an object")
    names = {name: value for name in ("instance", "version") if (value := _text(client, name))}
    accepts = data.get("accept", ["put"])
    if not isinstance(accepts, list) or not set(map(str, accepts)) <= {"put", "patch"}:
        raise BadFrame("accept: a list of put and patch")
    return Subscribe(wanted, _text(data, "since"), names, "patch" in accepts)


def _unsubscribe(data: dict[str, Any]) -> Unsubscribe:
    topics = data.get("topics")
    if not isinstance(topics, list) or not 0 < len(topics) <= MAX_TOPICS:
        raise BadFrame(f"topics: 1 to {MAX_TOPICS} names")
    return Unsubscribe(tuple(_checked(topic, "topics") for topic in topics))


def _auth(data: dict[str, Any]) -> Auth:
    token = data.get("token")
    if not isinstance(token, str) or not token or not token.isascii():
        raise BadFrame("token: a text")
    return Auth(token)


def _ack(data: dict[str, Any]) -> Ack:
    status = data.get("status")
    if status not in {"applied", "rejected"}:
        raise BadFrame("status: applied or rejected")
    rev, topic, etag = (_checked(data.get(name), name) for name in ("rev", "topic", "etag"))
    return Ack(rev, topic, etag, status, _text(data, "reason"))


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return None if value is None else _checked(value, name)


def _checked(value: object, name: str) -> str:
    """Half of a surrogate pair is refused: JSON can spell it (RFC 8259, 8.2), and no frame of ours could quote it."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or _SURROGATE.search(value):
        raise BadFrame(f"{name}: a text of 1 to {MAX_TEXT} characters")
    return value


COMMANDS: Mapping[str, Callable[[dict[str, Any]], Command]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "auth": _auth,
    "ack": _ack,
}
