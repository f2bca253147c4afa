"""What the load client says and hears, as bytes: requests made beforehand, and messages cut out of what arrives."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

#: What has arrived -> the whole messages in it, and the rest.
Cut: TypeAlias = Callable[[bytes], tuple[list[bytes], bytes]]

END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Opening:
    """One connection to make. `request` is sent first (empty: nothing), `subscribe` after the answer to it.

    It is open when the first message with `ready` in it has arrived.
    """

    kind: str
    request: bytes
    subscribe: bytes = b""
    ready: bytes = b'"type":"sync"'


def upgrade(path: str, *headers: str) -> bytes:
    """A request for a WebSocket (RFC 6455, section 4.1), always with the same key."""
    fixed = ("Host: bench", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    lines = (*fixed, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers)
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def websocket(token: str, topic: str, instance: str) -> Opening:
    head = upgrade("/v1/stream", "Sec-WebSocket-Protocol: cfg.v1", f"Authorization: Bearer {token}")
    command = {"type": "subscribe", "topics": [{"name": topic}], "client": {"instance": instance, "version": "1"}}
    return Opening("websocket", head, masked(json.dumps(command).encode()))


def events(token: str, topic: str, instance: str) -> Opening:
    head = (
        f"GET /v1/events?topic={quote(topic, safe='')} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
        f"X-Config-Instance: {instance}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    return Opening("sse", head.encode())


#: A connection to the floor's server, which begins with a `sync` frame and takes nothing in.
FLOOR = Opening("floor", b"")


def text_frame(payload: bytes, *, mask: bool = False) -> bytes:
    """A final text frame (RFC 6455, section 5.2). Its mask is zero: it changes no byte, and costs no time."""
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", 0x81, flag | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", 0x81, flag | 126, len(payload))
    else:
        head = struct.pack("!BBQ", 0x81, flag | 127, len(payload))
    return head + (bytes(4) if mask else b"") + payload


def masked(payload: bytes) -> bytes:
    return text_frame(payload, mask=True)


def cut_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """The payloads of the whole frames of a server (not masked), and what is left of the last."""
    found: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1] & 0x7F, at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
        if start + size > end or start > end:
            break
        found.append(data[start : start + size])
        at = start + size
    return found, data[at:]


def cut_events(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole events of text/event-stream, and what is left of the last."""
    *found, rest = data.split(b"\n\n")
    return found, rest


def cut_lines(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines, of JSON say, and what is left of the last. The marks of chunks between them are lines too."""
    *found, rest = data.split(b"\n")
    return found, rest


def answer_call(message: bytes) -> bytes:
    """What a client of fastapi_websocket_rpc says to a call, such as `notify`, for which its server waits."""
    call = json.loads(message).get("request") if message.startswith(b'{"request"') else None
    if not call:
        return b""
    return masked(json.dumps({"response": {"result": None, "result_type": None, "call_id": call["call_id"]}}).encode())


CUTS: Mapping[str, Cut] = {
    "websocket": cut_frames,
    "calls": cut_frames,
    "floor": cut_frames,
    "sse": cut_events,
    "lines": cut_lines,
}
#: What is said to a message, for kinds whose server waits for it.
REPLIES: Mapping[str, Callable[[bytes], bytes]] = {"calls": answer_call}
