"""The cursor that all workers and hosts share, in Redis: each change is one script, whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import structlog

from app.cache import RedisLink
from app.model import SecretPath
from app.notify.cursor import Cursor, LabelHead, Rev, dump_known, load_known, secret_path
from app.notify.redis_scripts import ADOPT, ANNOUNCE, ROTATE, SEED
from app.observability import current_cause
from app.secrets import Known

log = structlog.get_logger(__name__)

K = TypeVar("K")
V = TypeVar("V")

_EPOCH = re.compile(rb"[0-9a-z-]+")
_SEQ = re.compile(rb"[0-9]{1,15}")


def channel_of(link: RedisLink, repository: str) -> str:
    """Where moves of this repository's cursor are published."""
    return link.key(f"{repository}:bus")


class RedisCursorStore:
    """See CursorStore. `repository` separates the labels of one configuration repository from another's.

    An entry that is damaged or of another schema version counts as absent, so the next announcement replaces it; a
    damaged cursor counts as an emptied store, which a host that has fetched seeds anew.
    """

    def __init__(self, link: RedisLink, repository: str) -> None:
        self._link = link
        self._keys = [link.key(f"{repository}:{name}") for name in ("cursor", "labels", "secrets")]
        self.channel = channel_of(link, repository)
        self._last: Cursor | None = None

    def read(self) -> Cursor | None:
        """Costs one small read while nothing moved; else a transaction, so that rev and content belong together."""
        last = self._last
        rev = _rev(*self._link.call(lambda client: cast("list[bytes | None]", client.hmget(self._keys[0], *_FIELDS))))
        if rev is None or last is None or last.rev != rev:
            last = self._last = self._read_all() if rev else None
        return last

    def seed(self, before: Cursor | None, after: Cursor) -> bool:
        labels = {name: json.dumps(head.as_json()) for name, head in after.labels.items()}
        secrets = {str(path): dump_known(known) for path, known in after.secrets.items()}
        expected = (before.rev.epoch, str(before.rev.seq)) if before else ("", "")
        rev = (after.rev.epoch, str(after.rev.seq), after.default_label)
        return self._did(SEED, *expected, *rev, json.dumps(labels), json.dumps(secrets), self.channel)

    def announce(self, before: Cursor, label: str, head: LabelHead) -> bool:
        standing = before.labels.get(label)
        written = json.dumps({**head.as_json(), "seq": "@seq"})
        seq = str(standing.seq if standing else 0)
        return self._did(
            ANNOUNCE, before.rev.epoch, label, seq, written, head.commit or "", self.channel, current_cause() or ""
        )

    def adopt(self, epoch: str, path: SecretPath, found: Known) -> Known:
        return load_known(self._run(ADOPT, epoch, str(path), dump_known(found)))

    def in_use(self) -> Mapping[SecretPath, Known]:
        found = self._link.call(lambda client: cast("dict[bytes, bytes]", client.hgetall(self._keys[2])))
        return _usable(found, secret_path, load_known)

    def rotate(self, epoch: str, path: SecretPath, before: Known, after: Known) -> bool:
        return self._did(ROTATE, epoch, str(path), dump_known(before), dump_known(after), self.channel)

    def _did(self, script: str, *arguments: str) -> bool:
        return bool(self._run(script, *arguments))

    def _run(self, script: str, *arguments: str) -> Any:
        return self._link.call(lambda client: client.eval(script, len(self._keys), *self._keys, *arguments))

    def _read_all(self) -> Cursor | None:
        def everything(client: Any) -> list[dict[bytes, bytes]]:
            pipeline = client.pipeline(transaction=True)
            for key in self._keys:
                pipeline.hgetall(key)
            return cast("list[dict[bytes, bytes]]", pipeline.execute())

        cursor, labels, secrets = self._link.call(everything)
        rev = _rev(*(cursor.get(name) for name in _FIELDS))
        if rev is None:
            return None
        return Cursor(
            rev,
            cursor[b"default"].decode(errors="replace"),
            _usable(labels, str, LabelHead.loads),
            _usable(secrets, secret_path, load_known),
        )


_FIELDS = (b"epoch", b"seq", b"default")


def _rev(epoch: bytes | None, seq: bytes | None, default: bytes | None) -> Rev | None:
    """The rev of a whole cursor, as the scripts see it; None when it is absent or damaged."""
    if not epoch or not seq or not default or not _EPOCH.fullmatch(epoch) or not _SEQ.fullmatch(seq):
        return None
    return Rev(epoch.decode(), int(seq))


def _usable(stored: Mapping[bytes, bytes], name_of: Callable[[str], K], load: Callable[[bytes], V]) -> dict[K, V]:
    """The entries that can be read. One that cannot must not take the others away."""
    usable: dict[K, V] = {}
    for name, text in stored.items():
        try:
            usable[name_of(name.decode())] = load(text)
        except ValueError:
            log.warning("cursor.entry_ignored", name=name.decode(errors="replace"))
    return usable
