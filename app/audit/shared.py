"""The trail of the whole cluster, in Redis: a stream of all workers' records, bounded, and where each chain ends.

A view, not the proof: the files are. A record is added once, in the order of its chain, whatever is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.audit.event import BEGINNING, Link
from app.cache import RedisLink

SCHEMA: Final = 1

# KEYS: heads, stream. ARGV: chain, its head as read ('' for none), its new head, how many are kept, host, lines.
_ADD: Final = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for number = 6, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'v', '1', 'host', ARGV[5], 'record', ARGV[number])
end
return 1
"""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last record of a chain that is known, and the number of the last one that is more than an anchor.

    `text` is how Redis holds it, "" where it does not.
    """

    link: Link = BEGINNING
    told: int = 0
    text: str = ""

    @classmethod
    def written(cls, link: Link, told: int) -> ChainHead:
        return cls(link, told, json.dumps({"v": SCHEMA, "seq": link.seq, "hash": link.hash, "told": told}))


class SharedTrail(Protocol):
    """Every method raises BusUnavailable."""

    def head(self, chain: str) -> ChainHead:
        """How far this host's chain is known."""

    def heads(self) -> dict[str, ChainHead]:
        """Of every host, by `host/chain`."""

    def add(self, chain: str, before: ChainHead, after: ChainHead, lines: Sequence[bytes]) -> bool:
        """The chain's next records. False when its head is not `before` any more; nothing is added then."""

    def page(self, before: str, count: int) -> list[tuple[str, str, bytes]]:
        """(id, host, line) of records before that id ("+" for none), newest first."""


class RedisSharedTrail:
    """Thread-safe. `host` names this machine and may raise OSError; `records` is about how many are kept."""

    def __init__(self, link: RedisLink, host: Callable[[], str], *, records: int) -> None:
        self._link = link
        self._host = host
        self._records = records
        self._heads, self._stream = link.key("audit:heads"), link.key("audit")

    def head(self, chain: str) -> ChainHead:
        name = self._name(chain)
        return _head(self._link.call(lambda client: client.hget(self._heads, name)))

    def heads(self) -> dict[str, ChainHead]:
        def ask(client: Any) -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = client.hgetall(self._heads)
            return found

        return {name.decode(errors="replace"): _head(text) for name, text in self._link.call(ask).items()}

    def add(self, chain: str, before: ChainHead, after: ChainHead, lines: Sequence[bytes]) -> bool:
        fixed = (self._name(chain), before.text, after.text, self._records, self._host())
        arguments = (self._heads, self._stream, *fixed, *(line.rstrip(b"\n") for line in lines))

        def ask(client: Any) -> int:
            return int(client.eval(_ADD, 2, *arguments))

        return self._link.call(ask) == 1

    def page(self, before: str, count: int) -> list[tuple[str, str, bytes]]:
        def ask(client: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
            newest = before if before == "+" else f"({before}"
            found: list[tuple[bytes, dict[bytes, bytes]]] = client.xrevrange(self._stream, newest, "-", count=count)
            return found

        return [
            (name.decode(), fields.get(b"host", b"").decode(errors="replace"), _line(fields))
            for name, fields in self._link.call(ask)
        ]

    def _name(self, chain: str) -> str:
        return f"{self._host()}/{chain}"


def _line(fields: dict[bytes, bytes]) -> bytes:
    """The record; empty, which is none, where another version of the server wrote it."""
    return fields.get(b"record", b"") if fields.get(b"v") == str(SCHEMA).encode() else b""


def _head(text: object) -> ChainHead:
    """What is damaged or of another schema counts as unknown, and is written anew."""
    if not isinstance(text, bytes):
        return ChainHead()
    shown = text.decode(errors="replace")
    try:
        found = json.loads(shown)
        if found["v"] == SCHEMA:
            return ChainHead(Link(int(found["seq"]), str(found["hash"])), int(found["told"]), shown)
    except (ValueError, KeyError, TypeError):
        pass
    return ChainHead(text=shown)
