"""What a client may write into a WebSocket and what it may not, with what must come of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from wsproto.frame_protocol import FrameProtocol, Opcode

from tests.cluster.rawsocket import frame

LIMIT = 16 * 1024
TOPIC = {"name": "pay/prod"}
SUBSCRIBE = json.dumps({"type": "subscribe", "topics": [TOPIC]})
UNSUBSCRIBE = json.dumps({"type": "unsubscribe", "topics": ["pay/dev/main"]})


def message(text: str) -> bytes:
    """As a good client sends it, with a mask."""
    return bytes(FrameProtocol(client=True, extensions=[]).send_data(text))


def parts(text: str, size: int, *between: bytes) -> bytes:
    """The message in fragments of so many characters, with `between` after each but the last."""
    client = FrameProtocol(client=True, extensions=[])
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    sent = [bytes(client.send_data(piece, fin=False)) for piece in pieces[:-1]]
    return b"".join(each + b"".join(between) for each in sent) + bytes(client.send_data(pieces[-1]))


def ping(payload: bytes = b"") -> bytes:
    return bytes(FrameProtocol(client=True, extensions=[]).ping(payload))


def pong(payload: bytes = b"") -> bytes:
    return bytes(FrameProtocol(client=True, extensions=[]).pong(payload))


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(struct.pack("!H", code) + reason, Opcode.CLOSE)


def announced(size: int, *, bits: int = 64) -> bytes:
    """The head of a text frame of so many bytes; of two possible lengths one is the wrong one."""
    return b"\x81\xff" + struct.pack("!Q", size) + bytes(4) if bits == 64 else b"\x81\xfe" + struct.pack("!HI", size, 0)


def padded(size: int, text: str = SUBSCRIBE) -> str:
    """The same JSON, with spaces up to so many bytes."""
    return text + " " * (size - len(text))


def command(**members: Any) -> bytes:
    return message(json.dumps(members))


def subscribing(**members: Any) -> bytes:
    return command(type="subscribe", topics=[{**TOPIC, **members}])


def each(label: str, made: Callable[[Any], bytes], *values: Any) -> dict[str, bytes]:
    return {f"{label} {value!r:.20}": made(value) for value in values}


ACK = {"type": "ack", "rev": "1-00000000.1", "topic": "pay/prod/main", "etag": "e", "status": "applied"}
OPENING = frame(b"{", final=False)
HALF_A_LETTER = "ü".encode()[:1]
#: Reserved, not to be sent, not assigned, or none at all (RFC 6455, 7.4).
UNFIT_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)

#: RFC 6455: 1002 for what breaks its framing, 1007 for text that is none, 1009 for what is too big.
BROKEN: dict[str, tuple[bytes, int]] = {
    **{f"reserved bit {bit}": (frame(b"{}", reserved=bit), 1002) for bit in (1, 2, 4)},
    "a reserved bit of a ping": (frame(b"", Opcode.PING, reserved=4), 1002),
    "a reserved bit of a part": (OPENING + frame(b"}", Opcode.CONTINUATION, reserved=4), 1002),
    **{f"opcode {number:#x}": (frame(b"{}", number), 1002) for number in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "no mask": (frame(SUBSCRIBE.encode(), masked=False), 1002),
    "no mask on a ping": (frame(b"", Opcode.PING, masked=False), 1002),
    "a ping in parts": (frame(b"a", Opcode.PING, final=False), 1002),
    "a close in parts": (frame(b"\x03\xe8", Opcode.CLOSE, final=False), 1002),
    "a ping of 126 bytes": (frame(b"x" * 126, Opcode.PING), 1002),
    "a close of 126 bytes": (closing(1000, b"x" * 124), 1002),
    "a part of nothing": (frame(SUBSCRIBE.encode(), Opcode.CONTINUATION), 1002),
    "the last part of nothing": (frame(b"", Opcode.CONTINUATION), 1002),
    "a part after the last": (parts(SUBSCRIBE, 20) + frame(b"x", Opcode.CONTINUATION), 1002),
    "a message within a message": (OPENING + message(SUBSCRIBE), 1002),
    "a beginning within a message": (OPENING + OPENING, 1002),
    "2 bytes of length for 125": (announced(125, bits=16), 1002),
    "8 bytes of length for 65535": (announced(65535), 1002),
    "2^63 bytes": (announced(2**63), 1002),
    "2^64 - 1 bytes": (announced(2**64 - 1), 1002),
    "2^63 - 1 bytes": (announced(2**63 - 1) + b" " * (LIMIT + 1), 1009),
    "16 KiB and a byte": (message(padded(LIMIT + 1)), 1009),
    "16 KiB and a byte, and more behind it": (message(padded(LIMIT + 1)) + message(SUBSCRIBE), 1009),
    "16 KiB and a byte, binary": (frame(b"x" * (LIMIT + 1), Opcode.BINARY), 1009),
    "16 KiB and a byte in two parts": (parts(padded(LIMIT + 1), LIMIT), 1009),
    "16 KiB and a byte in many parts": (parts(padded(LIMIT + 1), 7), 1009),
    "16 KiB and a byte in many parts with pings": (parts(padded(LIMIT + 1), 1000, ping()), 1009),
    "16 KiB of letters in 32 KiB": (message(json.dumps({"type": "ü" * (LIMIT - 100)}, ensure_ascii=False)), 1009),
    "no UTF-8": (frame(b'{"type": "\xff\xfe"}'), 1007),
    "half a letter at the end": (frame(b'{"type": "' + HALF_A_LETTER), 1007),
    "a surrogate": (frame(b'"\xed\xa0\x80"'), 1007),
    "a letter in more bytes than it needs": (frame(b'"\xc0\xaf"'), 1007),
    "half a letter at the end of a part": (OPENING + frame(HALF_A_LETTER, Opcode.CONTINUATION), 1007),
    "no UTF-8 in the first of two parts": (frame(b"\xff", final=False) + frame(b"", Opcode.CONTINUATION), 1007),
    "no UTF-8 in the reason of a close": (closing(1000, b"\xff"), 1007),
    "half a code": (frame(b"\x03", Opcode.CLOSE), 1002),
    **{f"close code {code}": (closing(code), 1002) for code in UNFIT_CODES},
}

#: What is a good message and none of cfg.v1.
NOT_OURS: dict[str, bytes] = {
    "binary": frame(SUBSCRIBE.encode(), Opcode.BINARY),
    "binary in parts": frame(b"{", Opcode.BINARY, final=False) + frame(b"}", Opcode.CONTINUATION),
    "empty": message(""),
    "not JSON": message("{not json"),
    "JSON and more": message(SUBSCRIBE + "}"),
    "a thousand brackets": message("[" * 1000),
    "as many brackets as there may be": message("[" * LIMIT),
    "an integer of 10,000 digits": message('{"type":' + "9" * 10_000 + "}"),
    **{f"JSON {text}": message(text) for text in ("[]", "null", "1", '"subscribe"', "true", "{}")},
    **each("type", lambda kind: command(type=kind), "explode", "", "Subscribe", None, 1, [], {}, "hello", "sync"),
    "no topics": command(type="subscribe"),
    **each("topics", lambda topics: command(type="subscribe", topics=topics), [], {}, "pay/prod", None, 7),
    **each("topic", lambda topic: command(type="subscribe", topics=[topic]), "pay/prod", None, 7, [], {}),
    **each("name", lambda name: subscribing(name=name), "", 7, None, [], "x" * 601, "\ud800"),
    **each("etag", lambda etag: subscribing(etag=etag), "", 7, [], {}, "x" * 601),
    "201 topics": command(type="subscribe", topics=[{"name": f"s{number}/prod"} for number in range(201)]),
    **each("since", lambda since: command(type="subscribe", topics=[TOPIC], since=since), "", 7, []),
    **each("accept", lambda ops: command(type="subscribe", topics=[TOPIC], accept=ops), "put", ["all"], [1], {}, None),
    **each("client", lambda who: command(type="subscribe", topics=[TOPIC], client=who), "me", [], 7, None),
    **each("instance", lambda who: command(type="subscribe", topics=[TOPIC], client={"instance": who}), 7, "", []),
    **each("unsubscribe", lambda names: command(type="unsubscribe", topics=names), [], [7], [""], "pay/prod", [TOPIC]),
    **each("token", lambda token: command(type="auth", token=token), "", 7, None, [], "ü"),
    "no token": command(type="auth"),
    **each("ack without", lambda member: command(**{**ACK, member: None}), "rev", "topic", "etag", "status"),
    **each("ack with status", lambda status: command(**{**ACK, "status": status}), "seen", 7, ""),
    **each("ack with reason", lambda reason: command(**{**ACK, "reason": reason}), [], 7, ""),
}

#: What ends with the code that the client gave.
CLOSES: dict[str, tuple[bytes, int]] = {
    **{f"close code {code}": (closing(code), code) for code in (1000, 1001, 1002, 1011, 3000, 3999, 4000, 4999)},
    "with a reason": (closing(1000, "tschüß".encode()), 1000),
    "with a reason as long as it may be": (closing(1001, b"x" * 123), 1001),
    "without a code": (frame(b"", Opcode.CLOSE), 1005),
    "and more behind it": (closing(1000) + message(SUBSCRIBE) + frame(b"", 15), 1000),
    "in the middle of a message": (OPENING + closing(1000), 1000),
}

#: What is all right, in so many messages that subscribe, and so many pongs that answer.
GOOD: dict[str, tuple[bytes, int, list[bytes]]] = {
    "a message": (message(SUBSCRIBE), 1, []),
    "a message masked with zeros": (frame(SUBSCRIBE.encode()), 1, []),
    "of 16 KiB": (message(padded(LIMIT)), 1, []),
    "of 16 KiB in many parts": (parts(padded(LIMIT), 100), 1, []),
    "in parts of one byte": (parts(SUBSCRIBE, 1), 1, []),
    "in parts with pings between": (parts(SUBSCRIBE, 20, ping(b"a")), 1, [b"a"] * ((len(SUBSCRIBE) - 1) // 20)),
    "in parts, some of them empty": (
        frame(b"", final=False)
        + frame(SUBSCRIBE.encode(), Opcode.CONTINUATION, final=False)
        + frame(b"", Opcode.CONTINUATION),
        1,
        [],
    ),
    "a letter in two parts": (
        frame(b'{"type": "unsubscribe", "topics": ["' + HALF_A_LETTER, final=False)
        + frame("ü".encode()[1:] + b'"]}', Opcode.CONTINUATION)
        + message(SUBSCRIBE),
        1,
        [],
    ),
    "three right behind each other": (message(SUBSCRIBE) * 3, 3, []),
    "as many as there may be": (message(UNSUBSCRIBE) * 19 + message(SUBSCRIBE), 1, []),
    "a ping": (ping() + message(SUBSCRIBE), 1, [b""]),
    "a ping of 125 bytes": (ping(b"x" * 125) + message(SUBSCRIBE), 1, [b"x" * 125]),
    "pings right behind each other": (ping(b"1") + ping(b"2") + message(SUBSCRIBE), 1, [b"1", b"2"]),
    "a pong that nobody asked for": (pong(b"here") + message(SUBSCRIBE), 1, []),
    "a member that nobody knows": (command(type="subscribe", topics=[{**TOPIC, "colour": 1}], mood="good"), 1, []),
}
